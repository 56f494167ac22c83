"""The structures of the catalogue service."""

from edeposit.amqp.aleph.datastructures.alephrecord import AlephRecord
from edeposit.amqp.aleph.datastructures.author import Author
from edeposit.amqp.aleph.datastructures.eperiodical import EPeriodical
from edeposit.amqp.aleph.datastructures.epublication import EPublication
from edeposit.amqp.aleph.datastructures.format_enum import FormatEnum
from edeposit.amqp.aleph.datastructures.requests import (
    CountRequest,
    ExportRequest,
    ISBNValidationRequest,
    SearchRequest,
)
from edeposit.amqp.aleph.datastructures.results import (
    CountResult,
    ExportResult,
    ISBNValidationResult,
    SearchResult,
)
from edeposit.amqp.aleph.datastructures.semanticinfo import EPeriodicalSemanticInfo, SemanticInfo

__all__ = [
    "AlephRecord",
    "Author",
    "CountRequest",
    "CountResult",
    "EPeriodical",
    "EPeriodicalSemanticInfo",
    "EPublication",
    "ExportRequest",
    "ExportResult",
    "FormatEnum",
    "ISBNValidationRequest",
    "ISBNValidationResult",
    "SearchRequest",
    "SearchResult",
    "SemanticInfo",
]
