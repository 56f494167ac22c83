"""The built artefacts are complete: installed outside the checkout, they run a daemon."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from edeposit.amqp import __version__
from edeposit.amqp.testing import ClamdServer

ROOT = Path(__file__).parents[1]
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", "_build", "build", "dist", "*.egg-info", "__pycache__", ".*_cache"
)


def run(*command, **options):
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=150, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    """The sdist, and the wheel built from the sdist, of a copy of this checkout."""
    directory = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT, directory / "source", ignore=NOT_SOURCE)
    run(sys.executable, "-m", "build", "--outdir", directory / "dist", directory / "source")
    return {
        "sdist": next((directory / "dist").glob("*.tar.gz")),
        "wheel": next((directory / "dist").glob("*.whl")),
    }


@pytest.fixture(params=["sdist", "wheel"], scope="module")
def installed(request, artefacts, tmp_path_factory):
    """The ``bin`` of a clean virtual environment with one artefact and its antivirus extra."""
    directory = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    run(
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        f"{artefacts[request.param]}[antivirus]",
        cwd=directory,
    )
    return directory / "bin"


def test_the_metadata_are_accepted(artefacts):
    run(sys.executable, "-m", "twine", "check", "--strict", *artefacts.values())


def test_a_daemon_runs_from_the_artefact(installed, rabbit, vhost, tmp_path):
    with ClamdServer() as clamd:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        } | {
            **rabbit.env(),
            "PATH": f"{installed}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "RABBITMQ_ANTIVIRUS_VIRTUALHOST": vhost,
            "PID_DIR": str(tmp_path / "run"),
            "LOG_TARGET": str(tmp_path / "antivirus.log"),
            "ANTIVIRUS_LOCALSOCKET": clamd.socket_path,
            "ANTIVIRUS_CONF_PATH": str(clamd.config_file),
            "ANTIVIRUS_DATABASE_DIR": str(clamd.database),
        }

        def program(*arguments):
            return run(*arguments, env=environment, cwd=tmp_path)

        assert __version__ in program("edeposit_amqp_tool.py", "--version")
        program("edeposit_amqp_tool.py", "--host", "antivirus", "--create")
        program("edeposit_amqp_antivirusd.py", "start")
        try:
            answer = program(
                "edeposit_amqp_tool.py",
                "--host",
                "antivirus",
                "--call",
                'ScanFile("a.txt", "aGVsbG8=")',
            )
        finally:
            stopped = program("edeposit_amqp_antivirusd.py", "stop")

    assert "a.txt" in answer
    assert "stopped" in stopped


def test_the_artefact_brings_what_the_system_gets(installed, tmp_path):
    run(installed / "edeposit_amqp_setup.py", "install", "--root", tmp_path / "root")
    command = tmp_path / "root/usr/local/bin/edeposit_amqp_alephdaemon.py"
    assert run(command, "--help").startswith("usage:")
    assert (tmp_path / "root/usr/local/lib/systemd/system/edeposit-amqp@.service").is_file()
