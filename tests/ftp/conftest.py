"""Settings that lead to directories of the test's own, with or without a real ProFTPD."""

import os
import threading
from pathlib import Path

import pytest

from edeposit.amqp.ftp import api, monitor, settings
from edeposit.amqp.testing import ProftpdServer

GOOD = {
    "ISBN knihy": "80-86056-31-7",
    "Vazba": "brož.",
    "Nazev knihy": "Zen",
    "Misto vydani": "Brno",
    "Nakladatel": "JOTA",
    "Datum vydani": "září 2012",
    "Poradi vydani": "1",
    "Zpracovatel zaznamu": "já",
}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="homes of other users need root")


def metadata(isbn="80-86056-31-7", **changes):
    """Good metadata as a JSON text."""
    import json

    return json.dumps({**GOOD, "ISBN knihy": isbn, **changes})


class Crash(BaseException):
    """Ends the process, as far as the code can tell."""


class Running:
    """A monitor in threads, with what it has sent."""

    def __init__(self, send=None):
        self.sent = []
        self.stop_event = threading.Event()
        self.monitor = monitor.prepare()
        self.thread = threading.Thread(
            target=self.monitor,
            args=(send or self.send, self.stop_event),
        )

    def send(self, request, uuid):
        self.sent.append((request, uuid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc_info):
        self.stop_event.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


def lead_to(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    settings.reload()


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch, tmp_path):
    for name in settings.get_all_constants():
        monkeypatch.delenv(f"FTP_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FTP_HASH_ROUNDS", "1000")
    settings.reload()
    yield
    monkeypatch.undo()
    settings.reload()


@pytest.fixture(autouse=True)
def daemons_umask():
    """Modes are to be right under the umask that daemons have."""
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Directories as the server has them, without one."""
    for name in ("etc", "home", "log"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o755)
    lead_to(
        monkeypatch,
        {
            "FTP_CONF_PATH": tmp_path / "etc",
            "FTP_DATA_PATH": tmp_path / "home",
            "FTP_LOG_PATH": tmp_path / "log",
        },
    )
    return tmp_path


@pytest.fixture
def home(places):
    """The home of the user ``garda``, its lock file deleted."""
    api.add_user("garda", "tajne")
    path = Path(settings.DATA_PATH) / "garda"
    (path / settings.LOCK_FILENAME).unlink()
    return path


@pytest.fixture
def server(monkeypatch):
    """A private ProFTPD that the settings lead to."""
    with ProftpdServer() as server:
        lead_to(monkeypatch, server.env())
        yield server
