"""Messages in and out of a service's queues, one at a time, for people and scripts.

What must stay true: a message is removed from its queue only after the caller has used it (printed,
moved or confirmed it); whatever goes wrong before, it is still there.
"""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, NackError, UnroutableError

from edeposit.amqp import errors
from edeposit.amqp.broker.sessions import (
    close,
    connect,
    connected,
    deadline_of,
    host_settings,
    translated,
    within,
)
from edeposit.amqp.engine import diagnosis
from edeposit.amqp.errors import AMQPError, CallTimeoutError

# Deep enough to be fast. What is not printed any more is given back, marked as redelivered.
_PREFETCH = 20


class NotJSONTextError(AMQPError):
    """A request is not JSON; the text says where."""


class ReceivedMessage(NamedTuple):
    """A message as the broker delivered it."""

    method: Any
    properties: pika.BasicProperties
    body: bytes

    def as_text(self) -> str:
        """The three lines that the first generation printed for a message."""
        line = json.dumps(
            {
                "method_frame": str(self.method),
                "properties": str(self.properties),
                "body": self.body.decode("utf-8", "backslashreplace"),
            }
        )
        return f"{line}\n{'-' * 79}\n"

    def as_json(self) -> str:
        """One line of JSON: what is set, and the body as the JSON that it is, if it is."""
        properties = {
            name: value
            for name, value in vars(self.properties).items()
            if value is not None and name != "headers"
        }
        data = {
            "exchange": self.method.exchange,
            "routing_key": self.method.routing_key,
            "redelivered": self.method.redelivered,
            "properties": properties,
            "headers": self.properties.headers or {},
        }
        text = self.body.decode("utf-8", "backslashreplace")
        try:
            return json.dumps({**data, "body": json.loads(text)}, default=str)
        except (ValueError, RecursionError):
            return json.dumps({**data, "body": text}, default=str)


def check_json(data: bytes, name: str) -> None:
    """Make sure that a request is JSON, as its service will find out otherwise.

    Args:
        data: the text in UTF-8.
        name: how to call it in the error.

    Raises:
        NotJSONTextError: it is not; with line and column.
    """

    def refuse(constant: str) -> None:
        raise NotJSONTextError(f"{name} is not JSON: {constant} is not allowed")

    try:
        json.loads(data.decode("utf-8"), parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise NotJSONTextError(f"{name} is not UTF-8: byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise NotJSONTextError(
            f"{name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise NotJSONTextError(f"{name} cannot be read: {error}") from error


def send(
    host: str, data: str | bytes, properties: pika.BasicProperties | None = None
) -> pika.BasicProperties:
    """Put a request into a service's input queue; returns once the broker has confirmed it.

    Args:
        host: the service, as ``get_amqp_settings()`` names it.
        data: the request in JSON.
        properties: default: those of a request with a new UUID.

    Returns:
        The properties it was sent with.

    Raises:
        UnroutableError: no queue is bound to the input key.
        MessageTooLargeError, RefusedError: the broker does not take it.
        BrokerError: no connection, or no exchange.
    """
    config = host_settings(host)
    if properties is None:
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, headers={"UUID": str(uuid.uuid4())}
        )
    body = data.encode("utf-8") if isinstance(data, str) else data
    with connected(host) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        publish(channel, config["exchange"], config["in_key"], body, properties)
    return properties


def publish(
    channel: BlockingChannel,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: pika.BasicProperties,
) -> None:
    """Publish one message, mandatory, on a channel in confirm mode; errors as of ``send``."""
    try:
        channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)
    except UnroutableError as error:
        raise errors.UnroutableError(
            f"no queue is bound to exchange {exchange!r} with routing key {routing_key!r}:"
            " is the schema created? (edeposit_amqp_tool.py --create)"
        ) from error
    except NackError as error:
        raise errors.RefusedError("the broker refused the message (basic.nack)") from error
    except ChannelClosedByBroker as error:
        too_large = diagnosis.too_large(error)
        if too_large is None:
            raise
        raise errors.MessageTooLargeError(*too_large) from error


def receive(host: str, timeout: float | None = None) -> Iterator[ReceivedMessage]:
    """Take messages off a service's output queue as they come.

    Each is acked when the next one is asked for, so one that its reader did not get through with
    is not lost.

    Args:
        host: the service, as ``get_amqp_settings()`` names it.
        timeout: seconds for all of it, connecting included; None or negative: no limit.

    Raises:
        CallTimeoutError: the time is over, whether messages have come or not.
        BrokerError: no connection, no queue, or both were lost.
    """
    deadline = deadline_of(timeout)
    queue = host_settings(host)["out_queue"]
    connection = within(timeout, connect, host)
    try:
        with translated(host):
            channel = connection.channel()
            channel.basic_qos(prefetch_count=_PREFETCH)
            while True:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise CallTimeoutError(f"no more messages from {queue!r} in time")
                item = next(channel.consume(queue, inactivity_timeout=left), None)
                if item is None:
                    raise AMQPError(f"queue {queue!r} of {host} was deleted meanwhile")
                method, properties, body = item
                if method is not None:
                    yield ReceivedMessage(method, properties, body)
                    channel.basic_ack(method.delivery_tag)
    finally:
        close(connection)


def peek(host: str) -> Iterator[ReceivedMessage]:
    """The messages in a service's output queue, which stay there (marked as redelivered)."""
    with connected(host) as connection:
        channel = connection.channel()
        yield from waiting(channel, host_settings(host)["out_queue"])


def waiting(channel: BlockingChannel, queue: str) -> Iterator[ReceivedMessage]:
    """The messages that are in a queue now, unacked: they go back when the channel closes."""
    count = channel.queue_declare(queue, passive=True).method.message_count
    for _ in range(count):
        method, properties, body = channel.basic_get(queue)
        if method is None:
            return
        yield ReceivedMessage(method, properties, body)


def counts(host: str, queues: list[str]) -> dict[str, int]:
    """How many messages are ready in each of a service's queues."""
    with connected(host) as connection:
        channel = connection.channel()
        return {
            queue: channel.queue_declare(queue, passive=True).method.message_count
            for queue in queues
        }


def purge(host: str, queues: list[str]) -> dict[str, int]:
    """Delete all ready messages of queues; returns how many of each."""
    with connected(host) as connection:
        channel = connection.channel()
        return {queue: channel.queue_purge(queue).method.message_count for queue in queues}
