"""``PikaDaemon``: a daemon that consumes one queue and loses nothing.

The main thread moves frames; ``concurrency`` handler threads run ``onMessageReceived``. A request
is acked only when the broker has confirmed everything that was published for it.

Lost connection: requests not begun are forgotten (the broker sends them again). A job that runs
goes on, and its replies are published as soon as there is a connection. The broker's copy of its
message is recognised (``engine.jobs``) and not run again.

How it ends is in ``_draining``. ``engine.connection`` keeps the connection, ``engine.consumer``
the consumer, ``engine.handlers`` the threads, ``engine.ledger`` the deliveries and their replies.
"""

import logging
import threading
import time
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp import contract, settings
from edeposit.amqp._draining import DrainingDaemon
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.engine.consumer import Consumer
from edeposit.amqp.engine.deliveries import Delivery
from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.handlers import HandlerPool
from edeposit.amqp.engine.hooks import call_hook
from edeposit.amqp.engine.journal import Journal
from edeposit.amqp.engine.ledger import Ledger
from edeposit.amqp.engine.prefetch import LARGE_BODY, PrefetchWindow
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.errors import PublishError, StartError
from edeposit.amqp.process import children
from edeposit.amqp.process.signals import RELOAD_SIGNALS, STOP_SIGNALS

logger = logging.getLogger(__name__)


class BrokerDaemon(DrainingDaemon):
    """The life of a daemon on one connection; ``PikaDaemon`` adds what handlers use.

    Args: as of ``PikaDaemon``.
    """

    reports_ready = True
    handles_signals = True

    _journal: Journal  # from body() on

    def __init_subclass__(cls, *, wraps_body: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "body" in vars(cls) and not wraps_body:
            raise TypeError(
                f"{cls.__name__}.body() would replace the daemon's consume loop: override"
                " onMessageReceived() or onStart(), or derive from DaemonRunnerWrapper"
            )

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
        super().__init__(name or f"{vhost}-{queue}", queue, concurrency, prefetch, **daemon_options)
        self.connection_param = connection_param
        self.output_exchange = output_exchange
        self.output_key = output_key
        self.content_type = "application/json"
        self._io_thread: threading.Thread | None = None
        self._current = threading.local()
        self._was_ready = False
        self._start_deadline = 0.0
        self._start_failure: Diagnosis | None = None

    # --- to be overridden -------------------------------------------------------------------

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

    def _handle(self, delivery: Delivery) -> None:
        """Handle a delivery, in a handler thread."""
        raise NotImplementedError

    def _handler_failed(self, delivery: Delivery, error: BaseException) -> None:
        """The handler has raised; called in a handler thread or on the I/O thread."""
        raise NotImplementedError

    # --- the connection, on the I/O thread --------------------------------------------------

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        """A message has come (engine)."""
        if self._consumer.is_moving:
            return
        delivery = self._ledger.accept(method, properties, body)
        if delivery is None:
            return
        if isinstance(error, MemoryError):
            delivery.error = error
        elif error is not None:
            logger.warning("a property of a message cannot be decoded and is lost: %r", error)
        if self._is_adaptive:
            if method.redelivered:  # its last process may have died of it: hold few beside it
                self._window.reset()
            if len(body) > LARGE_BODY:
                self._window.arrived(len(body))
        if self._ledger.draining:
            self._ledger.give_back(delivery)
        else:
            self._pool.put(delivery)

    def on_channel(self, channel: Channel) -> None:
        """A fresh channel (engine): check the schema, then consume."""
        if self._ledger.draining:
            self._abandon("the connection was lost while draining")
        else:
            self._consumer.start(channel)

    def on_usable(self) -> None:
        """The consumer is registered (engine)."""
        logger.log(
            logging.DEBUG if self._state == self._working_state else logging.INFO,
            "%s virtual host %r (prefetch %d, %d handler threads)",
            f"consuming {self.queue!r} in" if self.queue else "connected to",
            self.connection_param.virtual_host,
            self._prefetch_count(),
            self._concurrency(),
        )
        self._consumer.is_moving = False
        self._was_ready = True
        self._set_state(self._working_state)
        self.ready(self._working_state)
        self._ledger.usable()

    def on_cancelled(self, consumer_tag: str) -> None:
        """The broker took a consumer away: its queue is gone, or an ack is overdue (engine)."""
        if not self._consumer.is_current(consumer_tag):
            return
        logger.warning("the broker cancelled the consumer of %r", self.queue)
        self._ledger.consumer_cancelled(self._pool.withdraw())
        self._set_state("cancelled")
        self._consumer.cancelled()

    def on_down(self, failure: Diagnosis, unconfirmed: list[Outgoing]) -> None:
        """The channel is gone (engine)."""
        self._consumer.down()
        self._ledger.channel_lost(failure, unconfirmed, self._pool.withdraw())

    def on_retry(self, failure: Diagnosis, delay: float) -> bool:
        """There will be another attempt (engine); False gives up."""
        if self._ledger.draining:
            self._abandon(failure.text)
            return False
        if not self._was_ready and time.monotonic() + delay > self._start_deadline:
            self._start_failure = failure
            return False
        if self._consumer.is_moving and failure.code == "channel-200":
            logger.debug("%s", failure)
            return True
        self._consumer.is_moving = False
        log = logger.warning if failure.transient else logger.error
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
        elif self._is_adaptive:
            self._window.decide(self._ledger.unfinished)
            if self._window.size != self._consumer.count:
                self._resize()

    def _finished(self, delivery: Delivery) -> None:
        """A handler is done with a delivery."""
        if self._is_adaptive:
            self._window.finished(delivery.seconds)
        self._ledger.finish(delivery)

    def _resize(self) -> None:
        """Consume with the window's size, where it counts and can be changed now."""
        link = self._running_link()
        if link.blocked or not self._consumer.is_consuming:
            return
        is_smaller = self._window.size < self._consumer.count
        self._consumer.renew(
            resized=True, between=self._give_back_waiting if is_smaller else lambda: None
        )

    def _give_back_waiting(self) -> None:
        """What no handler has begun goes back, in order: the old consumer gets nothing more."""
        for delivery in self._pool.withdraw():
            self._ledger.give_back(delivery)
        self._running_link().flush()

    def on_tick(self) -> None:
        """Once a second (engine)."""
        self._pool.check()
        self.notify_watchdog()
        self._ledger.tick()
        if not self._ledger.draining:
            idle = not self._ledger.unfinished and self._ledger.outbox.is_empty
            self._consumer.check(idle, self._ledger.received)
            room = max(self._prefetch_count() - self._concurrency(), 1)
            self._consumer.make_room(self._ledger.outbox.stuck, room)
        if self._state and self._achieved() != self._told:
            self._set_state(self._state)

    # --- start and stop ---------------------------------------------------------------------

    def body(self) -> None:
        """Consume until a signal ends it. Not to be overridden.

        Raises:
            StartError: the broker, the virtual host, the exchange or the queue is not there.
        """
        self._io_thread = threading.current_thread()
        self._start_deadline = time.monotonic() + settings.START_TIMEOUT
        self._journal = Journal(self.directory / f"{self.name}.begun")
        link = self._link = BrokerConnection(
            lambda: self.connection_param,
            self,
            confirm_timeout=lambda: settings.RABBITMQ_CONFIRM_TIMEOUT,
            max_message_size=settings.RABBITMQ_MAX_MESSAGE_SIZE,
        )
        self._ledger = Ledger(
            link,
            self.output_exchange,
            self.queue and self.queue + contract.PARKING_SUFFIX,
            contract.parked_properties,
            self.jobKey,
            self.replaceUndeliverable,
            settings.RABBITMQ_CONFIRM_TIMEOUT,
        )
        self._window = PrefetchWindow(self._concurrency())
        self._pool = HandlerPool(self._handle, self._handler_failed, link.clear_to_send)
        self._consumer = Consumer(
            link,
            self.queue,
            self.output_exchange,
            self._prefetch_count,
            lambda: not self._ledger.draining,
        )
        link.ioloop.add_handler(self.signals.fileno(), self._on_signal, IOLoop.READ)
        children.give_up_in_child(self._close_copy)
        self._set_state("connecting")
        self.onStart()
        if self.queue:
            self._journal.open()
            self._pool.start(self._concurrency())
        link.run()
        if self._start_failure is not None:
            raise StartError(str(self._start_failure))

    def _close_copy(self) -> None:
        """In a forked child: it would keep connection and lock when this process has died."""
        self._journal.close_copy()
        if self._link is not None and self._link.connection is not None:
            self._link.connection.close_copy()

    def _on_signal(self, _fd: int, _events: int) -> None:
        numbers = self.signals.drain()
        if any(number in RELOAD_SIGNALS for number in numbers):
            self.handle_reload()
        for number in numbers:
            if number in STOP_SIGNALS:
                self.drain()

    def onExit(self) -> None:
        """Disconnect from the broker; overriders call this one too."""
        if self._link is not None:
            call_hook(self._link.stop)
            call_hook(self._journal.close)
        super().onExit()
