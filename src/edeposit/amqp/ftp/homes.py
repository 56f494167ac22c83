"""The users' homes, read as root although their owners can put anything into them.

What must stay true: nothing is opened through a path that a user controls. Every step goes relative
to a directory descriptor and follows no link; only regular files with one name are taken, so
neither a symbolic nor a hard link leads out of a home.
"""

import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from edeposit.amqp.ftp import settings

# Deeper trees are no book deliveries; each level holds a descriptor while it is walked.
MAX_DEPTH = 64
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# Files that nobody means to deliver; dot files are ignored as well.
_NOISE = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"}
# What clients and browsers call a file of which only a part has arrived.
_UNFINISHED = (
    ".filepart",
    ".part",
    ".partial",
    ".crdownload",
    ".opdownload",
    ".download",
    ".aria2",
    ".!ut",
    ".tmp",
    ".temp",
    "~",
)
_GET_GENERATION = 0x80087601  # FS_IOC_GETVERSION of linux/fs.h, 64 bit


class HomeError(OSError):
    """A home is not what it has to be: a directory, directly in DATA_PATH."""


class HomeReplacedError(FileNotFoundError):
    """The home of an import is gone, and another directory has its name."""


class Found(NamedTuple):
    """A file in a home.

    Attributes:
        parts: path below the home.
        size: bytes.
        problem: why it cannot be taken; empty if it can.
    """

    parts: tuple[str, ...]
    size: int
    problem: str = ""

    @property
    def path(self) -> str:
        """Path relative to the home."""
        return "/".join(self.parts)


def home_of(username: str) -> str:
    """Where a user's home is."""
    return settings.DATA_PATH + username


@contextlib.contextmanager
def opened(home: str, *below: str, identity: list[int] | None = None) -> Iterator[int]:
    """Open a home, or a directory below it, without following a link.

    Args:
        home: its path.
        below: names of directories that lead to the wanted one.
        identity: of the home that is meant; None: any.

    Raises:
        HomeError: the home is not directly in DATA_PATH, or not a directory.
        HomeReplacedError: the home has another identity.
        OSError: there is no such directory.
    """
    home = home.rstrip("/")
    if os.path.realpath(os.path.dirname(home)) != os.path.realpath(settings.DATA_PATH) or (
        os.path.basename(home) in ("", ".", "..")
    ):
        raise HomeError(errno.EPERM, "not directly in the directory of homes", home)
    try:
        descriptor = os.open(home, DIRECTORY)
    except NotADirectoryError as error:
        raise HomeError(errno.ENOTDIR, "a symbolic link, or no directory", home) from error
    try:
        if identity is not None and identity_of(descriptor) != identity:
            raise HomeReplacedError(errno.ENOENT, "another directory has its name", home)
        for name in below:
            inner = os.open(name, DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_directory(path: os.PathLike[str] | str) -> Iterator[int]:
    """Open a directory of our own."""
    descriptor = os.open(path, DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_below(root: int, names: tuple[str, ...]) -> int | None:
    """Open a directory below another; the caller closes it. None: there is no such directory."""
    descriptor = os.dup(root)
    for name in names:
        try:
            inner = os.open(name, DIRECTORY, dir_fd=descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def identity_of(directory: int) -> list[int]:
    """What tells a directory from a later one of the same name, over restarts of the system too.

    The inode number is given again after a deletion; the file system's generation number, where
    there is one, is not.
    """
    try:
        data = fcntl.ioctl(directory, _GET_GENERATION, bytes(8))
        generation = struct.unpack("I", data[:4])[0]
    except OSError:
        generation = 0
    return [os.fstat(directory).st_ino, generation]


def exists(directory: int, name: str) -> bool:
    """Is there anything of this name, a dangling link included?"""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def problem_of(directory: int, name: str) -> str:
    """Why a file that was taken has to go back; empty if it can stay.

    Args:
        directory: of the spool, where nobody can swap the file.
        name: of the file.
    """
    info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    problem = _problem(info)
    if problem:
        return problem
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    try:
        return "it is still being uploaded" if _is_being_written(descriptor) else ""
    finally:
        os.close(descriptor)


def walk(root: int) -> Iterator[tuple[int, Found]]:
    """All files of a tree with the descriptor of their directory, in sorted order.

    What a home holds for the service itself, dot files and the like are left out. Directories
    that vanish or change while they are walked are passed over.

    Args:
        root: descriptor of the directory to begin with.
    """
    return _walk(root, ())


def _walk(directory: int, parts: tuple[str, ...]) -> Iterator[tuple[int, Found]]:
    ignored = {settings.USER_ERROR_LOG, settings.USER_IMPORT_LOG, settings.LOCK_FILENAME}
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries)
    subdirectories = []
    for name in names:
        if name in ignored or name.startswith(".") or name.lower() in _NOISE:
            continue
        try:
            info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(info.st_mode):
            subdirectories.append(name)
        else:
            problem = _problem(info) or _incompleteness(name, info)
            yield directory, Found((*parts, name), info.st_size, problem)
    for name in subdirectories:
        if len(parts) + 1 >= MAX_DEPTH:
            yield directory, Found((*parts, name), 0, f"more than {MAX_DEPTH} directories deep")
            continue
        try:
            inner = os.open(name, DIRECTORY, dir_fd=directory)
        except OSError:
            continue
        try:
            yield from _walk(inner, (*parts, name))
        finally:
            os.close(inner)


def _problem(info: os.stat_result) -> str:
    if stat.S_ISLNK(info.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISREG(info.st_mode):
        return "it is not a regular file"
    return "it has more than one name (hard link)" if info.st_nlink > 1 else ""


def _incompleteness(name: str, info: os.stat_result) -> str:
    if name.startswith("~$") or name.lower().endswith(_UNFINISHED):
        return "its name says that it is a temporary or unfinished file"
    return "" if info.st_size else "it is empty"


def _is_being_written(descriptor: int) -> bool:
    """Does any process have this file open for writing? Never true where it cannot be told.

    A read lease is only granted when nobody does (fcntl(2), F_SETLEASE).
    """
    try:
        # Whoever opens the file for writing while the lease is held makes the kernel send a signal,
        # by default SIGIO, which would end the process; SIGURG is ignored unless it is handled.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
