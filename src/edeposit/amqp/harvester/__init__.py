"""The harvester: book metadata from publishers' pages.

A plain library, usable without a broker. What must stay true: a source that fails costs only its
own books, and nothing here marks a book as sent: ``sending`` does, after the broker's confirm.
"""

import logging
from collections.abc import Callable
from typing import Any

from edeposit.amqp.harvester.exceptions import HarvestFailedError
from edeposit.amqp.harvester.filters import SeenBooks, Sieve
from edeposit.amqp.harvester.messages import (
    Author,
    HarvestRequest,
    Optionals,
    Publication,
    Publications,
    SourceHarvested,
)
from edeposit.amqp.harvester.sending import sendable

__all__ = [
    "Author",
    "HarvestRequest",
    "Optionals",
    "Publication",
    "Publications",
    "SourceHarvested",
    "get_all_publications",
    "on_start",
    "reactToAMQPMessage",
    "self_test",
]

logger = logging.getLogger(__name__)

# In characters, of an error in a progress message.
_LONGEST_TEXT = 1000


def get_all_publications(return_namedtuples: bool = True) -> list[Any]:
    """Harvest the sources that are switched on, and filter as the settings say.

    Args:
        return_namedtuples: else the mutable ``structures.Publication``.

    Returns:
        The books that were found; errors of sources and books are in the log.

    Raises:
        HarvestFailedError: every source has failed.
        DefinitionError: a source file is wrong.
        CacheError: the database of the books sent cannot be used.
    """
    books = _harvest(None, lambda _progress: None)
    return [book.to_namedtuple() for book in books] if return_namedtuples else books


def self_test() -> None:
    """Check all sources against their live pages and their stored samples.

    Raises:
        HarvestFailedError: with a line for each value that is not found as it should be.
    """
    from edeposit.amqp.harvester.selftest import check_sources

    problems = [
        f"{check.source}, {check.where}: {check.field}: expected {check.expected!r},"
        f" found {check.found!r}"
        for check in check_sources()
        if not check.ok
    ]
    if problems:
        raise HarvestFailedError("the self-test of the harvester has failed", problems)


def reactToAMQPMessage(message: Any, send_back: Callable[[Any], None]) -> Any:
    """Serve one request.

    The books of the answer are not marked as sent, because the answer may still get lost: the
    periodic harvest sends them again.

    Args:
        message: ``HarvestRequest``, recognised by the name of its class.
        send_back: gets a ``SourceHarvested`` whenever a source is done.

    Returns:
        ``Publications`` with the new books of all sources asked for.

    Raises:
        ValueError: unknown request, or sources that are no list of names.
        HarvestFailedError: every source has failed.
        DefinitionError: there is no such source, or its file is wrong.
    """
    if type(message).__name__ != "HarvestRequest":
        raise ValueError(f"Unknown type of request: '{type(message)}'!")
    sources = message.sources or None
    if sources is not None and not (
        isinstance(sources, list) and all(isinstance(name, str) for name in sources)
    ):
        raise ValueError("sources must be a list of names")
    books = _harvest(sources, send_back)
    return Publications([book.to_namedtuple() for book in books])


def on_start() -> None:
    """Log the sources; the daemon does not start if it cannot work at all.

    Raises:
        DefinitionError: a source that the settings name does not exist.
        CacheError: the database of the books sent cannot be used.
    """
    from edeposit.amqp.harvester.crawl import wanted_sources

    SeenBooks().close()
    logger.info("sources: %s", ", ".join(wanted_sources()) or "none is enabled")


def _harvest(sources: list[str] | None, progress: Callable[[SourceHarvested], None]) -> list[Any]:
    """New books of the sources."""
    from edeposit.amqp.harvester.crawl import harvest

    books: list[Any] = []
    errors: list[str] = []
    any_good = False
    with Sieve() as sieve:
        for result in harvest(sources):
            sifted = sieve.sift(result.publications)
            failures: list[Exception] = [*result.errors, *sifted.errors]
            # One book that has no message form must not cost the answer with all others.
            new = [book for book, _, _ in sendable(sifted.new, failures)]
            books += new
            texts = [str(error)[:_LONGEST_TEXT] for error in failures]
            errors += [f"{result.name}: {text}" for text in texts]
            any_good |= bool(result.publications) or not result.errors
            found = len(result.publications)
            progress(SourceHarvested(result.name, found, len(new), texts[:100]))
    if errors and not any_good:
        raise HarvestFailedError("every source has failed", errors)
    return books
