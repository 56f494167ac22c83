"""Where log lines end: a file that follows rotation, a descriptor, the syslog.

A sink is used by one thread, its writer's, so it may block. ``write`` raises nothing: it returns
how many lines were lost, and ``error`` says why. Descriptors are written without any buffer or lock
of Python's, so that a forked child can write, too.
"""

import logging
import os
import socket
import time
from pathlib import Path
from typing import Protocol

Line = tuple[int, bytes]  # level and text, with its newline

_RETRY = 1.0  # seconds between two attempts to open a file or socket again


class Sink(Protocol):
    """What a writer needs."""

    error: str  # why the last write failed

    def write(self, lines: list[Line]) -> int:
        """Write lines; returns how many were lost."""

    def reopen(self, *, wanted: bool) -> list[str]:
        """Follow rotation, at once if it is wanted; returns what there is to say about it."""

    def fileno(self) -> int:
        """The descriptor written to."""


class DescriptorSink:
    """An open descriptor, such as 2."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.error = ""
        self._is_torn = False

    def write(self, lines: list[Line]) -> int:
        """Write lines; returns how many were lost."""
        lead = b"\n" if self._is_torn else b""
        data = memoryview(lead + b"".join(text for _, text in lines))
        written = 0
        try:
            while written < len(data):
                written += os.write(self.fd, data[written:])
        except OSError as error:
            self.error = error.strerror or str(error)
        if written:
            self._is_torn = data[written - 1] != ord("\n")
        end, lost = len(lead), 0
        for _, text in lines:
            end += len(text)
            lost += end > written
        return lost

    def reopen(self, *, wanted: bool) -> list[str]:
        """Nothing to do."""
        return []

    def fileno(self) -> int:
        """The descriptor written to."""
        return self.fd


class FileSink(DescriptorSink):
    """A file that is appended to (so ``copytruncate`` loses nothing) and follows rotation.

    A file that cannot be opened again does no harm: the old one is kept, and it is tried again.

    Args:
        path: of the file; its directory is made (mode 0750) if it is missing.
        redirect: point the process's descriptors 1 and 2 to it as well.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, redirect: bool) -> None:
        self.path = path
        self._redirect = redirect
        self._next_attempt = 0.0
        self._trouble = ""
        super().__init__(-1)
        self._open()

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        # Opening a FIFO that nobody reads would wait otherwise.
        fd = os.open(self.path, flags | os.O_NONBLOCK, 0o640)
        os.set_blocking(fd, True)
        if self._redirect:
            os.dup2(fd, 1)
            os.dup2(fd, 2)
        old, self.fd = self.fd, fd
        self._is_torn = False
        if old >= 0:
            os.close(old)

    def reopen(self, *, wanted: bool) -> list[str]:
        """Open the file again if its path names another one now, or if it is asked for."""
        if not wanted and (self._is_at_path() or time.monotonic() < self._next_attempt):
            return []
        try:
            self._open()
        except OSError as error:
            self._next_attempt = time.monotonic() + _RETRY
            trouble = f"log file {self.path} cannot be reopened: {error.strerror}"
            if trouble == self._trouble:
                return []
            self._trouble = trouble
            return [f"{trouble}; lines go to the old file until it can"]
        if self._trouble:
            self._trouble = ""
            return [f"log file {self.path} is open again; lines before this are in the old file"]
        return []

    def _is_at_path(self) -> bool:
        try:
            there, ours = os.stat(self.path), os.fstat(self.fd)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


class SyslogSink:
    """The local syslog; connected again when it comes back.

    Args:
        path: of its socket.
        ident: put before each line, such as ``name[pid]``.

    Raises:
        OSError: nobody listens there.
    """

    _LARGEST = 8000  # bytes; longer datagrams are cut or refused by common daemons
    _PATIENCE = 5.0  # seconds that a syslog may take for a line before lines are given up
    _DAEMON = 3 << 3  # the facility, RFC 5424 section 6.2.1

    def __init__(self, path: str, ident: str) -> None:
        self.path = path
        self.error = ""
        self._ident = ident.encode()
        self._next_attempt = 0.0
        self._socket: socket.socket | None = None
        self._connect()

    def _connect(self) -> None:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            connection = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
            try:
                connection.settimeout(self._PATIENCE)
                connection.connect(self.path)
            except OSError:
                connection.close()
                if kind == socket.SOCK_STREAM:
                    raise
            else:
                self._socket = connection
                return

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def write(self, lines: list[Line]) -> int:
        """Write lines; returns how many were lost."""
        return sum(not self._send(level, text) for level, text in lines)

    def _send(self, level: int, text: bytes) -> bool:
        end = b"\n" if self._is_stream() else b""
        priority = self._DAEMON | _severity(level)
        message = b"<%d>%s: %s" % (priority, self._ident, text.rstrip())
        message = message[: self._LARGEST] + end
        for _ in range(2):  # a syslog that was restarted has a new socket
            if self._socket is None:
                if time.monotonic() < self._next_attempt:
                    return False
                try:
                    self._connect()
                except OSError as error:
                    self.error = error.strerror or str(error)
                    self._next_attempt = time.monotonic() + _RETRY
                    return False
            assert self._socket is not None
            try:
                self._socket.sendall(message)
            except TimeoutError:
                self.error = "nobody reads it"
                self._next_attempt = time.monotonic() + _RETRY
                self._disconnect()
                return False
            except OSError as error:
                self.error = error.strerror or str(error)
                self._disconnect()
            else:
                return True
        return False

    def fileno(self) -> int:
        """The socket; -1 while there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def _is_stream(self) -> bool:
        return self._socket is not None and self._socket.type == socket.SOCK_STREAM

    def reopen(self, *, wanted: bool) -> list[str]:
        """Connect again at the next line, if it is asked for."""
        if wanted:
            self._disconnect()
        return []


def _severity(level: int) -> int:
    """The severity of RFC 5424, section 6.2.1."""
    for at_least, severity in (
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
    ):
        if level >= at_least:
            return severity
    return 7
