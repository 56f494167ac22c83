"""What is not worth sending: books sent before, and those that the catalogue has.

Filters only look. A book becomes "sent before" by ``dup_filter.mark_seen``, after the broker has
confirmed it.
"""

from collections.abc import Iterable
from typing import TypeVar

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.filters.seen import SeenBooks
from edeposit.amqp.harvester.filters.sieve import Sieve

__all__ = ["SeenBooks", "Sieve", "filter_publication", "filter_publications"]

_T = TypeVar("_T")


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
