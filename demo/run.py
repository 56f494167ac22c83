"""``make demo``: the main job of edeposit.amqp, for a person to watch.

It starts a private RabbitMQ node on free ports in a temporary directory; what is configured or
running on this machine is neither used nor touched. Each service has a module
``demo/step_<name>.py`` with a function ``run(stage)``; the steps run in their order. Everything
that is started is stopped again, also after a failure.
"""

import contextlib
import importlib
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from edeposit.amqp import settings
from edeposit.amqp.testing import RabbitNode

SETTINGS_FILES = ("amqp", "aleph", "antivirus", "calibre", "ftp", "harvester")
CONFIGURED_BY = ("RABBITMQ_", "EDEPOSIT_", "ALEPH_", "ANTIVIRUS_", "CALIBRE_", "FTP_", "HARVESTER_")
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


def forget_settings(directory):
    """Nothing that is configured on this machine counts: no broker, no catalogue, no scanner."""
    for name in list(os.environ):
        if name.startswith(CONFIGURED_BY):
            del os.environ[name]
    home = directory / "home"
    (home / "edeposit").mkdir(parents=True)
    for name in SETTINGS_FILES:
        # An empty file in HOME hides the one in /etc.
        (home / "edeposit" / f"{name}.json").touch()
    os.environ |= {
        "HOME": str(home),
        "PID_DIR": str(directory / "run"),
        "LOG_TARGET": str(directory / "daemons.log"),
        "PYTHONUNBUFFERED": "1",
    }
    settings.reload()


def start_broker(stage):
    """Start a private node; a broker that runs on this machine is left alone."""
    stage.title("RabbitMQ")
    node = stage.stack.enter_context(RabbitNode())
    os.environ.update(node.env())
    settings.reload()
    stage.say(f"A private node on 127.0.0.1:{node.port}, in {node.directory}.")


def main():
    console = Console(width=100, force_terminal=sys.stdout.isatty())
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edeposit-demo-")))
        forget_settings(directory)
        stage = Stage(console, directory, stack)
        try:
            start_broker(stage)
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
