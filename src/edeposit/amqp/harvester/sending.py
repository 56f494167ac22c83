"""Sends what the sources gave, in messages that the broker confirms.

What must stay true: a book is marked as sent only after its message was confirmed, batch by batch,
so an error in between sends it again and never loses it. A book that cannot be sent does not hold
up the others, and each failure becomes a message of its own that names the source.
"""

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from edeposit.amqp.errors import MessageTooLargeError
from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import HarvesterError, SourceFailedError
from edeposit.amqp.harvester.filters import Sieve
from edeposit.amqp.harvester.messages import Publication, Publications
from edeposit.amqp.serializers import serialize_bytes

logger = logging.getLogger(__name__)

# Data (an exception goes out as an exception message) and UUID; returns when it is confirmed.
Send = Callable[[Any, str], None]

# Bytes of a message around its books: names, brackets.
_ENVELOPE = 200


class Result(Protocol):
    """What a source gave (``crawl.SourceResult``)."""

    @property
    def name(self) -> str:
        """Of the source."""

    @property
    def publications(self) -> Sequence[Any]:
        """What was found."""

    @property
    def errors(self) -> Sequence[Exception]:
        """What went wrong."""


class Report(NamedTuple):
    """What became of a source's books.

    Attributes:
        source: its name.
        found: books on its pages.
        sent: confirmed by the broker.
        messages: in which they were sent.
        known: sent before, or found twice.
        in_catalogue: Aleph has them.
        errors: what went wrong, as texts.
    """

    source: str
    found: int
    sent: int
    messages: int
    known: int
    in_catalogue: int
    errors: list[str]

    def __str__(self) -> str:
        sent = f"{self.sent} sent"
        if self.messages:
            sent += f" in {self.messages} message{'s' if self.messages > 1 else ''}"
        parts = [f"{self.found} found", sent, f"{self.known} known"]
        if self.in_catalogue:
            parts.append(f"{self.in_catalogue} in the catalogue")
        if self.errors:
            parts.append(f"{len(self.errors)} error{'s' if len(self.errors) > 1 else ''}")
        return f"{self.source}: {', '.join(parts)}"


def send_books(results: Iterable[Result], send: Send, sieve: Sieve) -> Iterator[Report]:
    """Send what is new of each source as soon as it is there.

    Args:
        results: of the sources.
        send: data and UUID to the output queue; returns when the broker has confirmed. Whatever
            it raises ends the harvest, except for messages that are too large.
        sieve: filters, and where books are marked.

    Yields:
        A report for each source.

    Raises:
        CacheError: the database of the books sent cannot be used.
    """
    for result in results:
        sifted = sieve.sift(result.publications)
        errors: list[Exception] = [*result.errors, *sifted.errors]
        sent = messages = 0
        for batch in _batches(sifted.new, errors):
            for delivered in _send_batch(batch, send, errors):
                sieve.mark_seen((book for book, _ in delivered), result.name)
                sent += len(delivered)
                messages += 1
        sieve.mark_seen(sifted.in_catalogue, f"{result.name} (catalogue)")
        if errors:
            send(SourceFailedError(result.name, errors), str(uuid.uuid4()))
        report = Report(
            result.name,
            len(result.publications),
            sent,
            messages,
            sifted.known,
            len(sifted.in_catalogue),
            [str(error) for error in errors],
        )
        logger.info("%s", report)
        yield report


def sendable(
    books: Iterable[Any], errors: list[Exception]
) -> Iterator[tuple[Any, Publication, int]]:
    """Books with their message form and its length in bytes.

    Args:
        books: as the sources gave them.
        errors: gets an error for each book that has no message form.
    """
    for book in books:
        try:
            message = book.to_namedtuple()
            length = len(serialize_bytes(message)) + 1
        except Exception as error:  # a source written in Python may give anything
            logger.debug("a book cannot be sent", exc_info=True)
            errors.append(HarvesterError(f"{_name(book)} cannot be sent: {error}"))
        else:
            yield book, message, length


_Batch = list[tuple[Any, Publication]]


def _batches(books: Iterable[Any], errors: list[Exception]) -> Iterator[_Batch]:
    """Books with their message form, as many as one message may hold by number and size."""
    most_books, most_bytes = settings.HARVESTER_BATCH, settings.HARVESTER_MAX_MESSAGE
    batch: _Batch = []
    size = _ENVELOPE
    for book, message, length in sendable(books, errors):
        if length + _ENVELOPE > most_bytes:
            errors.append(HarvesterError(f"{_name(book)} has {length} bytes and is not sent"))
            continue
        if batch and (len(batch) == most_books or size + length > most_bytes):
            yield batch
            batch, size = [], _ENVELOPE
        batch.append((book, message))
        size += length
    if batch:
        yield batch


def _send_batch(batch: _Batch, send: Send, errors: list[Exception]) -> Iterator[_Batch]:
    """Send a batch; if the broker finds it too large, its halves.

    Yields:
        What was confirmed with one message.
    """
    try:
        send(Publications([message for _, message in batch]), str(uuid.uuid4()))
    except MessageTooLargeError as error:
        if len(batch) == 1:
            errors.append(HarvesterError(f"{_name(batch[0][0])} is not sent: {error}"))
            return
        logger.info("a batch of %d books is divided: %s", len(batch), error)
        middle = len(batch) // 2
        yield from _send_batch(batch[:middle], send, errors)
        yield from _send_batch(batch[middle:], send, errors)
    else:
        yield batch


def _name(book: Any) -> str:
    return f"the book {str(book.title)[:100]!r}"
