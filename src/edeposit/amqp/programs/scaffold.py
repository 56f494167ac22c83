"""``edeposit_amqp_tool.py --new NAME``: a complete module of one's own, that answers at once."""

import keyword
import re
from pathlib import Path
from string import Template

from edeposit.amqp.errors import AMQPError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

_FUNCTION = '''\
"""The service $name: what it does with a request. Knows no broker."""

from $name.structures import Greeting, Hello


def reactToAMQPMessage(message, send_back):
    """Answer one request.

    Args:
        message: what was asked: one of the classes of ``$name.structures``.
        send_back: sends progress: ``send_back(anything)``.

    Returns:
        The answer.

    Raises:
        ValueError: the request is not one of this service's. The caller gets the exception.
    """
    if not isinstance(message, Hello):
        raise ValueError(f"unknown request {type(message).__name__}")
    return Greeting(f"Hello {message.name}!")
'''

_STRUCTURES = '''\
"""What travels: requests and answers of the service $name."""

from typing import NamedTuple


class Hello(NamedTuple):
    """A request.

    Attributes:
        name: whom to greet.
    """

    name: str


class Greeting(NamedTuple):
    """Its answer.

    Attributes:
        text: the greeting.
    """

    text: str
'''

_PROGRAM = '''\
#!/usr/bin/env python3
"""Daemon of the service $name; see ``--help``."""

import $name
from $name import structures

from edeposit.amqp import service

if __name__ == "__main__":
    service.run(
        $name.reactToAMQPMessage, [structures.Hello, structures.Greeting], name="$name"
    )
'''

_TEST = '''\
"""The service as its callers see it: a real RabbitMQ, the daemon as a process."""

import subprocess
import sys
from pathlib import Path

import pytest
from $name import reactToAMQPMessage
from $name.structures import Greeting, Hello

from edeposit.amqp import settings
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError

PROGRAM = Path(__file__).parents[1] / "$program"


@pytest.fixture
def daemon(rabbit, vhost, tmp_path, monkeypatch):
    """The running daemon, in a virtual host of its own."""
    surroundings = {
        **rabbit.env(),
        "RABBITMQ_${upper}_VIRTUALHOST": vhost,
        "PID_DIR": str(tmp_path / "run"),
        "LOG_TARGET": str(tmp_path / "$name.log"),
    }
    for variable, value in surroundings.items():
        monkeypatch.setenv(variable, value)
    settings.add_service("$name")
    settings.reload()
    for action in ("create", "start"):
        subprocess.run([sys.executable, PROGRAM, action], check=True)
    yield
    subprocess.run([sys.executable, PROGRAM, "stop"], check=True)


def test_the_function():
    assert reactToAMQPMessage(Hello("Eva"), None) == Greeting("Hello Eva!")


def test_a_request_is_answered(daemon):
    with AMQPClient("$name", glob=[Hello, Greeting]) as client:
        assert client.call(Hello("Eva"), timeout=30) == Greeting("Hello Eva!")


def test_a_wrong_request_is_answered_with_the_exception(daemon):
    with AMQPClient("$name", glob=[Hello, Greeting]) as client:
        with pytest.raises(RemoteError, match="unknown request"):
            client.call(Greeting("?"), timeout=30)
'''

_README = """\
$name
$line

A service behind RabbitMQ, made with edeposit.amqp.

Try it, with a RabbitMQ on this machine::

   python $program create     # virtual host, exchange and queues
   python $program start
   python $program check      # a request end to end
   python $program stop

Its tests start a RabbitMQ of their own (Debian: ``apt-get install rabbitmq-server``)::

   python -m pytest

What it does is in ``$name/__init__.py``, what travels in ``$name/structures.py``. ``pip install .``
makes it known to ``edeposit_amqp_tool.py`` and to ``AMQPClient("$name")``. ``$unit`` is a unit for
systemd.
"""

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$name"
version = "0.1"
requires-python = ">=3.11"
# From its source: the name belongs to an older project on the public index.
dependencies = ["edeposit.amqp>=2"]

[project.entry-points."edeposit.amqp.services"]
$name = "$name"

[tool.setuptools]
packages = ["$name"]
script-files = ["$program"]

[tool.pytest.ini_options]
pythonpath = ["."]
"""

_UNIT = """\
[Unit]
Description=$name behind RabbitMQ
After=network-online.target rabbitmq-server.service
Wants=network-online.target

[Service]
Type=notify
ExecStart=/usr/local/bin/$program start --foreground
ExecReload=/bin/kill -HUP $$MAINPID
User=edeposit
Environment=START_TIMEOUT=60
Environment=PID_DIR=/run/edeposit/edeposit
RuntimeDirectory=edeposit/edeposit
RuntimeDirectoryPreserve=yes
TimeoutStartSec=90
# Longer than the setting STOP_TIMEOUT (30 s), in which the current work is finished.
TimeoutStopSec=45
KillMode=mixed
Restart=on-failure
WatchdogSec=30

[Install]
WantedBy=multi-user.target
"""

_FILES = {
    "$name/__init__.py": _FUNCTION,
    "$name/structures.py": _STRUCTURES,
    "$program": _PROGRAM,
    "tests/conftest.py": 'pytest_plugins = ["edeposit.amqp.testing.pytest_plugin"]\n',
    "tests/test_$name.py": _TEST,
    "README.rst": _README,
    "pyproject.toml": _PYPROJECT,
    "$unit": _UNIT,
}


def write_module(name: str, parent: Path) -> list[Path]:
    """Write a new module: function, structures, daemon, tests, entry point, unit.

    Args:
        name: of the service and its package.
        parent: gets a directory of that name.

    Returns:
        The files written.

    Raises:
        AMQPError: the name cannot be a package's, the directory exists or cannot be written.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise AMQPError(f"{name!r} cannot be the name of a service: use a-z, 0-9 and _")
    values = {
        "name": name,
        "upper": name.upper(),
        "program": f"{name}_daemon.py",
        "unit": f"{name}.service",
        "line": "=" * len(name),
    }
    directory = parent / name
    written = []
    try:
        directory.mkdir()
        for template, text in _FILES.items():
            path = directory / Template(template).substitute(values)
            path.parent.mkdir(exist_ok=True)
            path.write_text(Template(text).substitute(values), "utf-8")
            written.append(path)
        (directory / values["program"]).chmod(0o755)
    except FileExistsError as error:
        raise AMQPError(f"{directory} exists already") from error
    except OSError as error:
        raise AMQPError(f"{error.filename or directory}: {error.strerror}") from error
    return written
