"""Locks on files that can be queried without being taken.

``lock()`` takes two locks on one descriptor. ``flock``, because the kernel lists its holder's pid;
and an open file description lock (fcntl(2), F_OFD_SETLK), because that one can be queried: a
``status`` beside a ``start`` must not hold the lock itself, not even for a moment. Both belong to
the open file, so both end with the process, however it ends.
"""

import contextlib
import fcntl
import os
import struct
from pathlib import Path

# struct flock of fcntl(2): type, whence, start, length, pid; padded as C does it.
_FLOCK = "hhqqi0q"
_WHOLE_FILE = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def lock(fd: int) -> bool:
    """Lock an open file.

    Returns:
        False if another process has locked it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # A file system without such locks still has flock, which the kernel lists.
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WHOLE_FILE)
    return True


def is_locked(fd: int) -> bool:
    """Is an open file locked through another descriptor? Asks, and takes nothing."""
    with contextlib.suppress(OSError):
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WHOLE_FILE)
        if struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK:
            return True
    return bool(holders(fd))


def holders(fd: int) -> set[int]:
    """Pids that hold a write ``flock`` on an open file, as far as the kernel tells us.

    Empty on some overlay file systems, whose inode numbers the kernel lists otherwise, for holders
    in a foreign pid namespace, and without ``/proc``.
    """
    wanted = f"{_device(fd)}:{os.fstat(fd).st_ino}"
    try:
        lines = Path("/proc/locks").read_text("utf-8").splitlines()
    except OSError:
        return set()
    pids = set()
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 4711 fe:01:123456 0 EOF
        fields = line.split()
        if len(fields) >= 6 and (fields[1], fields[3], fields[5]) == ("FLOCK", "WRITE", wanted):
            pids.add(int(fields[4]))
    return pids


def _device(fd: int) -> str:
    """The device of an open file as ``/proc/locks`` has it, such as ``fe:01``.

    That is the file system's, from ``/proc/self/mountinfo``: on btrfs and overlayfs ``st_dev`` is
    another one.
    """
    device = os.fstat(fd).st_dev
    major, minor = os.major(device), os.minor(device)
    with contextlib.suppress(OSError, ValueError):
        info = Path(f"/proc/self/fdinfo/{fd}").read_text("utf-8").split()
        mount = info[info.index("mnt_id:") + 1]
        for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
            fields = line.split(" ", 3)
            if fields[0] == mount:
                major, minor = (int(number) for number in fields[2].split(":"))
    return f"{major:02x}:{minor:02x}"


def has_open(pid: int, info: os.stat_result) -> bool:
    """Does a process have a file open, as far as we may look?"""
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found = os.stat(entry.path)
                if (found.st_dev, found.st_ino) == (info.st_dev, info.st_ino):
                    return True
    return False
