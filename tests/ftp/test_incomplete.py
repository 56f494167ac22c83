"""Files that are known not to be whole are no e-books, and their user is told."""

import io
import os
import socket
import struct
from pathlib import Path

import pytest

from edeposit.amqp.ftp import api, settings
from edeposit.amqp.ftp.importer import Importer
from edeposit.amqp.ftp.message import build
from edeposit.amqp.ftp.request_parser import process_import_request
from edeposit.amqp.ftp.spool import Spool
from edeposit.amqp.ftp.structures import EbookFile
from edeposit.amqp.testing import wait_for

from .conftest import Running, metadata, needs_root

pytestmark = needs_root

LOCK = "delete_me_to_import_files.txt"


@pytest.mark.parametrize(
    "name",
    [
        "a.epub.filepart",
        "a.pdf.part",
        "a.pdf.PART",
        "a.epub.crdownload",
        "a.epub.partial",
        "a.pdf.tmp",
        "~$a.docx",
        "a.epub~",
        "a.json.filepart",
    ],
)
def test_a_name_that_says_unfinished_is_not_imported(home, name):
    (home / name).write_bytes(b"half of a book")
    (home / "good.pdf").write_bytes(b"x")
    request = process_import_request("garda", str(home), "1")
    assert request.requests == [EbookFile(f"{home}/good.pdf", b"x")]
    assert f"Can't import {home}/{name}: its name says" in request.error_log
    assert (home / name).read_bytes() == b"half of a book"
    assert name in (home / "error.log.txt").read_text("utf-8")


@pytest.mark.parametrize("name", ["a.epub", "a.json"])
def test_an_empty_file_is_not_imported(home, name):
    (home / name).touch()
    request = process_import_request("garda", str(home), "1")
    assert request.requests == []
    assert request.error_log == f"Can't import {home}/{name}: it is empty"
    assert (home / name).exists()


@pytest.mark.parametrize("name", ["Thumbs.db", "ehthumbs.db", ".DS_Store", "__MACOSX/a.epub"])
def test_what_systems_leave_behind_is_ignored(home, name):
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_bytes(b"x")
    request = process_import_request("garda", str(home), "1")
    assert (request.requests, request.error_log) == ([], "")


# --- what the log says ------------------------------------------------------------------------


def imported(importer, home, *lines):
    """What is imported after these lines of the log."""
    for line in lines:
        importer.from_line(line)
    (home / LOCK).unlink(missing_ok=True)
    candidate = importer.from_line(f"250, {home}/{LOCK}, garda, DELE, 1")
    entry = importer.run(candidate, told_by_log=True)
    request = build(importer.spool, entry)
    entry.delete()
    return sorted(os.path.basename(one.filename) for one in request.requests), request.error_log


@pytest.mark.parametrize("code", ["425", "426", "451", "452", "552"])
@pytest.mark.parametrize("command", ["STOR", "APPE", "STOU"])
def test_an_upload_logged_as_broken_off_is_not_imported(home, code, command):
    (home / "a.epub").write_bytes(b"half")
    names, errors = imported(Importer(Spool()), home, f"{code}, {home}/a.epub, garda, {command}, 1")
    assert names == []
    assert errors == f"Can't import {home}/a.epub: its upload was broken off"
    assert (home / "a.epub").read_bytes() == b"half"


@pytest.mark.parametrize(
    "line",
    [
        "226, {home}/a.epub, garda, STOR, 2",
        "226, {home}//x/../a.epub, garda, APPE, 2",
        "250, {home}/a.epub, garda, DELE, 2",
    ],
)
def test_an_upload_that_was_repeated_is_imported(home, line):
    (home / "a.epub").write_bytes(b"whole")
    broken = f"426, {home}/a.epub, garda, STOR, 1"
    assert imported(Importer(Spool()), home, broken, line.format(home=home)) == (["a.epub"], "")


@pytest.mark.parametrize(
    "line",
    [
        "550, {home}/a.epub, garda, STOR, 1",  # refused: the file of before is as it was
        "426, {home}/a.epub, other, STOR, 1",
        "426, {home}/a.epub, garda, RETR, 1",
        "/{home}/a.epub, garda, STOR, 1",  # of the first generation: no code
    ],
)
def test_other_lines_say_nothing_of_an_upload(home, line):
    (home / "a.epub").write_bytes(b"whole")
    assert imported(Importer(Spool()), home, line.format(home=home)) == (["a.epub"], "")


def test_a_broken_upload_is_known_by_its_new_name(home):
    (home / "e").mkdir()
    (home / "e" / "b.epub").write_bytes(b"half")
    (home / "a.epub").write_bytes(b"whole")
    lines = [
        f"426, {home}/d/a.epub, garda, STOR, 1",
        f"350, {home}/d/a.epub, garda, RNFR, 1",
        f"250, {home}/d/b.epub, garda, RNTO, 1",
        f"350, {home}/d, garda, RNFR, 1",
        f"250, {home}/e, garda, RNTO, 1",
        f"226, {home}/a.epub, garda, STOR, 1",
    ]
    names, errors = imported(Importer(Spool()), home, *lines)
    assert names == ["a.epub"]
    assert "e/b.epub: its upload was broken off" in errors


def test_it_is_known_after_a_restart(home):
    (home / "a.epub").write_bytes(b"half")
    (home / LOCK).touch()
    log = Path(settings.LOG_FILE)
    log.write_text(f"426, {home}/a.epub, garda, STOR, 1\n")
    state = Path(settings.SPOOL_PATH) / "broken-uploads.json"
    with Running():
        wait_for(state.exists, what="the state is kept")
    with Running() as running:
        (home / LOCK).unlink()
        log.write_text(log.read_text() + f"250, {home}/{LOCK}, garda, DELE, 1\n")
        wait_for(lambda: running.sent, what="the error is sent")
    assert running.sent[0][0].requests == []


@pytest.mark.parametrize("content", ["{", "[]", '{"garda": 3}', "\x00"])
def test_an_unusable_state_is_said_and_forgotten(home, caplog, content):
    spool = Spool()
    (spool.path / "broken-uploads.json").write_text(content)
    (home / "a.epub").write_bytes(b"whole")
    assert imported(Importer(spool), home) == (["a.epub"], "")
    assert "is unusable" in caplog.text


def test_one_user_cannot_make_it_grow(home):
    importer = Importer(Spool())
    for number in range(3000):
        importer.from_line(f"426, {home}/{number}.epub, garda, STOR, 1")
    assert len(importer.broken_uploads.of("garda")) == 1000


def test_a_connection_that_breaks_in_an_upload(server):
    """The server's own words, and the same file uploaded again."""
    api.add_user("garda", "x")
    home = server.data_path / "garda"
    session = server.login("garda", "x")
    session.voidcmd("TYPE I")
    data = session.transfercmd("STOR book.epub")
    data.sendall(b"A" * 60_000)
    wait_for(lambda: (home / "book.epub").exists(), what="the upload has begun")
    for one in (data, session.sock):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
    wait_for(lambda: b"426, " in server.log_file.read_bytes(), what="the server has noticed")
    with Running() as running:
        session = server.login("garda", "x")
        session.delete(LOCK)
        wait_for(lambda: running.sent, what="the error is sent")
        assert running.sent[0][0].requests == []
        assert "its upload was broken off" in running.sent[0][0].error_log
        wait_for(lambda: LOCK in session.nlst(), what="the lock is back")
        session.storbinary("STOR book.epub", io.BytesIO(b"A" * 90_000))
        session.storbinary("STOR book.json", io.BytesIO(metadata().encode()))
        session.delete(LOCK)
        wait_for(lambda: len(running.sent) == 2, what="the book is sent")
    (pair,) = running.sent[1][0].requests
    assert pair.ebook_file.raw_data == b"A" * 90_000
