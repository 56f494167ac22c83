"""Deliveries on their way through a daemon, and the copies of messages that are parked.

A delivery ends in exactly one of: answered and acked, parked and acked, given back to its queue.
It survives its channel: when the connection is lost while its handler runs, it has no tag until
the broker delivers the message again; that copy's tag then belongs to the running job.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any

from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine.publisher import Done, Outgoing
from edeposit.amqp.errors import PublishError, UnencodableError


class State(Enum):
    """How far a delivery has come."""

    WAITING = "no handler has begun it"
    RUNNING = "a handler works on it"
    FINISHED = "its handler is done, the broker has not confirmed all replies"
    ENDED = "acked, given back or forgotten"


# Looked up once: in Python 3.11 a member's look-up costs more than the comparison.
WAITING, RUNNING, FINISHED, ENDED = State


# ``mark_parked(properties, reason, exchange, routing_key, only_reason)`` returns the properties of
# a parked copy; ``contract`` has it, because it names headers.
MarkParked = Callable[[BasicProperties, str, str, str, bool], BasicProperties]

#: The identity of a delivery that nobody has needed yet.
UNKNOWN: Any = object()


class Delivery:
    """One message from the broker. All but the step to RUNNING happens on the I/O thread.

    Attributes:
        handle: what ``ack()`` takes; a delivery tag that stays unique over reconnects.
        tags: serials (see ``acks``) on the current channel: usually one, none while its channel
            is gone, several if the broker has delivered the message again on the same channel.
        replies: what was sent for it and is not confirmed yet, in order.
        identity: what its copies are recognised by, None if they cannot be; see ``jobs``.
        error: why it cannot be handled: there was no memory for its body.
        seconds: how long its handler has run.
    """

    __slots__ = (
        "body",
        "error",
        "handle",
        "identity",
        "method",
        "properties",
        "replies",
        "seconds",
        "state",
        "tags",
    )

    def __init__(
        self, serial: int, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self.handle = serial
        self.tags: tuple[int, ...] = (serial,)
        self.method = method
        self.properties = properties
        self.body = body
        self.replies: dict[Outgoing, None] = {}
        self.state = WAITING
        self.identity: Any = UNKNOWN
        self.error: MemoryError | None = None
        self.seconds = 0.0


class ParkedCopy(Outgoing):
    """A copy for the parking queue: of a reply that no queue takes, or of a request.

    Attributes:
        original: the reply; None if the request itself is parked.
        cause: why the reply could not be delivered; None for a request.
        fallback: what to publish if the request cannot be parked.
        has_declared: the parking queue was declared for this copy.
    """

    __slots__ = ("cause", "fallback", "has_declared", "mark", "original", "source")

    def __init__(
        self,
        queue: str,
        source: tuple[BasicProperties, str, str, str],
        body: bytes,
        mark: MarkParked,
        done: Done,
        owner: Delivery | None,
        *,
        only_reason: bool = False,
    ) -> None:
        self.source = source
        self.mark = mark
        self.original: Outgoing | None = None
        self.cause: PublishError | None = None
        self.fallback: Outgoing | None = None
        self.has_declared = False
        try:
            super().__init__("", queue, body, mark(*source, only_reason), done, owner)
        except UnencodableError:
            super().__init__("", queue, body, mark(*source, True), done, owner)

    def reduced(self) -> "ParkedCopy | None":
        """The same with only the headers that say why it is parked; None if it is that already.

        The original's own headers may fill the frame by themselves.
        """
        if len(self.properties.headers) <= len(self.mark(*self.source, True).headers):
            return None
        queue, done, owner = self.routing_key, self.done, self.owner
        copy = ParkedCopy(queue, self.source, self.body, self.mark, done, owner, only_reason=True)
        copy.original, copy.cause, copy.fallback = self.original, self.cause, self.fallback
        return copy


def park_reply(
    reply: Outgoing, queue: str, error: PublishError, mark: MarkParked, done: Done
) -> ParkedCopy:
    """Copy an undeliverable reply for the parking queue."""
    source = (reply.properties, str(error), reply.exchange, reply.routing_key)
    copy = ParkedCopy(queue, source, reply.body, mark, done, reply.owner)
    copy.original = reply
    copy.cause = error
    return copy


def park_request(
    delivery: Delivery, queue: str, reason: str, mark: MarkParked, done: Done
) -> ParkedCopy:
    """Copy a request that cannot be answered for the parking queue."""
    method = delivery.method
    source = (delivery.properties, reason, method.exchange, method.routing_key)
    return ParkedCopy(queue, source, delivery.body, mark, done, delivery)
