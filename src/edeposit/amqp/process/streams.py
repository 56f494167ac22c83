"""The process's stdout and stderr: never closed, and what a daemon prints never raises or waits.

A ``print`` in a handler is no reason to fail its request, although the disk is full or nobody reads
the pipe any more.
"""

import contextlib
import io
import logging
import os
import sys
import threading
from typing import Any

from edeposit.amqp.process.logwriter import LogWriter

_LONGEST_PART = 64 * 1024


def open_missing() -> None:
    """Point descriptors 0, 1 and 2 to ``/dev/null`` where they are closed (cron, ``2>&-``).

    Otherwise the next file or socket to be opened would be taken for them.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8", closefd=False))


def flush() -> None:
    """Write what is buffered; a full disk or a reader that is gone does not matter."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


class Stream(io.TextIOBase):
    """A text stream that hands its lines to a log writer.

    Args:
        fd: the descriptor that it replaces.
        writer: where the lines go.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, fd: int, writer: LogWriter) -> None:
        super().__init__()
        self._fd = fd
        self._writer = writer
        self._part = threading.local()
        self.name = f"<{'stdout' if fd == 1 else 'stderr'}>"
        self.buffer = _Bytes(fd, writer)

    def write(self, text: str) -> int:
        """Hand over the lines that are complete; the rest waits for its end, or ``flush``."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        whole, newline, rest = (getattr(self._part, "text", "") + text).rpartition("\n")
        if newline:
            for line in whole.split("\n"):
                self._writer.put(logging.INFO, f"{line}\n")
        self._part.text = rest
        if len(rest) > _LONGEST_PART:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Hand over an incomplete line."""
        text, self._part.text = getattr(self._part, "text", ""), ""
        if text:
            self._writer.put(logging.INFO, text)

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor that it replaces; children write to it themselves."""
        return self._fd

    def isatty(self) -> bool:
        """Is the descriptor a terminal?"""
        return os.isatty(self._fd)

    def reconfigure(self, **_options: Any) -> None:
        """Accepted, as by other text streams; nothing changes."""

    def end(self) -> None:
        """Have everything written."""
        self.flush()
        self._writer.close()

    def close(self) -> None:
        """Nothing: a closed stdout would raise at the next ``print``."""


_taken: list[tuple[str, Any, Stream]] = []


def take(out: LogWriter, error: LogWriter) -> None:
    """Replace ``sys.stdout`` and ``sys.stderr``.

    Args:
        out: where printed lines go.
        error: where lines for stderr go.
    """
    give_back()
    flush()
    for name, fd, writer in (("stdout", 1, out), ("stderr", 2, error)):
        stream = Stream(fd, writer)
        for attribute in (name, f"__{name}__"):
            original = getattr(sys, attribute)
            _taken.append((attribute, original, stream))
            setattr(sys, attribute, stream)
            _exchange(original, stream)


def give_back() -> None:
    """Write what was printed, within a few seconds, and put the original streams back."""
    while _taken:
        attribute, original, stream = _taken.pop()
        stream.end()
        if getattr(sys, attribute) is stream:
            setattr(sys, attribute, original)
        _exchange(stream, original)


def _exchange(old: Any, new: Any) -> None:
    """Also for the handlers that a program has made with ``logging.basicConfig``."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.stream = new


class _Bytes(io.RawIOBase):
    """The stream's ``buffer``."""

    def __init__(self, fd: int, writer: LogWriter) -> None:
        super().__init__()
        self._fd = fd
        self._writer = writer

    def write(self, data: Any) -> int:
        """Hand bytes over as they are."""
        content = bytes(data)
        for start in range(0, len(content), _LONGEST_PART):
            self._writer.put(logging.INFO, content[start : start + _LONGEST_PART])
        return len(content)

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor that it replaces."""
        return self._fd

    def close(self) -> None:
        """Nothing."""
