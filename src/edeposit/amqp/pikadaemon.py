"""``PikaDaemon``: a daemon that consumes one queue and loses nothing.

The main thread moves frames; ``concurrency`` handler threads run ``onMessageReceived``. A request
is acked only when the broker has confirmed everything that was published for it. Here is what
handlers use and users override; how such a daemon lives is in ``brokerdaemon``.
"""

import copy
import logging
import threading
import time
from concurrent.futures import Future
from typing import Any

import pika
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp import contract
from edeposit.amqp.brokerdaemon import BrokerDaemon
from edeposit.amqp.engine import frames
from edeposit.amqp.engine.deliveries import Delivery
from edeposit.amqp.engine.journal import DEATHS_MOST
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.errors import (
    DeadlyRequestError,
    MessageTooLargeError,
    UnencodableError,
)

logger = logging.getLogger(__name__)


class PikaDaemon(BrokerDaemon):
    """A daemon on one connection to RabbitMQ.

    Args:
        connection_param: where to connect.
        queue: the queue to consume; empty: none, the daemon only publishes.
        output_exchange: where ``sendResponse`` publishes.
        output_key: its default routing key.
        name: name of pid file, log and status; default ``<virtual host>-<queue>``.
        concurrency: handler threads; with 1 the order of messages is kept. None = settings.
        prefetch: unacked messages the broker may send ahead; 0 = as many as the work allows, see
            ``engine.prefetch``. None = settings.
        daemon_options: ``pid_dir``, ``log_target``, ``log_level``, ``stop_timeout`` (seconds) of
            ``DaemonRunnerWrapper``.
    """

    def onMessageReceived(
        self, method_frame: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> Any:
        """Handle one message; called in a handler thread. Override it.

        Args:
            method_frame: exchange, routing key and ``delivery_tag``, the argument of ``ack()``.
            properties: headers and the like; ``headers`` may be None.
            body: the message as bytes.

        Returns:
            True: ack the message once everything sent for it is confirmed. Anything else: the
            override acks it itself, now or later, with ``ack(method_frame.delivery_tag)``.

        An exception does not stop the daemon: the message is parked in
        ``<queue>.undeliverable``, or given back after a pause where that is not allowed.
        """
        print(method_frame, properties, body)

    # --- for handlers, from any thread ------------------------------------------------------

    @property
    def connection(self) -> pika.SelectConnection | None:
        """pika's connection; None while there is none. Only to be looked at."""
        return self._link.connection if self._link is not None else None

    @property
    def channel(self) -> Channel | None:
        """pika's channel; None while there is none. Only to be looked at."""
        return self._link.channel if self._link is not None else None

    def ack(self, ack_delivery_tag: int) -> None:
        """Ack one message as soon as everything sent for it is confirmed.

        Args:
            ack_delivery_tag: ``method_frame.delivery_tag`` of the message. A tag from before a
                reconnect is recognised and ignored: the broker sends that message again.
        """
        self._running_link().post(self._ledger.finish_handle, ack_delivery_tag)

    def sendMessage(
        self,
        exchange: str,
        routing_key: str,
        message: str | bytes,
        properties: BasicProperties | None = None,
        UUID: str | None = None,
    ) -> None:
        """Publish a message, persistent, mandatory and confirmed.

        Called inside a handler, the handled message is not acked before this one is confirmed.
        Waits while the broker does not take messages (alarm, reconnect).

        Args:
            exchange: where to; ``""`` is the default exchange.
            routing_key: at most 255 bytes.
            message: text is encoded as UTF-8.
            properties: default: ``content_type``, delivery mode 2, empty headers. They are copied.
            UUID: put into the headers.

        Raises:
            MessageTooLargeError: it is larger than the broker is known to accept.
            UnencodableError: body, address or properties do not fit their AMQP types.
            ClosedError: the daemon is not running.
        """
        outgoing = self._outgoing(exchange, routing_key, message, properties, UUID)
        self._send(outgoing)

    def sendResponse(
        self, message: str | bytes, UUID: str | None, routing_key: str | None = None
    ) -> None:
        """Publish to the output exchange, by default with the output key. See ``sendMessage``."""
        self.sendMessage(self.output_exchange, routing_key or self.output_key, message, UUID=UUID)

    def park(self, reason: str, fallback: Outgoing | None = None) -> None:
        """Move the message being handled to ``<queue>.undeliverable``, which is declared if needed.

        Only inside a handler, which then must not return True.

        Args:
            reason: goes into the parked copy's header ``x-edeposit-reason``, and the log.
            fallback: what to publish if the daemon's user may not declare that queue; without it
                the message is given back to its queue after a pause.
        """
        self._park(self._current.delivery, reason, fallback)

    def _park(self, delivery: Delivery, reason: str, fallback: Outgoing | None = None) -> None:
        self._running_link().post(self._ledger.park, (delivery, reason, fallback))

    def publish(
        self,
        exchange: str,
        routing_key: str,
        message: str | bytes,
        properties: BasicProperties | None = None,
        UUID: str | None = None,
    ) -> "Future[None]":
        """Publish a message that belongs to no delivery, and be told how it ended.

        Returns:
            A future; its result is None once the broker has confirmed, its exception a
            ``PublishError`` otherwise (``ConnectionLostError``: it may be there nevertheless).
        """
        future: Future[None] = Future()
        outgoing = self._outgoing(exchange, routing_key, message, properties, UUID)
        outgoing.owner = None
        outgoing.done = lambda _outgoing, error: (
            future.set_result(None) if error is None else future.set_exception(error)
        )
        self._send(outgoing)
        return future

    def _outgoing(
        self,
        exchange: str,
        routing_key: str,
        message: str | bytes,
        properties: BasicProperties | None,
        uuid: str | None,
    ) -> Outgoing:
        if properties is None:
            properties = BasicProperties(
                content_type=self.content_type, delivery_mode=2, headers={}
            )
        else:
            properties = _copied(properties)
        if uuid is not None:
            properties.headers = {**(properties.headers or {}), "UUID": uuid}
        return self._checked(exchange, routing_key, _encoded(message), properties)

    def _checked(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties,
        *,
        owner: Delivery | None = None,
        own_id: bool = False,
    ) -> Outgoing:
        """A message, by default of the delivery being handled, checked in its sender's thread."""
        link = self._running_link()
        limit = link.max_message_size
        if limit and len(body) > limit:
            raise MessageTooLargeError(len(body), limit)
        if owner is None:
            owner = getattr(self._current, "delivery", None)
        done = self._ledger.on_published
        outgoing = Outgoing(exchange, routing_key, body, properties, done, owner, own_id=own_id)
        if len(outgoing.encoded) > 4000 and link.is_usable:  # every frame holds 4 kB
            frames.check_header(outgoing.encoded, link.frame_max)
        return outgoing

    def _frame_max(self) -> int:
        return self._running_link().frame_max

    def _send(self, outgoing: Outgoing) -> None:
        link = self._running_link()
        if not link.clear_to_send.is_set() and threading.current_thread() is not self._io_thread:
            link.clear_to_send.wait()
        link.post(self._ledger.publish, outgoing)

    # --- handler threads --------------------------------------------------------------------

    def _handle(self, delivery: Delivery) -> None:
        self._current.delivery = delivery
        try:
            if delivery.error is not None:
                self._refuse(delivery, delivery.error)
            elif delivery.method.redelivered:
                self._handle_noted(delivery)
            else:
                self._run_handler(delivery)
        finally:
            self._current.delivery = None

    def _run_handler(self, delivery: Delivery) -> None:
        started = time.monotonic()
        is_done = self.onMessageReceived(delivery.method, delivery.properties, delivery.body)
        delivery.seconds = time.monotonic() - started
        if is_done:
            self._running_link().post(self._finished, delivery)

    def _handle_noted(self, delivery: Delivery) -> None:
        """Handle a message that may be what has ended an earlier process."""
        deaths = self._journal.begin(delivery)
        try:
            if deaths >= DEATHS_MOST:
                self._refuse(delivery, DeadlyRequestError(deaths))
            else:
                self._run_handler(delivery)
        finally:
            self._journal.end(delivery)

    def _refuse(self, delivery: Delivery, error: DeadlyRequestError | MemoryError) -> None:
        """Do not handle a message: park it, or if it has no body here, give it back later."""
        if isinstance(error, MemoryError):
            logger.error("delivery %d is given back: no memory for its body", delivery.handle)
            self._running_link().post(self._ledger.postpone, delivery)
        else:
            self.park(str(error))

    def _handler_failed(self, delivery: Delivery, error: BaseException) -> None:
        text = contract.describe(error)
        self._park(delivery, f"{contract.name_of(error)} in the handler: {text}")


def _copied(properties: BasicProperties) -> BasicProperties:
    """The caller may go on using its object."""
    try:
        copied = copy.copy(properties)
        copied.headers = copy.deepcopy(properties.headers)
        return copied
    except Exception as error:
        raise UnencodableError(f"the properties cannot be copied: {error!r}") from error


def _encoded(message: str | bytes) -> bytes:
    if isinstance(message, bytes):
        return message
    if isinstance(message, (bytearray, memoryview)):
        return bytes(message)
    if not isinstance(message, str):
        raise UnencodableError(f"a body is text or bytes, not {type(message).__name__}")
    try:
        return message.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnencodableError(f"the body cannot be encoded: {error}") from error
