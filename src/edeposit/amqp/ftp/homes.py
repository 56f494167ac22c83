"""The users' homes, touched as root although their owners can put anything into them.

What must stay true: nothing is opened, renamed or deleted through a path that a user controls.
Every step goes relative to a directory descriptor and follows no link; only regular files with one
name are taken, so neither a symbolic nor a hard link leads out of a home.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from typing import NamedTuple

from edeposit.amqp.ftp import settings

# Deeper trees are no book deliveries; each level holds a descriptor while it is walked.
MAX_DEPTH = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# Files that nobody means to deliver; dot files are left alone as well.
_NOISE = {"thumbs.db", "desktop.ini"}


class HomeError(OSError):
    """A home is not what it has to be: a directory, directly in DATA_PATH."""


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
def opened(home: str, *below: str) -> Iterator[int]:
    """Open a home, or a directory below it, without following a link.

    Args:
        home: its path.
        below: names of directories that lead to the wanted one.

    Raises:
        HomeError: the home is not directly in DATA_PATH, or not a directory.
        OSError: there is no such directory.
    """
    home = home.rstrip("/")
    if os.path.realpath(os.path.dirname(home)) != os.path.realpath(settings.DATA_PATH) or (
        os.path.basename(home) in ("", ".", "..")
    ):
        raise HomeError(errno.EPERM, "not directly in the directory of homes", home)
    try:
        descriptor = os.open(home, _DIRECTORY)
    except NotADirectoryError as error:
        raise HomeError(errno.ENOTDIR, "a symbolic link, or no directory", home) from error
    try:
        for name in below:
            inner = os.open(name, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_directory(path: os.PathLike[str]) -> Iterator[int]:
    """Open a directory of ours."""
    descriptor = os.open(path, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def problem_of(directory: int, name: str) -> str:
    """Why a file that was taken must go back; empty if it can stay."""
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


def exists(directory: int, name: str) -> bool:
    """Is there anything of this name, a dangling link included?"""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


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
            yield directory, Found((*parts, name), info.st_size, _problem(info))
    for name in subdirectories:
        if len(parts) + 1 >= MAX_DEPTH:
            yield directory, Found((*parts, name), 0, f"more than {MAX_DEPTH} directories deep")
            continue
        try:
            inner = os.open(name, _DIRECTORY, dir_fd=directory)
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


def _is_being_written(descriptor: int) -> bool:
    """Does any process have this file open for writing? Never true where it cannot be told.

    A read lease is only granted when nobody does (fcntl(2), F_SETLEASE).
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def remove_empty_directories(root: int, depth: int = 0) -> None:
    """Remove the empty directories below, deepest first; ``rmdir`` refuses all others."""
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in names:
        with contextlib.suppress(OSError):
            if depth < MAX_DEPTH:
                inner = os.open(name, _DIRECTORY, dir_fd=root)
                try:
                    remove_empty_directories(inner, depth + 1)
                finally:
                    os.close(inner)
            os.rmdir(name, dir_fd=root)


def make_directories(root: int, names: tuple[str, ...]) -> int:
    """Open a directory below, making what is missing; the caller closes the descriptor.

    Raises:
        OSError: something else is in the way.
    """
    descriptor = os.dup(root)
    try:
        for name in names:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o770, dir_fd=descriptor)
                own(descriptor, name)
            inner = os.open(name, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def own(directory: int, name: str) -> None:
    """Give a fresh file or directory to the FTP users; without root it stays as it is."""
    if os.geteuid() == 0:
        number = settings.PROFTPD_USERS_GID
        os.chown(name, number, number, dir_fd=directory, follow_symlinks=False)


def write_file(directory: int, name: str, text: str, mode: int = 0o664) -> None:
    """Put a file into a user's directory, replacing whatever has its name.

    It is written under a name nobody can guess and renamed, so no link of the user's is followed.

    Raises:
        OSError: it cannot be written, or a directory has its name.
    """
    temporary = f".{secrets.token_hex(16)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "replace"))
            if os.geteuid() == 0:
                number = settings.PROFTPD_USERS_GID
                os.fchown(file.fileno(), number, number)
            os.fchmod(file.fileno(), mode)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise


def write_lock(directory: int) -> None:
    """Put the lock file back."""
    write_file(directory, settings.LOCK_FILENAME, settings.LOCK_FILE_CONTENT, 0o775)


def give_back(source: int, name: str, target: int) -> str:
    """Move a file back to its owner, never over one that he has uploaded meanwhile.

    Returns:
        The name that it has got.
    """
    base, dot, suffix = name.rpartition(".")
    number = 0
    free = name
    while True:
        try:
            # link + unlink instead of rename: rename would replace what is there.
            os.link(name, free, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            break
        except FileExistsError:
            number += 1
            free = f"{base}.{number}{dot}{suffix}" if dot else f"{name}.{number}"
    os.unlink(name, dir_fd=source)
    return free
