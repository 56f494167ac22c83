"""The outbox: files too large for a message, which the receiver takes by path and deletes.

The group OUTBOX_GROUP can write here, so nothing is reached through more than one name at a time:
every directory is opened relative to the one above, and no link is followed.
"""

import contextlib
import grp
import hashlib
import os

from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.exceptions import FTPError
from edeposit.amqp.ftp.homes import DIRECTORY
from edeposit.amqp.ftp.names import on_wire
from edeposit.amqp.ftp.spool import Spool, SpoolEntry

# Linux opens paths of at most 4096 bytes; the spool's own path and some room are taken off.
_MAX_PATH = 3072
_MAX_NAME = 255


def hand_over(spool: Spool, entry: SpoolEntry, number: int) -> str:
    """Move a file to the outbox; returns its path there, which is UTF-8 and can be opened.

    Calling it again gives the same path, also when the receiver has taken the file already.

    Raises:
        FTPError: there is no group OUTBOX_GROUP.
        OSError: it cannot be moved.
    """
    parts = _place(entry, number)
    path = str(spool.path / "outbox" / entry.uuid / "/".join(parts))
    try:
        source = entry.open(number)
    except FileNotFoundError:
        return path
    try:
        group = _group()
        if os.geteuid() == 0:
            os.fchown(source, 0, 0 if group is None else group)
        os.fchmod(source, 0o640)
    finally:
        os.close(source)
    target = _opened(spool, ["outbox", entry.uuid, *parts[:-1]], group)
    try:
        os.rename(entry.files / str(number), parts[-1], dst_dir_fd=target)
    finally:
        os.close(target)
    return path


def take_back(spool: Spool, entry: SpoolEntry, number: int) -> None:
    """Move a file from the outbox into its entry, if it is there: nobody was told of it."""
    parts = _place(entry, number)
    with contextlib.suppress(FileNotFoundError):
        directory = os.open(spool.path, DIRECTORY)
        try:
            for name in ("outbox", entry.uuid, *parts[:-1]):
                inner = os.open(name, DIRECTORY, dir_fd=directory)
                os.close(directory)
                directory = inner
            os.rename(parts[-1], entry.files / str(number), src_dir_fd=directory)
        finally:
            os.close(directory)


def _place(entry: SpoolEntry, number: int) -> list[str]:
    """Path of a file below its import's directory in the outbox."""
    parts = on_wire("/".join(entry.parts(number))).split("/")
    sizes = [len(os.fsencode(part)) for part in parts]
    if max(sizes) <= _MAX_NAME and sum(sizes) + len(sizes) <= _MAX_PATH:
        return parts
    # Too long to be opened there. No directory of a user's begins with a dot.
    return [f".{number}", _shortened(parts[-1])]


def _shortened(name: str) -> str:
    if len(os.fsencode(name)) <= _MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8")).hexdigest()[:16]
    suffix = name.rpartition(".")[2][-16:]
    begin = name.encode("utf-8")[:150].decode("utf-8", "ignore")
    return f"{begin}-{digest}.{suffix}"


def _opened(spool: Spool, names: list[str], group: int | None) -> int:
    """Open a directory of the outbox, making what is missing; the caller closes it."""
    descriptor = os.open(spool.path, DIRECTORY)
    try:
        for name in names:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=descriptor)
            inner = os.open(name, DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
            if group is not None and os.fstat(descriptor).st_uid == os.geteuid():
                os.fchown(descriptor, -1, group)
                os.fchmod(descriptor, 0o2770)  # the receiver deletes what it has taken
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _group() -> int | None:
    name = settings.OUTBOX_GROUP
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise FTPError(f"OUTBOX_GROUP: there is no group {name!r}") from error
