"""The pid file's lock: who has it, who only asks, and who must not keep it."""

import os
import resource
import signal
import subprocess
import sys
import threading

import pytest

from edeposit.amqp.errors import StartError
from edeposit.amqp.process import locks
from edeposit.amqp.process.pidfile import PidFile
from edeposit.amqp.testing import wait_for

HOLDER = """
import os, sys, time
from pathlib import Path
from edeposit.amqp.process.pidfile import PidFile
assert PidFile(Path(sys.argv[1])).acquire()
exec(sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def hold(tmp_path):
    """Start processes that hold a pid file."""
    processes = []

    def start(path, code="", **options):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), code],
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        processes.append(process)
        assert process.stdout.readline().strip()
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_holder_is_found_and_nobody_else_gets_the_lock(tmp_path, hold):
    path = tmp_path / "x.pid"
    process = hold(path)
    assert PidFile(path).is_locked()
    assert PidFile(path).holder() == process.pid
    assert not PidFile(path).acquire()
    process.kill()
    process.wait()
    assert not PidFile(path).is_locked()
    assert PidFile(path).holder() is None


def test_asking_takes_no_lock(tmp_path):
    path = tmp_path / "x.pid"
    path.write_text("")
    end = threading.Event()

    def ask():
        while not end.is_set():
            PidFile(path).is_locked()
            PidFile(path).holder()

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(300):
            pidfile = PidFile(path)
            assert pidfile.acquire()
            pidfile._forget()  # as a crash leaves it
    finally:
        end.set()
        for asker in askers:
            asker.join()


def test_asking_needs_no_list_of_locks(tmp_path, hold, monkeypatch):
    """As on overlay file systems, where the kernel's list has other inode numbers."""
    path = tmp_path / "x.pid"
    process = hold(path)
    monkeypatch.setattr(locks, "_device", lambda fd: "00:00")
    assert PidFile(path).is_locked()
    assert PidFile(path).holder() == process.pid
    # Process 1 does not have the file, so it is not taken for its holder.
    path.write_text("1\n")
    with pytest.raises(StartError, match="not by the process it names"):
        PidFile(path).holder()


def test_the_number_may_come_a_moment_after_the_lock(tmp_path, hold):
    path = tmp_path / "x.pid"
    process = hold(path)
    path.write_text("")
    writer = threading.Timer(0.2, lambda: path.write_text(f"{process.pid}\n"))
    writer.start()
    assert PidFile(path).holder() == process.pid
    writer.join()


def test_a_forked_child_does_not_keep_the_lock(tmp_path, hold):
    path, child = tmp_path / "x.pid", tmp_path / "child"
    fork = f"""
if not os.fork():
    Path({str(child)!r}).write_text(str(os.getpid()))
    time.sleep(60)
"""
    process = hold(path, fork)
    pid = int(wait_for(lambda: child.exists() and child.read_text(), what="the child runs"))
    try:
        assert PidFile(path).is_locked()
        process.kill()
        process.wait()
        assert not PidFile(path).is_locked()
        assert PidFile(path).acquire()
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("lines", ["", "4711\n"])
def test_a_full_disk_is_one_clear_error(tmp_path, lines):
    path = tmp_path / "x.pid"
    path.write_text(lines)
    code = """
import sys
from pathlib import Path
from edeposit.amqp.errors import StartError
from edeposit.amqp.process.pidfile import PidFile
try:
    PidFile(Path(sys.argv[1])).acquire()
except StartError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert done.stdout == f"pid file {path}: File too large\n"
    assert PidFile(path).acquire()
