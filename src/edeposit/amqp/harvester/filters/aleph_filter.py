"""Books that the national catalogue has already.

The aleph service is used as a library. What must stay true: when Aleph does not answer, the book is
kept, as a duplicate is cheaper than a loss; and Aleph, which is slow, is asked for few books a
second, and no more at all after several failures in a row.
"""

import logging
import threading
import time
from typing import Any, TypeVar

from edeposit.amqp.aleph import ISBNQuery, TitleQuery
from edeposit.amqp.aleph.datastructures import EPublication
from edeposit.amqp.aleph.exceptions import AlephException
from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.filters.names import compare_names, name_to_vector, same_person
from edeposit.amqp.harvester.filters.names import same_title as _same_title
from edeposit.amqp.harvester.identity import author_names, canonical_isbn

__all__ = ["Catalogue", "compare_names", "filter_publication", "name_to_vector"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
# Retries with pauses are the aleph service's own; each of these failures has had them.
_MOST_FAILURES = 3


class Catalogue:
    """Asks Aleph for the time of one harvest; may be used by several threads.

    Args:
        cmp_authors: a book found by its title must have an author in common, too.
        end: when it is set, no further book is waited for.
    """

    def __init__(self, cmp_authors: bool = True, end: threading.Event | None = None) -> None:
        self.cmp_authors = cmp_authors
        self.failures_in_a_row = 0
        self._end = end or threading.Event()
        self._lock = threading.Lock()
        self._next_turn = 0.0

    def has(self, publication: Any) -> bool:
        """Is the book in the catalogue? False if nobody knows."""
        if self.failures_in_a_row >= _MOST_FAILURES or not self._wait_for_turn():
            return False
        try:
            found = self._find(publication)
        except AlephException as error:
            self.failures_in_a_row += 1
            logger.warning("Aleph: %s: the book %r is kept", error, publication.title)
            if self.failures_in_a_row >= _MOST_FAILURES:
                logger.error("Aleph failed %d times in a row and is asked no more", _MOST_FAILURES)
            return False
        self.failures_in_a_row = 0
        return found

    def _find(self, publication: Any) -> bool:
        optionals = publication.optionals
        title = publication.title or ""
        if optionals is not None and canonical_isbn(optionals.ISBN):
            books = _books(ISBNQuery(optionals.ISBN))
            # The same number on quite another book is a mistake of the publisher.
            return any(_titles_agree(book, title) for book in books)
        if not title.strip():
            return False
        books = [book for book in _books(TitleQuery(title)) if _titles_agree(book, title)]
        if not self.cmp_authors:
            return bool(books)
        names = author_names(publication)
        threshold = settings.ALEPH_AUTHOR_THRESHOLD
        return any(
            same_person(f"{author.firstName} {author.lastName} {author.title}", name, threshold)
            for book in books
            for author in book.autori
            for name in names
        )

    def _wait_for_turn(self) -> bool:
        """False if the harvest ends meanwhile."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next_turn)
            self._next_turn = turn + 1 / settings.ALEPH_FILTER_PER_SECOND
        return not self._end.wait(turn - now)


def filter_publication(publication: _T, cmp_authors: bool = True) -> _T | None:
    """The publication, None if the catalogue has it. For many, one ``Catalogue`` is better.

    Args:
        publication: mutable or namedtuple.
        cmp_authors: a book found by its title must have an author in common, too.
    """
    return None if Catalogue(cmp_authors).has(publication) else publication


def _books(query: Any) -> list[EPublication]:
    records = query.getSearchResult().records
    return [r.parsed_info for r in records if isinstance(r.parsed_info, EPublication)]


def _titles_agree(book: EPublication, title: str) -> bool:
    """With or without the subtitle, which shops print into the title."""
    threshold = settings.ALEPH_TITLE_THRESHOLD
    whole = f"{book.nazev} {book.podnazev or ''}"
    return _same_title(book.nazev, title, threshold) or _same_title(whole, title, threshold)
