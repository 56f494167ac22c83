"""Pid files held by ``flock`` for the life of their process.

The lock tells whether a daemon runs, the number only which process to signal: a file left by a
crash or a reboot is unlocked and blocks nothing, and two starts cannot both get the lock. The
kernel's own list of locks (``/proc/locks``) must name the process in the file before anything is
signalled, so a foreign process never is.

The lock is taken by the daemon itself, after its last fork, so that the kernel lists its pid; the
descriptor is closed on exec, so children of the daemon cannot keep the lock.
"""

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from edeposit.amqp.errors import StartError


def private_directory(configured: str) -> Path:
    """The directory of pid and status files.

    Args:
        configured: the setting PID_DIR; empty for ``/run/edeposit`` (root),
            ``$XDG_RUNTIME_DIR/edeposit`` or ``~/.local/state/edeposit``.
    """
    if configured:
        return Path(configured)
    if os.geteuid() == 0:
        return Path("/run/edeposit")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime, "edeposit") if runtime else Path.home() / ".local" / "state" / "edeposit"


def make_private(directory: Path) -> None:
    """Create the directory (mode 0700) or check that only its owner, we, can write in it.

    Raises:
        StartError: it cannot be made, belongs to somebody else, or others can write in it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = directory.stat()
    except OSError as error:
        raise StartError(f"directory {directory}: {error.strerror}") from error
    if info.st_uid != os.geteuid():
        raise StartError(f"directory {directory} belongs to another user (uid {info.st_uid})")
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StartError(f"others can write in directory {directory}: chmod go-w {directory}")


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
            StartError: the file cannot be opened, or holds something that is no pid.
        """
        while True:
            try:
                fd = os.open(
                    self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
                )
            except OSError as error:
                raise StartError(f"pid file {self.path}: {error.strerror}") from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                return False
            if self._is_at_path(fd):
                break
            os.close(fd)  # it was removed by its owner between open and lock
        content = os.pread(fd, 100, 0)
        if content.strip() and _number(content) is None:
            os.close(fd)
            raise StartError(f"{self.path} is not a pid file and is left alone: {content[:30]!r}")
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        self._fd = fd
        return True

    def release(self) -> None:
        """Remove the file and give the lock back; nothing happens if we do not hold it."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                if self._is_at_path(self._fd):
                    self.path.unlink()
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
        """Does any process hold the lock?

        Raises:
            StartError: the file cannot be looked at.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StartError(f"pid file {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def holder(self) -> int | None:
        """Pid of the process that holds the lock; None if nobody does.

        Raises:
            StartError: the file cannot be looked at, or is locked by another process than the one
                whose number it holds.
        """
        if not self.is_locked():
            return None
        try:
            content = self.path.read_bytes()
            info = self.path.stat()
        except FileNotFoundError:
            return None
        pid = _number(content)
        lockers = _lockers(info)
        if pid is None or pid <= 1 or (lockers is not None and pid not in lockers):
            if not self.is_locked():
                return None  # it ended meanwhile
            raise StartError(
                f"{self.path} is locked, but not by the process it names ({content[:20]!r})"
            )
        return pid

    def _is_at_path(self, fd: int) -> bool:
        with contextlib.suppress(OSError):
            ours, there = os.fstat(fd), os.stat(self.path, follow_symlinks=False)
            return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
        return False


def _number(content: bytes) -> int | None:
    text = content.strip()
    return int(text) if text.isdigit() and len(text) < 12 else None


def _lockers(info: os.stat_result) -> set[int] | None:
    """Pids that hold a flock on a file according to the kernel; None where it does not tell."""
    try:
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return None
    pids = set()
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 4711 fe:01:123456 0 EOF
        fields = line.split()
        if len(fields) < 6 or fields[1] != "FLOCK":
            continue
        if fields[5].rpartition(":")[2] == str(info.st_ino):
            pids.add(int(fields[4]))
    return pids or None
