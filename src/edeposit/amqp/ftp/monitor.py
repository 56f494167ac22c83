"""Watches for users who delete the lock file in their home, and imports what they uploaded.

A look at all homes, at start and every ``SCAN_INTERVAL`` seconds, finds what the server's log did
not say. One thread imports, another sends; what is between them is in the ``spool``, so a broker
that is down delays nobody, and a crash loses nothing. Nothing that lies in a home, the spool or the
log, and no full disk, ends the monitor: it logs an error and tries again.
"""

import argparse
import logging
import os
import sys
import threading
import time
from collections import Counter
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
from edeposit.amqp.ftp.sending import Send, UnsendableError, deliver
from edeposit.amqp.ftp.spool import Spool, SpoolEntry
from edeposit.amqp.ftp.structures import ImportRequest

logger = logging.getLogger(__name__)

_RETRY = 5.0  # seconds until something that failed is tried again
_POLL = 1.0  # seconds between two looks at the log where the system does not tell of changes
_MAX_ATTEMPTS = 5  # to send an import that fails by a defect


class Monitor:
    """Imports and sends until it is stopped.

    Args:
        filename: the extended log; it is waited for if it does not exist yet.

    Raises:
        FTPError: the spool cannot be used.
    """

    def __init__(self, filename: str) -> None:
        self.spool = Spool()
        self._importer = Importer(self.spool)
        self._log = LogFollower(filename, self.spool.path / "position.json")
        self._log_is_saved = True
        self._send: Send
        self._stop: threading.Event
        self._news = threading.Event()  # for the importing thread
        self._unsent = threading.Event()  # for the sending thread
        self._failures: Counter[str] = Counter()  # to send, by UUID
        self._trouble: BaseException | None = None

    def run(self, send: Send, stop: threading.Event) -> None:
        """Work until it has to end.

        Args:
            send: publishes a request under a UUID and returns when the broker has it. Raises
                ``MessageTooLargeError`` or ``SerializationError`` if it never will, or
                ``ClosedError`` when the daemon ends.
            stop: set when the daemon ends.
        """
        self._send, self._stop = send, stop
        self.spool.clean()
        observer = _watch_directory(os.path.dirname(os.path.abspath(self._log.path)), self._news)
        threading.Thread(target=self._wake_at_stop, name="stop", daemon=True).start()
        sender = threading.Thread(target=self._send_guarded, name="sender", daemon=True)
        sender.start()
        try:
            self._import_until_stopped(_POLL if observer is None else settings.SCAN_INTERVAL)
        finally:
            if observer is not None:
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

    def _import_until_stopped(self, pause: float) -> None:
        next_scan = 0.0
        while not self._stop.is_set():
            self._news.clear()
            # First the log: it knows which uploads were broken off.
            is_well = self._is_well(self._follow)
            if time.monotonic() >= next_scan or self._importer.has_adopted:
                is_well = self._is_well(self._scan) and is_well
                self._unsent.set()
                next_scan = time.monotonic() + settings.SCAN_INTERVAL
            if not is_well:
                next_scan = min(next_scan, time.monotonic() + _RETRY)
            self._news.wait(max(min(next_scan - time.monotonic(), pause), 0))

    def _is_well(self, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except OSError as error:
            logger.error("%s; it will be tried again", error)
        except Exception:
            logger.exception("a defect, it will be tried again")
        return False

    def _follow(self) -> bool:
        for line in self._log.lines():
            self._log_is_saved = False
            candidate = self._importer.from_line(line)
            if candidate is not None and self._importer.run(candidate, told_by_log=True):
                self._unsent.set()
            if self._stop.is_set():
                break
        if not self._log_is_saved:
            self._importer.broken_uploads.save()
            self._log.save()
            self._log_is_saved = True
        return True

    def _scan(self) -> bool:
        is_well = self._importer.resume()
        for candidate in self._importer.unlocked():
            is_well = self._importer.run(candidate, told_by_log=False) is not None and is_well
            if self._stop.is_set():
                break
        return is_well

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
        while not self._stop.is_set():
            self._unsent.clear()
            is_well = True
            for entry in self.spool.entries():
                if self._stop.is_set():
                    return
                if entry.is_returned:
                    is_well = self._send_entry(entry) and is_well
            self._unsent.wait(None if is_well else _RETRY)

    def _send_entry(self, entry: SpoolEntry) -> bool:
        """Send one import; returns False if it has to be tried again."""
        try:
            if entry.is_silent or deliver(self.spool, entry, self._send):
                entry.delete()
            else:
                self._importer.adopt(entry)
                self._news.set()
        except ClosedError:
            raise
        except UnsendableError as error:
            self.spool.give_up(entry.directory, str(error))
        except (OSError, FTPError) as error:
            logger.error("import %s is not sent, it will be tried again: %s", entry.uuid, error)
            return False
        except Exception as error:
            logger.exception("import %s is not sent because of a defect", entry.uuid)
            self._failures[entry.uuid] += 1
            if self._failures[entry.uuid] < _MAX_ATTEMPTS:
                return False
            self.spool.give_up(entry.directory, f"{type(error).__name__}: {error}")
        return True


class _SetEvent(FileSystemEventHandler):
    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def on_modified(self, event: FileSystemEvent) -> None:
        self._event.set()

    on_created = on_moved = on_modified


def _watch_directory(path: str, event: threading.Event) -> Any:
    """Have an event set when something happens in a directory (inotify); None if it cannot be."""
    observer = Observer()
    try:
        observer.schedule(_SetEvent(event), path)
        observer.start()
    except OSError as error:
        logger.warning(
            "directory %s cannot be watched (%s): it is looked at every %g s",
            path,
            error.strerror,
            _POLL,
        )
        return None
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
    # The server makes the log itself, perhaps only later; its directory must exist.
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
        filename: the log to follow until the program is interrupted; None: read lines from the
            standard input to its end.
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
