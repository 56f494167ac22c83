"""The library catalogue: search, count, export, and check of ISBNs.

A plain library, usable without a broker: queries have ``getSearchResult()`` and
``getCountResult()``; ``aleph.aleph`` and ``aleph.export`` hold the functions below them.
"""

from collections.abc import Callable
from typing import Any

from edeposit.amqp.aleph import isbn
from edeposit.amqp.aleph.datastructures import (
    CountResult,
    ExportResult,
    ISBNValidationResult,
    SearchResult,
)
from edeposit.amqp.aleph.export import exportEPublication
from edeposit.amqp.aleph.queries import (
    QUERIES,
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
    "AuthorQuery", "DocumentQuery", "GenericQuery", "ICZQuery", "ISBNQuery", "ISSNQuery",
    "PublisherQuery", "TitleQuery", "reactToAMQPMessage",
]  # fmt: skip


def reactToAMQPMessage(req: Any, send_back: Callable[[Any], None]) -> Any:
    """Serve one request; classes are recognised by their names.

    Args:
        req: ``SearchRequest``, ``CountRequest``, ``ISBNValidationRequest`` or ``ExportRequest``.
        send_back: not used.

    Returns:
        ``SearchResult``, ``CountResult``, ``ISBNValidationResult`` or ``ExportResult``.

    Raises:
        ValueError: unknown request or query, or an ISBN that is no text.
        AlephException: and its children: reading failed.
        ExportException: and its children: writing failed.
    """
    kind = type(req).__name__
    if kind in ("SearchRequest", "CountRequest"):
        return _search(kind, req)
    if kind == "ISBNValidationRequest":
        value = req.ISBN.ISBN if iiOfAny(req.ISBN, ISBNQuery) else req.ISBN
        return ISBNValidationResult(isbn.is_valid(value))
    if kind == "ExportRequest":
        exportEPublication(req.epublication)
        return ExportResult(req.epublication.ISBN)
    raise ValueError(f"Unknown type of request: '{type(req)}'!")


def _search(kind: str, req: Any) -> SearchResult | CountResult:
    query = req.query
    for cls in QUERIES:
        if iiOfAny(query, cls):
            # A class of the same name from elsewhere has the same fields, not the same methods.
            own = query if isinstance(query, cls) else cls(*query)
            return own.getSearchResult() if kind == "SearchRequest" else own.getCountResult()
    raise ValueError(f"Unknown type of request: '{type(req)}' or query: '{type(query)}'!")
