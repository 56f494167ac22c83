"""ProFTPD's AuthUserFile: one user per line, and a user's own flags in its fifth field.

What must stay true: the file is read and changed under one lock, and replaced as a whole, so that
neither two daemons nor a crash or a full disk lose a user; mode and owner stay; lines that are
no users (comments, blank) stay as they are. No hash ever gets into an error or a log.
"""

import contextlib
import fcntl
import os
import pwd
import secrets
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.structures import FLAGS

_MODE = 0o600
_FIELDS = ("pass_hash", "uid", "gid", "full_name", "home", "shell")


class Entry(NamedTuple):
    """A user's line, without the name; all are texts."""

    pass_hash: str
    uid: str
    gid: str
    full_name: str
    home: str
    shell: str


class PasswdFile:
    """The lines of an AuthUserFile.

    Args:
        path: of the file; it may be missing.

    Raises:
        AssertionError: a line that is neither blank nor a comment has not seven fields.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lines: list[str] = []
        self._where: dict[str, int] = {}
        self.changed = False
        try:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                self._lines = file.read().split("\n")
        except FileNotFoundError:
            return
        if self._lines and not self._lines[-1]:
            self._lines.pop()
        self._index()

    def _index(self) -> None:
        self._where = {}
        for number, line in enumerate(self._lines):
            name, _, rest = line.partition(":")
            if not line or line.isspace() or name.lstrip().startswith("#"):
                continue
            if rest.count(":") != len(_FIELDS) - 1:
                raise AssertionError(
                    f"Bad number of fields in '{self.path}', at line {number + 1}!"
                )
            # Of two lines with one name the server takes the first.
            self._where.setdefault(name, number)

    def __contains__(self, username: object) -> bool:
        return username in self._where

    def names(self) -> list[str]:
        """All users, in the order of the file."""
        return list(self._where)

    def get(self, username: str) -> Entry:
        """A user's fields.

        Raises:
            KeyError: there is no such user.
        """
        return Entry(*self._lines[self._where[username]].split(":")[1:])

    def put(self, username: str, entry: Entry) -> None:
        """Add or replace a user.

        Raises:
            ValueError: a field holds a colon or a control character, or there is no hash.
        """
        if not entry.pass_hash:
            # The server would let such a user in with an empty password.
            raise ValueError(f"user {username!r}: the password hash is empty")
        for name, value in zip(("username", *_FIELDS), (username, *entry), strict=True):
            if ":" in value or any(ord(char) < 32 or ord(char) == 127 for char in value):
                raise ValueError(f"user {username!r}: {name} holds a colon or a control character")
        line = ":".join((username, *entry))
        if username in self._where:
            self._lines[self._where[username]] = line
        else:
            self._where[username] = len(self._lines)
            self._lines.append(line)
        self.changed = True

    def remove(self, username: str) -> None:
        """Remove a user, all lines of that name.

        Raises:
            KeyError: there is no such user.
        """
        if username not in self._where:
            raise KeyError(username)
        prefix = username + ":"
        self._lines = [line for line in self._lines if not line.startswith(prefix)]
        self.changed = True
        self._index()

    def write(self) -> None:
        """Replace the file.

        Raises:
            OSError: it cannot be written; the old file is still there.
        """
        directory, name = os.path.split(self.path)
        temporary = os.path.join(directory, f".{name}.{secrets.token_hex(8)}")
        try:
            old = os.stat(self.path)
            mode, owner = old.st_mode & 0o7777 & _MODE, (old.st_uid, old.st_gid)
        except FileNotFoundError:
            mode, owner = _MODE, (os.geteuid(), os.getegid())
        text = "".join(f"{line}\n" for line in self._lines)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        try:
            with open(descriptor, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
                os.fchown(file.fileno(), *owner)
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, self.path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync_directory(directory)
        self.changed = False


def _sync_directory(path: str) -> None:
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def edit(path: str | None = None) -> Iterator[PasswdFile]:
    """Hold the file's lock, read it, and write it at the end if it was changed.

    Args:
        path: of the file; None: the setting LOGIN_FILE.

    Raises:
        AssertionError: a line has a wrong number of fields.
        OSError: it cannot be read or written.
    """
    path = settings.LOGIN_FILE if path is None else path
    # A lock on the file itself would be on an inode that the next writer replaces.
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        file = PasswdFile(path)
        yield file
        if file.changed:
            file.write()
    finally:
        os.close(descriptor)


_cached: dict[str, tuple[tuple[int, ...], PasswdFile]] = {}


def current(path: str | None = None) -> PasswdFile:
    """The file as it is now, only to be read; it is parsed again when it has changed.

    Args:
        path: of the file; None: the setting LOGIN_FILE. A missing one has no users.

    Raises:
        AssertionError: a line has a wrong number of fields.
        OSError: it cannot be read.
    """
    path = settings.LOGIN_FILE if path is None else path
    try:
        info = os.stat(path)
        state: tuple[int, ...] = (info.st_ino, info.st_dev, info.st_size, info.st_mtime_ns)
    except FileNotFoundError:
        state = ()
    found = _cached.get(path)
    if found is None or found[0] != state:
        found = _cached[path] = (state, PasswdFile(path))
    return found[1]


def load_users(path: str | None = None) -> dict[str, dict[str, str]]:
    """All users.

    Args:
        path: of the file; None: the setting LOGIN_FILE. A missing one has no users.

    Returns:
        Name to ``pass_hash``, ``uid``, ``gid``, ``full_name``, ``home``, ``shell``.

    Raises:
        AssertionError: a line has a wrong number of fields.
    """
    file = current(path)
    return {name: file.get(name)._asdict() for name in file.names()}


def save_users(users: Mapping[str, Mapping[str, str]], path: str | None = None) -> None:
    """Make the file hold exactly these users; comments stay.

    Args:
        users: as ``load_users`` gives them.
        path: of the file; None: the setting LOGIN_FILE.

    Raises:
        ValueError: a value cannot be written; the file is as it was.
    """
    with edit(path) as file:
        for name in file.names():
            if name not in users:
                file.remove(name)
        for name, fields in users.items():
            file.put(name, Entry(**{field: fields[field] for field in _FIELDS}))


def flags_of(entry: Entry) -> dict[str, bool]:
    """The flags stored in a user's line; those that are not stored are not there."""
    # strict=False: a short field stores only the first flags.
    return {flag: char in "tT" for flag, char in zip(FLAGS, entry.full_name, strict=False)}


def read_user_config(username: str, path: str | None = None) -> dict[str, bool]:
    """The flags that a user has stored.

    Raises:
        KeyError: there is no such user.
    """
    return flags_of(current(path).get(username))


def save_user_config(username: str, conf: Mapping[str, bool], path: str | None = None) -> None:
    """Store a user's flags.

    Args:
        username: the user.
        conf: all of ``FLAGS``.
        path: of the file; None: the setting LOGIN_FILE.

    Raises:
        KeyError: there is no such user, or a flag is missing.
        ValueError: a flag is not true or false.
    """
    for flag in FLAGS:
        if not isinstance(conf[flag], bool):
            raise ValueError(f"{flag}: {conf[flag]!r} is not true or false")
    letters = "".join("t" if conf[flag] else "f" for flag in FLAGS)
    with edit(path) as file:
        file.put(username, file.get(username)._replace(full_name=letters))


def get_ftp_uid() -> int:
    """The uid that ProFTPD runs as.

    Raises:
        KeyError: there is neither a user ``proftpd`` nor ``ftp``.
    """
    try:
        return pwd.getpwnam("proftpd").pw_uid
    except KeyError:
        return pwd.getpwnam("ftp").pw_uid


def set_permissions(
    filename: str, uid: int | None = None, gid: int | None = None, mode: int = 0o775
) -> None:
    """Set owner and mode of a file or directory; a link is refused.

    Args:
        filename: its path.
        uid: None: of ``proftpd``.
        gid: None: as it is.
        mode: as of ``chmod``.

    Raises:
        OSError: there is no such file, it is a link, or it is not permitted.
        KeyError: as ``get_ftp_uid``.
    """
    descriptor = os.open(filename, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        owner = get_ftp_uid() if uid is None else uid
        os.fchown(descriptor, owner, -1 if gid is None else gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
