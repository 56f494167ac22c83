"""The library catalogue: search, count, export, and check of ISBNs.

A plain library, usable without a broker: queries have ``getSearchResult()`` and
``getCountResult()``; ``aleph.aleph`` and ``aleph.export`` hold the functions below them.
"""

from collections.abc import Callable
from typing import Any

from edeposit.amqp.aleph import aleph, doc_number, export, isbn, settings
from edeposit.amqp.aleph.datastructures import (
    AlephRecord,
    Author,
    CountRequest,
    CountResult,
    EPeriodical,
    EPeriodicalSemanticInfo,
    EPublication,
    ExportRequest,
    ExportResult,
    FormatEnum,
    ISBNValidationRequest,
    ISBNValidationResult,
    SearchRequest,
    SearchResult,
    SemanticInfo,
)
from edeposit.amqp.aleph.exceptions import ExportOutcomeUnknownException
from edeposit.amqp.aleph.queries import (
    QUERY_TYPES,
    AuthorQuery,
    DocumentQuery,
    GenericQuery,
    ICZQuery,
    ISBNQuery,
    ISSNQuery,
    PublisherQuery,
    TitleQuery,
)
from edeposit.amqp.serializers import iiOfAny

__all__ = [
    "AlephRecord",
    "Author",
    "AuthorQuery",
    "CountRequest",
    "CountResult",
    "DocumentQuery",
    "EPeriodical",
    "EPeriodicalSemanticInfo",
    "EPublication",
    "ExportRequest",
    "ExportResult",
    "FormatEnum",
    "GenericQuery",
    "ICZQuery",
    "ISBNQuery",
    "ISBNValidationRequest",
    "ISBNValidationResult",
    "ISSNQuery",
    "PublisherQuery",
    "SearchRequest",
    "SearchResult",
    "SemanticInfo",
    "TitleQuery",
    "aleph",
    "doc_number",
    "export",
    "isbn",
    "reactToAMQPMessage",
    "settings",
]


def reactToAMQPMessage(req: Any, send_back: Callable[[Any], None] | None) -> Any:
    """Serve one request; classes are recognised by their names.

    Args:
        req: ``SearchRequest``, ``CountRequest``, ``ISBNValidationRequest`` or ``ExportRequest``.
        send_back: not called. If its attribute ``redelivered`` is true, the broker has delivered
            the request before, and an export may already have been done.

    Returns:
        ``SearchResult``, ``CountResult``, ``ISBNValidationResult`` or ``ExportResult``.

    Raises:
        ValueError: unknown request or query, or an ISBN that is not a text.
        AlephException: and its children: reading failed.
        ExportException: and its children: writing failed.
    """
    if iiOfAny(req, (SearchRequest, CountRequest)):
        return _search(req)
    if iiOfAny(req, ISBNValidationRequest):
        number = req.ISBN.ISBN if iiOfAny(req.ISBN, ISBNQuery) else req.ISBN
        return ISBNValidationResult(isbn.is_valid(number))
    if iiOfAny(req, ExportRequest):
        if getattr(send_back, "redelivered", False):
            raise ExportOutcomeUnknownException(
                "Nothing was sent: this request was delivered before, and its export may have"
                " succeeded although nobody was told. Search the catalogue before you repeat it."
            )
        export.exportEPublication(req.epublication)
        return ExportResult(req.epublication.ISBN)
    raise ValueError(f"Unknown type of request: '{type(req)}'!")


def _search(req: Any) -> SearchResult | CountResult:
    query = req.query
    for cls in QUERY_TYPES:
        if iiOfAny(query, cls):
            # A class of the same name from elsewhere has the same fields, not the same methods.
            own = query if isinstance(query, cls) else cls(*query)
            return own.getSearchResult() if iiOfAny(req, SearchRequest) else own.getCountResult()
    raise ValueError(f"Unknown type of request: '{type(req)}' or query: '{type(query)}'!")
