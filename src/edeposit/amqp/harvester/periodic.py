"""What the harvester's daemon does until it ends: harvest when it is due, and send.

A harvest is due a fixed time after the start of the last one. The time of the last one is on disk,
so a harvest that was missed while the daemon was down is made when it starts, and a restart makes
no extra one. What must stay true: only a complete harvest is noted, so one that failed or was
interrupted is made again; the daemon ends promptly even in the middle of a harvest; books that were
not confirmed by then are not marked.
"""

import contextlib
import json
import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.crawl import SourceResult, harvest, wanted_sources
from edeposit.amqp.harvester.exceptions import HarvesterError
from edeposit.amqp.harvester.filters import SeenBooks, Sieve
from edeposit.amqp.harvester.sending import Report, Send, send_books

logger = logging.getLogger(__name__)

# A waiting daemon looks at clock and settings this often (s), because both may change.
_LOOK = 30.0
# After a failed harvest (s); doubled after each further one.
_FIRST_PAUSE, _MOST_DOUBLINGS = 300.0, 20
# How often a waiting harvest looks whether it has to end (s).
_LOOK_FOR_END = 0.2

Work = Callable[[Send, threading.Event], None]


def prepare(interval: float | None = None, sources: list[str] | None = None) -> Work:
    """Check what the daemon needs, and return its work.

    Args:
        interval: seconds between two harvests; None: the setting HARVESTER_INTERVAL.
        sources: their names; None: those that the settings name.

    Raises:
        HarvesterError: state or database cannot be kept; the settings name an unknown source.
        SettingsError: a setting is wrong.
    """
    schedule = Schedule(interval)
    SeenBooks().close()
    names = sources or wanted_sources()
    logger.info("sources: %s", ", ".join(names) or "none is enabled")

    def work(send: Send, end: threading.Event) -> None:
        schedule.run(lambda: harvest_and_send(send, end, sources), end)

    return work


def harvest_and_send(send: Send, end: threading.Event, sources: list[str] | None = None) -> bool:
    """One harvest; a failure of the harvest as a whole becomes a message, too.

    Args:
        send: data and UUID; returns when the broker has confirmed.
        end: ends the harvest early when it is set.
        sources: their names; None: those that the settings name.

    Returns:
        False: it failed as a whole, or every source failed.
    """
    reports: list[Report] = []
    try:
        with (
            Sieve(end) as sieve,
            contextlib.closing(until(end, lambda stop: harvest(sources, stop=stop))) as results,
        ):
            reports += send_books(results, send, sieve)
    except HarvesterError as error:
        logger.error("the harvest has failed: %s", error)
        send(error, str(uuid.uuid4()))
        return False
    return not reports or any(report.found or not report.errors for report in reports)


def until(
    end: threading.Event, results: Callable[[threading.Event], Iterator[SourceResult]]
) -> Generator[SourceResult, None, None]:
    """Results as they come, up to the end; what still runs then is told to stop and not waited for.

    Args:
        end: when it is set. Results that come after it are cut short, and so not passed on.
        results: makes the iterator, from an event that stops it; run in a thread of its own.

    Raises:
        HarvesterError: and whatever else the iterator raises.
    """
    found: queue.Queue[SourceResult | BaseException | None] = queue.Queue()
    stop = threading.Event()

    def run() -> None:
        try:
            for result in results(stop):
                found.put(result)
            found.put(None)
        except BaseException as error:
            found.put(error)

    threading.Thread(target=run, name="harvest", daemon=True).start()
    try:
        while not end.is_set():
            try:
                result = found.get(timeout=_LOOK_FOR_END)
            except queue.Empty:
                continue
            if end.is_set() or result is None:
                return
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stop.set()


def state_path() -> Path:
    """Where the time of the last harvest is kept, by the settings."""
    if settings.HARVESTER_STATE:
        return Path(settings.HARVESTER_STATE).expanduser()
    return settings.seen_path().with_name("harvester-last.json")


class Schedule:
    """The time of the last harvest, on disk.

    Args:
        interval: seconds; None: the setting HARVESTER_INTERVAL, as it is at the time.
        path: of the state; default: the setting HARVESTER_STATE.
    """

    def __init__(self, interval: float | None = None, path: Path | None = None) -> None:
        self._interval = interval
        self._unwritten: float | None = None
        self.path = path or state_path()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise HarvesterError(f"{self.path}: the state cannot be kept here: {error}") from error

    @property
    def interval(self) -> float:
        """Seconds from the start of a harvest to that of the next."""
        return settings.HARVESTER_INTERVAL if self._interval is None else self._interval

    def last(self) -> float | None:
        """Start of the last complete harvest, in seconds since the epoch; None if not known."""
        if self._unwritten is not None:
            return self._unwritten
        try:
            started = json.loads(self.path.read_text("utf-8"))["started"]
            return float(started)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            logger.warning("%s: not readable (%s): a harvest is due", self.path, error)
            return None

    def seconds_left(self) -> float:
        """Until the next harvest; 0 if it is due.

        A last harvest in the future means that the clock was set back: it is due.
        """
        last, now = self.last(), time.time()
        if last is None or last > now:
            return 0.0
        return max(last + self.interval - now, 0.0)

    def note(self, started: float) -> None:
        """Remember a complete harvest.

        Raises:
            HarvesterError: the state cannot be written.
        """
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            with open(new, "w", encoding="utf-8") as file:
                json.dump({"started": started}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
            self._unwritten = None
        except OSError as error:
            self._unwritten = started
            raise HarvesterError(f"{self.path}: the state cannot be kept here: {error}") from error

    def run(self, harvest: Callable[[], object], end: threading.Event) -> None:
        """Harvest whenever it is due, until the end.

        A harvest that fails is not noted but made again, after pauses that grow to the interval.

        Args:
            harvest: returns when it is complete, or False if it has failed; what it raises ends the
                loop.
            end: set when the loop is to end.
        """
        said = False
        failures = 0
        while not end.is_set():
            left = self.seconds_left()
            if left > 0:
                if not said:
                    logger.info("next harvest in %.0f s", left)
                    said = True
                end.wait(min(left, _LOOK))
                continue
            started, said = time.time(), False
            failed = harvest() is False
            if end.is_set():
                return
            if failed:
                pause = min(_FIRST_PAUSE * 2**failures, self.interval)
                failures = min(failures + 1, _MOST_DOUBLINGS)
                logger.warning("the harvest is made again in %.0f s", pause)
                end.wait(pause)
                continue
            failures = 0
            try:
                self.note(started)
            except HarvesterError as error:
                # A full disk costs at most a further harvest after a restart.
                logger.error("%s", error)
