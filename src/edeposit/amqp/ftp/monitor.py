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
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from edeposit.amqp.errors import ClosedError
from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.exceptions import FTPError
from edeposit.amqp.ftp.importer import Importer
from edeposit.amqp.ftp.logfollower import LogFollower
from edeposit.amqp.ftp.message import build
from edeposit.amqp.ftp.sending import Send, send_entry
from edeposit.amqp.ftp.spool import RETURNED, Spool
from edeposit.amqp.ftp.structures import ImportRequest

logger = logging.getLogger(__name__)

_RETRY = 5.0  # seconds until an import that failed is tried again


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
