"""From a home to an ``ImportRequest``: pairing, logs, and homes that want to hurt."""

import grp
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edeposit.amqp.ftp import homes, request_parser, settings
from edeposit.amqp.ftp.collecting import collect
from edeposit.amqp.ftp.deciding import decide
from edeposit.amqp.ftp.exceptions import FTPError
from edeposit.amqp.ftp.request_parser import process_import_request
from edeposit.amqp.ftp.spool import Spool
from edeposit.amqp.ftp.structures import DataPair, EbookFile, MetadataFile
from edeposit.amqp.serializers import deserialize, serialize
from edeposit.amqp.service import class_table

from .conftest import metadata, needs_root

pytestmark = needs_root


def put(home, **files):
    """Write files; ``__`` in a name is a slash, ``_`` before the suffix a dot."""
    for name, content in files.items():
        path = home / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def run(home):
    return process_import_request("garda", str(home), "1")


def left(home):
    """What is in a home but for what the service itself puts there."""
    own = {settings.LOCK_FILENAME, settings.USER_IMPORT_LOG, settings.USER_ERROR_LOG}
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.name not in own)


def text(home, name):
    return (home / name).read_text("utf-8")


# --- what is imported ------------------------------------------------------------------------


def test_a_pair_is_imported_and_the_home_is_given_back(home):
    put(home, a_json=metadata(), a_pdf=b"%PDF-\xff\x00")
    request = run(home)
    (pair,) = request.requests
    assert isinstance(pair, DataPair)
    assert pair.metadata_file.filename == f"{home}/a.json"
    assert pair.metadata_file.raw_data == metadata()
    assert pair.metadata_file.parsed_data.nazev == "Zen"
    assert pair.ebook_file == EbookFile(f"{home}/a.pdf", b"%PDF-\xff\x00")
    assert pair._get_filenames() == [f"{home}/a.json", f"{home}/a.pdf"]
    assert request.error_log == ""
    assert request.import_log == (
        "Metadata and data files paired to epub. import request:\n"
        f"\tMetadata file '{home}/a.json' successfully imported.\n"
        f"\tEbook file '{home}/a.pdf' successfully imported."
    )
    assert left(home) == []
    assert text(home, "import.log.txt") == (
        "Status: Ok\n\n--- Sucess ---\nMetadata and data files paired to epub. import request:\n"
        "\tMetadata file 'a.json' successfully imported.\n"
        "\tEbook file 'a.pdf' successfully imported.\n"
    )
    lock = home / settings.LOCK_FILENAME
    assert lock.read_text("utf-8") == settings.LOCK_FILE_CONTENT
    assert (stat.S_IMODE(lock.stat().st_mode), lock.stat().st_gid) == (0o775, 2000)


def test_each_directory_comes_once(home):
    put(home, a_x=b"1", b_x=b"2", c_x=b"3", d__e_x=b"4", d__f_x=b"5", g__h__i_x=b"6")
    assert len(run(home).requests) == 6
    assert left(home) == []


def test_bad_metadata_are_told_and_left(home):
    put(home, a_json='{"isbn": "1"}', a_pdf=b"%PDF", b_csv=b"\x81\x98")
    request = run(home)
    assert request.requests == [EbookFile(f"{home}/a.pdf", b"%PDF")]
    assert f"Can't parse {home}/a.json: Missing field(s):\n\tKeyword 'vazba'" in request.error_log
    assert f"Can't parse {home}/b.csv: It is not UTF-8" in request.error_log
    errors = text(home, "error.log.txt")
    assert "Can't parse a.json: Missing field(s):" in errors
    assert str(home) not in errors
    log = text(home, "import.log.txt")
    assert log.startswith(
        "Status: Error\n\nError: Import only partially successful.\n"
        "See 'error.log.txt' for details.\n\n--- Errors ---\n"
    )
    assert "\n\n--- Successfully imported files ---\nEbook file 'a.pdf' success" in log
    assert left(home) == ["a.json", "b.csv"]


def test_after_the_repair_the_error_log_goes(home):
    put(home, a_json="{}")
    run(home)
    assert (home / "error.log.txt").exists()
    assert text(home, "import.log.txt").startswith("Status: Error\n")
    put(home, a_json=metadata())
    (request,) = run(home).requests
    assert isinstance(request, MetadataFile)
    assert not (home / "error.log.txt").exists()
    assert text(home, "import.log.txt").startswith("Status: Ok\n")


def test_settings_decide_on_bad_files_and_logs(home):
    settings.substitute_globals({"LEAVE_BAD_FILES": False, "CREATE_IMPORT_LOG": False})
    put(home, a_json="{}", a_pdf=b"x")
    run(home)
    assert left(home) == []
    assert not (home / "import.log.txt").exists()
    settings.substitute_globals({"LEAVE_BAD_FILES": True, "HOLD_BAD_PAIRS": True})
    put(home, a_json="{}", a_pdf=b"x")
    assert run(home).requests == []
    assert left(home) == ["a.json", "a.pdf"]


def test_too_many_of_a_name_stay(home):
    put(home, a_json=metadata(), a_pdf=b"1", a_epub=b"2", b_pdf=b"3")
    request = run(home)
    assert request.requests == [EbookFile(f"{home}/b.pdf", b"3")]
    assert request.error_log == (
        f"Too many files with same name:\n\t{home}/a.epub\n\t{home}/a.json\n\t{home}/a.pdf\n\n---\n"
    )
    assert left(home) == ["a.epub", "a.json", "a.pdf"]


def test_what_nobody_means_to_deliver_is_ignored(home):
    put(home, a_pdf=b"x")
    for name in (".DS_Store", ".ftpaccess", "Thumbs.db", "desktop.ini", "import.log.txt"):
        (home / name).write_bytes(b"noise")
    (home / "d").mkdir()
    (home / "d" / "error.log.txt").write_bytes(b"noise")
    assert len(run(home).requests) == 1
    assert left(home) == [".DS_Store", ".ftpaccess", "Thumbs.db", "d", "desktop.ini"]


def test_a_directory_below_can_be_imported_alone(home):
    put(home, a_pdf=b"x", d__b_pdf=b"y")
    request = run(home / "d")
    assert request.requests == [EbookFile(f"{home}/d/b.pdf", b"y")]
    assert left(home) == ["a.pdf", "d"]


# --- sizes ----------------------------------------------------------------------------------


def test_large_files_go_by_path_and_are_never_read(home):
    with open(home / "large.epub", "wb") as file:
        file.truncate(1 << 30)
    put(home, small_pdf=b"x")
    code = (
        "import resource, sys\n"
        "from edeposit.amqp.ftp.request_parser import process_import_request\n"
        "resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))\n"
        "print(*process_import_request('garda', sys.argv[1], '1').requests)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = Path(settings.SPOOL_PATH).glob("outbox/*/large.epub")
    assert f"EbookFile(filename='{path}', raw_data=None)" in done.stdout
    assert "small.pdf', raw_data=b'x')" in done.stdout
    assert path.stat().st_size == 1 << 30
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_outbox_can_be_read_and_emptied_by_its_group(home):
    settings.substitute_globals({"MAX_INLINE_SIZE": 0, "OUTBOX_GROUP": "games"})
    for path in home.parents:  # pytest's own directories are root's alone
        if path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    put(home, d__e__a_pdf=b"book")
    (book,) = run(home).requests
    info = Path(book.filename).stat()
    assert (info.st_uid, info.st_mode & 0o777) == (0, 0o640)
    groups = str(grp.getgrnam("games").gr_gid)
    member = ["setpriv", "--reuid=65534", "--regid=65534", f"--groups={groups}"]
    stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    assert subprocess.run([*stranger, "cat", book.filename], check=False).returncode
    read = subprocess.run([*member, "cat", book.filename], capture_output=True, check=True)
    assert read.stdout == b"book"
    assert subprocess.run([*member, "ls", settings.SPOOL_PATH], check=False).returncode
    subprocess.run([*member, "rm", book.filename], check=True)
    assert not os.path.exists(book.filename)


def test_a_spool_of_an_earlier_version_is_opened_for_the_group(places):
    path = Path(settings.SPOOL_PATH)
    path.mkdir(mode=0o700)
    Spool()
    assert path.stat().st_mode & 0o777 == 0o711


def test_a_link_in_the_outbox_is_not_followed(home, victim):
    settings.substitute_globals({"MAX_INLINE_SIZE": 0})
    put(home, a_pdf=b"book")
    (Spool().path / "outbox").symlink_to(victim)
    with pytest.raises(OSError, match="outbox"):
        run(home)
    assert is_untouched(victim)
    assert os.listdir(victim) == ["secret.txt"]


def test_a_directory_made_for_a_kept_file_belongs_to_the_user(home):
    put(home, d__bad_json="{}")
    entry = Spool().begin("garda", str(home), (), "1")
    decide(entry, collect(entry))
    (home / "d").rmdir()
    request_parser.advance(entry)
    info = (home / "d").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (2000, 2000, 0o770)


def test_what_receivers_have_taken_is_cleaned_up(home):
    settings.substitute_globals({"MAX_INLINE_SIZE": 0})
    put(home, d__a_pdf=b"x", b_pdf=b"y")
    first, second = run(home).requests
    spool = Spool()
    spool.clean()
    assert Path(first.filename).read_bytes() + Path(second.filename).read_bytes() == b"yx"
    os.unlink(second.filename)
    spool.clean()
    assert not Path(second.filename).parent.exists()
    os.unlink(first.filename)
    spool.clean()
    assert list(spool.path.iterdir()) == []


def test_large_metadata_are_refused_without_being_read(home):
    with open(home / "large.json", "wb") as file:
        file.truncate(1 << 30)
    request = run(home)
    assert "large.json: it is larger than 1048576 bytes" in request.error_log
    assert left(home) == ["large.json"]


def test_too_many_files_are_left_alone(home):
    settings.substitute_globals({"MAX_IMPORT_FILES": 3})
    put(home, a_pdf=b"", b_pdf=b"", c_pdf=b"", d_pdf=b"")
    request = run(home)
    assert request.requests == []
    assert "more than 3 files, nothing is imported" in request.error_log
    assert len(left(home)) == 4
    assert (home / settings.LOCK_FILENAME).exists()


# --- hostile homes ----------------------------------------------------------------------------


@pytest.fixture
def victim(places):
    path = places / "victim"
    path.mkdir()
    secret = path / "secret.txt"
    secret.write_text("precious")
    secret.chmod(0o600)
    path.chmod(0o700)
    return path


def is_untouched(victim):
    secret = victim / "secret.txt"
    assert secret.read_text() == "precious"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert secret.stat().st_uid == 0
    assert secret.stat().st_nlink == 1
    assert stat.S_IMODE(victim.stat().st_mode) == 0o700
    return True


def test_links_are_reported_not_followed(home, victim):
    (home / "book.epub").symlink_to(victim / "secret.txt")
    (home / "dir").symlink_to(victim)
    (home / "meta.json").symlink_to("/etc/passwd")
    (home / "dangling").symlink_to("/nowhere")
    put(home, good_pdf=b"x")
    request = run(home)
    assert request.requests == [EbookFile(f"{home}/good.pdf", b"x")]
    assert request.error_log.count("it is a symbolic link") == 4
    assert is_untouched(victim)


def test_hard_links_and_devices_are_reported(home, victim):
    other = home.parent / "other"
    other.write_text("of somebody else")
    os.link(other, home / "hard.pdf")
    os.mkfifo(home / "pipe.pdf")
    os.mknod(home / "null.pdf", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    request = run(home)
    assert request.requests == []
    assert "hard.pdf: it has more than one name" in request.error_log
    assert request.error_log.count("it is not a regular file") == 2
    assert other.read_text() == "of somebody else"


def test_logs_and_lock_go_through_no_link(home, victim):
    for name in (settings.USER_IMPORT_LOG, settings.USER_ERROR_LOG):
        (home / name).symlink_to(victim / "secret.txt")
    put(home, a_pdf=b"x", b_json="{}")
    run(home)
    assert is_untouched(victim)
    assert not (home / settings.USER_IMPORT_LOG).is_symlink()


def test_a_link_for_the_lock_counts_as_a_lock(home, victim):
    (home / settings.LOCK_FILENAME).symlink_to(victim / "new")
    put(home, a_pdf=b"x")
    run(home)
    assert not (victim / "new").exists()
    assert not (home / settings.LOCK_FILENAME).is_symlink()


@pytest.mark.parametrize(
    "name",
    [
        b"\xff\xfe.pdf",
        b"a\nb.pdf",
        b"a\rb.pdf",
        b"\x01.pdf",
        b"a" * 251 + b".pdf",
        b"-rf.pdf",
        "příliš žluťoučký.pdf".encode(),
        b"$(id).pdf",
        b"a\xe2\x80\xa8b.pdf",
        b"%s%n.pdf",
        b"'.pdf",
    ],
)
def test_odd_names_are_imported_and_cannot_forge_a_log(home, name):
    path = os.fsencode(home) + b"/" + name
    with open(path, "wb") as file:
        file.write(b"x")
    with open(path.replace(b".pdf", b"")[:200] + b"x.json", "wb") as file:
        file.write(b"{}")
    settings.substitute_globals({"SAME_DIR_PAIRING": False})
    request = run(home)
    assert [one.raw_data for one in request.requests] == [b"x"]
    wire = serialize(request)
    assert deserialize(wire, class_table("ftp")) == request
    assert len(request.import_log.splitlines()) == 1
    log = text(home, "import.log.txt")
    assert log.splitlines()[-1].startswith("Ebook file '")
    assert log.splitlines()[-1].endswith(".pdf' successfully imported.")


def test_a_deep_tree_is_bounded(home):
    path = home
    for _ in range(100):
        path = path / "d"
    os.makedirs(path)
    (path / "a.pdf").write_bytes(b"x")
    put(home, b_pdf=b"y")
    request = run(home)
    assert request.requests == [EbookFile(f"{home}/b.pdf", b"y")]
    assert "more than 64 directories deep" in request.error_log


def test_a_file_still_being_uploaded_stays(home):
    put(home, a_pdf=b"x")
    with open(home / "b.pdf", "wb") as uploading:
        uploading.write(b"half")
        uploading.flush()
        request = run(home)
    assert request.requests == [EbookFile(f"{home}/a.pdf", b"x")]
    assert "b.pdf: it is still being uploaded" in request.error_log
    assert (home / "b.pdf").read_bytes() == b"half"


def test_a_kept_file_is_not_put_over_a_newer_one(home):
    put(home, a_json="{}")
    spool = Spool()
    entry = spool.begin("garda", str(home), (), "1")
    decide(entry, collect(entry))
    put(home, a_json="newer")
    request_parser.advance(entry)
    assert text(home, "a.json") == "newer"
    assert text(home, "a.1.json") == "{}"


def test_a_home_that_became_a_link_is_refused(home, victim):
    home.rename(home.parent / "away")
    home.symlink_to(victim)
    with pytest.raises(homes.HomeError):
        run(home)
    assert is_untouched(victim)


def test_a_home_outside_is_refused(places, victim):
    with pytest.raises(OSError):
        process_import_request("..", str(places / "victim"), "1")
    assert is_untouched(victim)


# --- structures -------------------------------------------------------------------------------


def test_a_message_never_opens_a_file():
    table = class_table("ftp")
    for name in ("EbookFile", "MetadataFile"):
        message = f'{{"__nt_name": "{name}", "filename": "/etc/shadow", "raw_data": null}}'
        assert deserialize(message, table).raw_data is None


def test_ebooks_travel_in_base64():
    book = EbookFile("/a", bytes(range(256)))
    wire = serialize(DataPair(MetadataFile("/m", "text"), book))
    assert '"raw_data":"AAECAw' in wire
    assert deserialize(wire, class_table("ftp")).ebook_file == book
    with pytest.raises(ValueError, match="base64"):
        EbookFile("/a", "not base64!")


def test_an_import_of_the_first_generation_is_readable():
    wire = """{"__nt_name": "ImportRequest", "username": "garda", "error_log": "",
        "import_log": "Ebook file '/home/ftp/garda/b.txt' successfully imported.", "requests": [
        {"__nt_name": "DataPair",
         "metadata_file": {"__nt_name": "MetadataFile", "filename": "/home/ftp/garda/a.json",
          "raw_data": "{\\"nazev\\": \\"ZEN\\"}", "parsed_data": null},
         "ebook_file": {"__nt_name": "EbookFile", "filename": "/home/ftp/garda/a.txt",
          "raw_data": "P\\u0159\\u00edli\\u0161, \\n a text."}},
        {"__nt_name": "EbookFile", "filename": "/home/ftp/garda/b.txt", "raw_data": ""}]}"""
    request = deserialize(wire, class_table("ftp"))
    pair, book = request.requests
    assert pair.metadata_file.raw_data == '{"nazev": "ZEN"}'
    assert pair.ebook_file.raw_data == "Příliš, \n a text.".encode()
    assert book.raw_data == b""
    assert deserialize(serialize(request), class_table("ftp")) == request


def test_from_file_reads(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + metadata(), "utf-8")
    assert MetadataFile.from_file(str(path))._parse().parsed_data.nazev == "Zen"
    assert EbookFile.from_file(str(path)).raw_data.startswith(b"\xef\xbb\xbf{")
    with pytest.raises(OSError):
        EbookFile.from_file(str(tmp_path / "missing"))


def test_a_spool_that_others_can_write_is_refused(places):
    path = Path(settings.SPOOL_PATH)
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(FTPError, match="others can write"):
        Spool()
