"""Which requests killed their process: only those, and however often."""

import os
import signal
import subprocess
import sys

import pytest
from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine.deliveries import Delivery
from edeposit.amqp.engine.journal import Journal


def delivery(body=b"deadly", tag=1):
    return Delivery(tag, Basic.Deliver("c", tag, True, "e", "k"), BasicProperties(), body)


DIES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.engine.test_journal import Journal, delivery
journal = Journal(Path(sys.argv[1]))
journal.open()
journal.begin(delivery(b"innocent", 2))
journal.end(delivery(b"innocent", 2))
print(journal.begin(delivery()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_deaths_are_counted_over_processes(tmp_path):
    path = tmp_path / "begun"
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    for expected in range(3):
        done = subprocess.run(
            [sys.executable, "-c", DIES, str(path), root],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert done.stdout.strip() == str(expected)
    journal = Journal(path)
    journal.open()
    assert journal.begin(delivery(b"innocent")) == 0
    assert journal.begin(delivery()) == 3


def test_an_end_in_order_blames_nobody(tmp_path):
    for _ in range(3):
        journal = Journal(tmp_path / "begun")
        journal.open()
        assert journal.begin(delivery()) == 0
        journal.close()
        journal.close()


@pytest.mark.parametrize("text", [b"", b"\0" * 50, b"x" * 100, b"a" * 32 + b" x\n.\n", b".\nrest"])
def test_a_damaged_file_counts_nothing(tmp_path, text):
    path = tmp_path / "begun"
    path.write_bytes(text)
    journal = Journal(path)
    journal.open()
    assert journal.begin(delivery()) == 0
    journal.close()


def test_without_a_place_for_it_nothing_is_counted(tmp_path):
    (tmp_path / "file").write_text("x")
    journal = Journal(tmp_path / "file" / "begun")
    journal.open()
    assert journal.begin(delivery()) == 0
    journal.end(delivery())
    journal.close()


def test_a_second_process_with_the_same_name_goes_without(tmp_path):
    first, second = (Journal(tmp_path / "begun") for _ in range(2))
    first.open()
    first.begin(delivery())
    second.open()
    second.begin(delivery())
    assert second.begin(delivery()) == 0
    first.close()


def test_the_file_is_private_and_small(tmp_path):
    path = tmp_path / "begun"
    journal = Journal(path)
    journal.open()
    for number in range(1500):
        journal.begin(delivery(str(number).encode(), number))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size < 50_000
    journal.close()
