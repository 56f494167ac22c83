"""Finds out whose home has to be imported, and brings its files into the spool.

The state of the homes is the truth: a home without a lock file wants to be imported. The server's
log only says so at once; a line that names a lock file which exists is an old line.
"""

import logging
import os
import time
from collections.abc import Iterator

from edeposit.amqp.ftp import homes, settings
from edeposit.amqp.ftp.logline import parse_line
from edeposit.amqp.ftp.passwd_reader import PasswdFile, current
from edeposit.amqp.ftp.request_parser import advance
from edeposit.amqp.ftp.spool import RETURNED, Spool, SpoolEntry

logger = logging.getLogger(__name__)

_DELETED = ("DELE", "DEL")


class Candidate:
    """A directory that its user wants to be imported."""

    __slots__ = ("below", "home", "timestamp", "username")

    def __init__(self, username: str, home: str, below: tuple[str, ...], timestamp: str) -> None:
        self.username = username
        self.home = home
        self.below = below
        self.timestamp = timestamp


class Importer:
    """Brings imports into the spool.

    Args:
        spool: where to.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._unfinished = {
            (entry.data["home"], tuple(entry.data["below"])): entry
            for entry in spool.entries()
            if entry.state != RETURNED
        }
        self._users: dict[str, str] = {}
        self._users_file: PasswdFile | None = None

    def from_line(self, line: bytes | str) -> Candidate | None:
        """What a line of the log asks for; None if nothing."""
        try:
            event = parse_line(line)
        except ValueError as error:
            logger.debug("passed over: %s", error)
            return None
        if event["command"].upper() not in _DELETED or event.get("code", "2")[0] != "2":
            return None
        directory, name = os.path.split(os.path.normpath(event["path"]))
        home = self._homes().get(event["username"])
        if name != settings.LOCK_FILENAME or home is None:
            return None
        if directory == home:
            below: tuple[str, ...] = ()
        elif directory.startswith(home + "/") and not settings.LOCK_ONLY_IN_HOME:
            below = tuple(directory[len(home) + 1 :].split("/"))
        else:
            return None
        candidate = Candidate(event["username"], home, below, event["timestamp"])
        return candidate if self._is_unlocked(candidate) else None

    def unlocked(self) -> Iterator[Candidate]:
        """All homes without a lock file."""
        for username, home in sorted(self._homes().items()):
            candidate = Candidate(username, home, (), str(int(time.time())))
            if self._is_unlocked(candidate):
                yield candidate

    def run(self, candidate: Candidate, *, told_by_log: bool) -> SpoolEntry | None:
        """Import a directory as far as the spool.

        Args:
            candidate: the directory.
            told_by_log: False: found by looking; then an import of nothing is not worth a message.

        Returns:
            The entry, ready to be sent; None if it has to be tried again, by ``resume``.
        """
        key = (candidate.home, candidate.below)
        if key not in self._unfinished:
            self._unfinished[key] = self.spool.begin(
                candidate.username,
                candidate.home,
                candidate.below,
                candidate.timestamp,
                announced=told_by_log,
            )
        return self._advance(key)

    def resume(self) -> bool:
        """Go on with what a crash or a failure has left; returns whether all is well now."""
        still_open = [key for key in list(self._unfinished) if self._advance(key) is None]
        return not still_open

    def _advance(self, key: tuple[str, tuple[str, ...]]) -> SpoolEntry | None:
        entry = self._unfinished[key]
        try:
            advance(entry)
        except Exception as error:
            # One home must not end the monitor; what was taken from it is safe in the spool.
            unexpected = not isinstance(error, OSError)
            logger.error(
                "import of %s: %s; it will be tried again",
                entry.data["home"],
                error,
                exc_info=unexpected,
            )
            return None
        del self._unfinished[key]
        if not entry.is_silent:
            logger.info(
                "import %s of %s: %d items, %d errors",
                entry.uuid,
                entry.data["username"],
                len(entry.data["items"]),
                len(entry.data["errors"]),
            )
        return entry

    def _is_unlocked(self, candidate: Candidate) -> bool:
        try:
            with homes.opened(candidate.home, *candidate.below) as directory:
                return not homes.exists(directory, settings.LOCK_FILENAME)
        except OSError as error:
            logger.debug("home of %s is passed over: %s", candidate.username, error)
            return False

    def _homes(self) -> dict[str, str]:
        """User to home; of a file that cannot be read, as it was before."""
        try:
            file = current()
            if file is not self._users_file:
                self._users = {name: os.path.normpath(file.get(name).home) for name in file.names()}
                self._users_file = file
        except (OSError, AssertionError) as error:
            logger.error("users cannot be read: %s", error)
        return self._users
