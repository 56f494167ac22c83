"""What a daemon says of itself: since when, and whatever its words are."""

import json
import os

import pytest

from edeposit.amqp.process import statusfile
from edeposit.amqp.process.statusfile import StatusFile, describe


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock is a second later."""
    seconds = iter(range(100))
    monkeypatch.setattr(statusfile, "_now", lambda: f"second {next(seconds)}")


def test_state_and_readiness_have_a_since_of_their_own(tmp_path, clock):
    file = StatusFile(tmp_path / "x.status")
    file.write("connecting", {})
    file.write_ready()
    file.write("consuming", {"handled": 0})
    file.write("consuming", {"handled": 1})
    told = file.read(os.getpid())
    assert (told["state"], told["since"], told["ready_since"]) == (
        "consuming",
        "second 2",
        "second 1",
    )
    assert describe(told) == "consuming since second 2, ready since second 1, handled 1"
    file.write("draining", {})
    assert file.read(os.getpid())["since"] == "second 3"


def test_a_daemon_that_tells_no_state_is_running(tmp_path, clock):
    file = StatusFile(tmp_path / "x.status")
    file.write_ready()
    assert describe(file.read(os.getpid())) == "running since second 0"


@pytest.mark.parametrize("value", ["\ud800", b"bytes", {1, 2}, float("nan"), object()])
def test_any_detail_can_be_told(tmp_path, value):
    file = StatusFile(tmp_path / "x.status")
    file.write("consuming", {"reason": value})
    assert file.read(os.getpid())["state"] == "consuming"


def test_a_status_that_cannot_be_written_is_logged_once(tmp_path, caplog):
    file = StatusFile(tmp_path / "missing" / "x.status")
    for number in range(5):
        file.write("consuming", {"handled": number})
    assert [r.message for r in caplog.records] == [
        f"status file {file.path} cannot be written: No such file or directory"
    ]
    file.path.parent.mkdir()
    file.write("consuming", {})
    assert file.read(os.getpid())


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"pid": 1}', b"[" * 100_000])
def test_what_is_no_status_is_none(tmp_path, content):
    (tmp_path / "x.status").write_bytes(content)
    assert StatusFile(tmp_path / "x.status").read(os.getpid()) == {}


def test_others_may_read_it(tmp_path):
    before = os.umask(0o077)
    try:
        StatusFile(tmp_path / "x.status").write("consuming", {})
    finally:
        os.umask(before)
    assert (tmp_path / "x.status").stat().st_mode & 0o777 == 0o644
    assert json.loads((tmp_path / "x.status").read_text())["pid"] == os.getpid()
