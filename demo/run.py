"""``make demo``: the main job of edeposit.amqp, for a person to watch.

It uses the RabbitMQ that the settings reach, otherwise it starts a private one. Each service has
a module ``demo/step_<name>.py`` with a function ``run(stage)``; the steps run in their order.
Everything that is started is stopped again, also after a failure.
"""

import contextlib
import importlib
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pika
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from edeposit.amqp import settings
from edeposit.amqp.engine.parameters import getConParams
from edeposit.amqp.testing import RabbitNode

STEPS = ("antivirus", "aleph", "ftp", "calibre", "harvester")


class Stage:
    """What the steps share.

    Attributes:
        console: prints for people.
        directory: temporary; pid files and logs are there.
        stack: what is entered here is left at the end, in reverse order.
    """

    def __init__(self, console, directory, stack):
        self.console = console
        self.directory = directory
        self.stack = stack

    def title(self, text):
        self.console.print()
        self.console.print(Rule(f"[bold]{text}", align="left"))

    def say(self, text):
        self.console.print(text, style="italic", highlight=False)

    def command(self, *arguments, expect=0, shorten=False):
        """Show a command, run it, show its output; another exit code ends the demo."""
        self.console.print(f"$ {shlex.join(arguments)}", style="bold cyan", highlight=False)
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
        for text in (done.stdout, done.stderr):
            lines = [line if len(line) <= 96 else f"{line[:95]}…" for line in text.splitlines()]
            if shorten and len(lines) > 12:
                lines = [*lines[:12], f"… and {len(lines) - 12} more lines"]
            if text.strip():
                self.console.print("\n".join(lines).rstrip(), markup=False, highlight=False)
        if done.returncode != expect:
            raise AssertionError(f"exit code {done.returncode}, expected {expect}")
        return done.stdout

    def daemon(self, script):
        """Start a daemon; it is stopped at the end if the step has not done so."""
        self.command(script, "start")

        def stop():
            subprocess.run([script, "stop"], capture_output=True, check=False, timeout=60)

        self.stack.callback(stop)

    def expect(self, what, value, right):
        """Show a result, and that it is what it should be."""
        text = Text(f"  {what}: {value}  ")
        text.append("as expected" if right else "WRONG", "green" if right else "bold red")
        self.console.print(text, soft_wrap=True)
        if not right:
            raise AssertionError(f"{what}: {value!r}")


def find_broker(stage):
    """Use the broker that the settings reach; start a private one otherwise."""
    stage.title("RabbitMQ")
    try:
        pika.BlockingConnection(getConParams("/")).close()
        stage.say(f"Using the broker at {settings.RABBITMQ_HOST}:{settings.RABBITMQ_PORT}.")
        return
    except Exception as error:
        stage.say(f"No broker at {settings.RABBITMQ_HOST}:{settings.RABBITMQ_PORT}"
                  f" ({type(error).__name__}): starting a private one.")  # fmt: skip
    node = stage.stack.enter_context(RabbitNode())
    os.environ.update(node.env())
    settings.reload()
    stage.say(f"Private node on 127.0.0.1:{node.port}, in {node.directory}.")


def main():
    console = Console(width=100, force_terminal=sys.stdout.isatty())
    os.environ["PYTHONUNBUFFERED"] = "1"
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edeposit-demo-")))
        os.environ["PID_DIR"] = str(directory / "run")
        os.environ["LOG_TARGET"] = str(directory / "daemons.log")
        settings.reload()
        stage = Stage(console, directory, stack)
        try:
            find_broker(stage)
            for name in STEPS:
                importlib.import_module(f"step_{name}").run(stage)
        except Exception as error:
            console.print_exception()
            console.print(f"The demo failed: {error}", style="bold red", markup=False)
            log = directory / "daemons.log"
            if log.exists():
                console.print(log.read_text("utf-8")[-3000:], markup=False)
            return 1
    stage.title("Done")
    stage.say("Everything was as expected, and everything that was started is stopped again.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
