"""Both filters for the time of one harvest, with what became of the books that are dropped.

What must stay true: one database and one ``Catalogue`` per harvest, so that a book found by two
sources passes once, and Aleph's failures are counted together.
"""

import logging
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import ExtractionError
from edeposit.amqp.harvester.filters.seen import SeenBooks
from edeposit.amqp.harvester.identity import required_identity

logger = logging.getLogger(__name__)


class Sifted(NamedTuple):
    """What the filters did with a list of books.

    Attributes:
        new: are to be sent.
        known: how many were sent before, or came twice.
        in_catalogue: those that Aleph has.
        errors: one for each book that cannot be told from others.
    """

    new: list[Any]
    known: int
    in_catalogue: list[Any]
    errors: list[ExtractionError]


class Sieve:
    """The filters that the settings switch on. A context manager; belongs to one thread.

    Args:
        end: when it is set, Aleph is asked no more.
        use_dup_filter: default: the setting USE_DUP_FILTER.
        use_aleph_filter: default: the setting USE_ALEPH_FILTER.

    Raises:
        CacheError: the database of the books sent cannot be used.
    """

    def __init__(
        self,
        end: threading.Event | None = None,
        use_dup_filter: bool | None = None,
        use_aleph_filter: bool | None = None,
    ) -> None:
        if use_dup_filter is None:
            use_dup_filter = settings.USE_DUP_FILTER
        if use_aleph_filter is None:
            use_aleph_filter = settings.USE_ALEPH_FILTER
        self.seen = SeenBooks() if use_dup_filter else None
        self._passed: set[str] = set()
        self._catalogue = None
        if use_aleph_filter:
            # Late: whoever does not ask Aleph needs nothing of it.
            from edeposit.amqp.harvester.filters.aleph_filter import Catalogue

            self._catalogue = Catalogue(settings.ALEPH_FILTER_BY_AUTHOR, end)

    def __enter__(self) -> "Sieve":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.seen is not None:
            self.seen.close()

    def sift(self, publications: Iterable[Any]) -> Sifted:
        """Filter the books of one source; nothing is marked.

        Raises:
            CacheError: the database of the books sent cannot be read.
        """
        errors, books = [], []
        known = 0
        for publication in publications:
            try:
                identity = required_identity(publication)
            except ExtractionError as error:
                logger.warning("%s", error)
                errors.append(error)
                continue
            if self.seen is not None and identity in self._passed:
                known += 1
                continue
            self._passed.add(identity)
            books.append(publication)
        new = books if self.seen is None else list(self.seen.new_ones(books))
        known += len(books) - len(new)
        in_catalogue: list[Any] = []
        if self._catalogue is not None:
            asked, new = new, []
            for publication in asked:
                (in_catalogue if self._catalogue.has(publication) else new).append(publication)
        return Sifted(new, known, in_catalogue, errors)

    def mark_seen(self, publications: Iterable[Any], source: str) -> None:
        """Remember books that the broker has confirmed, or that the catalogue has.

        Raises:
            CacheError: the file cannot be written.
        """
        if self.seen is not None:
            self.seen.mark_seen(publications, source)
