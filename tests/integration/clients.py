"""What the tests of ``AMQPClient`` share."""

import contextlib
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

from edeposit.amqp import settings

FIRST_GENERATION = Path(__file__).parent.parent / "daemons" / "first_generation.py"

Echo = namedtuple("Echo", "value")
Do = namedtuple("Do", "what argument")
CLASSES = [Echo, Do]


def configure(monkeypatch, node, vhost, tmp_path, **more):
    """Make the service ``antivirus`` the echo service of a virtual host."""
    environment = {
        **node.env(),
        "RABBITMQ_ANTIVIRUS_VIRTUALHOST": vhost,
        "RABBITMQ_ANTIVIRUS_EXCHANGE": "echo",
        "HOME": str(tmp_path),
        **more,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings.reload()


@contextlib.contextmanager
def first_generation_daemon(rabbit, vhost):
    """A daemon of 2015 in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, FIRST_GENERATION, rabbit.host, str(rabbit.port), vhost, "echo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def restricted_user(rabbit, vhost, configure, write, read):
    """Name of a user with these permissions (regular expressions); the password is the name."""
    name = f"user-{vhost}"
    rabbit.ctl("add_user", name, name)
    rabbit.ctl("set_permissions", "-p", vhost, name, configure, write, read)
    try:
        yield name
    finally:
        rabbit.ctl("delete_user", name)
