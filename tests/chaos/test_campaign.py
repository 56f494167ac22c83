"""A short campaign: random faults under load lose nothing, end no daemon and leave none stuck."""

import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("queue", ["classic", "quorum"])
def test_nothing_is_lost_in_random_faults(queue):
    done = subprocess.run(
        [sys.executable, CAMPAIGN, "--seconds", "45", "--seed", "3", "--queue", queue, "--verbose"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
