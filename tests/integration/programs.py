"""Our programs, run as people run them."""

import subprocess
import sys
from pathlib import Path

BIN = Path(__file__).parents[2] / "bin"


def program(name, *arguments):
    """Run one of our programs; returns (exit code, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, str(BIN / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr
