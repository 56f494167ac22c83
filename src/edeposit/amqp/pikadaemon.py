"""``PikaDaemon``: a daemon that consumes one queue and loses nothing.

The main thread moves frames; ``concurrency`` handler threads run ``onMessageReceived``. A request
is acked only when the broker has confirmed everything that was published for it.

Shutdown order (first SIGTERM): 1. cancel the consumer, 2. give back what no handler has begun,
3. let the handlers finish and the broker confirm, heartbeats going on, 4. write the acks, 5.
close. After ``stop_timeout``, or at the second SIGTERM, the rest is abandoned: the broker gives
it to somebody else.

Lost connection: requests not begun are forgotten (the broker sends them again). A job that runs
goes on; when the broker's copy of its message comes back, the copy takes the job over, so that a
job longer than the broker's patience runs once. Jobs are recognised by ``jobKey()``.
"""

import copy
import logging
import queue as queue_module
import threading
import time
from concurrent.futures import Future
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp import settings
from edeposit.amqp.acks import AckMerger
from edeposit.amqp.connection import Backoff, BrokerConnection
from edeposit.amqp.daemonwrapper import DaemonRunnerWrapper
from edeposit.amqp.deliveries import Delivery, Parked, park_reply, park_request
from edeposit.amqp.errors import (
    ClosedError,
    ConnectionLostError,
    MessageTooLargeError,
    PublishError,
    StartError,
    UnencodableError,
)
from edeposit.amqp.failures import Failure
from edeposit.amqp.publisher import Outgoing
from edeposit.amqp.signals import RELOAD_SIGNALS, STOP_SIGNALS

logger = logging.getLogger(__name__)

# A finished job whose copy never comes back (another daemon got it) is forgotten after this (s).
_DETACHED_FOR = 600.0
_DETACHED_MOST = 1000


class PikaDaemon(DaemonRunnerWrapper):
    """A daemon on one connection to RabbitMQ.

    Args:
        connection_param: where to connect.
        queue: the queue to consume.
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
        self._jobs: queue_module.SimpleQueue[Delivery | None] = queue_module.SimpleQueue()
        self._acks = AckMerger()
        self._live: dict[int, Delivery] = {}
        self._detached: dict[Any, tuple[float, Delivery]] = {}
        self._moved: dict[int, Delivery] = {}
        self._waiting: dict[Outgoing, Backoff] = {}
        self._current = threading.local()
        self._consumer_tag: str | None = None
        self._was_ready = False
        self._start_deadline = 0.0
        self._start_failure: Failure | None = None
        self._draining = False
        self._handled = 0
        self._resubscribing = Backoff()
        self._threads: list[threading.Thread] = []

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
        ``<queue>.undeliverable``, or given back after a pause if there is no such queue.
        """
        print(method_frame, properties, body)

    def onStart(self) -> None:
        """Called once on the main thread, in the daemon process, before it connects."""

    def jobKey(self, properties: BasicProperties) -> Any:
        """What a redelivered message is recognised by while its first copy is being handled.

        Returns:
            A hashable value, or None if there is none; then the job is run again. The default is
            the ``message_id``. Called on the I/O thread.
        """
        return properties.message_id

    def replaceUndeliverable(self, outgoing: Outgoing, error: PublishError) -> Outgoing | None:
        """What to send in place of a reply that can never be delivered (too large, unencodable).

        Returns:
            A smaller message, or None to park what there is. Called on the I/O thread.
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
        self._running_link().post(self._finish_serial, ack_delivery_tag)

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
            properties: default: ``content_type``, delivery mode 2, empty headers.
            UUID: put into the headers.

        Raises:
            MessageTooLargeError: it is larger than the broker is known to accept.
            ClosedError: the daemon is not running.
        """
        outgoing = self._outgoing(exchange, routing_key, message, properties, UUID)
        self._send(outgoing)

    def sendResponse(
        self, message: str | bytes, UUID: str | None, routing_key: str | None = None
    ) -> None:
        """Publish to the output exchange, by default with the output key. See ``sendMessage``."""
        self.sendMessage(self.output_exchange, routing_key or self.output_key, message, UUID=UUID)

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
            ``PublishError`` otherwise (``ConnectionLostError``: it may be there all the same).
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
        if uuid is not None:
            properties = copy.copy(properties)
            properties.headers = {**(properties.headers or {}), "UUID": uuid}
        body = message.encode("utf-8") if isinstance(message, str) else message
        limit = self._link.max_message_size if self._link is not None else 0
        if limit and len(body) > limit:
            raise MessageTooLargeError(len(body), limit)
        owner = getattr(self._current, "delivery", None)
        return Outgoing(exchange, routing_key, body, properties, self._on_published, owner)

    def _send(self, outgoing: Outgoing) -> None:
        link = self._running_link()
        if not link.clear_to_send.is_set() and threading.current_thread() is not self._io_thread:
            link.clear_to_send.wait()
        link.post(self._publish, outgoing)

    def _running_link(self) -> BrokerConnection:
        if self._link is None:
            raise ClosedError("the daemon is not running")
        return self._link

    # --- handler threads --------------------------------------------------------------------

    def _work(self) -> None:
        link = self._running_link()
        while True:
            delivery = self._jobs.get()
            if delivery is None:
                return
            if not link.clear_to_send.is_set():
                link.clear_to_send.wait()
            if delivery.dead:
                continue
            if self._draining:
                link.post(self._give_back, delivery)
                continue
            delivery.begun = True
            self._current.delivery = delivery
            try:
                if self.onMessageReceived(delivery.method, delivery.properties, delivery.body):
                    link.post(self._finish, delivery)
            except BaseException as error:
                logger.exception("handler failed for delivery %d", delivery.serial)
                link.post(self._park, (delivery, f"{type(error).__name__} in the handler", None))
            finally:
                self._current.delivery = None

    # --- messages, on the I/O thread --------------------------------------------------------

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        """A message has come (engine)."""
        serial = self._acks.delivered(method.delivery_tag)
        method.delivery_tag = serial
        delivery = Delivery(serial, method, properties, body)
        self._live[serial] = delivery
        if error is not None:
            logger.warning("delivery %d: properties cannot be decoded: %r", serial, error)
        if self._draining:
            self._give_back(delivery)
        elif not (method.redelivered and self._detached and self._take_over(delivery)):
            self._jobs.put(delivery)

    def _take_over(self, copy_: Delivery) -> bool:
        """Hand the broker's copy to the job that already runs, or has run, for it."""
        key = self.jobKey(copy_.properties)
        if key is None or key not in self._detached:
            return False
        delivery = self._detached[key][1]
        if delivery.body != copy_.body:
            return False
        del self._detached[key]
        logger.info("redelivered message %s takes over its running job", key)
        delivery.serial = copy_.serial
        delivery.detached = False
        self._live[copy_.serial] = delivery
        for outgoing in list(delivery.open):
            self._running_link().publish(outgoing)
        self._finish_if_done(delivery)
        return True

    def _publish(self, outgoing: Outgoing) -> None:
        delivery = outgoing.owner
        if delivery is not None:
            if delivery.dead:
                logger.info("a reply is dropped: its request was taken back by the broker")
                return
            delivery.open[outgoing] = None
            if delivery.detached:
                return
        self._running_link().publish(outgoing)

    def _on_published(self, outgoing: Outgoing, error: PublishError | None) -> None:
        delivery = outgoing.owner
        if delivery is None:
            if error is not None:
                logger.error("message %s is lost: %s", outgoing.properties.message_id, error)
        elif error is None:
            delivery.open.pop(outgoing, None)
            if self._waiting:
                self._waiting.pop(outgoing, None)
            self._finish_if_done(delivery)
        elif not delivery.detached and not delivery.dead:
            self._undeliverable(outgoing, delivery, error)

    def _finish_serial(self, serial: int) -> None:
        delivery = self._live.get(serial) or self._moved.get(serial)
        if delivery is None:
            logger.info("ack of delivery %d comes too late, the broker sends it again", serial)
        else:
            self._finish(delivery)

    def _finish(self, delivery: Delivery) -> None:
        delivery.finished = True
        self._finish_if_done(delivery)

    def _finish_if_done(self, delivery: Delivery) -> None:
        if not delivery.finished or delivery.open or delivery.detached:
            return
        if self._live.pop(delivery.serial, None) is not None:
            self._acks.settle(delivery.serial)
            self._handled += 1
            self._moved.pop(delivery.handle, None)

    def _give_back(self, delivery: Delivery) -> None:
        """Return a message to its queue at once."""
        delivery.dead = True
        link = self._link
        if self._live.pop(delivery.serial, None) is None or link is None or link.channel is None:
            return
        for outgoing in delivery.open:
            self._waiting.pop(outgoing, None)
        number = link.channel.channel_number
        link.write([self._acks.give_back(number, delivery.serial)])

    # --- what cannot be delivered -----------------------------------------------------------

    def _undeliverable(self, outgoing: Outgoing, delivery: Delivery, error: PublishError) -> None:
        """Replace, park, or try again later; never drop."""
        delivery.open.pop(outgoing, None)
        if isinstance(outgoing, Parked):
            self._parking_failed(outgoing, delivery, error)
            return
        logger.error(
            "undeliverable: message %s (UUID %s): %s", outgoing.properties.message_id,
            (outgoing.properties.headers or {}).get("UUID"), error,
        )  # fmt: skip
        if isinstance(error, (MessageTooLargeError, UnencodableError)):
            replacement = self.replaceUndeliverable(outgoing, error)
            if replacement is not None:
                replacement.owner = delivery
                self._publish(replacement)
                return
        self._publish(park_reply(outgoing, self.queue, error, self._on_published))

    def _park(self, what: tuple[Delivery, str, Outgoing | None]) -> None:
        """Put a request aside that cannot be answered."""
        delivery, reason, fallback = what
        logger.error("delivery %d is parked: %s", delivery.serial, reason)
        delivery.finished = True
        self._publish(park_request(delivery, self.queue, reason, self._on_published, fallback))

    def _parking_failed(self, parked: Parked, delivery: Delivery, error: PublishError) -> None:
        if isinstance(error, UnencodableError) and len(parked.properties.headers or {}) > 3:
            # The original's headers fill the frame already: keep the body, and why.
            parked.properties.headers = {
                key: value
                for key, value in parked.properties.headers.items()
                if key.startswith("x-edeposit-")
            }
            self._publish(parked)
            return
        fallback = parked.fallback
        if fallback is not None:
            logger.warning("no parking queue (%s): using the fallback", error)
            parked.fallback = None
            self._publish(fallback)
        elif parked.original is None:
            self._later(parked, delivery, lambda: self._give_back(delivery))
        elif parked.original.exchange == "" and not isinstance(error, MessageTooLargeError):
            # reply_to named a queue that is gone, and so is whoever waited at it.
            logger.error("reply %s is dropped: its requester is gone and %s does not exist",
                         parked.original.properties.message_id, parked.routing_key)  # fmt: skip
            self._finish_if_done(delivery)
        else:
            original = parked.original
            self._later(original, delivery, lambda: self._publish(original))

    def _later(self, outgoing: Outgoing, delivery: Delivery, action: Any) -> None:
        """Keep the request, unacked, and try again after a growing pause."""
        delivery.open[outgoing] = None
        backoff = self._waiting.setdefault(outgoing, Backoff(first=1.0, cap=60.0))

        def again() -> None:
            if outgoing in self._waiting and not delivery.dead and not delivery.detached:
                action()
                link = self._running_link()
                link.flush()

        if self._draining:
            self._give_back(delivery)
        else:
            self._running_link().ioloop.call_later(backoff.next(), again)

    # --- the connection, on the I/O thread --------------------------------------------------

    def on_channel(self, channel: Channel) -> None:
        """A fresh channel (engine): check the schema, then consume."""
        if self._draining:
            self._abandon("the connection was lost while draining")
        elif self.output_exchange:
            channel.exchange_declare(
                self.output_exchange, passive=True, callback=lambda _frame: self._consume(channel)
            )
        else:
            self._consume(channel)

    def _consume(self, channel: Channel) -> None:
        def with_qos(_frame: Any) -> None:
            self._consumer_tag = channel.basic_consume(
                self.queue, on_message_callback=lambda *_: None, callback=consuming
            )

        def consuming(_frame: Any) -> None:
            self._resubscribing.reset()
            self._running_link().usable()

        channel.basic_qos(prefetch_count=self._prefetch_count(), callback=with_qos)

    def _prefetch_count(self) -> int:
        prefetch = settings.RABBITMQ_PREFETCH if self.prefetch is None else self.prefetch
        return prefetch or self._concurrency() + 1

    def _concurrency(self) -> int:
        return self.concurrency or settings.RABBITMQ_CONCURRENCY

    def on_usable(self) -> None:
        """The consumer is registered (engine)."""
        logger.info(
            "consuming %r in virtual host %r (prefetch %d, %d handler threads)", self.queue,
            self.connection_param.virtual_host, self._prefetch_count(), self._concurrency(),
        )  # fmt: skip
        self._was_ready = True
        self._set_state("consuming")
        self.ready("consuming")

    def on_cancelled(self) -> None:
        """The broker took the consumer away: its queue was deleted or moved (engine)."""
        logger.warning("the broker cancelled the consumer of %r", self.queue)
        self._consumer_tag = None
        self._set_state("cancelled")
        self._resubscribe_later()

    def _resubscribe_later(self) -> None:
        link = self._running_link()
        channel = link.channel

        def probed(exists: bool) -> None:
            if link.channel is not channel or channel is None or self._draining:
                return
            if exists:
                self._consume(channel)
            else:
                logger.warning("queue %r is still missing", self.queue)
                self._resubscribe_later()

        link.ioloop.call_later(
            min(self._resubscribing.next(), 5.0), lambda: link.probe(self.queue, probed)
        )

    def on_down(self, failure: Failure, unconfirmed: list[Outgoing]) -> None:
        """The channel is gone (engine): detach what runs, forget the rest."""
        now = time.monotonic()
        self._consumer_tag = None
        self._acks.reset()
        for delivery in self._live.values():
            key = self.jobKey(delivery.properties) if delivery.begun else None
            if key is None or len(self._detached) >= _DETACHED_MOST:
                delivery.dead = True
            else:
                delivery.detached = True
                self._detached[key] = (now, delivery)
                self._moved[delivery.handle] = delivery
        self._live.clear()
        self._waiting.clear()
        limit = self._running_link().max_message_size
        for outgoing in unconfirmed:
            if outgoing.owner is None:
                outgoing.done(outgoing, ConnectionLostError(failure.text))
            elif failure.code == "too-large" and len(outgoing.body) > limit:
                self._replace_too_large(outgoing, limit)

    def _replace_too_large(self, outgoing: Outgoing, limit: int) -> None:
        delivery = outgoing.owner
        replacement = self.replaceUndeliverable(
            outgoing, MessageTooLargeError(len(outgoing.body), limit)
        )
        if replacement is not None and delivery.detached:
            replacement.owner = delivery
            delivery.open.pop(outgoing, None)
            delivery.open[replacement] = None

    def on_retry(self, failure: Failure, delay: float) -> bool:
        """There will be another attempt (engine); False gives up."""
        if self._draining:
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
        if not self._draining:
            self._set_state("blocked" if blocked else "consuming")

    def on_batch_end(self) -> None:
        """A batch of frames or results is done (engine): write the acks."""
        link = self._running_link()
        if self._acks.waiting and link.channel is not None:
            link.write(self._acks.take(link.channel.channel_number))
        if self._draining:
            self._check_drained()

    def on_tick(self) -> None:
        """Once a second (engine)."""
        if all(thread.is_alive() for thread in self._threads):
            self.notify_watchdog()
        now = time.monotonic()
        for key, (since, delivery) in list(self._detached.items()):
            if delivery.finished and now - since > _DETACHED_FOR:
                delivery.dead = True
                del self._detached[key]
                self._moved.pop(delivery.handle, None)

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
        link.ioloop.add_handler(self.signals.fileno(), self._on_signal, IOLoop.READ)
        self._set_state("connecting")
        self.onStart()
        for number in range(self._concurrency()):
            thread = threading.Thread(target=self._work, name=f"handler-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
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
        """Stop consuming, finish what is being handled, leave; called again: leave at once."""
        link = self._running_link()
        if self._draining:
            self._abandon("second signal")
            return
        self._draining = True
        logger.info("draining: %d requests at hand", len(self._live))
        self._set_state("draining")
        link.open_gate()
        if link.channel is not None and link.channel.is_open and self._consumer_tag:
            link.channel.basic_cancel(self._consumer_tag)
        try:
            while True:
                self._give_back(self._jobs.get_nowait())
        except queue_module.Empty:
            pass
        for outgoing in list(self._waiting):
            self._give_back(outgoing.owner)
        link.flush()
        link.ioloop.call_later(
            self.stop_timeout, lambda: self._abandon(f"stop_timeout ({self.stop_timeout:g} s)")
        )
        self._check_drained()

    def _check_drained(self) -> None:
        link = self._running_link()
        if not self._live and not len(link.publisher):
            self._leave("drained")

    def _abandon(self, why: str) -> None:
        if self._live or self._detached:
            logger.warning(
                "leaving with %d requests unfinished, they go back to the queue: %s",
                len(self._live) + len(self._detached), why,
            )  # fmt: skip
            self._set_state("aborted", reason=why)
            self._running_link().stop()
        else:
            self._leave("drained")

    def _leave(self, state: str) -> None:
        if self._running_link().close():
            logger.info("%s: %d requests handled", state, self._handled)
            self._set_state(state)

    def _set_state(self, state: str, **details: Any) -> None:
        self.set_state(state, queue=self.queue, handled=self._handled, **details)

    def onExit(self) -> None:
        """Leave the broker; overriders call this one too."""
        if self._link is not None:
            self._link.stop()
        super().onExit()
