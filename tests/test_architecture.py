"""The arrows between the rooms go one way; an import against them fails the run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

AGAINST_THE_ARROWS = [
    ("antivirus/settings.py", "from edeposit.amqp import pikadaemon"),
    ("process/pidfile.py", "import pika"),
    ("engine/publisher.py", "from edeposit.amqp import contract"),
    ("engine/publisher.py", "from edeposit.amqp.process import notify"),
    ("testing/_process.py", "from edeposit.amqp import calibre"),
    ("broker/messages.py", "from edeposit.amqp.programs import actions"),
    ("pikadaemon.py", "from edeposit.amqp import amqpdaemon"),
]


def lint(source):
    """Run import-linter on the package below ``source`` with the project's contracts."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, ROOT / "pyproject.toml", "--no-cache", "--no-logo"],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_all_imports_follow_the_arrows():
    done = lint(ROOT / "src")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("module", "line"), AGAINST_THE_ARROWS)
def test_an_import_against_the_arrows_is_found(tmp_path, module, line):
    shutil.copytree(ROOT / "src" / "edeposit", tmp_path / "edeposit")
    path = tmp_path / "edeposit" / "amqp" / module
    path.write_text(path.read_text("utf-8") + f"\n\ndef _late() -> None:\n    {line}\n", "utf-8")

    done = lint(tmp_path)

    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout
