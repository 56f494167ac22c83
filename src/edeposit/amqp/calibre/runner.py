"""Runs ``ebook-convert`` once, within limits of time, memory, disk and output.

What must stay true: when ``run()`` returns or raises, no process of the conversion is left; and at
the end of the daemon (``end_all()``) none of any conversion.
"""

import logging
import os
import re
import selectors
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from edeposit.amqp.calibre import processes, sandbox, settings, workdir

logger = logging.getLogger(__name__)

# Of each stream; its start and end are kept.
_MAX_TEXT = 1024**2
# Seconds between checks of time, memory, disk and processes.
_TICK = 0.25
_PERCENT = re.compile(rb"^(\d{1,3})% (.*)$", re.MULTILINE)

OnProgress = Callable[[int, str], None]


class Outcome(NamedTuple):
    """The end of a run.

    Attributes:
        exit_code: of ``ebook-convert``; negative: killed by that signal.
        stdout: its output.
        stderr: its error output.
        killed_because: why it was killed; empty if it exited by itself.
    """

    exit_code: int
    stdout: str
    stderr: str
    killed_because: str


class _Text:
    """A stream's text; the middle of a long one is dropped."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        room = _MAX_TEXT // 2 - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[max(room, 0) :]
        too_much = len(self._tail) - _MAX_TEXT // 2
        if too_much > 0:
            del self._tail[:too_much]
            self._dropped += too_much

    def __str__(self) -> str:
        middle = f"\n[... {self._dropped} bytes ...]\n" if self._dropped else ""
        head, tail = (bytes(part).decode("utf-8", "replace") for part in (self._head, self._tail))
        return head + middle + tail


class _Progress:
    """Finds percentages in the output and reports each once."""

    def __init__(self, tell: OnProgress | None) -> None:
        self._tell = tell
        self._line = b""
        self._last = -1

    def add(self, data: bytes) -> None:
        if self._tell is None:
            return
        lines = (self._line + data).rpartition(b"\n")
        self._line = lines[2][-4096:]
        for match in _PERCENT.finditer(lines[0]):
            percent = min(int(match[1]), 100)
            if percent > self._last:
                self._last = percent
                self._tell(percent, match[2].decode("utf-8", "replace").strip()[:500])


class _Limits(NamedTuple):
    """Start (monotonic) and limits of a conversion, and whether it was cancelled."""

    started: float
    timeout: float
    work: Path
    is_cancelled: threading.Event


_ending = threading.Event()
# By job.
_running: dict[str, threading.Event] = {}


def run(
    work: Path,
    arguments: list[str],
    *,
    limit_address_space: bool = True,
    on_progress: OnProgress | None = None,
    timeout: float | None = None,
    job: str = "",
) -> Outcome:
    """Run ``ebook-convert``.

    Args:
        work: its directory, see ``workdir``.
        arguments: its arguments; paths are relative to ``work``.
        limit_address_space: see ``sandbox.command``.
        on_progress: called in this thread with percentage and text, whenever it increases.
        timeout: seconds; default: TIMEOUT.
        job: by which ``cancel`` finds it.

    Raises:
        ConverterUnavailableError: it, or a program around it, is missing.
        OSError: it cannot be started.
    """
    if _ending.is_set():
        raise OSError("the daemon ends")
    command = sandbox.command(work, arguments, limit_address_space=limit_address_space)
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    texts = {process.stdout: _Text(), process.stderr: _Text()}
    limits = _Limits(time.monotonic(), timeout or settings.TIMEOUT, work, threading.Event())
    try:
        _running[job] = limits.is_cancelled
        reason = _watch(process, texts, _Progress(on_progress), limits)
    finally:
        if _running.get(job) is limits.is_cancelled:
            del _running[job]
        processes.end(process)
        for stream in texts:
            stream.close()
    stdout, stderr = map(str, texts.values())
    logger.info(
        "ebook-convert %s: exit code %d after %.1f s%s",
        " ".join(arguments),
        process.returncode,
        time.monotonic() - started,
        f", {reason}" if reason else "",
    )
    return Outcome(process.returncode, stdout, stderr, reason)


def cancel(job: str) -> bool:
    """End a running conversion.

    Returns:
        Whether there was one of that name.
    """
    is_cancelled = _running.get(job)
    if is_cancelled is None or not job:
        return False
    is_cancelled.set()
    return True


def end_all() -> None:
    """End all conversions of this process and start no more: the daemon exits."""
    _ending.set()


def _watch(
    process: "subprocess.Popen[bytes]",
    texts: dict[IO[bytes], _Text],
    progress: _Progress,
    limits: _Limits,
) -> str:
    """Read until the process exits; returns why it must be killed, or an empty text."""
    next_look = 0.0
    end = os.pidfd_open(process.pid)  # readable once it has exited
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(end, selectors.EVENT_READ)
            for stream in texts:
                selector.register(stream, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select(_TICK)]
                if ready == [end]:
                    return ""  # and all its output is read
                for stream in texts:
                    if stream in ready:
                        data = stream.read1(65536)  # type: ignore[attr-defined]
                        if not data:
                            selector.unregister(stream)
                        texts[stream].add(data)
                        if stream is process.stdout:
                            progress.add(data)
                if time.monotonic() >= next_look:
                    reason = _excess(process.pid, limits)
                    if reason:
                        return reason
                    next_look = time.monotonic() + _TICK
    finally:
        os.close(end)


def _excess(pid: int, limits: _Limits) -> str:
    if _ending.is_set():
        return "the daemon ends"
    if limits.is_cancelled.is_set():
        return "it was cancelled"
    if time.monotonic() > limits.started + limits.timeout:
        return f"it was ended after {limits.timeout:g} s (TIMEOUT)"
    if len(processes.descendants(pid)) > settings.MAX_PROCESSES:
        return f"it had more than {settings.MAX_PROCESSES} processes (MAX_PROCESSES)"
    memory = processes.memory_of(pid)
    if memory > settings.MAX_MEMORY:
        return f"it took more than {settings.MAX_MEMORY} bytes of memory (MAX_MEMORY)"
    if workdir.size_of(limits.work) > settings.MAX_WORK_SIZE:
        return f"it took more than {settings.MAX_WORK_SIZE} bytes of disk (MAX_WORK_SIZE)"
    return ""
