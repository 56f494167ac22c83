"""The shipped systemd unit and logrotate example, checked by their own programs."""

import shutil
import subprocess
from pathlib import Path

SYSTEMD = Path(__file__).parents[1] / "systemd"


def test_the_unit_is_accepted_by_systemd(tmp_path):
    # Verified where its program exists, as on a machine that has it installed.
    program = tmp_path / "edeposit_amqp_antivirusd.py"
    shutil.copy("/bin/true", program)
    text = (SYSTEMD / "edeposit-amqp@.service").read_text("utf-8")
    assert "/usr/local/bin/" in text
    unit = tmp_path / "edeposit-amqp@antivirusd.service"
    unit.write_text(text.replace("/usr/local/bin", str(tmp_path)), "utf-8")
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


def test_the_logrotate_example_is_accepted(tmp_path):
    example = tmp_path / "example"
    shutil.copy(SYSTEMD / "edeposit-amqp.logrotate", example)
    example.chmod(0o600)
    done = subprocess.run(
        ["logrotate", "-d", "-s", str(tmp_path / "state"), str(example)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
