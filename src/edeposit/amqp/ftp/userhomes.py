"""Homes as the manager makes and removes them.

What must stay true: a home appears and disappears by one rename, so it is never half there; nothing
that exists already becomes a new user's; nothing is deleted while an FTP session can change it.
"""

import contextlib
import errno
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from edeposit.amqp.ftp import homefiles, homes, settings
from edeposit.amqp.ftp.passwd_reader import Entry
from edeposit.amqp.ftp.spool import Spool

logger = logging.getLogger(__name__)

# A request comes again within minutes; after some days nobody asks for its outcome.
_REMEMBERED = 7 * 86400.0


class _Users(Protocol):
    def names(self) -> Iterable[str]: ...
    def get(self, username: str) -> Entry: ...


def check_free(username: str, home: str, users: _Users) -> None:
    """Look whether a new user can have a home; what an earlier user left there is set aside.

    Args:
        username: the new user.
        home: its path.
        users: all users so far.

    Raises:
        AssertionError: the place belongs to the service or to somebody else.
        OSError: what is there cannot be moved.
    """
    spool = os.path.realpath(settings.SPOOL_PATH)
    place = os.path.join(os.path.realpath(os.path.dirname(home)), os.path.basename(home))
    if os.path.commonpath([spool, place]) == place:
        raise AssertionError(f"Invalid format of username '{username}'!")
    owner = _owner_of(place, users)
    if owner is not None:
        raise AssertionError(f"'{home}' is the home of user '{owner}'!")
    try:
        info = os.lstat(place)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(info.st_mode):
        raise homes.HomeError(errno.ENOTDIR, "a symbolic link is in its place", home)
    if info.st_uid != settings.PROFTPD_USERS_GID:
        raise AssertionError(f"'{home}' exists already and is no home of an FTP user!")
    kept = Spool().path / "old-homes" / f"{username}-{time.time_ns()}"
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    os.rename(place, kept)
    logger.warning("%s was the home of nobody, it is now %s", home, kept)


def make(home: str) -> None:
    """Make a home with its lock file.

    Raises:
        OSError: it cannot be made, or exists; nothing is left of it.
    """
    making = Spool().new_directory()
    try:
        with homes.opened_directory(making) as directory:
            # The lock is there before the user can do anything: without one an import begins.
            homefiles.write_lock(directory)
            homefiles.own(directory, 0o770)
        if os.path.lexists(home):
            raise FileExistsError(f"{home} exists already")
        os.rename(making, home)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def check_own(username: str, home: str) -> None:
    """Look whether a home can be removed; a missing one can.

    Raises:
        AssertionError: it is not the user's, or no directory in DATA_PATH.
    """
    if not os.path.lexists(home):
        return
    if os.path.basename(home) != username:
        raise AssertionError(f"Home '{home}' of '{username}' is not in {settings.DATA_PATH}!")
    try:
        with homes.opened(home):
            pass
    except homes.HomeError as error:
        raise AssertionError(
            f"Home '{home}' of '{username}' cannot be removed: {error.strerror}"
        ) from error


def put_aside(home: str, users: _Users) -> Path | None:
    """Rename a home to where no FTP user can get; None: there is none, or it is another user's."""
    if not os.path.lexists(home) or _owner_of(home, users) is not None:
        return None
    return Spool().put_aside(home)


def delete(home: str) -> None:
    """Delete a home."""
    delete_tree(Spool().put_aside(home))


def delete_tree(path: Path) -> None:
    """Delete a directory that ``put_aside`` has moved.

    Raises:
        OSError: it cannot be deleted, or not safely.
    """
    if not shutil.rmtree.avoids_symlink_attacks:
        raise OSError("this system cannot delete directories safely")
    shutil.rmtree(path)


def note_removal(username: str) -> None:
    """Remember that a user is being removed, for a request that comes again after a crash."""
    directory = _removals()
    directory.mkdir(0o700, exist_ok=True)
    for old in directory.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _REMEMBERED:
                old.unlink()
    (directory / username).touch(0o600)


def was_removed(username: str) -> bool:
    """Was a user of this name removed lately, and not made again?"""
    return (_removals() / username).exists()


def forget_removal(username: str) -> None:
    """There is a new user of this name, or nobody to remove."""
    (_removals() / username).unlink(missing_ok=True)


def _removals() -> Path:
    return Spool().path / "removed-users"


def _owner_of(home: str, users: _Users) -> str | None:
    place = os.path.normpath(home)
    for name in users.names():
        if os.path.normpath(users.get(name).home) == place:
            return name
    return None
