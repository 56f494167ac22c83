"""Logging and printing never raise and never wait; what is lost is counted."""

import contextlib
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from edeposit.amqp.process import streams
from edeposit.amqp.process.logwriter import LogWriter
from edeposit.amqp.process.sinks import DescriptorSink, FileSink, SyslogSink
from edeposit.amqp.testing import wait_for


def remark(text):
    return f"REMARK {text}\n".encode()


def writer_of(sink):
    return LogWriter(sink, remark)


@pytest.fixture
def pipe():
    """Both ends of a pipe that nobody reads."""
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(fd)


def read_until(fd, pattern, timeout=20):
    """Read until what has come matches a pattern at its end."""
    chunks = [b""]
    deadline = time.monotonic() + timeout
    while not re.search(pattern, (chunks[-2] if len(chunks) > 1 else b"") + chunks[-1]):
        assert time.monotonic() < deadline
        chunks.append(os.read(fd, 65536))
    return b"".join(chunks)


# --- the queue ------------------------------------------------------------------------------


def test_lines_come_out_in_their_order(tmp_path):
    writer = writer_of(FileSink(tmp_path / "x.log", redirect=False))
    for number in range(1000):
        writer.put(logging.INFO, f"{number}\n")
    writer.close()
    assert (tmp_path / "x.log").read_text().split() == [str(number) for number in range(1000)]


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_drops_are_counted(pipe):
    reader, end = pipe
    writer = writer_of(DescriptorSink(end))
    started = time.monotonic()
    for number in range(30_000):
        if writer._queue.qsize() < 20_000:
            last = number
        writer.put(logging.INFO, f"line {number} {'x' * 80}\n")
    assert time.monotonic() - started < 5
    writer.close(0.1)  # bounded, too
    chunks = []
    while chunk := os.read(reader, 65536):
        chunks.append(chunk)
        if f"line {last} ".encode() in b"".join(chunks[-2:]):
            break
    data = b"".join(chunks)
    dropped = int(re.search(rb"REMARK (\d+) lines were dropped", data)[1])
    assert data.count(b"line ") == 30_000 - dropped
    assert dropped >= 5_000


def test_lines_of_any_length_take_bounded_memory(pipe):
    reader, end = pipe
    writer = writer_of(DescriptorSink(end))
    long = b"y" * 1_000_000 + b"\n"
    for _ in range(3000):
        writer.put(logging.INFO, long)
    line = read_until(reader, rb"\n").partition(b"\n")[0]
    assert len(line) < 70_000
    assert re.fullmatch(rb"y+ \[\.\.\. \d+ bytes \.\.\.\] y+", line)
    held = sum(len(writer._queue.get_nowait()[1]) for _ in range(2000))
    assert held < 80_000_000


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path):
    full = os.open("/dev/full", os.O_WRONLY)
    target = tmp_path / "x.log"
    sink = DescriptorSink(full)
    writer = writer_of(sink)
    for _ in range(5):
        writer.put(logging.INFO, "lost\n")
    wait_for(lambda: writer._lost == 5, what="they are lost")
    sink.fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    writer.put(logging.INFO, "there is space again\n")
    writer.close()
    assert target.read_text() == (
        "there is space again\nREMARK 5 lines could not be written: No space left on device\n"
    )
    os.close(full)
    os.close(sink.fd)


def test_a_forked_child_writes_itself(tmp_path):
    writer = writer_of(FileSink(tmp_path / "x.log", redirect=False))
    writer.put(logging.INFO, "parent\n")
    child = os.fork()
    if not child:
        writer.put(logging.INFO, "child\n")
        os._exit(0)
    os.waitpid(child, 0)
    writer.close()
    assert sorted((tmp_path / "x.log").read_text().split()) == ["child", "parent"]


# --- files ----------------------------------------------------------------------------------


def test_a_directory_that_is_removed_is_made_again(tmp_path):
    path = tmp_path / "log" / "x.log"
    writer = writer_of(FileSink(path, redirect=False))
    path.unlink()
    path.parent.rmdir()
    writer.put(logging.INFO, "still here\n")
    writer.close()
    assert path.read_text() == "still here\n"


def test_a_file_that_cannot_be_opened_again_is_kept_and_tried_again(tmp_path):
    path = tmp_path / "log" / "x.log"
    writer = writer_of(FileSink(path, redirect=False))
    path.rename(tmp_path / "old")
    path.parent.rmdir()
    path.parent.write_text("in the way")
    writer.put(logging.INFO, "to the old file\n")
    writer.reopen()
    old = tmp_path / "old"
    wait_for(lambda: "to the old file" in old.read_text(), what="the old file is written")
    assert old.read_text().count("cannot be reopened: File exists") == 1
    path.parent.unlink()

    def is_back():
        writer.put(logging.INFO, "to the new file\n")
        return path.exists()

    wait_for(is_back, what="it is opened again")
    writer.close()
    assert "REMARK log file" in path.read_text()


def test_a_file_that_belongs_to_somebody_else_now_is_no_end(tmp_path):
    path = tmp_path / "x.log"
    sink = FileSink(path, redirect=False)
    path.rename(tmp_path / "x.log.1")
    path.mkdir()  # cannot be opened, not even by root
    assert sink.reopen(wanted=False)
    assert sink.write([(logging.INFO, b"kept\n")]) == 0
    assert (tmp_path / "x.log.1").read_text() == "kept\n"


# --- syslog ---------------------------------------------------------------------------------


@pytest.fixture
def syslog(tmp_path):
    path = str(tmp_path / "log.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        daemon.settimeout(10)
        yield daemon, path


def test_syslog_gets_priority_and_name(syslog):
    daemon, path = syslog
    sink = SyslogSink(path, "echo[7]")
    for level, priority in ((10, 31), (20, 30), (30, 28), (40, 27), (50, 26)):
        assert sink.write([(level, b"text\n")]) == 0
        assert daemon.recv(100) == b"<%d>echo[7]: text" % priority


def test_a_syslog_that_stops_reading_holds_up_nobody_and_one_that_comes_back_is_used(
    syslog, tmp_path
):
    daemon, path = syslog
    writer = writer_of(SyslogSink(path, "echo"))
    started = time.monotonic()
    for number in range(1000):
        writer.put(logging.INFO, f"{number}\n")
    assert time.monotonic() - started < 1
    daemon.close()
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(path)
        again.settimeout(0.1)

        def comes():
            writer.put(logging.INFO, "after\n")
            with contextlib.suppress(TimeoutError):
                while b"after" not in again.recv(100):
                    pass
                return True

        wait_for(comes, what="lines come again")
    writer.close(0.1)


# --- what is printed ------------------------------------------------------------------------


@contextlib.contextmanager
def streams_into(sink):
    """sys.stdout and sys.stderr into a sink, as in a daemon."""
    writer = writer_of(sink)
    streams.take(writer, writer)
    try:
        yield writer
    finally:
        streams.give_back()


def test_printed_lines_come_out_whole(tmp_path):
    path = tmp_path / "x.log"

    def chat(name):
        for _ in range(50):
            print(name, name, name)

    with streams_into(FileSink(path, redirect=False)):
        threads = [threading.Thread(target=chat, args=(name,)) for name in ("one", "two", "ž")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("no newline", end="", flush=True)
        sys.stdout.buffer.write(b"\xff bytes\n")
    *lines, last = path.read_bytes().splitlines()
    expected = [f"{name} {name} {name}".encode() for name in ("one", "two", "ž")]
    assert sorted(lines) == sorted(expected * 50)
    assert last == b"no newline\xff bytes"


def test_a_print_never_raises():
    full = os.open("/dev/full", os.O_WRONLY)
    with streams_into(DescriptorSink(full)):
        print("into the void", flush=True)
        sys.stdout.write("\ud800\n")  # no text that can be encoded
        sys.stderr.flush()
        sys.stdout.close()
        print("again")
        print("to the original stream", file=sys.__stdout__, flush=True)
        with pytest.raises(TypeError):
            sys.stdout.write(b"bytes")
    os.close(full)


PRINTER = """
import logging, os, sys, time
from edeposit.amqp.process import logs
logging.basicConfig()  # as the modules of others do
logs.configure(sys.argv[1], "INFO", "x", redirect=False)
started = time.monotonic()
for number in range(20000):
    print("x" * 80)
    print("y" * 80, file=sys.stderr)
    logging.getLogger("x").warning("z" * 80)
with open(sys.argv[2], "w") as file:
    file.write(f"{time.monotonic() - started}")
logs.close()
with open(sys.argv[3], "w") as file:
    file.write("closed")
"""


@pytest.mark.parametrize("target", ["stderr", "file"])
def test_pipes_that_nobody_reads_hold_up_neither_work_nor_end(tmp_path, target):
    target = str(tmp_path / "x.log") if target == "file" else target
    worked, closed = tmp_path / "worked", tmp_path / "closed"
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTER, target, str(worked), str(closed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(closed.exists, timeout=20, what="it has closed its log")
        assert float(worked.read_text()) < 10
        if target != "stderr":
            assert os.path.getsize(target) > 20000 * 80  # its log does not wait for the pipes
    finally:
        process.kill()
        process.communicate()


# Not in this process: pytest's own handlers raise and wait.
HOSTILE = """
import logging, sys, threading
from edeposit.amqp.process import logs
logs.configure(sys.argv[1], "INFO", "x", redirect=False)
begun, end = threading.Event(), threading.Event()

class Hostile:
    def __str__(self):
        raise RuntimeError("no text today")

class Slow:
    def __str__(self):
        begun.set()
        assert end.wait(10)
        return "slow"

log = logging.getLogger("x").warning
log("%s", Hostile())
log("%d", "not a number")
thread = threading.Thread(target=log, args=("%s", Slow()))
thread.start()
assert begun.wait(10)
log("fast")
end.set()
thread.join()
logs.close()
"""


def test_a_log_line_without_a_text_and_one_that_takes_its_time_harm_no_others(tmp_path):
    path = tmp_path / "x.log"
    subprocess.run([sys.executable, "-c", HOSTILE, str(path)], check=True, timeout=20)
    first, second, third, fourth = path.read_text().splitlines()
    assert first.endswith("cannot be formatted: RuntimeError")
    assert second.endswith("cannot be formatted: TypeError")
    assert third.endswith("WARNING x: fast")
    assert fourth.endswith("WARNING x: slow")


def test_descriptors_are_open_whatever_the_caller_has_closed(tmp_path):
    code = """
import os, sys
from edeposit.amqp.process import streams
streams.open_missing()
print("nobody hears this"); sys.stderr.write("nor this"); sys.stdin.read()
with open(sys.argv[1], "w") as file:
    file.write(" ".join(os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)))
"""
    result = tmp_path / "result"
    script = 'exec "$0" -c "$1" "$2" <&- >&- 2>&-'
    subprocess.run(["sh", "-c", script, sys.executable, code, str(result)], check=True)
    assert result.read_text() == "/dev/null /dev/null /dev/null"
