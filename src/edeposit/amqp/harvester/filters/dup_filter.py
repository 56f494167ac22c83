"""Books sent before: the functions of the first generation, on the database of ``seen``.

Unlike there, looking at a book does not make it seen: whoever sends it calls ``mark_seen`` when
the broker has confirmed. So an error on the way repeats a book, and never loses one.
"""

from collections.abc import Iterable
from typing import TypeVar

from edeposit.amqp.harvester.filters.seen import SeenBooks
from edeposit.amqp.harvester.identity import required_identity

__all__ = ["filter_publication", "load_cache", "mark_seen", "save_cache"]

_T = TypeVar("_T")


def load_cache() -> set[str]:
    """The identities of all books sent.

    Raises:
        CacheError: the file cannot be used.
    """
    with SeenBooks() as seen:
        return set(seen.identities())


def save_cache(cache: set[str]) -> None:
    """Add identities to the books sent; nothing is forgotten, as another process may have added.

    Raises:
        CacheError: the file cannot be used.
    """
    with SeenBooks() as seen:
        seen.add(cache)


def filter_publication(publication: _T, cache: set[str] | None = None) -> _T | None:
    """The publication, None if it was sent before.

    Args:
        publication: mutable or namedtuple.
        cache: identities to look at instead of the database; a new one is added to them.

    Raises:
        ExtractionError: it has neither a valid number nor a title.
        CacheError: the file cannot be used.
    """
    if cache is None:
        with SeenBooks() as seen:
            return publication if seen.is_new(publication) else None
    identity = required_identity(publication)
    if identity in cache:
        return None
    cache.add(identity)
    return publication


def mark_seen(publications: Iterable[object], source: str = "") -> None:
    """Remember books that were sent, in one transaction.

    Raises:
        CacheError: the file cannot be written.
    """
    with SeenBooks() as seen:
        seen.mark_seen(publications, source)
