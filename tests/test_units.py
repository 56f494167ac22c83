"""The shipped systemd unit and logrotate example, checked by their own programs."""

import shutil
import subprocess
from pathlib import Path

import pytest

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
