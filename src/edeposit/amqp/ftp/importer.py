"""Finds out whose home has to be imported, and brings its files into the spool.

The state of the homes is the truth: a home without a lock file wants to be imported. The server's
log only says so at once; a line that names a lock file which exists is an old line.
"""

import logging
import os
import queue
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from edeposit.amqp.ftp import homes, settings
from edeposit.amqp.ftp.logline import parse_line
from edeposit.amqp.ftp.passwd_reader import PasswdFile, current
from edeposit.amqp.ftp.request_parser import advance
from edeposit.amqp.ftp.spool import Spool, SpoolEntry
from edeposit.amqp.ftp.uploads import BrokenUploads

logger = logging.getLogger(__name__)

_DELETED = ("DELE", "DEL")
_MAX_ATTEMPTS = 3  # of an import that fails by a defect, before its files are given back


class Candidate(NamedTuple):
    """A directory that its user wants to be imported.

    Attributes:
        username: whose.
        home: path of his home.
        below: names of the directories that lead to it; empty: the home itself.
        timestamp: epoch seconds of the event.
    """

    username: str
    home: str
    below: tuple[str, ...]
    timestamp: str


class Importer:
    """Brings imports into the spool. All methods but ``adopt`` belong to one thread.

    Args:
        spool: where to.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.broken_uploads = BrokenUploads(spool.path / "broken-uploads.json")
        self._unfinished = [entry for entry in spool.entries() if not entry.is_returned]
        self._adopted: queue.SimpleQueue[SpoolEntry] = queue.SimpleQueue()
        self._failures: Counter[str] = Counter()  # by name of the entry's directory
        self._users: dict[str, str] = {}
        self._users_file: PasswdFile | None = None

    def from_line(self, line: bytes | str) -> Candidate | None:
        """What a line of the log asks for; None if nothing."""
        try:
            event = parse_line(line)
        except ValueError as error:
            logger.debug("passed over: %s", error)
            return None
        home = self._homes().get(event["username"])
        if home is None:
            return None
        self.broken_uploads.note(event)
        if event["command"].upper() not in _DELETED or event.get("code", "2")[0] != "2":
            return None
        directory, name = os.path.split(os.path.normpath(event["path"]))
        if name != settings.LOCK_FILENAME:
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
        place = (candidate.home, *candidate.below)
        for entry in self._unfinished:
            if entry.place == place:
                return self._advance(entry)
        try:
            with homes.opened(candidate.home) as directory:
                identity = homes.identity_of(directory)
            self.broken_uploads.forget_missing(candidate.username)
            entry = self.spool.begin(
                candidate.username,
                candidate.home,
                candidate.below,
                candidate.timestamp,
                announced=told_by_log,
                identity=identity,
                broken=self.broken_uploads.of(candidate.username),
            )
        except OSError as error:
            # Such as a full disk: the home stays unlocked, so it is found again.
            logger.error(
                "import of %s cannot begin, it will be tried again: %s", candidate.home, error
            )
            return None
        self._unfinished.append(entry)
        return self._advance(entry)

    def adopt(self, entry: SpoolEntry) -> None:
        """Have ``resume`` go on with an entry; for other threads."""
        self._adopted.put(entry)

    @property
    def has_adopted(self) -> bool:
        """Is there an entry that ``resume`` does not know yet?"""
        return not self._adopted.empty()

    def resume(self) -> bool:
        """Go on with what a crash or a failure has left; returns whether all is well now."""
        while self.has_adopted:
            self._unfinished.append(self._adopted.get())
        for entry in list(self._unfinished):
            self._advance(entry)
        return not self._unfinished

    def _advance(self, entry: SpoolEntry) -> SpoolEntry | None:
        # One home must not end the monitor; what was taken from it is safe in the spool.
        try:
            advance(entry)
        except OSError as error:
            if entry.directory.exists():
                logger.error("import of %s will be tried again: %s", entry.place, error)
            else:
                logger.error("import of %s: its spool entry is gone: %s", entry.place, error)
                self._unfinished.remove(entry)
            return None
        except Exception:
            logger.exception("import of %s has failed by a defect", entry.place)
            self._count_failure(entry)
            return None
        self._unfinished.remove(entry)
        if not entry.is_silent:
            items, errors = len(entry.data["items"]), len(entry.data["errors"])
            logger.info(
                "import %s of %s: %d items, %d errors",
                entry.uuid,
                entry.data["username"],
                items,
                errors,
            )
        return entry

    def _count_failure(self, entry: SpoolEntry) -> None:
        """After some attempts give all files back; if that fails too, give the entry up."""
        name = entry.directory.name
        self._failures[name] += 1
        try:
            if self._failures[name] == _MAX_ATTEMPTS:
                entry.reject(entry.taken(), ["The import has failed by a defect of the service."])
            elif self._failures[name] >= 2 * _MAX_ATTEMPTS:
                self.spool.give_up(entry.directory, "it can neither be imported nor given back")
                self._unfinished.remove(entry)
        except OSError as error:
            logger.error("import of %s will be tried again: %s", entry.place, error)

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
