"""``PikaDaemon``: a daemon that consumes one queue and loses nothing.

The main thread moves frames; ``concurrency`` handler threads run ``onMessageReceived``. A request
is acked only when the broker has confirmed everything that was published for it.

Shutdown order (first SIGTERM): 1. cancel the consumer, 2. give back what no handler has begun,
3. let the handlers finish and the broker confirm, heartbeats going on, 4. write the acks, 5.
close. After ``stop_timeout``, or at the second SIGTERM, the rest is abandoned: the broker gives
it to somebody else.

Lost connection: requests not begun are forgotten (the broker sends them again). A job that runs
goes on, and its replies are published as soon as there is a connection. The broker's copy of its
message is recognised (``engine.jobs``) and not run again.

How: ``engine.connection`` keeps the connection, ``engine.consumer`` the consumer,
``engine.handlers`` the threads, ``engine.ledger`` the deliveries and their replies.
"""

import copy
import logging
import threading
import time
from concurrent.futures import Future
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp import contract, settings
from edeposit.amqp.daemonwrapper import DaemonRunnerWrapper
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.engine.consumer import Consumer
from edeposit.amqp.engine.deliveries import Delivery
from edeposit.amqp.engine.failures import Failure
from edeposit.amqp.engine.handlers import HandlerPool
from edeposit.amqp.engine.hooks import call_hook
from edeposit.amqp.engine.ledger import Ledger
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.errors import (
    ClosedError,
    MessageTooLargeError,
    PublishError,
    StartError,
    UnencodableError,
)
from edeposit.amqp.process.signals import RELOAD_SIGNALS, STOP_SIGNALS

logger = logging.getLogger(__name__)

# So many unacked requests may wait for better times; each holds its body.
_STUCK_MOST = 1000


class PikaDaemon(DaemonRunnerWrapper):
    """A daemon on one connection to RabbitMQ.

    Args:
        connection_param: where to connect.
        queue: the queue to consume; empty: none, the daemon only publishes.
        output_exchange: where ``sendResponse`` publishes.
        output_key: its default routing key.
        name: name of pid file, log and status; default ``<virtual host>-<queue>``.
        concurrency: handler threads; with 1 the order of messages is kept. None = settings.
        prefetch: unacked messages the broker may send ahead; 0 = ``concurrency + 1``.
        daemon_options: ``pid_dir``, ``log_target``, ``log_level``, ``stop_timeout`` (seconds) of
            ``DaemonRunnerWrapper``.
    """

    reports_ready = True
    handles_signals = True

    _ledger: Ledger  # these from body() on
    _pool: HandlerPool
    _consumer: Consumer

    def __init__(
        self,
        connection_param: pika.ConnectionParameters,
        queue: str,
        output_exchange: str,
        output_key: str,
        *,
        name: str | None = None,
        concurrency: int | None = None,
        prefetch: int | None = None,
        **daemon_options: Any,
    ) -> None:
        vhost = getattr(connection_param, "virtual_host", "").strip("/") or "default"
        super().__init__(name or f"{vhost}-{queue}", **daemon_options)
        self.connection_param = connection_param
        self.queue = queue
        self.output_exchange = output_exchange
        self.output_key = output_key
        self.content_type = "application/json"
        self.concurrency = concurrency
        self.prefetch = prefetch
        self._link: BrokerConnection | None = None
        self._io_thread: threading.Thread | None = None
        self._current = threading.local()
        self._was_ready = False
        self._start_deadline = 0.0
        self._start_failure: Failure | None = None
        self._state = ""
        self._told: dict[str, Any] = {}
        self._stuck_at_consume = 0

    # --- to be overridden -------------------------------------------------------------------

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

    def onStart(self) -> None:
        """Called once on the main thread, in the daemon process, before it connects."""

    def jobKey(self, properties: BasicProperties) -> Any:
        """What a redelivered message is recognised by, beside its body, address and properties.

        Returns:
            A hashable value, or None if there is none; then the job is run again. The default is
            the ``message_id``. Called on the I/O thread, at most once for a delivery. If it
            raises, that is logged and taken for None.
        """
        return properties.message_id

    def replaceUndeliverable(self, outgoing: Outgoing, error: PublishError) -> Outgoing | None:
        """What to send in place of a reply that can never be delivered (too large, unencodable).

        Returns:
            A smaller message, or None to park what there is. Called on the I/O thread. If it
            raises, that is logged and taken for None.
        """
        return None

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
        own_id: bool = False,
    ) -> Outgoing:
        """A message of the delivery being handled, checked in the thread that sends it."""
        limit = self._running_link().max_message_size
        if limit and len(body) > limit:
            raise MessageTooLargeError(len(body), limit)
        owner = getattr(self._current, "delivery", None)
        return Outgoing(
            exchange,
            routing_key,
            body,
            properties,
            self._ledger.on_published,
            owner,
            own_id=own_id,
        )

    def _frame_max(self) -> int:
        connection = self.connection
        if connection is not None and connection.params.frame_max:
            return int(connection.params.frame_max)
        return 4096  # the least that AMQP 0-9-1 allows a peer to negotiate

    def _send(self, outgoing: Outgoing) -> None:
        link = self._running_link()
        if not link.clear_to_send.is_set() and threading.current_thread() is not self._io_thread:
            link.clear_to_send.wait()
        link.post(self._ledger.publish, outgoing)

    def _running_link(self) -> BrokerConnection:
        if self._link is None:
            raise ClosedError("the daemon is not running")
        return self._link

    # --- handler threads --------------------------------------------------------------------

    def _handle(self, delivery: Delivery) -> None:
        self._current.delivery = delivery
        try:
            if self.onMessageReceived(delivery.method, delivery.properties, delivery.body):
                self._running_link().post(self._ledger.finish, delivery)
        finally:
            self._current.delivery = None

    def _handler_failed(self, delivery: Delivery, error: BaseException) -> None:
        self._park(delivery, f"{contract.name_of(error)} in the handler")

    # --- the connection, on the I/O thread --------------------------------------------------

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        """A message has come (engine)."""
        if error is not None:
            logger.warning("properties of a message cannot be decoded: %r", error)
        self._consumer.delivered()
        delivery = self._ledger.accept(method, properties, body)
        if delivery is None:
            return
        if self._ledger.draining:
            self._ledger.give_back(delivery)
        else:
            self._pool.put(delivery)

    def on_channel(self, channel: Channel) -> None:
        """A fresh channel (engine): check the schema, then consume."""
        if self._ledger.draining:
            self._abandon("the connection was lost while draining")
        else:
            self._stuck_at_consume = 0
            self._consumer.start(channel)

    def _prefetch_count(self) -> int:
        prefetch = settings.RABBITMQ_PREFETCH if self.prefetch is None else self.prefetch
        return prefetch or self._concurrency() + 1

    def _concurrency(self) -> int:
        return self.concurrency or settings.RABBITMQ_CONCURRENCY

    def on_usable(self) -> None:
        """The consumer is registered (engine)."""
        if self.queue:
            logger.info(
                "consuming %r in virtual host %r (prefetch %d, %d handler threads)", self.queue,
                self.connection_param.virtual_host, self._prefetch_count(), self._concurrency(),
            )  # fmt: skip
        else:
            logger.info("connected to virtual host %r", self.connection_param.virtual_host)
        self._was_ready = True
        self._set_state(self._working_state)
        self.ready(self._working_state)
        self._ledger.usable()

    def on_cancelled(self) -> None:
        """The broker took the consumer away: its queue was deleted or moved (engine)."""
        logger.warning("the broker cancelled the consumer of %r", self.queue)
        self._ledger.consumer_cancelled(self._pool.withdraw())
        self._set_state("cancelled")
        self._consumer.cancelled()

    def on_down(self, failure: Failure, unconfirmed: list[Outgoing]) -> None:
        """The channel is gone (engine)."""
        self._consumer.down()
        self._ledger.channel_lost(failure, unconfirmed, self._pool.withdraw())

    def on_retry(self, failure: Failure, delay: float) -> bool:
        """There will be another attempt (engine); False gives up."""
        if self._ledger.draining:
            self._abandon(failure.text)
            return False
        if not self._was_ready and time.monotonic() + delay > self._start_deadline:
            self._start_failure = failure
            return False
        log = logger.error if failure.stubborn else logger.warning
        log("%s; next attempt in %.1f s", failure, delay)
        self._set_state("reconnecting", reason=str(failure))
        return True

    def on_blocked(self, blocked: bool) -> None:
        """The broker has an alarm (engine)."""
        if blocked:
            logger.warning("the broker is blocked (memory or disk alarm): no new work is begun")
        else:
            logger.info("the broker takes messages again")
        if not self._ledger.draining:
            self._set_state("blocked" if blocked else self._working_state)

    def on_batch_end(self) -> None:
        """A batch of frames or results is done (engine): write the acks."""
        self._ledger.write_acks()
        if self._ledger.draining:
            self._check_drained()

    def on_tick(self) -> None:
        """Once a second (engine)."""
        self._pool.check()
        self.notify_watchdog()
        self._ledger.tick()
        if not self._ledger.draining:
            self._consumer.check(self._ledger.unfinished)
            self._make_room()
        if self._state and self._achieved() != self._told:
            self._set_state(self._state)

    def _make_room(self) -> None:
        """Requests whose answers nobody takes must not use up the prefetch."""
        stuck = min(self._ledger.outbox.stuck, _STUCK_MOST)
        room = max(self._prefetch_count() - self._concurrency(), 1)
        if stuck - self._stuck_at_consume >= room:
            self._stuck_at_consume = stuck
            self._consumer.renew()

    # --- start and stop ---------------------------------------------------------------------

    def body(self) -> None:
        """Consume until a signal ends it. Not to be overridden.

        Raises:
            StartError: the broker, the virtual host, the exchange or the queue is not there.
        """
        self._io_thread = threading.current_thread()
        self._start_deadline = time.monotonic() + settings.START_TIMEOUT
        link = self._link = BrokerConnection(
            self.connection_param,
            self,
            confirm_timeout=settings.RABBITMQ_CONFIRM_TIMEOUT,
            max_message_size=settings.RABBITMQ_MAX_MESSAGE_SIZE,
        )
        self._ledger = Ledger(
            link,
            self.output_exchange,
            self.queue and self.queue + contract.PARKING_SUFFIX,
            contract.parked_properties,
            self.jobKey,
            self.replaceUndeliverable,
        )
        self._pool = HandlerPool(self._handle, self._handler_failed, link.clear_to_send)
        self._consumer = Consumer(
            link,
            self.queue,
            self.output_exchange,
            self._prefetch_count,
            lambda: not self._ledger.draining,
        )
        link.ioloop.add_handler(self.signals.fileno(), self._on_signal, IOLoop.READ)
        self._set_state("connecting")
        self.onStart()
        self._pool.start(self._concurrency() if self.queue else 0)
        link.run()
        if self._start_failure is not None:
            raise StartError(str(self._start_failure))

    def _on_signal(self, _fd: int, _events: int) -> None:
        numbers = self.signals.drain()
        if any(number in RELOAD_SIGNALS for number in numbers):
            self.handle_reload()
        for number in numbers:
            if number in STOP_SIGNALS:
                self.drain()

    def drain(self) -> None:
        """Stop consuming, finish what is being handled, exit; called again: exit at once."""
        link, ledger = self._running_link(), self._ledger
        if ledger.draining:
            self._abandon("second signal")
            return
        logger.info("draining: %d requests unfinished", ledger.unfinished)
        self._set_state("draining")
        self._consumer.cancel()
        ledger.drain()
        for delivery in self._pool.withdraw():
            ledger.give_back(delivery)
        link.flush()
        link.ioloop.call_later(
            self.stop_timeout, lambda: self._abandon(f"stop_timeout ({self.stop_timeout:g} s)")
        )
        self._check_drained()

    def _check_drained(self) -> None:
        link = self._running_link()
        if not link.is_usable and self._ledger.unfinished:
            self._abandon("there is no connection to answer on")
        elif not self._ledger.unfinished and self._ledger.outbox.is_empty and self.is_idle():
            self._leave()

    def is_idle(self) -> bool:
        """Is there no work but that on messages? Overridden by daemons with threads of their own;
        called on the I/O thread while draining, after each batch."""
        return True

    @property
    def _working_state(self) -> str:
        return "consuming" if self.queue else "connected"

    def _abandon(self, why: str) -> None:
        unfinished = self._ledger.unfinished
        if not unfinished:
            self._leave()
            return
        logger.warning(
            "exiting with %d requests unfinished, they go back to the queue: %s", unfinished, why
        )
        self._set_state("aborted", reason=why)
        self._running_link().stop()

    def _leave(self) -> None:
        if self._running_link().close():
            done = ", ".join(f"{name} {value}" for name, value in self._achieved().items())
            logger.info("drained: %s", done)
            self._set_state("drained")

    def _set_state(self, state: str, **details: Any) -> None:
        self._state = state
        self._told = self._achieved()
        self.set_state(state, **self._told, **details)

    def _achieved(self) -> dict[str, Any]:
        """What the daemon has done so far, for its status."""
        achieved = {"queue": self.queue, "handled": self._ledger.handled}
        if self._ledger.outbox.stuck:
            achieved["stuck"] = self._ledger.outbox.stuck
        if self._pool.replaced:
            achieved["handlers_replaced"] = self._pool.replaced
        return achieved

    def onExit(self) -> None:
        """Disconnect from the broker; overriders call this one too."""
        if self._link is not None:
            call_hook(self._link.stop)
        super().onExit()


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
