"""What the harvester's daemon does: harvest when it is due, send, until it is told to end.

What must stay true: the end is prompt even in the middle of a harvest; what was not confirmed by
then is not marked, and the harvest is made again at the next start.
"""

import contextlib
import logging
import queue
import threading
import uuid
from collections.abc import Callable, Generator, Iterator

from edeposit.amqp.harvester.engine import SourceResult, harvest, wanted_sources
from edeposit.amqp.harvester.exceptions import HarvesterError
from edeposit.amqp.harvester.filters.seen import SeenBooks
from edeposit.amqp.harvester.filters.sieve import Sieve
from edeposit.amqp.harvester.schedule import Schedule
from edeposit.amqp.harvester.sending import Send, send_books

logger = logging.getLogger(__name__)

# How often a waiting harvest looks whether it has to end (s).
_LOOK = 0.2

Work = Callable[[Send, threading.Event], None]


def prepare(interval: float | None = None, sources: list[str] | None = None) -> Work:
    """Check the surroundings, and return the work of the daemon.

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


def harvest_and_send(send: Send, end: threading.Event, sources: list[str] | None = None) -> None:
    """One harvest; what fails as a whole becomes a message, too.

    Args:
        send: data and UUID; returns when the broker has confirmed.
        end: ends the harvest early when it is set.
        sources: their names; None: those that the settings name.
    """
    try:
        with (
            Sieve(end) as sieve,
            contextlib.closing(until(end, lambda stop: harvest(sources, stop=stop))) as results,
        ):
            for _report in send_books(results, send, sieve):
                pass
    except HarvesterError as error:
        logger.error("the harvest has failed: %s", error)
        send(error, str(uuid.uuid4()))


def until(
    end: threading.Event, results: Callable[[threading.Event], Iterator[SourceResult]]
) -> Generator[SourceResult, None, None]:
    """Results as they come, up to the end; what still runs then is told to stop, and left alone.

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
                result = found.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if end.is_set() or result is None:
                return
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stop.set()
