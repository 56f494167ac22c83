"""Every program says its version and its help, or in one line what it lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

from edeposit.amqp import __version__

PROGRAMS = sorted((Path(__file__).parents[2] / "bin").glob("*.py"))

# Runs a program where nothing but the core's own requirements can be imported.
WITHOUT_EXTRAS = """
import importlib.abc, runpy, sys
CORE = {"edeposit", "pika", "daemon", "msgspec", "lockfile", "_pytest", "encodings"}
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        top = name.partition(".")[0]
        if top not in CORE and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(program, option, *before):
    return subprocess.run(
        [sys.executable, *before, str(program), option],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_version_and_help(program):
    done = run(program, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(program.name)
    assert __version__ in done.stdout
    done = run(program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage:" in done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_without_extras_there_is_no_traceback(program):
    done = run(program, "--version", "-c", WITHOUT_EXTRAS)
    assert (done.returncode, done.stderr) == (0, "")
    done = run(program, "--help", "-c", WITHOUT_EXTRAS)
    if done.returncode:
        assert done.stderr.startswith(f"{program.name}: No module named ")
        assert len(done.stderr.splitlines()) == 1
