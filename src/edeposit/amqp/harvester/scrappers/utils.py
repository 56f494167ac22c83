"""Helpers of the first generation for sources written in Python, under their old names."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from edeposit.amqp.harvester.crawl import harvest
from edeposit.amqp.harvester.exceptions import HarvestFailedError
from edeposit.amqp.harvester.page import charset

_URL = re.compile(r"http[^:]*://")
_SHORTEST_ISBN = 10


def self_test_idiom(fn: Callable[[], Iterable[Any]]) -> bool:
    """Does a source give books, and has each what a book needs?

    Args:
        fn: returns publications.

    Returns:
        True.

    Raises:
        AssertionError: there is no book, or one lacks something; the text holds the book.
    """
    books = list(fn())
    if not books:
        raise AssertionError("there are no books")
    for book in books:
        lacking = [name for name in ("title", "price", "publisher") if not getattr(book, name)]
        if book.authors is None:
            lacking.append("authors")
        isbn, url = book.optionals.ISBN, book.optionals.URL
        if isbn and len(isbn) < _SHORTEST_ISBN:
            lacking.append("ISBN")
        if url and not _URL.match(url):
            lacking.append("URL")
        # No assert statement: python -O would make the test pass.
        if lacking:
            raise AssertionError(f"{', '.join(lacking)} is missing or wrong: {book!r:.1000}")
    return True


def handle_encoding(html: bytes | str) -> str:
    """A page as text, whatever charset it is in."""
    return html if isinstance(html, str) else charset.decode(html)


handle_encodnig = handle_encoding


def functions_of(source: str) -> tuple[Callable[[], list[Any]], Callable[[], bool]]:
    """``get_publications`` and ``self_test`` of a source that is described by a file."""

    def get_publications() -> list[Any]:
        """Harvest this source.

        Raises:
            HarvestFailedError: it gave no book.
        """
        (result,) = harvest([source])
        if result.errors and not result.publications:
            raise HarvestFailedError(f"{source} failed", [str(error) for error in result.errors])
        return result.publications

    def self_test() -> bool:
        """Harvest this source, and look whether its books have what they need.

        Raises:
            AssertionError: a book lacks something.
            HarvestFailedError: there is no book at all.
        """
        return self_test_idiom(get_publications)

    return get_publications, self_test
