"""Drops books that the national catalogue already has.

The aleph service is used as a library. What must stay true: a book is kept when Aleph does
not answer, because a duplicate is cheaper than a loss; and Aleph, which is slow, is asked about
few books a second, and about none after several failures in a row.

Titles and names are compared as a shop and a catalogue write them: case, diacritics, punctuation
and the order of words do not count; digits do: Windows 7 is not Windows 8. All comparisons are
symmetric.
"""

import logging
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

from rapidfuzz import fuzz

from edeposit.amqp.aleph import ISBNQuery, TitleQuery
from edeposit.amqp.aleph.datastructures import EPublication
from edeposit.amqp.aleph.exceptions import AlephException
from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.site.politeness import CrawlDelay
from edeposit.amqp.harvester.structures import author_names, canonical_isbn

__all__ = ["Catalogue", "compare_names", "filter_publication", "name_to_vector"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
# The aleph service has already retried each of these failures, with pauses.
_MOST_FAILURES = 3
_WORD = re.compile(r"[^\W_]+")


class Catalogue:
    """Asks Aleph for the time of one harvest; may be used by several threads.

    Args:
        cmp_authors: a book found by its title must have an author in common, too.
        end: when it is set, no further book is asked about.
    """

    def __init__(self, cmp_authors: bool = True, end: threading.Event | None = None) -> None:
        self.cmp_authors = cmp_authors
        self.failures_in_a_row = 0
        self._end = end or threading.Event()
        self._delay = CrawlDelay()

    def has(self, publication: Any) -> bool:
        """Is the book in the catalogue? False if that cannot be found out."""
        if self.failures_in_a_row >= _MOST_FAILURES or not self._waited():
            return False
        try:
            found = self._find(publication)
        except AlephException as error:
            self.failures_in_a_row += 1
            logger.warning("Aleph: %s: the book %r is kept", error, publication.title)
            if self.failures_in_a_row >= _MOST_FAILURES:
                logger.error(
                    "Aleph failed %d times in a row and is no longer asked", _MOST_FAILURES
                )
            return False
        self.failures_in_a_row = 0
        return found

    def _find(self, publication: Any) -> bool:
        optionals = publication.optionals
        title = publication.title or ""
        if optionals is not None and canonical_isbn(optionals.ISBN):
            books = _books(ISBNQuery(optionals.ISBN))
            # The same number on a different book is a mistake of the publisher.
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

    def _waited(self) -> bool:
        """False if the harvest ends first."""
        return self._delay.wait("aleph", 1 / settings.ALEPH_FILTER_PER_SECOND, self._end)


def filter_publication(publication: _T, cmp_authors: bool = True) -> _T | None:
    """The publication, or None if the catalogue has it. For many, use one ``Catalogue``.

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
    return same_title(book.nazev, title, threshold) or same_title(whole, title, threshold)


# --- titles and names -----------------------------------------------------------------------------


def name_to_vector(name: str) -> list[str]:
    """The words of a name, folded, longest first: ``["putsalek", "franta", "ing"]``."""
    return sorted(_words(name), key=len, reverse=True)


def compare_names(first: str, second: str) -> float:
    """Share of the words of the shorter name that are in the other, too: 0 to 100."""
    mine, other = Counter(_words(first)), Counter(_words(second))
    fewer = min(mine.total(), other.total())
    return 100.0 * (mine & other).total() / fewer if fewer else 0.0


def same_title(first: str, second: str, threshold: float) -> bool:
    """Do two titles name the same book?

    The words have to agree, and the titles as a whole: one that is only the beginning of a much
    longer one is another book. A title of a single word says so little that nothing but the same
    word will do.

    Args:
        threshold: per cent, for both.
    """
    mine, other = _words(first), _words(second)
    if min(len(mine), len(other)) <= 1:
        return bool(mine) and mine == other
    return (
        compare_names(first, second) >= threshold
        and fuzz.token_sort_ratio(" ".join(mine), " ".join(other)) >= threshold
    )


def same_person(first: str, second: str, threshold: float) -> bool:
    """May two names be those of one person?

    Initials stand for the words that begin with them, but do not make a person on their own.
    """
    mine, other = _words(first), _words(second)
    if not any(len(word) > 1 for word in set(mine) & set(other)):
        return False
    mine, other = _spelt_out(mine, other), _spelt_out(other, mine)
    return fuzz.token_set_ratio(" ".join(mine), " ".join(other)) >= threshold


def _spelt_out(words: Iterable[str], other: Iterable[str]) -> list[str]:
    """Initials replaced by the words of the other name that begin with them."""
    return [
        next((long for long in other if len(word) == 1 and long.startswith(word)), word)
        for word in words
    ]


def _words(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", str(text or "").casefold())
    return _WORD.findall("".join(c for c in decomposed if not unicodedata.combining(c)))
