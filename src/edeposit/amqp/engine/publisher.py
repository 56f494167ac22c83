"""Messages on their way out, until the broker has confirmed each of them.

Confirms are pipelined: a message is written, the next one follows, and the broker's
``basic.ack`` settles one or many by sequence number (RabbitMQ's publisher confirms). Publishing
is mandatory, so that an unroutable message comes back as ``basic.return`` before its confirm; the
two are paired by an id that this module makes: the ``message_id``, or a header of its own where
the caller has set a ``message_id``.

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
from edeposit.amqp.errors import PublishError, RefusedError, UnencodableError, UnroutableError

# RabbitMQ's pseudo queue of direct reply-to. A mandatory message to it always counts as
# unroutable (https://www.rabbitmq.com/docs/direct-reply-to), so it alone goes without.
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"

#: The header that pairs a return with its message where ``message_id`` is the caller's.
PAIRING_HEADER = "x-publish-id"

#: Called on the I/O thread with the message, and None or why the broker did not take it.
Done = Callable[["Outgoing", PublishError | None], None]

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
    """One message to be published. A caller's properties are encoded at once, in its thread.

    Args:
        properties: belongs to this message from now on; gets a ``message_id`` if it has none.
        own_id: the ``message_id`` was made by ``new_message_id()`` for this message alone.

    Attributes:
        id: pairs a return with the message; unique.
        owner: whatever its creator pairs with it (a delivery, a pending call).
        sent_at: ``time.monotonic()`` of the write, 0.0 before it.
        suspect: it was unconfirmed when the broker closed the channel; see ``suspects``.
        losses: how many connections were lost while it was unconfirmed.

    Raises:
        UnencodableError: properties or address do not fit their AMQP types.
    """

    __slots__ = (
        "body",
        "done",
        "encoded",
        "exchange",
        "id",
        "losses",
        "mandatory",
        "owner",
        "properties",
        "returned",
        "routing_key",
        "sent_at",
        "suspect",
    )

    id: str

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties,
        done: Done,
        owner: Any = None,
        *,
        own_id: bool = False,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.mandatory = exchange != "" or not _is_direct(routing_key)
        self.done = done
        self.owner = owner
        self.returned: UnroutableError | None = None
        self.sent_at = 0.0
        self.suspect = False
        self.losses = 0
        self.id = properties.message_id if own_id else _identify(properties)
        self.properties = properties
        # The daemon's own properties are encoded later, on the I/O thread: it writes larger
        # batches then, and they cannot be wrong.
        self.encoded = b"" if own_id else _encoded(properties)
        try:
            # Channel 1 is a daemon's usual one, so its cached frame serves the publish.
            frames.publish_method(1, exchange, routing_key, self.mandatory)
        except UnencodableError:
            raise
        except Exception as error:
            raise UnencodableError(f"the address cannot be encoded: {error!r}") from error

    def frames(self, channel: int, frame_max: int) -> list[bytes]:
        """Encode the whole message for a channel.

        Raises:
            UnencodableError: it does not fit AMQP's frames, or there is no memory for them.
        """
        try:
            return frames.publish_frames(
                channel,
                self.exchange,
                self.routing_key,
                self.mandatory,
                self.encoded or _encoded(self.properties),
                self.body,
                frame_max,
            )
        except MemoryError as error:
            raise UnencodableError(f"no memory to send {len(self.body)} bytes") from error


def _encoded(properties: BasicProperties) -> bytes:
    try:
        return frames.encode_properties(properties)
    except (UnencodableError, MemoryError):
        raise
    except Exception as error:  # a value of a wrong type fails in many ways
        raise UnencodableError(f"the properties cannot be encoded: {error!r}") from error


def _identify(properties: BasicProperties) -> str:
    """Give properties an id that pairs a return with its message."""
    number = new_message_id()
    headers = properties.headers
    if properties.message_id is not None:
        properties.headers = {**(headers or {}), PAIRING_HEADER: number}
    else:
        properties.message_id = number
        if headers and PAIRING_HEADER in headers:  # passed on from another message
            properties.headers = {**headers}
            del properties.headers[PAIRING_HEADER]
    return number


def _is_direct(routing_key: str) -> bool:
    return routing_key == DIRECT_REPLY_TO or routing_key.startswith(DIRECT_REPLY_TO + ".")


def unroutable(outgoing: Outgoing, code: int, text: str) -> UnroutableError:
    """The error of a message that came back with ``basic.return``."""
    return UnroutableError(
        f"{code} {text}: exchange {outgoing.exchange!r}, routing key {outgoing.routing_key!r}"
    )


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
        chunks = outgoing.frames(channel, frame_max)
        self._sequence += 1
        outgoing.sent_at = time.monotonic()
        outgoing.returned = None
        self._open[self._sequence] = outgoing
        self._by_id[outgoing.id] = outgoing
        self.unconfirmed_bytes += len(outgoing.body)
        return chunks

    def returned(self, properties: BasicProperties, code: int, text: str) -> None:
        """The broker sends a message back; its confirm follows and settles it as unroutable."""
        number = (properties.headers or {}).get(PAIRING_HEADER) or properties.message_id
        outgoing = self._by_id.get(number) if isinstance(number, str) else None
        if outgoing is not None:
            outgoing.returned = unroutable(outgoing, code, text)

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
        self._by_id.pop(outgoing.id, None)
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
