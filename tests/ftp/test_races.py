"""Homes that change while root works in them: nothing outside is read or changed."""

import contextlib
import ctypes
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edeposit.amqp.ftp import api, collecting, homefiles, homes, settings
from edeposit.amqp.ftp.collecting import collect
from edeposit.amqp.ftp.deciding import decide
from edeposit.amqp.ftp.importer import Importer
from edeposit.amqp.ftp.message import build
from edeposit.amqp.ftp.spool import Spool
from edeposit.amqp.ftp.structures import EbookFile

from .conftest import Crash, needs_root

pytestmark = needs_root

LOCK = "delete_me_to_import_files.txt"
EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h


@pytest.fixture
def secret(places):
    path = places / "secret.txt"
    path.write_text("TOP SECRET OF ROOT")
    path.chmod(0o600)
    return path


def is_untouched(path):
    info = path.stat()
    return (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_nlink) == (0o600, 0, 0, 1)


def swap(first, second):
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(first), os.fsencode(second))
    assert libc.renameat2(-100, names[0], -100, names[1], EXCHANGE) == 0


@pytest.mark.parametrize("kind", ["directory", "link", "hard link"])
def test_a_file_swapped_at_the_last_moment_goes_back(home, secret, monkeypatch, kind):
    """Between the look at the file and its rename its owner puts something else in its place."""
    book = home / "book.epub"
    book.write_bytes(b"book")
    other = home / ".other"
    if kind == "directory":
        other.mkdir()
        (other / "inside.epub").symlink_to(secret)
    elif kind == "link":
        other.symlink_to(secret)
    else:
        (home / ".target").write_bytes(b"of somebody else")
        os.link(home / ".target", other)
    real = collecting._take

    def swapping(*arguments):
        swap(book, other)
        return real(*arguments)

    monkeypatch.setattr(collecting, "_take", swapping)
    settings.substitute_globals({"MAX_INLINE_SIZE": 0})
    spool = Spool()
    importer = Importer(spool)
    (candidate,) = importer.unlocked()
    entry = importer.run(candidate, told_by_log=True)
    request = build(spool, entry)
    assert request.requests == []
    assert "book.epub: it " in request.error_log
    assert is_untouched(secret)
    assert os.path.lexists(book)
    assert not list(entry.files.iterdir())
    assert not (spool.path / "outbox").exists()


def test_two_seconds_of_swapping_hit_nothing(home, secret):
    """What two FTP sessions of a user, or a local process, can do as fast as they can."""
    code = (
        "import ctypes, os, sys\n"
        "os.setgroups([]); os.setgid(2000); os.setuid(2000); os.chdir(sys.argv[1])\n"
        "swap = ctypes.CDLL(None).renameat2\n"
        "while True:\n"
        "    try:\n"
        "        if not os.path.isdir('d') and not os.path.isdir('x.epub'):\n"
        "            os.mkdir('d'); os.symlink(sys.argv[2], 'd/book.epub')\n"
        "        if not os.path.lexists('x.epub'): open('x.epub', 'w').write('x')\n"
        "        for _ in range(50):\n"
        "            if swap(-100, b'x.epub', -100, b'd', 2): break\n"
        "    except OSError: pass\n"
    )
    for path in (home, *home.parents):  # pytest's own directories are root's alone
        if path.stat().st_uid == 0 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    user = subprocess.Popen([sys.executable, "-c", code, str(home), str(secret)])
    try:
        spool = Spool()
        importer = Importer(spool)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            with contextlib.suppress(FileNotFoundError):
                (home / LOCK).unlink()
            for candidate in importer.unlocked():
                importer.run(candidate, told_by_log=True)
            importer.resume()
            for entry in spool.entries():
                if entry.is_returned:
                    for one in build(spool, entry, 0).requests:
                        if os.path.exists(one.filename):
                            assert os.path.isfile(one.filename)
                            assert not os.path.islink(one.filename)
                    entry.delete()
    finally:
        user.kill()
        user.wait()
    assert is_untouched(secret)


def test_an_open_while_the_lease_is_held_does_not_end_the_process(home):
    """The kernel then sends a signal whose default is to end a process."""
    code = (
        "import fcntl, os, sys\n"
        "from edeposit.amqp.ftp import homes\n"
        "real = fcntl.fcntl\n"
        "def slow(descriptor, command, *rest):\n"
        "    result = real(descriptor, command, *rest)\n"
        "    if command == fcntl.F_SETLEASE and rest == (fcntl.F_RDLCK,) and not os.fork():\n"
        "        os.close(os.open(sys.argv[2], os.O_WRONLY)); os._exit(0)\n"
        "    if command == fcntl.F_SETLEASE and rest == (fcntl.F_RDLCK,):\n"
        "        import time; time.sleep(0.3)\n"  # the other has to get as far as to open it
        "    return result\n"
        "fcntl.fcntl = slow\n"
        "directory = os.open(sys.argv[1], os.O_RDONLY)\n"
        "print(repr(homes.problem_of(directory, 'a.pdf')))\n"
    )
    (home / "a.pdf").write_bytes(b"x")
    done = subprocess.run(
        [sys.executable, "-c", code, str(home), str(home / "a.pdf")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "''\n"), done.stderr
    assert signal.SIGIO != signal.SIGURG


# --- a crash while files go back ----------------------------------------------------------------


@pytest.mark.parametrize("step", ["link", "unlink"])
def test_a_crash_while_a_file_goes_back_leaves_one_file_with_one_name(home, monkeypatch, step):
    (home / "bad.csv").write_bytes(b"bad")
    real = getattr(os, step)

    def crash(name, *arguments, **options):
        if name == "0":
            if step == "link":
                real(name, *arguments, **options)
            raise Crash
        return real(name, *arguments, **options)

    importer = Importer(Spool())
    (candidate,) = importer.unlocked()
    monkeypatch.setattr(os, step, crash)
    with pytest.raises(Crash):
        importer.run(candidate, told_by_log=True)
    monkeypatch.setattr(os, step, real)
    assert Importer(Spool()).resume()
    assert [path.name for path in home.glob("bad*")] == ["bad.csv"]
    assert (home / "bad.csv").stat().st_nlink == 1
    assert [path.name for path in home.glob(".*")] == []


def test_hidden_files_are_never_made_in_a_home(home, monkeypatch):
    (home / "bad.csv").write_bytes(b"bad")
    made = []
    real = os.open

    def watching(path, flags, *arguments, **options):
        descriptor = real(path, flags, *arguments, **options)
        if flags & os.O_CREAT:
            made.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        return descriptor

    monkeypatch.setattr(os, "open", watching)
    importer = Importer(Spool())
    (candidate,) = importer.unlocked()
    assert importer.run(candidate, told_by_log=True)
    assert made
    assert not [path for path in made if path.startswith(f"{home}/")]


@pytest.mark.parametrize("name", ["a" * 255, "a" * 251 + ".csv", "." + "a" * 254, "é" * 127])
def test_a_file_with_a_long_name_gets_another_one_that_fits(home, name):
    name = name.lstrip(".")
    for content in (b"1", b"2", b"3"):
        source = home.parent / "source"
        source.mkdir(exist_ok=True)
        (source / "0").write_bytes(content)
        with homes.opened_directory(source) as one, homes.opened_directory(home) as other:
            homefiles.give_back(one, "0", other, name)
    found = [path.read_bytes() for path in home.iterdir()]
    assert sorted(found) == [b"1", b"2", b"3"]


def test_a_directory_in_the_way_of_a_kept_file(home):
    (home / "d").mkdir()
    (home / "d" / "bad.csv").write_bytes(b"bad")
    entry = Spool().begin("garda", str(home), (), "1")
    decide(entry, collect(entry))
    (home / "d").rmdir()
    (home / "d").symlink_to("/etc")
    from edeposit.amqp.ftp.request_parser import advance

    advance(entry)
    assert (home / "bad.csv").read_bytes() == b"bad"
    assert not Path("/etc/bad.csv").exists()


def test_files_uploaded_after_a_crash_wait_for_the_next_import(home, monkeypatch):
    (home / "a.pdf").write_bytes(b"1")
    (home / "b.pdf").write_bytes(b"2")
    real = homes.problem_of

    def crash(*_arguments):
        raise Crash

    monkeypatch.setattr(homes, "problem_of", crash)
    importer = Importer(Spool())
    (candidate,) = importer.unlocked()
    with pytest.raises(Crash):
        importer.run(candidate, told_by_log=True)
    monkeypatch.setattr(homes, "problem_of", real)
    (home / "a.pdf").write_bytes(b"newer")
    spool = Spool()
    Importer(spool).resume()
    (entry,) = spool.entries()
    books = [EbookFile(f"{home}/a.pdf", b"1"), EbookFile(f"{home}/b.pdf", b"2")]
    assert build(spool, entry).requests == books
    assert (home / "a.pdf").read_bytes() == b"newer"
    assert (home / LOCK).exists()


def test_recursive_chmod_works_on_what_it_has_opened(home, secret, monkeypatch):
    (home / "a.pdf").write_bytes(b"x")
    real = os.open

    def swapping(path, flags, *arguments, **options):
        if path == "a.pdf":
            (home / "a.pdf").unlink()
            (home / "a.pdf").symlink_to(secret)
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", swapping)
    api.recursive_chmod(str(home), 0o777)
    assert is_untouched(secret)


def test_a_directory_that_vanishes_while_a_file_goes_back_costs_no_file(home, monkeypatch):
    """The home is still there: the import is tried again, and nothing counts as gone."""
    (home / "d").mkdir()
    (home / "d" / "bad.csv").write_bytes(b"bad")
    importer = Importer(Spool())
    (candidate,) = importer.unlocked()
    real = homefiles.make_directories

    def vanishing(*_arguments):
        raise FileNotFoundError(2, "removed by its owner", "d")

    monkeypatch.setattr(homefiles, "make_directories", vanishing)
    assert importer.run(candidate, told_by_log=True) is None
    monkeypatch.setattr(homefiles, "make_directories", real)
    assert importer.resume()
    assert (home / "d" / "bad.csv").read_bytes() == b"bad"


def test_files_of_a_directory_that_is_gone_are_kept_for_the_administrator(home):
    settings.substitute_globals({"LOCK_ONLY_IN_HOME": False})
    (home / "d").mkdir()
    (home / "d" / "bad.csv").write_bytes(b"bad")
    spool = Spool()
    entry = spool.begin("garda", str(home), ("d",), "1")
    decide(entry, collect(entry))
    (home / "d").rmdir()
    from edeposit.amqp.ftp.request_parser import advance

    advance(entry)
    assert entry.is_returned
    (kept,) = (spool.path / "failed").glob("*/*")
    assert kept.read_bytes() == b"bad"
