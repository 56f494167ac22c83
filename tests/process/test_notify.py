"""A supervisor that does not read holds up nobody, and hears everything when it reads again."""

import contextlib
import socket
import time

import pytest

from edeposit.amqp.process import notify
from edeposit.amqp.testing import wait_for


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(10)
        yield listener


def test_a_supervisor_that_does_not_read_is_not_waited_for(supervisor):
    sent = 0
    started = time.monotonic()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        filler.connect(supervisor.getsockname())
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.send(b"filler")
                sent += 1
    states = [f"STATUS={number}" for number in range(20)]
    for state in states:
        assert notify.notify(state)
    for _ in range(200):
        notify.notify("WATCHDOG=1")
    assert time.monotonic() - started < 2
    assert [supervisor.recv(100) for _ in range(sent)] == [b"filler"] * sent
    assert [supervisor.recv(100).decode() for _ in states] == states
    supervisor.setblocking(False)

    def has_sent_the_rest():
        with contextlib.suppress(BlockingIOError):
            while supervisor.recv(100) == b"WATCHDOG=1":
                pass
        return notify._sender is None

    wait_for(has_sent_the_rest, what="the thread ends when there is nothing left to send")


def test_a_supervisor_that_is_gone_is_logged_once(supervisor, caplog):
    supervisor.close()
    for _ in range(5):
        assert not notify.notify("WATCHDOG=1")
    assert len([r for r in caplog.records if "cannot be notified" in r.message]) == 1


def test_nobody_listens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify.notify("READY=1")
