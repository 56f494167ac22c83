"""Log lines go through a bounded queue to a thread that writes them.

A thread that logs or prints never waits for a disk, a pipe or a socket, and never gets its errors:
on the I/O thread, waiting would stop the service and an error would end it. Lines that do not fit
into the queue, or cannot be written, are counted, and the log says how many.
"""

import contextlib
import logging
import os
import queue
import select
import threading
from collections.abc import Callable

from edeposit.amqp.process.sinks import FileSink, Line, Sink

# At most 20,000 lines wait: some 3 MB of ordinary ones. A long line is cut, to less when many wait,
# so that the worst is 1,000 * 64 KiB + 19,000 * 1 KiB = 83 MB.
_MOST_LINES = 20_000
_MANY_LINES = 1_000
_LONGEST = 64 * 1024
_LONGEST_WHEN_MANY = 1024
_BATCH = 500

_FLUSH_TIME = 2.0  # seconds that the lines left in the queue get at the end


class LogWriter:
    """A bounded queue in front of a sink, with a thread of its own from the first line on.

    Args:
        sink: where the lines go.
        remark: makes a line out of the writer's own text; empty if it reports it elsewhere.
    """

    def __init__(self, sink: Sink, remark: Callable[[str], bytes]) -> None:
        self.sink = sink
        self._remark = remark
        self._pid = os.getpid()
        self._queue: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._lock = threading.RLock()  # of the two below; never held while anything waits
        self._thread: threading.Thread | None = None
        self._dropped = 0
        self._has_ended = False
        self._must_reopen = False
        self._lost = 0

    def put(self, level: int, text: str | bytes) -> None:
        """Write a line, soon; never waits and never raises.

        Args:
            level: of ``logging``.
            text: with its newline.
        """
        data = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else bytes(text)
        waiting = self._queue.qsize()
        data = _cut(data, _LONGEST if waiting < _MANY_LINES else _LONGEST_WHEN_MANY)
        if self._has_ended or self._pid != os.getpid():
            self._write_here(level, data)
        elif waiting >= _MOST_LINES:
            with self._lock:
                self._dropped += 1
        else:
            self._queue.put((level, data))
            if self._thread is None:
                self._start()

    def reopen(self) -> None:
        """Have the sink opened again."""
        self._must_reopen = True
        self.put(logging.INFO, b"")

    def close(self, timeout: float = _FLUSH_TIME) -> None:
        """Write what waits, within a time; later lines are written where they are made.

        Args:
            timeout: seconds.
        """
        if self._has_ended or self._pid != os.getpid():
            return
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout)
        self._has_ended = True

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads are allowed; the next line tries again
                return
            self._thread = thread

    def _write_here(self, level: int, data: bytes) -> None:
        """In a forked child, or at the end, when there is no thread."""
        with contextlib.suppress(Exception):
            if not isinstance(self.sink, FileSink):
                poller = select.poll()
                poller.register(self.sink.fileno(), select.POLLOUT)
                if not poller.poll(0):
                    return
                data = _cut(data, select.PIPE_BUF)  # a pipe that is ready takes that much at once
            self.sink.write([(level, data)])

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            batch, is_last = self._next_batch()
            try:
                self._write(batch)
            except Exception as error:  # a defect here must not silence the daemon
                self.sink.error = repr(error)
                self._lost += len(batch)
            if is_last:
                return

    def _next_batch(self) -> tuple[list[Line], bool]:
        batch: list[Line] = []
        line = self._queue.get()
        while line is not None:
            batch.append(line)
            if len(batch) >= _BATCH:
                return batch, False
            try:
                line = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _write(self, batch: list[Line]) -> None:
        wanted, self._must_reopen = self._must_reopen, False
        remarks = [self._remark(text) for text in self.sink.reopen(wanted=wanted)]
        lines = [(logging.WARNING, text) for text in remarks]
        lost = self.sink.write([line for line in (*lines, *batch) if line[1]])
        self._lost += lost
        if not lost:
            self._own_up()

    def _own_up(self) -> None:
        """Say how many lines are missing, now that lines can be written."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        texts = []
        if self._lost:
            texts.append(f"{self._lost} lines could not be written: {self.sink.error}")
        if dropped:
            texts.append(
                f"{dropped} lines were dropped: they came faster than they could be written"
            )
        lines = [(logging.WARNING, text) for text in map(self._remark, texts) if text]
        if lines and self.sink.write(lines):
            with self._lock:
                self._dropped += dropped
        else:
            self._lost = 0


def _cut(data: bytes, limit: int) -> bytes:
    if len(data) <= limit:
        return data
    half = limit // 2
    mark = b" [... %d bytes ...] " % (len(data) - 2 * half)
    return data[:half] + mark + data[-half:]
