"""One connection to RabbitMQ that outlives its sockets.

``BrokerConnection`` owns the I/O loop, the pika connection and one channel in confirm mode; it
connects, reconnects with backoff, publishes and reports. What the channel is for (which queue,
which checks) is its owner's business: ``PikaDaemon`` consumes a service's queue, ``AMQPClient``
its replies.

Threads: everything runs on the I/O thread, the one that calls ``run()``. Other threads may only
call ``post()``, which wakes the loop once for a batch, not once per message, and may wait on
``clear_to_send``. No handler ever runs on the I/O thread, so heartbeats are always answered.

What must stay true: whatever a lost channel invalidates (sequence numbers, delivery tags, the
consumer) is dropped in one place, ``_down()``.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine import failures
from edeposit.amqp.engine.failures import Failure
from edeposit.amqp.engine.fastconnection import AdapterConnection
from edeposit.amqp.engine.publisher import Outgoing, Publisher
from edeposit.amqp.errors import AMQPError, MessageTooLargeError, PublishError

logger = logging.getLogger(__name__)

# Back-pressure: a handler that publishes faster than the broker confirms has to wait. 64 MiB
# holds two of the largest usual messages, and keeps a stalled broker from filling the memory.
_HIGH_WATER_BYTES = 64 * 1024 * 1024
_HIGH_WATER_MESSAGES = 10_000

# A connection that worked this long (s) starts its backoff anew when it is lost.
_STABLE = 5.0
_CLOSE_TIMEOUT = 5.0
_TICK = 1.0


class ConfirmTimeoutError(AMQPError):
    """The broker has not confirmed a message in time; the connection is given up."""


class Backoff:
    """Growing, jittered delays between attempts (seconds).

    The jitter keeps many daemons from knocking at a restarted broker in the same moment.
    """

    def __init__(self, first: float = 0.25, cap: float = 30.0) -> None:
        self._first = first
        self._cap = cap
        self.attempts = 0

    def next(self, *, stubborn: bool = False) -> float:
        """The delay before the next attempt; ``stubborn`` failures are retried more slowly."""
        full = min(self._cap, self._first * (8 if stubborn else 1) * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return random.uniform(full / 2, full)

    def reset(self) -> None:
        """The next delay is a short one again."""
        self.attempts = 0


class ConnectionOwner(Protocol):
    """Who uses a connection; all calls come on the I/O thread."""

    def on_channel(self, channel: Channel) -> None:
        """A fresh channel in confirm mode: prepare it, then call ``usable()``."""

    def on_usable(self) -> None:
        """``usable()`` was called: messages may flow."""

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        """A message arrived; ``error`` if its properties cannot be decoded."""

    def on_batch_end(self) -> None:
        """The frames of one read, or one batch of posted work, are done: write acks now."""

    def on_cancelled(self) -> None:
        """The broker has cancelled the consumer; the channel goes on."""

    def on_down(self, failure: Failure, unconfirmed: list[Outgoing]) -> None:
        """The channel is gone, with everything that hung on it."""

    def on_retry(self, failure: Failure, delay: float) -> bool:
        """Another attempt comes in ``delay`` seconds; False gives up."""

    def on_blocked(self, blocked: bool) -> None:
        """The broker has stopped, or resumed, taking messages (memory or disk alarm)."""

    def on_tick(self) -> None:
        """About once a second."""


class BrokerConnection:
    """A self-healing connection with pipelined, confirmed publishing.

    Args:
        parameters: where to connect; replaced at will, used at the next attempt.
        owner: is told what happens.
        confirm_timeout: seconds until an unconfirmed message ends the connection.
        max_message_size: bytes the broker accepts, 0 to learn it from its first refusal.
    """

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        owner: ConnectionOwner,
        *,
        confirm_timeout: float = 30.0,
        max_message_size: int = 0,
    ) -> None:
        self.parameters = parameters
        self.owner = owner
        self.confirm_timeout = confirm_timeout
        self.max_message_size = max_message_size
        self.ioloop = IOLoop()
        self.publisher = Publisher()
        self.connection: AdapterConnection | None = None
        self.channel: Channel | None = None
        self.is_usable = False
        self.blocked = False
        self.clear_to_send = threading.Event()
        self._backoff = Backoff()
        self._usable_since = 0.0
        self._closing = False
        self._finished = False
        self._gate_open = False
        self._inbox: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._woken = False
        self._chunks: list[bytes] = []
        self._last_tick = 0.0

    # --- life -------------------------------------------------------------------------------

    def run(self) -> None:
        """Connect and work until ``close()`` has finished or the owner gives up."""
        self._last_tick = time.monotonic()
        self.ioloop.call_later(_TICK, self._tick)
        self._connect()
        try:
            self.ioloop.start()
        finally:
            self.open_gate()
            self.ioloop.close()

    def close(self) -> bool:
        """End in order: close channel and connection, then let ``run()`` return.

        Returns:
            False if it was closing already.
        """
        if self._closing:
            return False
        self._closing = True
        self.flush()
        self.is_usable = False
        self.ioloop.call_later(_CLOSE_TIMEOUT, self.stop)
        if self.connection is None or self.connection.is_closed:
            self.stop()
        elif not self.connection.is_closing:
            self.connection.close()
        return True

    def stop(self) -> None:
        """End at once: drop the socket, let ``run()`` return."""
        self._closing = self._finished = True
        self.open_gate()
        if self.connection is not None and not self.connection.is_closed:
            # Its close callback stops the loop; the timer is for a connection that has none left.
            self.connection.abort_stream(AMQPError("stopped"))
            self.ioloop.call_later(0.5, self.ioloop.stop)
        else:
            self.ioloop.stop()

    # --- other threads ----------------------------------------------------------------------

    def post(self, function: Callable[[Any], None], argument: Any) -> None:
        """Have ``function(argument)`` called on the I/O thread. Thread-safe, never blocks."""
        self._inbox.append((function, argument))
        if not self._woken:
            self._woken = True
            self.ioloop.add_callback_threadsafe(self._drain_inbox)

    def _drain_inbox(self) -> None:
        # The flag goes first: whoever appends after this line wakes the loop again.
        self._woken = False
        inbox = self._inbox
        try:
            for _ in range(len(inbox)):
                function, argument = inbox.popleft()
                function(argument)
            self.owner.on_batch_end()
            self.flush()
        except Exception as error:
            # A defect of ours. Whatever it left half done is unacked: a new connection gets it
            # delivered again.
            logger.exception("internal error, the connection is given up")
            if self.connection is not None:
                self.connection.abort_stream(AMQPError(f"internal error: {error!r}"))
        if inbox and not self._woken:
            self._woken = True
            self.ioloop.add_callback_threadsafe(self._drain_inbox)

    # --- publishing (I/O thread) ------------------------------------------------------------

    def publish(self, outgoing: Outgoing) -> None:
        """Write a message; its ``done`` is called when the broker has taken or refused it.

        Without a usable channel ``done`` gets a ``PublishError`` at once.
        """
        connection, channel = self.connection, self.channel
        if connection is None or channel is None or not self.is_usable:
            outgoing.done(outgoing, PublishError("no connection to the broker"))
            return
        limit = self.max_message_size
        if limit and len(outgoing.body) > limit:
            outgoing.done(outgoing, MessageTooLargeError(len(outgoing.body), limit))
            return
        try:
            chunks = self.publisher.encode(
                outgoing, channel.channel_number, connection.params.frame_max
            )
        except PublishError as error:
            outgoing.done(outgoing, error)
            return
        self._chunks += chunks
        if self._congested():
            self._update_clear_to_send()

    def write(self, chunks: list[bytes]) -> None:
        """Queue encoded frames (acks) for the next ``flush()``."""
        self._chunks += chunks

    def flush(self) -> None:
        """Hand all queued frames to the socket in as few writes as possible."""
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            if self.connection is not None and self.connection.is_open:
                self.connection.emit(chunks)

    def open_gate(self) -> None:
        """Let everybody who waits for ``clear_to_send`` go on, for good (shutdown)."""
        self._gate_open = True
        self.clear_to_send.set()

    def _congested(self) -> bool:
        return (
            self.publisher.unconfirmed_bytes > _HIGH_WATER_BYTES
            or len(self.publisher) > _HIGH_WATER_MESSAGES
        )

    def _update_clear_to_send(self) -> None:
        if self._gate_open or (self.is_usable and not self.blocked and not self._congested()):
            self.clear_to_send.set()
        else:
            self.clear_to_send.clear()

    # --- what the adapter reports -----------------------------------------------------------

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        self.owner.on_deliver(method, properties, body, error)

    def on_return(self, method: Basic.Return, properties: BasicProperties, body: bytes) -> None:
        self.publisher.returned(properties, method.reply_code, method.reply_text)

    def on_confirm(self, delivery_tag: int, multiple: bool, positive: bool) -> None:
        self.publisher.confirmed(delivery_tag, multiple, positive)
        if not self.clear_to_send.is_set():
            self._update_clear_to_send()

    def on_batch_end(self) -> None:
        self.owner.on_batch_end()
        self.flush()

    # --- connecting -------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._closing:
            return
        self.connection = AdapterConnection(
            self.parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_open_error,
            on_close_callback=self._on_closed,
            custom_ioloop=self.ioloop,
        )

    def _on_open(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        self._open_channel()

    def _open_channel(self) -> None:
        if self._closing or self.connection is None or not self.connection.is_open:
            return
        self.connection.channel(on_open_callback=self._on_channel_open)

    def _on_channel_open(self, channel: Channel) -> None:
        self.channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_cancel_callback(lambda _frame: self.owner.on_cancelled())
        # The adapter takes the confirms; pika only has to switch the mode on.
        channel.confirm_delivery(lambda _frame: None, callback=self._on_confirm_mode)

    def _on_confirm_mode(self, _frame: Any) -> None:
        if self.connection is not None and self.channel is not None and not self._closing:
            self.connection.watch(self.channel.channel_number, self)
            self.owner.on_channel(self.channel)

    def usable(self) -> None:
        """The owner has prepared the channel: let messages flow."""
        self.is_usable = True
        self._usable_since = time.monotonic()
        self._update_clear_to_send()
        self.owner.on_usable()

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked
        self._update_clear_to_send()
        self.owner.on_blocked(blocked)

    def probe(self, queue: str, done: Callable[[bool], None]) -> None:
        """Ask on a channel of its own whether a queue exists; ``done(answer)`` follows.

        A failed check closes its channel, so it must not be the one that messages hang on.
        """
        if self.connection is None or not self.connection.is_open:
            done(False)
            return

        def opened(channel: Channel) -> None:
            def found(_frame: Any) -> None:
                answered.append(True)
                channel.close()

            channel.queue_declare(queue, passive=True, callback=found)

        answered: list[bool] = []
        self.connection.channel(on_open_callback=opened).add_on_close_callback(
            lambda _channel, _reason: done(bool(answered))
        )

    # --- losing -----------------------------------------------------------------------------

    def _on_open_error(self, _connection: Any, error: BaseException) -> None:
        self._lost(error)

    def _on_closed(self, _connection: Any, error: BaseException) -> None:
        self._lost(error)

    def _lost(self, error: BaseException) -> None:
        self.blocked = False
        failure = failures.explain(error, self.parameters)
        self._down(failure)
        if self._closing:
            self._finished = True
            self.ioloop.stop()
        else:
            self._retry(failure, self._connect)

    def _on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        connection = self.connection
        if channel is not self.channel or connection is None or not connection.is_open:
            return  # the connection's own callback follows
        failure = failures.explain(reason, self.parameters)
        too_large = failures.too_large(reason)
        if too_large is not None:
            self.max_message_size = too_large[1]
            logger.warning("the broker takes messages up to %d bytes", too_large[1])
        self._down(failure)

        def reopen() -> None:
            if self.connection is connection and self.channel is None:
                self._open_channel()

        if not self._closing:
            self._retry(failure, reopen)

    def _down(self, failure: Failure) -> None:
        """Drop everything that the lost channel invalidates: the one place for it."""
        if self.connection is not None:
            self.connection.unwatch()
        was_stable = self.is_usable and time.monotonic() - self._usable_since > _STABLE
        if was_stable:
            self._backoff.reset()
        self.is_usable = False
        self.channel = None
        self._chunks.clear()
        self._update_clear_to_send()
        self.owner.on_down(failure, self.publisher.lost())

    def _retry(self, failure: Failure, attempt: Callable[[], None]) -> None:
        delay = self._backoff.next(stubborn=failure.stubborn)
        if self.owner.on_retry(failure, delay):
            self.ioloop.call_later(delay, attempt)
        else:
            self.stop()

    # --- watching ---------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._finished:
            return
        now = time.monotonic()
        # After a stop (SIGSTOP, suspend) confirms may be waiting unread: give them a turn first.
        frozen = now - self._last_tick > 5 * _TICK
        self._last_tick = now
        oldest = self.publisher.oldest()
        if (
            oldest is not None
            and not self.blocked
            and not frozen
            and now - oldest > self.confirm_timeout
            and self.connection is not None
        ):
            self.connection.abort_stream(
                ConfirmTimeoutError(f"no confirm from the broker in {self.confirm_timeout:g} s")
            )
        self.owner.on_tick()
        self.ioloop.call_later(_TICK, self._tick)
