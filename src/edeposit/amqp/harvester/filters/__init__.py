"""Drops what is not worth sending: books sent before, and books that the catalogue has.

Filters only look. A book becomes "sent before" by ``mark_seen``, after the broker has confirmed
it. What must stay true: one database and one ``Catalogue`` per harvest, so that a book found by two
sources passes once, and Aleph's failures are counted together.
"""

import logging
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import ExtractionError
from edeposit.amqp.harvester.filters.dup_filter import SeenBooks
from edeposit.amqp.harvester.structures import required_identity

__all__ = ["SeenBooks", "Sieve", "filter_publication", "filter_publications"]

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class Sifted(NamedTuple):
    """What the filters have made of a list of books.

    Attributes:
        new: books to be sent.
        known: how many were sent before, or found twice.
        in_catalogue: books that Aleph has.
        errors: one for each book that cannot be told from others.
    """

    new: list[Any]
    known: int
    in_catalogue: list[Any]
    errors: list[ExtractionError]


class Sieve:
    """The filters that the settings switch on. A context manager; belongs to one thread.

    Args:
        end: when it is set, Aleph is no longer asked.
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
            # Late: a harvest that does not ask Aleph needs nothing of it.
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
                (in_catalogue if self._is_in_catalogue(publication) else new).append(publication)
        return Sifted(new, known, in_catalogue, errors)

    def _is_in_catalogue(self, publication: Any) -> bool:
        assert self._catalogue is not None
        try:
            return self._catalogue.has(publication)
        except Exception:
            # A duplicate is cheaper than a loss, above all than that of the books after this one.
            logger.exception("the catalogue cannot be asked for the book %r", publication)
            return False

    def mark_seen(self, publications: Iterable[Any], source: str) -> None:
        """Remember books that the broker has confirmed, or that the catalogue has.

        Raises:
            CacheError: the file cannot be written.
        """
        if self.seen is not None:
            self.seen.mark_seen(publications, source)


def filter_publication(publication: _T) -> _T | None:
    """The publication, None if it is to be dropped, as the settings say.

    Raises:
        ExtractionError: it has neither a valid number nor a title.
        CacheError: the database of the books sent cannot be used.
    """
    from edeposit.amqp.harvester.filters import aleph_filter, dup_filter

    if settings.USE_DUP_FILTER and dup_filter.filter_publication(publication) is None:
        return None
    if settings.USE_ALEPH_FILTER:
        return aleph_filter.filter_publication(publication, settings.ALEPH_FILTER_BY_AUTHOR)
    return publication


def filter_publications(publications: Iterable[_T]) -> list[_T]:
    """Those that are not to be dropped, in their order.

    Publications with neither a valid number nor a title are dropped with a warning.

    Raises:
        CacheError: the database of the books sent cannot be used.
    """
    with Sieve() as sieve:
        return sieve.sift(publications).new
