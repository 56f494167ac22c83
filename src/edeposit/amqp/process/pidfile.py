"""Pid files that are locked for the life of their process.

The lock tells whether a daemon runs, the number only which process to signal: a file left by a
crash or a reboot is unlocked and blocks nothing, and two starts cannot both get the lock. Before
anything is signalled, the kernel must name the process in the file as the holder of the lock, so a
foreign process never is.

The daemon takes the lock itself, after its last fork, so that the kernel lists its pid. Children do
not keep it: the descriptor is closed on exec, and in a forked child.
"""

import contextlib
import os
import time
from pathlib import Path

from edeposit.amqp.errors import StartError
from edeposit.amqp.process import children, locks

# A daemon writes its number right after it has got the lock; until then nobody can name it.
_WRITING_TIME = 1.0


class PidFile:
    """One pid file.

    Args:
        path: of the file, in a directory that only its user can write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Take the lock and write our pid.

        Returns:
            False if another process holds the lock.

        Raises:
            StartError: the file cannot be written, or holds something that is no pid.
        """
        try:
            fd = self._open_locked()
            if fd is None:
                return False
            try:
                self._write(fd)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise StartError(f"pid file {self.path}: {error.strerror}") from error
        self._fd = fd
        children.give_up_in_child(self._forget)
        return True

    def _open_locked(self) -> int | None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            fd = os.open(self.path, flags, 0o644)
            if not locks.lock(fd):
                os.close(fd)
                return None
            if self._is_at_path(fd):
                return fd
            os.close(fd)  # its owner removed it between open and lock

    def _write(self, fd: int) -> None:
        content = os.pread(fd, 100, 0)
        if content.strip() and _number(content) is None:
            raise StartError(f"{self.path} is not a pid file and is left alone: {content[:30]!r}")
        os.ftruncate(fd, 0)
        os.fchmod(fd, 0o644)  # whatever the umask: others may ask for the status
        number = b"%d\n" % os.getpid()
        if os.pwrite(fd, number, 0) != len(number):
            raise StartError(f"pid file {self.path}: cannot be written")

    def release(self) -> None:
        """Remove the file and give the lock back; nothing happens if we do not hold it."""
        if self._fd is not None:
            children.keep_in_child(self._forget)
            with contextlib.suppress(OSError):
                if self._is_at_path(self._fd):
                    self.path.unlink()
            self._forget()

    def _forget(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def is_held(self) -> bool:
        """Do we hold the lock ourselves?"""
        return self._fd is not None

    def exists(self) -> bool:
        """Is there a file, locked or left behind?"""
        return self.path.exists()

    def is_locked(self) -> bool:
        """Does any process hold the lock? Asking takes no lock.

        Raises:
            StartError: the file cannot be looked at.
        """
        fd = self._open_to_look()
        if fd is None:
            return False
        try:
            return locks.is_locked(fd)
        finally:
            os.close(fd)

    def holder(self) -> int | None:
        """Pid of the process that holds the lock; None if nobody does.

        Raises:
            StartError: the file cannot be looked at, or is locked by another process than the one
                whose number it holds.
        """
        deadline = time.monotonic() + _WRITING_TIME
        while True:
            fd = self._open_to_look()
            if fd is None:
                return None
            try:
                if not locks.is_locked(fd):
                    return None
                content = os.pread(fd, 100, 0)
                pid = _number(content)
                if pid is not None and _names_holder(fd, pid):
                    return pid
                if self._is_at_path(fd) and time.monotonic() > deadline:
                    raise StartError(
                        f"{self.path} is locked, but not by the process it names ({content[:20]!r})"
                    )
            finally:
                os.close(fd)
            time.sleep(0.01)

    def _open_to_look(self) -> int | None:
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            return os.open(self.path, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartError(f"pid file {self.path}: {error.strerror}") from error

    def _is_at_path(self, fd: int) -> bool:
        with contextlib.suppress(OSError):
            ours, there = os.fstat(fd), os.stat(self.path, follow_symlinks=False)
            return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
        return False


def _number(content: bytes) -> int | None:
    text = content.strip()
    return int(text) if text.isdigit() and len(text) < 12 else None


def _names_holder(fd: int, pid: int) -> bool:
    """Is a process, by all that can be found out, the one that holds the lock of an open file?"""
    holders = locks.holders(fd)
    if holders:
        return pid in holders
    # The kernel lists none: see ``locks.holders``. Process 1 is init on most machines, so it has
    # to be seen with the file; elsewhere that is wanted only where it can be looked at.
    return locks.has_open(pid, os.fstat(fd)) or (pid > 1 and not os.access(f"/proc/{pid}/fd", 4))
