"""Man pages and completion tell what the programs can do."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MANUAL = ROOT / "manual"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its texts by version")
def test_the_manual_is_that_of_the_programs():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "write-manual", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_page_has_a_summary_and_no_error():
    for page in sorted((MANUAL / "man1").iterdir()):
        assert f"{page.name.removesuffix('.1')} \\- " in page.read_text("utf-8")
        done = subprocess.run(
            ["man", "--warnings", "--local-file", page], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", page


def test_bash_completes_actions_and_options():
    script = MANUAL / "bash" / "edeposit_amqp_antivirusd.py"
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"source {script}; COMP_WORDS=(edeposit_amqp_antivirusd.py sta);"
            " COMP_CWORD=1; $(complete -p edeposit_amqp_antivirusd.py | grep -o '_shtab[^ ]*');"
            " printf '%s\\n' \"${COMPREPLY[@]}\"",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["start", "status"]
