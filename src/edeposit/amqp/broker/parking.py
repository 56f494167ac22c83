"""The parking queue of a service: what its daemon could neither answer nor deliver.

A parked message is a copy with headers that say why it is there and where it was to go
(``deliveries``). Here it is looked at, sent there again, or dropped. What must stay true: a
message is removed only after the broker has confirmed its other copy, or on demand.
"""

import copy
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pika.adapters.blocking_connection import BlockingChannel

from edeposit.amqp.broker.messages import ReceivedMessage, publish, waiting
from edeposit.amqp.broker.sessions import connected, host_settings
from edeposit.amqp.contract import (
    EXCHANGE_HEADER,
    KEY_HEADER,
    PARKING_SUFFIX,
    REASON_HEADER,
    TIME_HEADER,
)
from edeposit.amqp.errors import AMQPError

ALL = "all"
HEADER = "\t".join(("id", "UUID", "parked at", "was to go to", "size", "reason"))


class ParkedMessage(NamedTuple):
    """A parked message.

    Attributes:
        id: names it for ``retry`` and ``drop``; its ``message_id``.
        uuid: of the request that it belongs to.
        exchange: where it was to go; None if that is not known.
        routing_key: beside ``exchange``.
        parked_at: seconds since 1970; None if that is not known.
    """

    id: str
    uuid: str | None
    reason: str
    exchange: str | None
    routing_key: str | None
    parked_at: int | None
    message: ReceivedMessage

    def as_text(self) -> str:
        """A line with what matters, in the columns of ``HEADER``."""
        target = "?" if self.exchange is None else f"{self.exchange}[{self.routing_key!r}]"
        size = len(self.message.body)
        reason = " ".join(self.reason.split())
        since = "-"
        if self.parked_at is not None:
            # Local time, as in the logs.
            since = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.parked_at))
        return "\t".join((self.id, self.uuid or "-", since, target, f"{size} bytes", reason))

    def as_json(self) -> str:
        """One line of JSON, body included."""
        fields = {**self._asdict(), "message": json.loads(self.message.as_json())}
        return json.dumps(fields)


def parking_queue(host: str) -> str:
    """The name of a service's parking queue."""
    return f"{host_settings(host)['in_queue']}{PARKING_SUFFIX}"


def parked(host: str, ids: list[str]) -> Iterator[ParkedMessage]:
    """What is in the parking queue; it stays there.

    Args:
        host: the service, as ``get_amqp_settings()`` names it.
        ids: message ids or UUIDs; an empty list, or ``all``: everything.

    Raises:
        AMQPError: an id is not in the queue (raised at the end), no connection, no queue.
    """
    with connected(host) as connection:
        yield from _chosen(connection.channel(), host, ids)


def retry(host: str, ids: list[str]) -> Iterator[ParkedMessage]:
    """Send parked messages again to where they were to go; yields each when that is done.

    Raises:
        AMQPError: as ``parked``; or the broker does not take a message: it stays parked.
    """

    def resend(channel: BlockingChannel, item: ParkedMessage) -> None:
        if item.exchange is None or item.routing_key is None:
            raise AMQPError(f"parked message {item.id} does not say where it was to go")
        properties = copy.copy(item.message.properties)
        properties.headers = {
            name: value
            for name, value in (properties.headers or {}).items()
            if name not in (REASON_HEADER, EXCHANGE_HEADER, KEY_HEADER, TIME_HEADER)
        }
        publish(channel, item.exchange, item.routing_key, item.message.body, properties)

    return _take(host, ids, resend)


def drop(host: str, ids: list[str]) -> Iterator[ParkedMessage]:
    """Delete parked messages for good; yields each. Errors as of ``parked``."""
    return _take(host, ids, lambda _channel, _item: None)


def _take(
    host: str, ids: list[str], use: Callable[[BlockingChannel, ParkedMessage], None]
) -> Iterator[ParkedMessage]:
    with connected(host) as connection:
        channel = connection.channel()
        sending = connection.channel()  # one of its own: a refusal closes it
        sending.confirm_delivery()
        for item in _chosen(channel, host, ids):
            use(sending, item)
            channel.basic_ack(item.message.method.delivery_tag)
            yield item


def _chosen(channel: BlockingChannel, host: str, ids: list[str]) -> Iterator[ParkedMessage]:
    everything = not ids or ALL in ids
    missing = set() if everything else set(ids)
    for message in waiting(channel, parking_queue(host)):
        item = _to_parked(message)
        names = {item.id, item.uuid}
        if everything or names.intersection(ids):
            missing.difference_update(names)
            yield item
    if missing:
        raise AMQPError(f"not parked at {host}: {', '.join(sorted(missing))}")


def _to_parked(message: ReceivedMessage) -> ParkedMessage:
    headers: dict[str, Any] = message.properties.headers or {}
    names = ("UUID", EXCHANGE_HEADER, KEY_HEADER)
    uuid, exchange, routing_key = (
        value if isinstance(value := headers.get(name), str) else None for name in names
    )
    reason = str(headers.get(REASON_HEADER, "unknown"))
    # Bounded: a foreign value must be a time that people can read.
    time_header = headers.get(TIME_HEADER)
    parked_at = time_header if type(time_header) is int and 0 < time_header < 2**35 else None
    return ParkedMessage(
        message.properties.message_id or "",
        uuid,
        reason,
        exchange,
        routing_key,
        parked_at,
        message,
    )
