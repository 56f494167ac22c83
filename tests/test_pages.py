"""The commands of the pages, run as a reader would type them, print what the pages say.

A ``console`` block is a session: lines after ``$`` are commands, the others what they print; ``…``
stands for anything in a line, ``...`` alone for any lines. Commands after ``#`` are root's and
change the system; ``make matrix`` runs those in a bare root.
"""

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from edeposit.amqp.testing import ClamdServer, RabbitNode

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^( *)\.\. code-block:: (\w+)\n\n((?:\1 +.*\n|\n)+)", re.M)


def blocks(page, language):
    """The code blocks of one language on a page, in their order."""
    text = (ROOT / page).read_text("utf-8")
    return [
        textwrap.dedent(match[3]).strip("\n")
        for match in _BLOCK.finditer(text)
        if match[2] == language
    ]


def sessions(page):
    """Commands of a page with what they print: (command, expected text)."""
    found = []
    for block in blocks(page, "console"):
        for part in re.split(r"^(?=[$#] )", block, flags=re.M):
            command, _, expected = part.partition("\n")
            if command.startswith("$ "):
                found.append((command[2:], expected.rstrip("\n")))
    return found


def pattern(expected):
    """A regular expression for the text that a page shows."""
    lines = []
    for line in expected.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*")
        else:
            lines.append(".*?".join(re.escape(part) for part in line.split("…")) + r"\n")
    return re.compile("".join(lines))


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """The environment of a reader: a broker and a scanner, nothing else."""
    home = tmp_path_factory.mktemp("home")
    with RabbitNode() as node, ClamdServer() as clamd:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "PYTEST"))}
        yield {
            **plain,
            **node.env(),
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "PID_DIR": str(home / "run"),
            "LOG_TARGET": str(home / "log"),
            "ANTIVIRUS_LOCALSOCKET": clamd.socket_path,
            "ANTIVIRUS_CONF_PATH": str(clamd.config_file),
            "ANTIVIRUS_DATABASE_DIR": str(clamd.database),
        }


def walk(page, environment, directory):
    """Type what the page says; returns the number of commands."""
    commands = sessions(page)
    for command, expected in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        if expected:
            assert pattern(expected).fullmatch(done.stdout.rstrip("\n") + "\n"), (
                f"$ {command}\nprints\n{done.stdout}\nand not\n{expected}"
            )
    return len(commands)


def test_the_tutorial(machine, tmp_path):
    assert walk("docs/tutorial.rst", machine, tmp_path) >= 5


def test_the_readme(machine, tmp_path):
    assert walk("README.rst", machine, tmp_path) >= 4


def test_the_upgrade_page(machine, tmp_path):
    try:
        assert walk("docs/upgrade.rst", machine, tmp_path) >= 3
    finally:
        subprocess.run(
            ["edeposit_amqp_antivirusd.py", "stop"], env=machine, capture_output=True, check=False
        )
