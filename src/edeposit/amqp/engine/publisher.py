"""Messages on their way out, until the broker has confirmed each of them.

Confirms are pipelined: a message is written, the next one follows, and the broker's
``basic.ack`` settles one or many by sequence number (RabbitMQ's publisher confirms). Publishing
is mandatory, so that an unroutable message comes back as ``basic.return`` before its confirm; the
two are paired by ``message_id``, which every message gets and keeps over republishing.

What must stay true: every message handed over ends in exactly one call of its ``done``, except
when the channel is lost: then ``lost()`` hands the open ones back, and their owner decides.
"""

import itertools
import os
import time
from collections.abc import Callable
from typing import Any

from pika.spec import BasicProperties

from edeposit.amqp.engine import frames
from edeposit.amqp.errors import PublishError, RefusedError, UnroutableError

# RabbitMQ's pseudo queue of direct reply-to. A mandatory message to it always counts as
# unroutable (https://www.rabbitmq.com/docs/direct-reply-to), so it alone goes without.
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"

_ids = itertools.count(1)
_id_prefix = ""
_id_pid = 0


def new_message_id() -> str:
    """A message id unique over processes and restarts, cheaper than a UUID for each message."""
    global _id_prefix, _id_pid
    if _id_pid != os.getpid():
        _id_prefix, _id_pid = os.urandom(9).hex(), os.getpid()
    return f"{_id_prefix}.{next(_ids)}"


class Outgoing:
    """One message to be published.

    Attributes:
        done: called on the I/O thread with the message and None, or why the broker did not take it.
        owner: whatever its creator pairs with it (a delivery, a pending call).
        sent_at: ``time.monotonic()`` of the write, 0.0 before it.
    """

    __slots__ = (
        "body", "done", "exchange", "mandatory", "owner", "properties", "returned", "routing_key",
        "sent_at",
    )  # fmt: skip

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties,
        done: Callable[["Outgoing", PublishError | None], None],
        owner: Any = None,
    ) -> None:
        if properties.message_id is None:
            properties.message_id = new_message_id()
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.properties = properties
        self.mandatory = exchange != "" or not routing_key.startswith(DIRECT_REPLY_TO)
        self.done = done
        self.owner = owner
        self.returned: UnroutableError | None = None
        self.sent_at = 0.0


class Publisher:
    """The sequence numbers and open confirms of one channel. I/O thread only."""

    def __init__(self) -> None:
        self._open: dict[int, Outgoing] = {}
        self._by_id: dict[str, Outgoing] = {}
        self._sequence = 0
        self._lowest = 1
        self.unconfirmed_bytes = 0

    def __len__(self) -> int:
        return len(self._open)

    def encode(self, outgoing: Outgoing, channel: int, frame_max: int) -> list[bytes]:
        """Give the message its sequence number and encode it.

        Raises:
            UnencodableError: it does not fit AMQP's frames; no sequence number is used up.
        """
        chunks = frames.publish_frames(
            channel,
            outgoing.exchange,
            outgoing.routing_key,
            outgoing.mandatory,
            outgoing.properties,
            outgoing.body,
            frame_max,
        )
        self._sequence += 1
        outgoing.sent_at = time.monotonic()
        outgoing.returned = None
        self._open[self._sequence] = outgoing
        self._by_id[outgoing.properties.message_id] = outgoing
        self.unconfirmed_bytes += len(outgoing.body)
        return chunks

    def returned(self, properties: BasicProperties, code: int, text: str) -> None:
        """The broker sends a message back; its confirm follows and settles it as unroutable."""
        outgoing = self._by_id.get(properties.message_id or "")
        if outgoing is not None:
            outgoing.returned = UnroutableError(
                f"{code} {text}: exchange {outgoing.exchange!r},"
                f" routing key {outgoing.routing_key!r}"
            )

    def confirmed(self, sequence: int, multiple: bool, positive: bool) -> None:
        """Settle one message, or all up to this one, and tell their owners."""
        if not multiple:
            self._settle(sequence, positive)
            return
        for number in range(self._lowest, sequence + 1):
            self._settle(number, positive)
        self._lowest = sequence + 1

    def _settle(self, sequence: int, positive: bool) -> None:
        outgoing = self._open.pop(sequence, None)
        if outgoing is None:
            return
        self._by_id.pop(outgoing.properties.message_id, None)
        self.unconfirmed_bytes -= len(outgoing.body)
        if not positive:
            outgoing.done(outgoing, RefusedError("the broker refused the message (basic.nack)"))
        else:
            outgoing.done(outgoing, outgoing.returned)

    def oldest(self) -> float | None:
        """``time.monotonic()`` of the longest open publish, None if all are confirmed."""
        if not self._open:
            return None
        while self._lowest not in self._open:
            self._lowest += 1
        return self._open[self._lowest].sent_at

    def lost(self) -> list[Outgoing]:
        """The channel is gone: forget its numbers, return the unconfirmed in their order."""
        unconfirmed = list(self._open.values())
        self.__init__()  # type: ignore[misc]
        return unconfirmed
