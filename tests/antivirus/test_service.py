"""The service's requests, settings, database update and set-up script."""

import grp
import os
import stat
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from edeposit.amqp import antivirus as service
from edeposit.amqp.antivirus import conf_writer, settings
from edeposit.amqp.antivirus.exceptions import DatabaseUpdateError
from edeposit.amqp.antivirus.wrappers import freshclam
from edeposit.amqp.serializers import deserialize, serialize
from edeposit.amqp.service import class_table
from edeposit.amqp.testing import EICAR, ClamdServer

from .conftest import b64, lead_to

INIT = Path(__file__).parents[2] / "bin" / "edeposit_clamd_init.py"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="clamd and freshclam are set up by root")


def react(message):
    return service.reactToAMQPMessage(message, lambda _progress: None)


# --- requests -------------------------------------------------------------------------------


def test_the_wire_forms_are_those_of_the_first_generation(clamd):
    request = deserialize(
        f'{{"__nt_name": "ScanFile", "filename": "/home/me/e.com", "b64_data": "{b64(EICAR)}"}}',
        class_table("antivirus"),
    )
    assert serialize(react(request)) == (
        '{"filename":"/home/me/e.com","result":{"/home/me/e.com":'
        '["FOUND","Test.EICAR.UNOFFICIAL"]},"__nt_name":"ScanResult"}'
    )


def test_requests_are_known_by_the_name_of_their_class(clamd):
    foreign = namedtuple("ScanFile", "filename b64_data")
    assert react(foreign("a", b64(b"x"))) == service.ScanResult("a", {})


@pytest.mark.parametrize("message", [None, 7, {"filename": 1}, service.ScanResult("a", {})])
def test_another_request_is_a_value_error(message):
    with pytest.raises(ValueError, match="Unknown type of request: '"):
        react(message)


def test_the_class_table_offers_the_four_structures():
    names = {"ScanFile", "ScanResult", "UpdateDatabase", "DatabaseUpdated"}
    assert set(class_table("antivirus")) == names


def test_start_without_clamd_is_a_warning(monkeypatch, caplog):
    monkeypatch.setenv("ANTIVIRUS_LOCALSOCKET", "/no/such/socket")
    settings.reload()
    service.on_start()
    assert "requests will fail until it runs" in caplog.text


# --- database update ------------------------------------------------------------------------


@needs_root
def test_a_failed_update_carries_freshclams_output(monkeypatch, tmp_path):
    # There is no network here, and no configuration that names a mirror we could reach.
    monkeypatch.setenv("ANTIVIRUS_DATABASE_DIR", str(tmp_path / "missing"))
    settings.reload()
    with pytest.raises(DatabaseUpdateError, match=r"freshclam failed \(exit code \d+\): \S+"):
        freshclam.update_database()


@needs_root
def test_a_successful_update_returns_its_output_as_text(monkeypatch, tmp_path):
    # A freshclam that has nothing to do: the real one needs a network for that.
    program = tmp_path / "freshclam"
    program.write_text("#!/bin/sh\necho 'database is up-to-date'\necho warned >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    answer = react(service.UpdateDatabase())
    assert answer == service.DatabaseUpdated("database is up-to-date\nwarned\n")
    assert serialize(answer)


@needs_root
def test_an_update_that_hangs_is_ended(monkeypatch, tmp_path):
    program = tmp_path / "freshclam"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ANTIVIRUS_FRESHCLAM_TIMEOUT", "1")
    settings.reload()
    with pytest.raises(DatabaseUpdateError, match="within 1 s"):
        freshclam.update_database()


AS_NOBODY = """
import os
from edeposit.amqp.antivirus.wrappers import freshclam
from edeposit.amqp.antivirus import settings
settings.reload()
os.setgid(65534); os.setuid(65534)
@freshclam.require_root
def something(): pass
for function in (freshclam.update_database, something):
    try:
        function()
    except AssertionError as error:
        print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_others_than_root_may_not_update():
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "You have to be root to run function 'update_database'.",
        "You have to be root to run function 'something'.",
    ]


# --- settings -------------------------------------------------------------------------------


def test_settings_can_be_overridden_by_file_and_environment(monkeypatch, tmp_path):
    (tmp_path / "edeposit").mkdir()
    config = tmp_path / "edeposit" / "antivirus.json"
    config.write_text('{"USE_CLAMD": false, "DEB_CONF_PATH": "/x/", "LOCALSOCET": 1}')
    settings.reload()
    assert settings.USE_CLAMD is False
    assert settings.CONF_PATH == "/x/clamd.conf"
    monkeypatch.setenv("ANTIVIRUS_USE_CLAMD", "true")
    settings.reload()
    assert settings.USE_CLAMD is True
    config.write_text('{"CLAMD_PORT": "no"}')
    with pytest.raises(settings.SettingsError, match=r"antivirus\.json"):
        settings.reload()
    assert settings.USE_CLAMD is True


# --- configuration writer -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A 1\nB 2\n", "A 9\nB 2\n"),
        ("#A 1\nA 2\nA 3\n", "#A 1\nA 9\nA 3\n"),
        ("# A 1\nB 2\n", "A 9\nB 2\n"),
        ("AB 1\n#AB 2\n", "AB 1\n#AB 2\nA 9\n"),
        ("", "A 9\n"),
    ],
)
def test_add_or_update(before, after):
    assert conf_writer.add_or_update(before, "A", "9") == after
    assert conf_writer.add_or_update(after, "A", "9") == after


def test_comment_goes_by_words():
    assert conf_writer.comment("A  1\nA 2\n", "A 1") == "#A  1\nA 2\n"


# --- set-up script --------------------------------------------------------------------------


def init(*arguments, **options):
    return subprocess.run(
        [sys.executable, str(INIT), "--no-restart", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.fixture
def paths(monkeypatch, tmp_path):
    """The script's files in a directory of our own; clamav may write there."""
    tmp_path.chmod(0o755)
    monkeypatch.setenv("ANTIVIRUS_LOGFILE", str(tmp_path / "log" / "clamav.log"))
    monkeypatch.setenv("ANTIVIRUS_LOCALSOCKET", str(tmp_path / "run" / "clamd.ctl"))
    monkeypatch.setenv("ANTIVIRUS_PIDFILE", str(tmp_path / "run" / "clamd.pid"))
    return tmp_path


@needs_root
def test_an_old_configuration_is_brought_up_to_date_once(paths):
    config = paths / "clamd.conf"
    config.write_text(
        "Example\nMaxThreads 2\n#LogTime no\nAllowSupplementaryGroups true\nStatsEnabled no\n"
        "ScanMail no\nMaxConnectionQueueLength 30\nStreamMaxLength 7M\n"
    )
    done = init("-c", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    text = config.read_text()
    for line in (
        "#Example",
        "MaxThreads 12",
        "LogTime true",
        "MaxConnectionQueueLength 30",
        "StreamMaxLength 7M",
        "AlertExceedsMax true",
        "ScanMail true",
        "ScanPDF true",
        "ScanOLE2 true",
        "LocalSocketMode 660",
        "User clamav",
    ):
        assert line in text.splitlines()
    assert "AllowSupplementaryGroups" not in text
    assert not conf_writer.has_blind_spot(text)
    assert "StatsEnabled" not in text
    assert stat.S_IMODE(config.stat().st_mode) == 0o644
    assert "MaxThreads 2\n" in (paths / "clamd.conf_").read_text()
    assert grp.getgrgid((paths / "log" / "clamav.log").stat().st_gid).gr_name == "clamav"
    assert init("-c", str(config)).returncode == 0
    assert config.read_text() == text
    assert not (paths / "clamd.conf_1").exists()


@needs_root
def test_a_clean_configuration_starts_the_real_clamd(paths, monkeypatch):
    config = paths / "clamd.conf"
    assert init("-o", "-c", str(config)).returncode == 0
    with ClamdServer() as server:
        server.kill()
        # The written options, with the places of the private server.
        ours = {line.split()[0] for line in server.config_file.read_text().splitlines()}
        written = [
            line
            for line in config.read_text().splitlines()
            if not line.startswith("#")
            and line.split()[0] not in {*ours, "User", "LocalSocketGroup"}
        ]
        with open(server.config_file, "a") as file:
            file.write("\n".join(written) + "\n")
        server.start()
        lead_to(monkeypatch, server)
        assert react(service.ScanFile("a", b64(EICAR))).result["a"][0] == "FOUND"


@needs_root
def test_a_configuration_that_clamav_refuses_is_not_written(paths):
    config = paths / "clamd.conf"
    config.write_text("NoSuchOption yes\n")
    done = init("-c", str(config))
    assert done.returncode == 1
    assert "NoSuchOption" in done.stderr
    assert config.read_text() == "NoSuchOption yes\n"


@needs_root
def test_a_dry_run_changes_nothing(paths):
    config = paths / "clamd.conf"
    done = init("--dry-run", "-c", str(config))
    assert done.returncode == 0
    assert "LocalSocketMode 660" in done.stdout
    assert list(paths.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_only_root_may_set_up():
    code = (
        "import os; from edeposit.amqp.antivirus import clamd_init, settings; settings.reload();"
        "os.setgid(65534); os.setuid(65534); raise SystemExit(clamd_init.run(['--dry-run']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "You have to be root to run function 'main'.\n"
