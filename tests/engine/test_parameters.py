"""Connection parameters from the settings."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from edeposit.amqp import settings
from edeposit.amqp.engine.parameters import getConParams
from edeposit.amqp.errors import StartError
from edeposit.amqp.testing._tls import make_certificates


@pytest.fixture(autouse=True)
def use(monkeypatch, tmp_path):
    """``use(NAME="value")`` changes settings for this test alone."""

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        settings.reload()

    for name in settings.get_all_constants():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("EDEPOSIT_AMQP_CONFIG", raising=False)
    change(HOME=str(tmp_path))
    yield change
    monkeypatch.undo()
    settings.reload()


@pytest.fixture
def encrypted(tmp_path):
    """A certificate and its encrypted key."""
    certificate, key = make_certificates(tmp_path).servers["good"]
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-in", key, "-out", locked, "-aes256", "-passout", "pass:x"],
        check=True,
        capture_output=True,
    )
    return {
        "RABBITMQ_SSL": "true",
        "RABBITMQ_SSL_CERT": str(certificate),
        "RABBITMQ_SSL_KEY": str(locked),
    }


def test_an_encrypted_key_is_an_error(use, encrypted):
    use(**encrypted)
    with pytest.raises(StartError, match="RABBITMQ_SSL_KEY is encrypted"):
        getConParams("x")


def test_an_encrypted_key_beside_its_certificate_is_an_error_too(use, encrypted, tmp_path):
    both = tmp_path / "both.pem"
    parts = (encrypted["RABBITMQ_SSL_CERT"], encrypted["RABBITMQ_SSL_KEY"])
    both.write_text("".join(Path(part).read_text() for part in parts))
    use(RABBITMQ_SSL="true", RABBITMQ_SSL_CERT=str(both))
    with pytest.raises(StartError, match="RABBITMQ_SSL_CERT is encrypted"):
        getConParams("x")


def test_an_encrypted_key_asks_no_terminal(encrypted):
    code = "from edeposit.amqp.engine.parameters import getConParams; getConParams('x')"
    pid, terminal = pty.fork()
    if not pid:
        os.execve(sys.executable, [sys.executable, "-c", code], {**os.environ, **encrypted})
    output = b""
    while select.select([terminal], [], [], 20)[0]:
        try:
            output += os.read(terminal, 4096)
        except OSError:
            break  # the terminal is closed: the program has ended
    else:
        os.kill(pid, 9)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert b"is encrypted" in output
    assert b"pass phrase:" not in output


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost"])
def test_guest_may_connect_to_this_machine(use, host):
    use(RABBITMQ_HOST=host)
    assert getConParams("x").host == host.strip("[]")


@pytest.mark.parametrize("host", ["192.0.2.1", "broker.example", "2001:db8::1"])
def test_guest_may_not_connect_over_the_network(use, host):
    use(RABBITMQ_HOST=host)
    with pytest.raises(StartError, match="guest/guest"):
        getConParams("x")
