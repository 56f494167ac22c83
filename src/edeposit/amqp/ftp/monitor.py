"""Watches for users who delete the lock file in their home, and imports what they uploaded.

The state of the homes is the truth: a home without a lock file wants to be imported. The server's
log says so at once; a look at all homes, at start and every ``SCAN_INTERVAL`` seconds, finds what
the log did not say. A line of the log that names a lock file which is there is an old line.

One thread imports, another sends; what is between them is in the ``spool``, so a broker that is
down holds nobody up, and a crash loses nothing.
"""

import argparse
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from edeposit.amqp.errors import ClosedError, MessageTooLargeError
from edeposit.amqp.ftp import homes, settings
from edeposit.amqp.ftp.exceptions import FTPError
from edeposit.amqp.ftp.logfollower import LogFollower
from edeposit.amqp.ftp.passwd_reader import PasswdFile, current
from edeposit.amqp.ftp.request_parser import advance, build
from edeposit.amqp.ftp.spool import RETURNED, Spool, SpoolEntry
from edeposit.amqp.ftp.structures import ImportRequest

logger = logging.getLogger(__name__)

_CODE = re.compile(r"([1-5][0-9]{2}), ")
_DELETED = ("DELE", "DEL")
_RETRY = 5.0  # seconds until an import that failed is tried again

Send = Callable[[ImportRequest, str], None]


class Candidate:
    """A directory that its user wants to be imported."""

    __slots__ = ("below", "home", "timestamp", "username")

    def __init__(self, username: str, home: str, below: tuple[str, ...], timestamp: str) -> None:
        self.username = username
        self.home = home
        self.below = below
        self.timestamp = timestamp


def _parse_line(line: str | bytes) -> dict[str, str]:
    """Take a line of the extended log apart.

    Args:
        line: ``[code, ]path, user, command, epoch seconds``; the path may hold commas.

    Returns:
        ``timestamp``, ``command``, ``username``, ``path`` and, if the line has it, ``code``.

    Raises:
        ValueError: fields are missing, or there are control characters in it.
    """
    text = (os.fsdecode(line) if isinstance(line, bytes) else line).removesuffix("\n")
    # A name with a line break in it would let an FTP user forge lines about others.
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        raise ValueError("control characters in a line of the log")
    fields = text.rsplit(",", 3)
    if len(fields) < 4:
        raise ValueError("a line of the log has too few fields")
    path, username, command, timestamp = fields
    parsed = {
        "timestamp": timestamp.strip(),
        "command": command.strip(),
        "username": username.strip(),
        "path": path.strip(),
    }
    code = _CODE.match(path)
    if code:
        parsed |= {"code": code[1], "path": path[code.end() :].strip()}
    return parsed


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
            event = _parse_line(line)
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
            logger.error("import of %s: %s; it will be tried again", entry.data["home"], error,
                         exc_info=unexpected)  # fmt: skip
            return None
        del self._unfinished[key]
        if not entry.is_silent:
            logger.info("import %s of %s: %d items, %d errors", entry.uuid, entry.data["username"],
                        len(entry.data["items"]), len(entry.data["errors"]))  # fmt: skip
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


class Monitor:
    """Imports and sends until it is stopped.

    Args:
        filename: the extended log; it is waited for if it is not there yet.

    Raises:
        FTPError: the spool cannot be used.
    """

    def __init__(self, filename: str) -> None:
        self.spool = Spool()
        self._importer = Importer(self.spool)
        self._log = LogFollower(filename, self.spool.path / "position.json")
        self._send: Send
        self._stop: threading.Event
        self._news = threading.Event()  # for the importing thread
        self._unsent = threading.Event()  # for the sending thread
        self._trouble: BaseException | None = None

    def run(self, send: Send, stop: threading.Event) -> None:
        """Work until it has to end.

        Args:
            send: publishes a request under a UUID and returns when the broker has it. Raises
                ``MessageTooLargeError``, or ``ClosedError`` when the daemon ends.
            stop: set when the daemon ends.

        Raises:
            Exception: a defect; the spool keeps what is not sent.
        """
        self._send, self._stop = send, stop
        self.spool.clean()
        observer = _watch_directory(os.path.dirname(os.path.abspath(self._log.path)), self._news)
        threading.Thread(target=self._wake_at_stop, name="stop", daemon=True).start()
        sender = threading.Thread(target=self._send_guarded, name="sender", daemon=True)
        sender.start()
        try:
            self._import_until_stopped()
        finally:
            observer.stop()
            self._stop.set()
            self._unsent.set()
            sender.join()
        if self._trouble is not None:
            raise self._trouble

    def _wake_at_stop(self) -> None:
        self._stop.wait()
        self._news.set()
        self._unsent.set()

    # --- importing --------------------------------------------------------------------------

    def _import_until_stopped(self) -> None:
        next_scan = 0.0
        while not self._stop.is_set():
            self._news.clear()
            if time.monotonic() >= next_scan:
                all_well = self._importer.resume()
                self._scan()
                self._unsent.set()
                pause = settings.SCAN_INTERVAL
                next_scan = time.monotonic() + (pause if all_well else min(pause, _RETRY))
            self._follow()
            self._news.wait(max(next_scan - time.monotonic(), 0))

    def _follow(self) -> None:
        count = 0
        for line in self._log.lines():
            count += 1
            candidate = self._importer.from_line(line)
            if candidate is not None and self._importer.run(candidate, told_by_log=True):
                self._unsent.set()
            if self._stop.is_set():
                break
        if count:
            self._log.save()

    def _scan(self) -> None:
        for candidate in self._importer.unlocked():
            self._importer.run(candidate, told_by_log=False)
            if self._stop.is_set():
                break

    # --- sending ----------------------------------------------------------------------------

    def _send_guarded(self) -> None:
        try:
            self._send_until_stopped()
        except ClosedError:
            pass
        except BaseException as error:
            self._trouble = error
            self._stop.set()

    def _send_until_stopped(self) -> None:
        refused: set[str] = set()
        while not self._stop.is_set():
            self._unsent.clear()
            for entry in self.spool.entries():
                if self._stop.is_set():
                    return
                if entry.state != RETURNED or entry.uuid in refused:
                    continue
                if entry.is_silent or send_entry(self.spool, entry, self._send):
                    entry.delete()
                else:
                    refused.add(entry.uuid)
            self._unsent.wait()


def send_entry(spool: Spool, entry: SpoolEntry, send: Send) -> bool:
    """Send an import; files that make the message too large for the broker go by path.

    Returns:
        False if the broker does not take it in any form; it stays in the spool.

    Raises:
        ClosedError: the daemon ends.
    """
    inline = settings.MAX_INLINE_SIZE
    while True:
        try:
            request = build(spool, entry, inline)
        except (OSError, FTPError) as error:
            logger.error("import %s cannot be read, it stays in the spool: %s", entry.uuid, error)
            return False
        try:
            send(request, entry.uuid)
            return True
        except MessageTooLargeError as error:
            if not inline:
                logger.error("import %s stays in the spool: %s", entry.uuid, error)
                return False
            # In JSON a file is a third larger, and there is text beside it.
            inline = min(inline // 2, error.limit // 2)
            inline = inline if inline > 1024 else 0


class _SetEvent(FileSystemEventHandler):
    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def on_modified(self, event: FileSystemEvent) -> None:
        self._event.set()

    on_created = on_moved = on_modified


def _watch_directory(path: str, event: threading.Event) -> Any:
    """Have an event set when something happens in a directory (inotify)."""
    observer = Observer()
    try:
        observer.schedule(_SetEvent(event), path)
        observer.start()
    except OSError as error:
        raise FTPError(f"directory {path} cannot be watched: {error.strerror}") from error
    return observer


def prepare(filename: str | None = None) -> Callable[[Send, threading.Event], None]:
    """Check what the monitor needs.

    Args:
        filename: the extended log; None: the setting LOG_FILE.

    Returns:
        What the monitor daemon does, see ``Monitor.run``.

    Raises:
        FTPError: the log's directory is missing, or the spool cannot be used.
    """
    path = settings.LOG_FILE if filename is None else filename
    # The server makes the log itself, perhaps only later; its directory must be there.
    if not os.path.isdir(os.path.dirname(path)):
        raise FTPError(f"'{path}' doesn't exists!")
    return Monitor(path).run


def process_log(lines: Iterable[str | bytes]) -> Iterator[ImportRequest]:
    """The imports that lines of the log ask for.

    When the next one is asked for, the one before counts as delivered and its files are deleted.

    Args:
        lines: of the extended log.
    """
    spool = Spool()
    importer = Importer(spool)
    for line in lines:
        candidate = importer.from_line(line)
        entry = importer.run(candidate, told_by_log=True) if candidate is not None else None
        if entry is not None:
            yield build(spool, entry)
            entry.delete()


def main(filename: str | None) -> None:
    """Print imports, without a broker.

    Args:
        filename: the log to follow for ever; None: read lines from the standard input to its end.
    """
    if filename is None:
        for request in process_log(sys.stdin.buffer):
            print(request)
        return
    try:
        Monitor(filename).run(lambda request, _uuid: print(request, flush=True), threading.Event())
    except KeyboardInterrupt:
        pass


def _command_line() -> None:
    parser = argparse.ArgumentParser(description="Print the imports that users ask for.")
    parser.add_argument("filename", metavar="FN", nargs="?", help="extended log; default: stdin")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv: all")
    args = parser.parse_args()
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(args.verbose, 2)]
    logging.basicConfig(level=level, stream=sys.stderr)
    if args.filename is not None and not Path(args.filename).exists():
        parser.exit(1, f"'{args.filename}' doesn't exists!\n")
    main(args.filename)


if __name__ == "__main__":
    _command_line()
