"""Changes in the users' homes: files given back, logs, the lock file, directories.

As in ``homes`` every step goes relative to a directory descriptor. Modes are set explicitly: what
is given to ``mkdir`` or ``open`` is cut by the daemon's umask.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator

from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.homes import DIRECTORY, MAX_DEPTH

_NAME_MAX = 255  # bytes of a file name on Linux
_IN_THE_WAY = (errno.ENOTDIR, errno.ELOOP)


def own(descriptor: int, mode: int) -> None:
    """Give an open file or directory to the FTP users; without root only its mode is set."""
    if os.geteuid() == 0:
        number = settings.PROFTPD_USERS_GID
        os.fchown(descriptor, number, number)
    os.fchmod(descriptor, mode)


def write_file(
    directory: int, name: str, text: str, mode: int = 0o664, workshop: int | None = None
) -> None:
    """Put a file into a user's directory, replacing whatever has its name.

    It is written under a name that nobody can guess and renamed, so no link of the user's is
    followed. A directory of that name is renamed.

    Args:
        directory: descriptor of the user's directory.
        name: of the file.
        text: its content.
        mode: its mode.
        workshop: descriptor of a directory on the same file system where the file is written; what
            a crash leaves there is cleaned up. None: the user's directory.

    Raises:
        OSError: it cannot be written.
    """
    workshop = directory if workshop is None else workshop
    temporary = f".new-{secrets.token_hex(16)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=workshop)
    try:
        with open(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "replace"))
            own(file.fileno(), mode)
        try:
            os.rename(temporary, name, src_dir_fd=workshop, dst_dir_fd=directory)
        except IsADirectoryError:
            give_back(directory, name, directory, name)
            os.rename(temporary, name, src_dir_fd=workshop, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=workshop)
        raise


def write_lock(directory: int, workshop: int | None = None) -> None:
    """Put the lock file into a home; see ``write_file``."""
    write_file(
        directory, settings.LOCK_FILENAME, settings.LOCK_FILE_CONTENT, 0o775, workshop=workshop
    )


def remove_file(directory: int, name: str) -> None:
    """Remove a file if it is there; a directory of that name stays."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(name, dir_fd=directory)


def give_back(source: int, name: str, target: int, wanted: str) -> str:
    """Move a file or directory to its owner, never over one that he has uploaded meanwhile.

    Begun again after a crash, it finishes what was begun.

    Args:
        source: descriptor of the directory where it is.
        name: its name there.
        target: descriptor of the user's directory.
        wanted: the name it had.

    Returns:
        The name that it has got.
    """
    info = os.stat(name, dir_fd=source, follow_symlinks=False)
    for free in _names_like(wanted):
        try:
            there = os.stat(free, dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            is_same = (there.st_dev, there.st_ino) == (info.st_dev, info.st_ino)
            if is_same and not stat.S_ISDIR(info.st_mode):
                break  # linked before a crash
            continue
        if stat.S_ISDIR(info.st_mode):
            # Nothing can be linked, but rename(2) replaces at most an empty directory.
            os.rename(name, free, src_dir_fd=source, dst_dir_fd=target)
            return free
        try:
            # link + unlink instead of rename: rename would replace what is there.
            os.link(name, free, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except FileExistsError:
            continue
        break
    os.unlink(name, dir_fd=source)
    return free


def _names_like(name: str) -> Iterator[str]:
    """The name itself, then with numbers before its suffix, all short enough for a file system."""
    yield name
    base, dot, suffix = os.fsencode(name).rpartition(b".")
    if not dot:
        base, suffix = suffix, b""
    number = 0
    while True:
        number += 1
        end = b".%d%s%s" % (number, dot, suffix)
        if len(end) >= _NAME_MAX:
            end = b".%d" % number
        yield os.fsdecode(base[: _NAME_MAX - len(end)] + end)


def remove_empty_directories(root: int, depth: int = 0) -> None:
    """Remove the empty directories below, deepest first; ``rmdir`` refuses all others."""
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in names:
        with contextlib.suppress(OSError):
            if depth < MAX_DEPTH:
                inner = os.open(name, DIRECTORY, dir_fd=root)
                try:
                    remove_empty_directories(inner, depth + 1)
                finally:
                    os.close(inner)
            os.rmdir(name, dir_fd=root)


def make_directories(root: int, names: tuple[str, ...]) -> int:
    """Open a directory below, making what is missing; the caller closes the descriptor.

    If something else is where a directory was, its parent is taken instead.

    Raises:
        OSError: a directory cannot be made.
    """
    descriptor = os.dup(root)
    try:
        for name in names:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=descriptor)
            try:
                inner = os.open(name, DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                if error.errno in _IN_THE_WAY:
                    break
                raise
            os.close(descriptor)
            descriptor = inner
            if os.fstat(descriptor).st_uid == os.geteuid():  # ours: made now, or before a crash
                own(descriptor, 0o770)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
