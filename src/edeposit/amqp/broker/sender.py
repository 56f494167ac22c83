"""One-shot sending into a service's output queue, for programs that cron starts.

Daemons that send have ``SenderDaemon``. What must stay true: ``send`` returns only when the broker
has confirmed the message, and a connection that was lost meanwhile is made again once per message.
"""

import logging
from typing import Any

import pika

from edeposit.amqp import contract
from edeposit.amqp.broker import messages
from edeposit.amqp.broker.sessions import (
    BrokerError,
    close,
    connect,
    host_settings,
    translated,
    within,
)
from edeposit.amqp.serializers import serialize_bytes

logger = logging.getLogger(__name__)

# For one message of any size (s); a broker that has stopped answering must not hold up cron.
_TIMEOUT = 120.0


class ServiceOutput:
    """A connection that is made at the first message; a context manager.

    Args:
        service: as ``get_amqp_settings()`` names it.
        timeout: seconds for one message, connecting included.
    """

    def __init__(self, service: str, timeout: float = _TIMEOUT) -> None:
        self._service = service
        self._timeout = timeout
        self._connection: pika.BlockingConnection | None = None
        self._channel: Any = None

    def __enter__(self) -> "ServiceOutput":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._drop()

    def send(self, data: Any, UUID: str) -> None:
        """Publish to the output key, mandatory and persistent; returns when it is confirmed.

        Args:
            data: anything that can be serialized; an exception becomes an exception message.
            UUID: goes into the headers.

        Raises:
            SerializationError: the data have no JSON form.
            UnroutableError: no queue is bound to the output key.
            MessageTooLargeError, RefusedError: the broker does not take it.
            BrokerError: no connection, or no exchange.
            CallTimeoutError: the broker has not confirmed in time.
        """
        body = b"" if isinstance(data, BaseException) else serialize_bytes(data)
        try:
            if self._connection is not None:
                try:
                    return within(self._timeout, self._publish, data, body, UUID)
                except BrokerError as error:
                    logger.info("connecting again: %s", error)
                    self._drop()
            within(self._timeout, self._publish, data, body, UUID)
        except BaseException:
            # After a time-out another thread may still be in it; after a refusal it is closed.
            self._drop()
            raise

    def check(self) -> None:
        """Connect, so that a broker that is not there is known before the work and not after.

        Raises:
            BrokerError: no connection, or no exchange.
            CallTimeoutError: no answer in time.
        """
        try:
            within(self._timeout, self._connect)
        except BaseException:
            self._drop()
            raise

    def _connect(self) -> None:
        if self._connection is None:
            self._connection = connection = connect(self._service)
            with translated(self._service):
                self._channel = channel = connection.channel()
                exchange = host_settings(self._service)["exchange"]
                channel.exchange_declare(exchange, passive=True)
                channel.confirm_delivery()

    def _publish(self, data: Any, body: bytes, uuid: str) -> None:
        self._connect()
        assert self._connection is not None
        config = host_settings(self._service)
        if isinstance(data, BaseException):
            # Negotiated; pika's blocking connection does not show it.
            frame_max = self._connection._impl.params.frame_max or 4096
            properties, body = contract.as_message(data, uuid, frame_max)
        else:
            properties = pika.BasicProperties(
                content_type="application/json", delivery_mode=2, headers={"UUID": uuid}
            )
        with translated(self._service):
            messages.publish(self._channel, config["exchange"], config["out_key"], body, properties)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            close(connection)
