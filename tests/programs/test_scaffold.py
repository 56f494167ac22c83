"""``--new``: the written module answers at once, and its own tests pass as written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edeposit.amqp.errors import AMQPError
from edeposit.amqp.programs.scaffold import write_module

TOOL = Path(sys.executable).with_name("edeposit_amqp_tool.py")


def test_its_tests_pass_as_written(tmp_path):
    subprocess.run([TOOL, "--new", "greeter"], cwd=tmp_path, check=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "RABBITMQ"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "greeter",
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_page_of_the_module_tells_the_truth(rabbit, tmp_path):
    write_module("greeter", tmp_path)
    environment = {
        **os.environ,
        **rabbit.env(),
        "HOME": str(tmp_path),
        "PID_DIR": str(tmp_path / "run"),
        "LOG_TARGET": str(tmp_path / "log"),
    }
    try:
        for action in ("create", "start", "check", "stop"):
            done = subprocess.run(
                [sys.executable, "greeter_daemon.py", action],
                cwd=tmp_path / "greeter",
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, f"{action}: {done.stdout}{done.stderr}"
    finally:
        rabbit.delete_vhost("greeter")


def test_the_unit_is_accepted_by_systemd(tmp_path):
    write_module("greeter", tmp_path)
    unit = tmp_path / "greeter" / "greeter.service"
    unit.write_text(
        unit.read_text("utf-8").replace("/usr/local/bin/greeter_daemon.py", "/bin/true")
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if "greeter" in line] == []


@pytest.mark.parametrize("name", ["", "Großes", "a-b", "class", "../x", "1st", "x" * 50])
def test_a_name_that_no_package_can_have_is_refused(tmp_path, name):
    with pytest.raises(AMQPError, match="cannot be the name"):
        write_module(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "greeter").mkdir()
    with pytest.raises(AMQPError, match="exists already"):
        write_module("greeter", tmp_path)
