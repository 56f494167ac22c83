"""Deliveries on their way through a daemon, and the copies of messages that are put aside.

A delivery ends in exactly one of: answered and acked, parked and acked, given back to its queue.
It survives its channel: when the connection is lost while its handler runs, it is *detached*;
the broker sends the message again, and that copy takes over the running job instead of starting
a second one (see ``PikaDaemon``).
"""

import copy
from typing import Any

from pika.spec import Basic, BasicProperties

from edeposit.amqp.contract import EXCHANGE_HEADER, KEY_HEADER, PARKING_SUFFIX, REASON_HEADER
from edeposit.amqp.engine.publisher import Outgoing, new_message_id
from edeposit.amqp.errors import PublishError


class Delivery:
    """One message from the broker. All but ``begun`` belongs to the I/O thread.

    Attributes:
        handle: what ``ack()`` takes; a delivery tag that stays unique over reconnects.
        serial: the same, or after a take-over that of the broker's copy.
        open: replies that the broker has not confirmed yet, in their order.
        begun: a handler thread has started on it.
        finished: the handler is done with it; it is acked once ``open`` is empty.
        detached: its channel is gone; it waits for the broker's copy.
        dead: nobody waits for its result any more.
    """

    __slots__ = (
        "begun", "body", "dead", "detached", "finished", "handle", "method", "open", "properties",
        "serial",
    )  # fmt: skip

    def __init__(
        self, serial: int, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self.handle = self.serial = serial
        self.method = method
        self.properties = properties
        self.body = body
        self.open: dict[Outgoing, None] = {}
        self.begun = False
        self.finished = False
        self.detached = False
        self.dead = False


class Parked(Outgoing):
    """A copy for the parking queue, of an undeliverable reply or of an unanswerable request.

    Attributes:
        original: the reply that could not be delivered; None if the request itself is parked.
        fallback: what to publish if there is no parking queue.
    """

    __slots__ = ("fallback", "original")

    original: Outgoing | None
    fallback: Outgoing | None

    def strip(self) -> bool:
        """Keep only the headers that say why it is parked; False if that is so already.

        The original's own headers may fill the frame by themselves.
        """
        headers = self.properties.headers
        kept = {name: headers[name] for name in (REASON_HEADER, EXCHANGE_HEADER, KEY_HEADER)}
        self.properties.headers = kept
        return len(kept) < len(headers)


def park_reply(reply: Outgoing, queue: str, error: PublishError, done: Any) -> Parked:
    """Copy an undeliverable reply for ``<queue>.undeliverable``."""
    parked = _parked(
        reply.properties, reply.body, queue, str(error), reply.exchange, reply.routing_key, done
    )
    parked.owner = reply.owner
    parked.original = reply
    return parked


def park_request(
    delivery: Delivery, queue: str, reason: str, done: Any, fallback: Outgoing | None = None
) -> Parked:
    """Copy a request that cannot be answered for ``<queue>.undeliverable``."""
    method = delivery.method
    parked = _parked(
        delivery.properties, delivery.body, queue, reason, method.exchange, method.routing_key, done
    )
    parked.owner = delivery
    parked.fallback = fallback
    return parked


def _parked(
    properties: BasicProperties,
    body: bytes,
    queue: str,
    reason: str,
    exchange: str,
    routing_key: str,
    done: Any,
) -> Parked:
    properties = copy.copy(properties)
    properties.headers = dict(properties.headers or {})
    properties.headers[REASON_HEADER] = reason[:1000]
    properties.headers[EXCHANGE_HEADER] = exchange
    properties.headers[KEY_HEADER] = routing_key
    properties.delivery_mode = 2
    properties.message_id = new_message_id()
    # An expiration would let the parked copy vanish; user_id is checked against our own user.
    properties.expiration = properties.user_id = None
    parked = Parked("", queue + PARKING_SUFFIX, body, properties, done)
    parked.original = parked.fallback = None
    return parked
