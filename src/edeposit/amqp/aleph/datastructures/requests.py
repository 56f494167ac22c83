"""Requests, as they travel."""

from collections import namedtuple


class SearchRequest(namedtuple("SearchRequest", ["query"])):
    """Find records; answered with ``SearchResult``.

    Attributes:
        query: one of the query classes.
    """

    __slots__ = ()


class CountRequest(namedtuple("CountRequest", ["query"])):
    """Count records; answered with ``CountResult``.

    Attributes:
        query: one of the query classes.
    """

    __slots__ = ()


class ISBNValidationRequest(namedtuple("ISBNValidationRequest", ["ISBN"])):
    """Check an ISBN; answered with ``ISBNValidationResult``.

    Attributes:
        ISBN (str): or an ``ISBNQuery``, whose ISBN is taken.
    """

    __slots__ = ()


class ExportRequest(namedtuple("ExportRequest", ["epublication"])):
    """Send a book to the librarians' form; answered with ``ExportResult``.

    Attributes:
        epublication (EPublication): the book.
    """

    __slots__ = ()
