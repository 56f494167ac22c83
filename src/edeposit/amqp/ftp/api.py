"""Users of the FTP server: add, remove, passwords.

What must stay true: nothing outside DATA_PATH is made, changed or deleted, whatever a name or a
line of the passwd file says; a user exists completely or not at all; a password appears in no
error and no log. ProFTPD reads its AuthUserFile at each login, so no reload is needed.
"""

import contextlib
import errno
import functools
import logging
import os
import pwd
import re
import signal
import stat
from collections.abc import Callable, Container
from pathlib import Path
from typing import ParamSpec, TypeVar

from passlib.hash import sha512_crypt

from edeposit.amqp.ftp import homefiles, homes, sessions, settings, userhomes
from edeposit.amqp.ftp.exceptions import FTPError
from edeposit.amqp.ftp.passwd_reader import Entry, current, edit, get_ftp_uid

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,31}")
# FTP sends a password as one line, and no client types more.
_MAX_PASSWORD = 512


def require_root(fn: Callable[P, R]) -> Callable[P, R]:
    """Decorator: the function raises ``AssertionError`` unless it is called by root."""

    @functools.wraps(fn)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if os.geteuid() != 0:
            raise AssertionError(f"You have to be root to run function '{fn.__name__}'.")
        return fn(*args, **kwargs)

    return checked


def _is_valid_username(name: str) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _check_username(name: str) -> None:
    if not _is_valid_username(name):
        raise AssertionError(f"Invalid format of username '{str(name)[:100]}'!")


def _check_not_a_system_account(name: str) -> None:
    with contextlib.suppress(KeyError):
        pwd.getpwnam(name)
        raise AssertionError(f"Invalid format of username '{name}'!")


def _check_known(username: str, users: Container[str]) -> None:
    if not isinstance(username, str) or username not in users:
        raise AssertionError(f"Username '{str(username)[:100]}' not found!")


def _check_password(password: str) -> None:
    """Look whether a password can be used.

    Raises:
        AssertionError: it is empty.
        ValueError: no FTP client could send it. The password is not in the text.
    """
    if not isinstance(password, str) or not password:
        raise AssertionError("Password is reqired!")
    if len(password) > _MAX_PASSWORD or any(
        ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000 for char in password
    ):
        raise ValueError(
            f"The password is longer than {_MAX_PASSWORD} characters, or holds a control character"
            " or half a character."
        )


def _hash(password: str) -> str:
    """SHA-512-crypt of a password that was checked."""
    scheme = sha512_crypt.using(rounds=settings.HASH_ROUNDS)  # type: ignore[no-untyped-call]
    return str(scheme.hash(password))


def _verifies(password: str, pass_hash: str) -> bool:
    """Is a stored hash of the kind that ``_hash`` makes, and of this password?"""
    return bool(sha512_crypt.identify(pass_hash) and sha512_crypt.verify(password, pass_hash))


@require_root
def add_user(username: str, password: str, *, is_repeated: bool = False) -> None:
    """Make a user with a home and a lock file in it.

    The new user inherits nothing: a home of that name that nobody owns is set aside.

    Args:
        username: letters, digits, ``_``, ``.``, ``-``; 1 to 32, not beginning with ``.`` or
            ``-``; not the name of an account of the system.
        password: not empty.
        is_repeated: the request may have been carried out already: then a user with this password
            is what was asked for.

    Raises:
        AssertionError: not root; a bad name; the user exists; no password.
        ValueError: no FTP client could send this password.
        OSError: the home or the file cannot be written; nothing is left of the user.
    """
    _check_username(username)
    _check_not_a_system_account(username)
    _check_password(password)
    if username in current():  # once more under the lock; here it saves the hash's time
        if is_repeated and _verifies(password, current().get(username).pass_hash):
            return
        raise AssertionError(f"User '{username}' is already registered!")
    pass_hash = _hash(password)
    home = homes.home_of(username)
    number = str(settings.PROFTPD_USERS_GID)
    with edit() as file:
        if username in file:
            raise AssertionError(f"User '{username}' is already registered!")
        userhomes.check_free(username, home, file)
        userhomes.make(home)
        try:
            file.put(username, Entry(pass_hash, number, number, "", home, "/bin/false"))
            file.write()
        except BaseException:
            userhomes.delete(home)
            raise
    userhomes.forget_removal(username)
    logger.info("user %s added", username)


@require_root
def remove_user(username: str, *, is_repeated: bool = False) -> None:
    """Remove a user and everything in the home; open sessions are ended.

    Args:
        username: the user.
        is_repeated: the request may have been carried out already: then a user who was removed
            lately is what was asked for.

    Raises:
        AssertionError: not root; there is no such user; the home is not in DATA_PATH.
        OSError: the file cannot be written, or the home not deleted.
    """
    with edit() as file:
        is_done = is_repeated and _is_valid_username(username) and username not in file
        if is_done and userhomes.was_removed(username):
            home = homes.home_of(username)
        else:
            if _is_valid_username(username) and username not in file:
                userhomes.forget_removal(username)
            _check_known(username, file)
            home = file.get(username).home.rstrip("/")
            userhomes.check_own(username, home)
            userhomes.note_removal(username)
            file.remove(username)
            file.write()
        aside = userhomes.put_aside(home, file)
    ended = sessions.end(username)
    if aside is not None:
        userhomes.delete_tree(aside)
    logger.info("user %s removed, %d sessions ended", username, ended)


@require_root
def change_password(username: str, new_password: str) -> None:
    """Set a new password.

    Raises:
        AssertionError: not root; there is no such user; no password.
        ValueError: no FTP client could send this password.
        OSError: the file cannot be written; the old password counts.
    """
    _check_known(username, current())  # once more under the lock
    _check_password(new_password)
    pass_hash = _hash(new_password)
    with edit() as file:
        _check_known(username, file)
        file.put(username, file.get(username)._replace(pass_hash=pass_hash))
    logger.info("password of %s changed", username)


@require_root
def list_users() -> list[str]:
    """Names of all users, sorted.

    Raises:
        AssertionError: not root; the file is broken.
    """
    return sorted(current().names())


@require_root
def create_lock_file(path: str) -> None:
    """Write a lock file.

    Args:
        path: of the file; its directory must not be a link.

    Raises:
        AssertionError: not root.
        OSError: it cannot be written.
    """
    directory, name = os.path.split(path)
    descriptor = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        homefiles.write_file(descriptor, name, settings.LOCK_FILE_CONTENT, 0o775)
    finally:
        os.close(descriptor)


@require_root
def recursive_chmod(path: str, mode: int = 0o755) -> None:
    """Set mode and owner (``proftpd``) of everything below; links and what they lead to stay.

    Raises:
        AssertionError: not root.
        OSError: there is no such directory.
        KeyError: there is no user ``proftpd``.
    """
    uid = get_ftp_uid()
    for _, directories, files, descriptor in os.fwalk(path, follow_symlinks=False):
        for name in (*directories, *files):
            _set_mode(name, uid, mode, descriptor)
    _set_mode(path, uid, mode)


def _set_mode(name: str, uid: int, mode: int, directory: int | None = None) -> None:
    """Set mode and owner of what is opened, if it is a directory or a file with one name."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENOENT) and directory is not None:
            return  # a link, a socket, or gone
        raise
    try:
        info = os.fstat(descriptor)
        if stat.S_ISDIR(info.st_mode) or (stat.S_ISREG(info.st_mode) and info.st_nlink == 1):
            os.fchown(descriptor, uid, -1)
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


@require_root
def reload_configuration() -> bool:
    """Have ProFTPD read its configuration again (SIGHUP); returns whether it runs.

    Only the process in its PidFile is signalled, and only if it is ProFTPD.

    Raises:
        AssertionError: not root.
    """
    try:
        pid = int(Path(settings.PROFTPD_PIDFILE).read_text("ascii"))
        if Path(f"/proc/{pid}/comm").read_text("utf-8").strip() != "proftpd":
            return False
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True


def check_server() -> None:
    """Look whether the manager can work.

    Raises:
        FTPError: it is not root, or a directory is missing.
    """
    if os.geteuid() != 0:
        raise FTPError("the manager has to be run by root, it makes homes and writes passwords")
    for path in (os.path.dirname(settings.LOGIN_FILE), settings.DATA_PATH):
        if not os.path.isdir(path):
            raise FTPError(f"there is no directory {path}: has edeposit_proftpd_init.py been run?")
