"""The log is a hint, the homes are the truth: lines, positions, and crashes at every step."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp.errors import MessageTooLargeError
from edeposit.amqp.ftp import (
    api,
    collecting,
    deciding,
    homefiles,
    homes,
    monitor,
    request_parser,
    returning,
    sending,
    settings,
)
from edeposit.amqp.ftp.exceptions import FTPError
from edeposit.amqp.ftp.logfollower import LogFollower
from edeposit.amqp.ftp.logline import parse_line
from edeposit.amqp.ftp.monitor import process_log
from edeposit.amqp.ftp.spool import Spool
from edeposit.amqp.ftp.structures import EbookFile
from edeposit.amqp.testing import wait_for

from .conftest import Crash, Running, lead_to, needs_root

LOCK = "delete_me_to_import_files.txt"


# --- lines ------------------------------------------------------------------------------------


def test_lines_of_both_formats_are_understood():
    assert parse_line("/home/ftp/xex/a, b, c.txt, xex, STOR, 1795487046\n") == {
        "path": "/home/ftp/xex/a, b, c.txt",
        "username": "xex",
        "command": "STOR",
        "timestamp": "1795487046",
    }
    assert parse_line(b"550, /home/ftp/xex/\xff, xex, DELE, 1") == {
        "code": "550",
        "path": "/home/ftp/xex/\udcff",
        "username": "xex",
        "command": "DELE",
        "timestamp": "1",
    }


@pytest.mark.parametrize(
    "line", ["", "a", "a, b, c", "x\ry, a, DELE, 1", "x\x85y, a, b, 1", "\0,,,"]
)
def test_other_lines_are_value_errors(line):
    with pytest.raises(ValueError, match="line of the log"):
        parse_line(line)


def line_for(home, *, code="250, ", user="garda", command="DELE", path=None):
    return f"{code}{path or f'{home}/{LOCK}'}, {user}, {command}, 1795487046"


@needs_root
@pytest.mark.parametrize("spelling", ["{home}/" + LOCK, "{home}//" + LOCK, "{home}/./d/../" + LOCK])
def test_a_deleted_lock_starts_an_import_however_it_is_spelt(home, spelling):
    (home / "a.pdf").write_bytes(b"x")
    lines = [line_for(home, path=spelling.format(home=home))]
    (request,) = process_log(lines)
    assert request.requests == [EbookFile(f"{home}/a.pdf", b"x")]
    assert (home / LOCK).exists()
    assert list(process_log(lines)) == []  # the lock is back: an old line


@needs_root
def test_lines_of_the_first_generation_still_work(home):
    (home / "a.pdf").write_bytes(b"x")
    assert len(list(process_log([line_for(home, code="")]))) == 1


@needs_root
def test_what_is_no_successful_deletion_of_the_users_own_lock_is_passed_over(home, places):
    (home / "a.pdf").write_bytes(b"x")
    etc = places / "etc"
    settings.substitute_globals({"LOCK_ONLY_IN_HOME": False})
    lines = [
        line_for(home, code="550, "),
        line_for(home, user="nobody"),
        line_for(home, command="STOR"),
        line_for(home, path=f"{home}/other.txt"),
        line_for(home, path=f"{etc}/{LOCK}"),
        line_for(home, path=f"{home}/../../etc/{LOCK}"),
        line_for(home, path=f"{home}x/{LOCK}"),
        f"{home}/x\r{home}/{LOCK}, garda, DELE, 1",
        "",
        ",,,",
        "\0" * 100,
    ]
    assert list(process_log(lines)) == []
    assert (home / "a.pdf").exists()


@needs_root
def test_locks_below_the_home_count_only_if_allowed(home):
    (home / "d").mkdir()
    (home / "d" / "a.pdf").write_bytes(b"x")
    (home / "b.pdf").write_bytes(b"y")
    line = line_for(home, path=f"{home}/d/{LOCK}")
    assert list(process_log([line])) == []
    settings.substitute_globals({"LOCK_ONLY_IN_HOME": False})
    (request,) = process_log([line])
    assert request.requests == [EbookFile(f"{home}/d/a.pdf", b"x")]
    assert (home / "b.pdf").exists()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_a_value_error(data):
    try:
        parsed = parse_line(data)
    except ValueError:
        return
    assert set(parsed) - {"code"} == {"timestamp", "command", "username", "path"}


# --- the position -----------------------------------------------------------------------------


class Log:
    """A log and its follower; ``again()`` is a restart of the follower."""

    def __init__(self, directory):
        self.path = directory / "extended.log"
        self.position = directory / "position.json"
        self.again()

    def again(self):
        self.follower = LogFollower(str(self.path), self.position)
        return self

    def write(self, *lines):
        with open(self.path, "ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    def read(self):
        lines = list(self.follower.lines())
        self.follower.save()
        return lines


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path)


def test_each_line_comes_once_over_restarts(log):
    assert log.read() == []
    log.write(b"1", b"2")
    assert log.read() == [b"1", b"2"]
    assert log.again().read() == []
    log.write(b"3")
    assert log.again().read() == [b"3"]


def test_a_line_comes_when_it_is_complete(log):
    log.path.write_bytes(b"begin")
    assert log.read() == []
    with open(log.path, "ab") as file:
        file.write(b" end\nnext\r\x85x\n")
    assert log.read() == [b"begin end", b"next\r\x85x"]


@pytest.mark.parametrize("restarted", [False, True])
def test_rotation_loses_nothing(log, restarted):
    log.write(b"1")
    assert log.read() == [b"1"]
    log.write(b"2")
    log.path.rename(log.path.with_name("extended.log.1"))
    if restarted:
        log.again()
    with open(log.path.with_name("extended.log.1"), "ab") as file:
        file.write(b"3\n")
    log.write(b"4")
    assert log.read() == [b"2", b"3", b"4"]
    log.write(b"5")
    assert log.read() == [b"5"]


def test_a_moved_log_is_read_until_there_is_a_new_one(log):
    log.write(b"1")
    assert log.read() == [b"1"]
    log.path.rename(log.path.with_name("extended.log.1"))
    with open(log.path.with_name("extended.log.1"), "ab") as file:
        file.write(b"2\n")
    assert log.read() == [b"2"]


@pytest.mark.parametrize("restarted", [False, True])
def test_old_sessions_go_on_writing_into_the_old_file(log, restarted):
    log.write(b"1")
    assert log.read() == [b"1"]
    old = log.path.with_name("extended.log.1")
    log.path.rename(old)
    log.write(b"2")
    assert log.read() == [b"2"]
    with open(old, "ab") as file:
        file.write(b"3\n")
    log.write(b"4")
    if restarted:
        log.again()
    assert log.read() == [b"3", b"4"]
    assert log.again().read() == []


def test_only_the_last_files_are_held_open(log):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        log.write(b"%d" % number)
        assert log.read() == [b"%d" % number]
        log.path.rename(log.path.with_name(f"extended.log.{number}"))
    assert len(os.listdir("/proc/self/fd")) - before <= 4


@pytest.mark.parametrize("restarted", [False, True])
def test_truncation_begins_anew(log, restarted):
    log.write(b"1", b"2")
    log.read()
    os.truncate(log.path, 0)
    if restarted:
        log.again()
    log.write(b"3")
    assert log.read() == [b"3"]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_log_that_grew_past_the_old_position_after_truncation_is_noticed(log, restarted):
    log.write(b"old line")
    log.read()
    os.truncate(log.path, 0)
    log.write(b"a much longer new line", b"another")
    if restarted:
        log.again()
    assert log.read() == [b"a much longer new line", b"another"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"inode": 1}', b"\xff"])
def test_a_broken_position_is_begun_anew(log, content):
    log.write(b"1")
    log.position.write_bytes(content)
    assert log.read() == [b"1"]


def test_an_endless_line_is_passed_over(log):
    with open(log.path, "wb") as file:
        file.write(b"x" * 3_000_000)
    assert log.read() == []
    log.write(b"", b"1")
    assert log.read()[-1] == b"1"


# --- the monitor in this process --------------------------------------------------------------


@needs_root
def test_an_import_asked_for_while_it_was_down_is_made_at_start(home):
    (home / "a.pdf").write_bytes(b"x")
    with Running() as running:
        wait_for(lambda: running.sent, what="the import is sent")
        wait_for((home / LOCK).exists, what="the lock is back")
    assert running.sent[0][0].requests == [EbookFile(f"{home}/a.pdf", b"x")]
    assert [path.name for path in Path(settings.SPOOL_PATH).iterdir()] == []


@needs_root
def test_an_empty_home_without_a_lock_gets_it_back_without_a_message(home):
    with Running() as running:
        wait_for((home / LOCK).exists, what="the lock is back")
    assert running.sent == []


@needs_root
def test_the_log_may_come_later(places):
    api.add_user("garda", "x")
    home = places / "home" / "garda"
    with Running() as running:
        (home / "a.pdf").write_bytes(b"x")
        (home / LOCK).unlink()
        Path(settings.LOG_FILE).write_text(line_for(home) + "\n")
        wait_for(lambda: running.sent, what="the import is sent")


@needs_root
def test_one_broken_home_does_not_hold_up_the_others(home, places):
    api.add_user("other", "x")
    (places / "home" / "other" / LOCK).unlink()
    (places / "home" / "other" / "b.pdf").write_bytes(b"y")
    home.rename(places / "home" / "away")
    home.symlink_to("/etc")
    with Running() as running:
        wait_for(lambda: running.sent, what="the import is sent")
    assert running.sent[0][0].username == "other"


@needs_root
def test_a_missing_log_directory_is_said(places):
    with pytest.raises(FTPError, match=r"'/nowhere/extended\.log' doesn't exists!"):
        monitor.prepare("/nowhere/extended.log")


@needs_root
def test_what_the_broker_finds_too_large_goes_by_path(home):
    (home / "a.pdf").write_bytes(b"x" * 3_000_000)
    sent = []

    def send(request, uuid):
        size = sum(len(one.raw_data or b"") * 4 // 3 for one in request.requests)
        if size > 1_000_000:
            raise MessageTooLargeError(size, 1_000_000)
        sent.append((request, uuid))

    with Running(send):
        wait_for(lambda: sent, what="the import is sent")
    (book,) = sent[0][0].requests
    assert book.raw_data is None
    assert Path(book.filename).read_bytes() == b"x" * 3_000_000


# --- crashes ------------------------------------------------------------------------------------


STEPS = [
    (homes, "problem_of"),
    (collecting, "_make_plan"),
    (collecting, "_take"),
    (request_parser, "decide"),
    (deciding, "parse_meta"),
    (request_parser, "give_home_back"),
    (returning, "_return_file"),
    (homefiles, "remove_empty_directories"),
    (returning, "_write_logs"),
    (returning, "_place_lock"),
    (homefiles, "give_back"),
    (monitor, "build"),
    (sending, "build"),
]


@needs_root
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("module", "name"), STEPS, ids=lambda value: getattr(value, "__name__", value)
)
@pytest.mark.parametrize("call", [1, 2])
def test_a_crash_at_any_step_loses_nothing(home, monkeypatch, module, name, after, call):
    """The same upload, a crash at a step, a restart: everything comes once, bad files are kept."""
    (home / "a.pdf").write_bytes(b"1")
    (home / "d").mkdir()
    (home / "d" / "b.pdf").write_bytes(b"2")
    (home / "bad.json").write_bytes(b"{}")
    (home / "d" / "worse.csv").write_bytes(b"x")
    (home / "d" / "c.pdf").write_bytes(b"3")
    original = getattr(module, name)
    calls = 0

    def crashing(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise Crash
        result = original(*arguments, **options)
        if calls == call:
            raise Crash
        return result

    monkeypatch.setattr(module, name, crashing)
    sent = []
    line = line_for(home)
    try:
        for request in process_log([line]):
            sent.append(("first", request))
    except Crash:
        pass
    monkeypatch.setattr(module, name, original)
    with Running() as running:
        wait_for((home / LOCK).exists, what="the lock is back")
        wait_for(lambda: not list(Path(settings.SPOOL_PATH).glob("import-*")), what="spool empty")
    requests = {uuid: request for request, uuid in running.sent}
    requests |= dict(sent)
    books = sorted(one.raw_data for request in requests.values() for one in request.requests)
    assert books == [b"1", b"2", b"3"]
    assert (home / "bad.json").read_bytes() == b"{}"
    assert (home / "d" / "worse.csv").read_bytes() == b"x"
    errors = "".join(request.error_log for request in requests.values())
    assert errors.count("bad.json") == 1
    assert len(requests) == 1


@needs_root
@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"state": "ready"}', "\x00", "9" * 5000])
def test_a_broken_entry_of_the_spool_gets_a_folder_of_its_own(home, caplog, content):
    entry = Spool().begin("garda", str(home), (), "1")
    (entry.directory / "entry.json").write_text(content)
    (entry.directory / "files" / "0").write_bytes(b"book")
    (home / "a.pdf").write_bytes(b"x")
    with Running() as running:
        wait_for(lambda: running.sent, what="the import is sent")
    (record,) = [one for one in caplog.records if "is unusable" in one.getMessage()]
    assert record.levelname == "ERROR"
    failed = Path(settings.SPOOL_PATH) / "failed" / entry.directory.name
    assert (failed / "files" / "0").read_bytes() == b"book"


@needs_root
def test_the_same_uuid_after_a_crash_while_sending(home):
    (home / "a.pdf").write_bytes(b"x")
    first = []

    def lose(request, uuid):
        first.append(uuid)
        raise Crash("the process ends here")

    with pytest.raises(Crash, match="ends here"):
        monitor.prepare()(lose, threading.Event())
    with Running() as running:
        wait_for(lambda: running.sent, what="the import is sent")
    assert [uuid for _, uuid in running.sent] == first


@needs_root
def test_the_monitor_prints_without_a_broker(home, monkeypatch, capsys):
    import io
    import sys

    (home / "a.pdf").write_bytes(b"x")
    lines = io.TextIOWrapper(io.BytesIO(line_for(home).encode() + b"\n"))
    monkeypatch.setattr(sys, "stdin", lines)
    monitor.main(None)
    assert capsys.readouterr().out.startswith("ImportRequest(username='garda'")


def test_settings_of_another_directory(monkeypatch, places):
    lead_to(monkeypatch, {"FTP_SPOOL_PATH": places / "spool"})
    assert Spool().path == places / "spool"
