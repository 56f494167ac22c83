"""Forked children give up what is the daemon's, and end with it."""

import json
import subprocess
import sys

import pytest

from edeposit.amqp.testing import wait_for

# Ends its children and says how long it took; argument: what they do.
PARENT = """
import json, os, signal, subprocess, sys, time
from edeposit.amqp.process import children
exec(sys.argv[1])
started = time.monotonic()
ended = children.end_descendants(0.5)
print(json.dumps([ended, time.monotonic() - started, children.descendants(os.getpid())]))
"""
FORKED = "if not os.fork():\n time.sleep(60)\n"
STUBBORN = """
ready, told = os.pipe()
if not os.fork():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not os.fork():
        os.write(told, b"x")
        time.sleep(60)
    time.sleep(60)
os.read(ready, 1)
"""
SESSION = "subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
POOL = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
pool = ProcessPoolExecutor(2, mp_context=get_context("fork"))
pool.submit(abs, 1).result()
"""


@pytest.mark.parametrize(
    ("code", "count", "seconds"),
    [
        ("", 0, 0.1),
        (FORKED, 1, 0.4),
        (STUBBORN, 2, 1.0),
        (SESSION, 1, 0.4),
        (FORKED + SESSION + STUBBORN, 4, 1.0),
        (POOL, None, 1.0),
    ],
    ids=["none", "forked", "stubborn", "own session", "all", "pool"],
)
def test_descendants_are_ended_within_a_time(code, count, seconds):
    done = subprocess.run(
        [sys.executable, "-c", PARENT, code], capture_output=True, text=True, timeout=20
    )
    ended, took, left = json.loads(done.stdout.splitlines()[-1])
    assert count is None or ended == count
    assert took < seconds + 1  # the machine may be busy
    zombies = [pid for pid in left if not is_running(pid)]
    assert left == zombies


def is_running(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            return "\nState:\tZ" not in file.read()
    except FileNotFoundError:
        return False


SIGNALLED = """
import os, signal, sys, time
from edeposit.amqp.process.signals import SignalInbox
inbox = SignalInbox()
inbox.install(stop_raises=sys.argv[1] == "raises")
before = inbox.fileno()
child = os.fork()
if not child:
    time.sleep(60)
os.kill(child, signal.SIGHUP if sys.argv[2] == "HUP" else signal.SIGTERM)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), inbox.drain())
"""


@pytest.mark.parametrize("how", ["raises", "records"])
@pytest.mark.parametrize(("name", "code"), [("TERM", -15), ("HUP", -1)])
def test_signals_end_a_forked_child_and_do_not_reach_its_parent(how, name, code):
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, how, name],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stdout == f"{code} []\n"


def test_a_child_gives_up_once_and_its_children_no_more(tmp_path):
    code = """
import os, sys
from edeposit.amqp.process import children
def note():
    with open(sys.argv[1], "a") as file:
        file.write("given up\\n")
def fail():
    raise RuntimeError
kept = lambda: note()
children.give_up_in_child(kept)
children.give_up_in_child(fail)
children.give_up_in_child(note)
children.keep_in_child(kept)
if not os.fork():
    if not os.fork():
        os._exit(0)
    os.wait()
    os._exit(0)
os.wait()
"""
    path = tmp_path / "notes"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=20)
    wait_for(path.exists, what="the child has noted it")
    assert path.read_text() == "given up\n"
