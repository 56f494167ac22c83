"""What lies in one user's home, in the spool or the log, or a full disk, never ends the monitor."""

import json
import os
import subprocess
import threading
import uuid
from pathlib import Path

import pytest

from edeposit.amqp.errors import MessageTooLargeError
from edeposit.amqp.ftp import api, importer, message, sending, settings
from edeposit.amqp.ftp.importer import Importer
from edeposit.amqp.ftp.spool import Spool
from edeposit.amqp.ftp.structures import EbookFile
from edeposit.amqp.serializers import serialize_bytes
from edeposit.amqp.testing import wait_for

from .conftest import GOOD, Crash, Running, metadata, needs_root

pytestmark = needs_root

LOCK = "delete_me_to_import_files.txt"


class Broker(Running):
    """A monitor whose messages have to be JSON, and not larger than a limit."""

    def __init__(self, limit=2**40):
        super().__init__()
        self.limit = limit

    def send(self, request, uuid):
        size = len(serialize_bytes(request))
        if size > self.limit:
            raise MessageTooLargeError(size, self.limit)
        super().send(request, uuid)


def second_user(places):
    """Another user, who has just deleted the lock file."""
    api.add_user("other", "x")
    home = places / "home" / "other"
    (home / "good.pdf").write_bytes(b"good")
    (home / LOCK).unlink()
    return home


def entries():
    return [path for path in Path(settings.SPOOL_PATH).iterdir() if path.name.startswith("import-")]


AS_JSON = json.dumps(GOOD)[:-1]
AS_YAML = "".join(f'{key}: "{value}"\n' for key, value in GOOD.items())
POISON = {
    "nan.json": AS_JSON + ', "cena": NaN}',
    "infinity.json": AS_JSON + ', "cena": -Infinity}',
    "huge.json": AS_JSON + ', "cena": 1e999}',
    "surrogate.json": AS_JSON + ', "podnazev": "\\ud800"}',
    "surrogate.yaml": AS_YAML + 'podnazev: "\\ud800"\n',
    "surrogateisbn.json": metadata(isbn="80\ud800"),
    "surrogateindoubt.json": AS_JSON + ', "Název ISBN \\ud800": "x"}',
    "digits.json": AS_JSON + ', "cena": ' + "9" * 5000 + "}",
    "deep.json": "[" * 100_000,
    "deep.yaml": "[" * 3000,
    "long.json": AS_JSON + ', "cena": "' + "x" * 500_000 + '"}',
}


@pytest.mark.parametrize("name", POISON)
def test_metadata_without_json_form_reach_their_user_and_nobody_else(home, places, name):
    (home / name).write_text(POISON[name], "utf-8")
    (home / "book.pdf").write_bytes(b"book")
    other = second_user(places)
    with Broker() as broker:
        wait_for(lambda: len(broker.sent) == 2, what="both imports are sent")
        wait_for(lambda: (home / LOCK).exists() and (other / LOCK).exists(), what="the locks")
    requests = {request.username: request for request, _ in broker.sent}
    assert requests["other"].requests == [EbookFile(f"{other}/good.pdf", b"good")]
    assert requests["garda"].requests == [EbookFile(f"{home}/book.pdf", b"book")]
    assert name in (home / "error.log.txt").read_text("utf-8")
    assert (home / name).read_text("utf-8") == POISON[name]
    assert entries() == []


def test_an_entry_that_has_no_json_form_after_all_goes_back_to_its_user(home, places, monkeypatch):
    """The door may have a hole: an entry's defect is still not the sender's end."""
    (home / "a.json").write_text(metadata())
    (home / "z.pdf").write_bytes(b"z")
    (home / "b.pdf").write_bytes(b"b")
    second_user(places)
    real = message.EPublication
    monkeypatch.setattr(
        message, "EPublication", lambda **fields: real(**{**fields, "cena": float("nan")})
    )
    with Broker() as broker:
        wait_for(lambda: (home / "a.json").exists(), what="the metadata are back")
        wait_for(lambda: len(broker.sent) == 3, what="two books, one error, another user's book")
        wait_for(lambda: not entries(), what="the spool is empty")
    mine = [request for request, _ in broker.sent if request.username == "garda"]
    assert sorted(one.raw_data for request in mine for one in request.requests) == [b"b", b"z"]
    assert len({one for _, one in broker.sent}) == 3
    error = (home / "error.log.txt").read_text("utf-8")
    assert error.startswith("Can't send a.json: ")
    assert any(f"Can't send {home}/a.json: " in request.error_log for request in mine)
    assert (home / "import.log.txt").read_text("utf-8").startswith("Status: Error\n")


def test_an_import_with_a_defect_is_given_back_and_the_others_go_on(home, places, monkeypatch):
    (home / "a.pdf").write_bytes(b"a")
    real = importer.advance

    def defect(entry):
        if entry.data["username"] == "garda" and entry.state == "collecting":
            raise TypeError("a defect")
        real(entry)

    monkeypatch.setattr(importer, "advance", defect)
    settings.substitute_globals({"SCAN_INTERVAL": 0.1})
    second_user(places)
    with Broker() as broker:
        wait_for(lambda: len(broker.sent) == 2, 20, what="one book and one error")
        wait_for((home / LOCK).exists, what="the lock")
    requests = {request.username: request for request, _ in broker.sent}
    assert "defect" in requests["garda"].error_log
    assert (home / "a.pdf").read_bytes() == b"a"


def test_what_cannot_even_be_given_back_gets_a_folder_of_its_own(home, monkeypatch, caplog):
    (home / "a.pdf").write_bytes(b"a")

    def defect(entry):
        raise TypeError("a defect")

    spool = Spool()
    one = Importer(spool)
    real = importer.advance
    monkeypatch.setattr(importer, "advance", defect)
    for candidate in one.unlocked():
        assert one.run(candidate, told_by_log=True) is None
    for _ in range(10):
        one.resume()
    assert "it can neither be imported nor given back" in caplog.text
    assert len(list((spool.path / "failed").iterdir())) == 1
    monkeypatch.setattr(importer, "advance", real)
    for candidate in one.unlocked():
        assert one.run(candidate, told_by_log=True) is not None


def test_a_sender_with_a_defect_does_not_hold_up_the_others(home, places, monkeypatch, caplog):
    (home / "a.pdf").write_bytes(b"a")
    second_user(places)
    real = sending.build

    def defect(spool, entry, *arguments):
        if entry.data["username"] == "garda":
            raise KeyError("a defect")
        return real(spool, entry, *arguments)

    monkeypatch.setattr(sending, "build", defect)
    monkeypatch.setattr("edeposit.amqp.ftp.monitor._RETRY", 0.01)
    with Broker() as broker:
        failed = Path(settings.SPOOL_PATH) / "failed"
        wait_for(lambda: broker.sent and failed.exists(), what="one is sent, one is set aside")
    assert [request.username for request, _ in broker.sent] == ["other"]
    assert "is unusable" in caplog.text
    assert [path.read_bytes() for path in failed.glob("import-*/files/*")] == [b"a"]


# --- size -------------------------------------------------------------------------------------


def test_texts_in_messages_and_logs_are_bounded_and_what_is_cut_is_counted(home):
    for number in range(60):
        (home / f"m{number:03}.csv").write_text((";x" * 30_000 + "\n") * 8)
    (home / "book.pdf").write_bytes(b"book")
    with Broker(limit=1_000_000) as broker:
        wait_for(lambda: broker.sent, 60, what="the import is sent")
    ((request, _),) = broker.sent
    assert request.requests == [EbookFile(f"{home}/book.pdf", b"book")]
    assert len(request.error_log) < 100_000
    assert " more characters]" in request.error_log
    assert (home / "error.log.txt").stat().st_size < 2_000_000


def test_errors_that_do_not_fit_are_counted(home):
    for number in range(2000):
        (home / f"{'n' * 100}{number:04}.json").write_text("{")
    with Broker() as broker:
        wait_for(lambda: broker.sent, 60, what="the import is sent")
    ((request, _),) = broker.sent
    told = request.error_log.count("Can't parse /")
    assert request.error_log.endswith(f"\n[... {2000 - told} more]")
    assert 100 < told < 2000


def test_too_large_an_import_is_sent_in_parts(home):
    settings.substitute_globals({"MAX_INLINE_SIZE": 0})
    for number in range(60):
        (home / f"{number:02}.json").write_text(metadata(podnazev="p" * 5000))
    (home / "bad.json").write_text("{}")
    with Broker(limit=50_000) as broker:
        wait_for(lambda: sum(len(one.requests) for one, _ in broker.sent) == 60, 20)
        wait_for(lambda: not entries(), what="the spool is empty")
    assert len(broker.sent) > 1
    assert len({uuid for _, uuid in broker.sent}) == len(broker.sent)
    assert "".join(request.error_log for request, _ in broker.sent).count("bad.json") == 1
    told = "\n".join(request.import_log for request, _ in broker.sent)
    assert told.count("successfully imported") == 60


def test_parts_have_the_same_uuids_when_they_are_sent_again(home):
    settings.substitute_globals({"MAX_INLINE_SIZE": 0})
    for number in range(8):
        (home / f"{number}.json").write_text(metadata(podnazev="p" * 5000))
    first = []

    def crash_in_the_middle(request, uuid):
        if len(serialize_bytes(request)) > 20_000:
            raise MessageTooLargeError(20_001, 20_000)
        first.append(uuid)
        if len(first) == 2:
            raise Crash("here")

    with pytest.raises(Crash):
        Running(crash_in_the_middle).monitor(crash_in_the_middle, threading.Event())
    with Broker(limit=20_000) as broker:
        wait_for(lambda: not entries(), what="the spool is empty")
    again = [one for _, one in broker.sent]
    assert set(first) < set(again)
    assert all(uuid.UUID(one) for one in again)


def test_a_single_book_that_no_message_can_hold_is_told_and_given_back(home, places):
    (home / "a.json").write_text(metadata(podnazev="p" * 9000))
    second_user(places)
    with Broker(limit=5000) as broker:
        wait_for(lambda: len(broker.sent) == 2, what="an error and another user's book")
        wait_for((home / "a.json").exists, what="the file is back")
    assert "Can't send a.json" in (home / "error.log.txt").read_text("utf-8")
    assert entries() == []
    assert not list(Path(settings.SPOOL_PATH).glob("outbox/*/*"))


# --- disks ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(monkeypatch, tmp_path):
    """Homes and spool on a file system of 2 MB."""
    from .conftest import lead_to

    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    for name in ("etc", "log"):
        (tmp_path / name).mkdir()
    lead_to(
        monkeypatch,
        {
            "FTP_CONF_PATH": tmp_path / "etc",
            "FTP_DATA_PATH": disk,
            "FTP_LOG_PATH": tmp_path / "log",
            "FTP_SCAN_INTERVAL": "0.1",
        },
    )
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(path):
    with open(path, "ab", 0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


@pytest.mark.parametrize("moment", ["begin", "later"])
def test_a_full_disk_is_waited_for(small_disk, monkeypatch, caplog, moment):
    api.add_user("garda", "x")
    home = small_disk / "garda"
    monkeypatch.setattr("edeposit.amqp.ftp.monitor._RETRY", 0.1)
    with Running() as running:
        (home / "a.pdf").write_bytes(b"a")
        if moment == "begin":
            fill(small_disk / "fill")
            (home / LOCK).unlink()
            fill(small_disk / "fill2")
        else:
            fill(small_disk / "fill")
            (home / LOCK).unlink()
        Path(settings.LOG_FILE).write_text(f"226, {home}/a.pdf, garda, STOR, 1\n")
        wait_for(lambda: "No space left" in caplog.text, what="the monitor has met the full disk")
        assert running.thread.is_alive()
        for name in ("fill", "fill2"):
            (small_disk / name).unlink(missing_ok=True)
        wait_for(lambda: running.sent, what="the import is sent")
        wait_for((home / LOCK).exists, what="the lock is back")
    assert running.sent[0][0].requests == [EbookFile(f"{home}/a.pdf", b"a")]
    assert not list(Path(settings.SPOOL_PATH).glob("new-*"))


def test_a_log_that_cannot_be_read_is_waited_for(home, caplog, monkeypatch):
    monkeypatch.setattr("edeposit.amqp.ftp.monitor._RETRY", 0.1)
    Path(settings.LOG_FILE).mkdir()
    with Running() as running:
        wait_for(lambda: "it will be tried again" in caplog.text, what="the log is a directory")
        os.rmdir(settings.LOG_FILE)
        wait_for((home / LOCK).exists, what="the homes are looked at all the time")
        (home / "a.pdf").write_bytes(b"a")
        (home / LOCK).unlink()
        Path(settings.LOG_FILE).write_text(f"250, {home}/{LOCK}, garda, DELE, 1\n")
        wait_for(lambda: running.sent, what="the import is sent")


def test_a_directory_named_like_a_log_or_the_lock_does_not_stop_an_import(home):
    for name in ("import.log.txt", "error.log.txt"):
        (home / name).mkdir()
        (home / name / "a.pdf").write_bytes(b"inside")
    (home / "bad.json").write_text("{}")
    with Running() as running:
        wait_for(lambda: running.sent, what="the import is sent")
        wait_for((home / LOCK).exists, what="the lock is back")
    assert (home / "error.log.txt").is_file()
    assert (home / "import.log.txt").read_text("utf-8").startswith("Status: Error")
    assert (home / "error.log.1.txt" / "a.pdf").read_bytes() == b"inside"
