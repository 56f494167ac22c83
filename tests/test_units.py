"""The shipped systemd unit and logrotate example, checked by their own programs."""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edeposit.amqp.testing import wait_for

SYSTEMD = Path(__file__).parents[1] / "systemd"


@pytest.mark.parametrize(
    ("name", "drop_in"), [("antivirusd", None), ("ftp_monitord", "edeposit-amqp-ftp.conf")]
)
def test_the_unit_is_accepted_by_systemd(tmp_path, name, drop_in):
    # Verified where its program exists, as on a machine that has it installed.
    program = tmp_path / f"edeposit_amqp_{name}.py"
    shutil.copy("/bin/true", program)
    text = (SYSTEMD / "edeposit-amqp@.service").read_text("utf-8")
    assert "/usr/local/bin/" in text
    unit = tmp_path / f"edeposit-amqp@{name}.service"
    unit.write_text(text.replace("/usr/local/bin", str(tmp_path)), "utf-8")
    if drop_in:
        directory = tmp_path / f"{unit.name}.d"
        directory.mkdir()
        shutil.copy(SYSTEMD / drop_in, directory / "ftp.conf")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "edeposit" in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


def test_the_unit_waits_longer_than_the_daemon_drains():
    from edeposit.amqp import settings

    text = (SYSTEMD / "edeposit-amqp@.service").read_text("utf-8")
    limits = dict(line.split("=", 1) for line in text.splitlines() if line.startswith("Timeout"))
    default = {name: default for name, _, default, _ in settings.describe()}
    assert float(limits["TimeoutStopSec"]) > default["STOP_TIMEOUT"] + 5


@pytest.mark.parametrize("name", ["edeposit-amqp.logrotate", "edeposit-ftp.logrotate"])
def test_the_logrotate_example_is_accepted(tmp_path, name):
    example = tmp_path / "example"
    shutil.copy(SYSTEMD / name, example)
    example.chmod(0o600)
    done = subprocess.run(
        ["logrotate", "-d", "-s", str(tmp_path / "state"), str(example)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr


def settings_of(*names):
    """The last values in units, as systemd takes them; an empty one clears a list."""
    found = {}
    for name in names:
        for line in (SYSTEMD / name).read_text("utf-8").splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                key, value = (value.split("=", 1)) if key == "Environment" else (key, value)
                found[key] = value
    return found


@pytest.mark.parametrize(
    ("names", "user", "directory"),
    [
        (["edeposit-amqp@.service"], "edeposit", "/run/edeposit/edeposit"),
        (["edeposit-amqp@.service", "edeposit-amqp-ftp.conf"], "root", "/run/edeposit"),
    ],
)
def test_accounts_do_not_share_the_directory_of_pid_files(names, user, directory):
    unit = settings_of(*names)
    assert (unit["User"], unit["PID_DIR"]) == (user, directory)
    assert f"/run/{unit['RuntimeDirectory']}" == directory
    assert unit["RuntimeDirectoryMode"] == "0755"
    lines = (SYSTEMD / "edeposit-amqp.tmpfiles").read_text("utf-8").splitlines()
    fields = [line.split() for line in lines if line.startswith("d")]
    assert ["d", directory, "0755", user, user, "-"] in fields


LOGGER = """
import logging, os, sys, time
from edeposit.amqp.process import logs
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
logs.configure(sys.argv[1], "INFO", "x", redirect=True)
number = 0
while True:
    logging.getLogger("x").info("line %d.", number)
    number += 1
    time.sleep(0.005)
"""


@pytest.fixture
def open_directory():
    """A directory of another user's; pytest's own are closed to it."""
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, 65534, 65534)
        yield Path(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_logrotate_example_takes_no_log_away_from_a_daemon_of_another_user(
    tmp_path, open_directory
):
    directory = open_directory
    log = directory / "x.log"
    example = tmp_path / "example"
    text = (SYSTEMD / "edeposit-amqp.logrotate").read_text("utf-8")
    example.write_text(text.replace("/var/log/edeposit/", f"{directory}/"), "utf-8")
    example.chmod(0o600)
    daemon = subprocess.Popen([sys.executable, "-c", LOGGER, str(log), "65534"])
    try:
        for rotation in range(3):
            wait_for(lambda: log.exists() and b"line" in log.read_bytes(), what="a line")
            state = str(tmp_path / "state")
            subprocess.run(["logrotate", "-f", "-s", state, str(example)], check=True)
            assert log.stat().st_uid == 65534, rotation
        wait_for(lambda: b"line" in log.read_bytes(), what="a line in the last file")
        # Even a file that it may not write is no end; another one is taken at once.
        os.chown(log, 0, 0)
        log.rename(directory / "x.log.old")
        log.touch(mode=0o600)
        old = directory / "x.log.old"
        wait_for(lambda: b"cannot be reopened" in old.read_bytes(), what="it says so")
        log.unlink()
        wait_for(lambda: log.exists() and b"line" in log.read_bytes(), what="a line, again")
    finally:
        daemon.kill()
        daemon.wait()
    text = b"".join(
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in directory.iterdir()
    )
    numbers = sorted(int(number) for number in re.findall(rb"line (\d+)\.", text))
    assert numbers == list(range(len(numbers)))
