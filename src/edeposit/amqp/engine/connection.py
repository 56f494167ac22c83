"""One connection to RabbitMQ that outlives its sockets.

``BrokerConnection`` owns the I/O loop, the pika connection and one channel in confirm mode; it
connects, watches, and reconnects with backoff. What flows on the channel is ``Traffic``'s job;
what the channel is for is its owner's: ``PikaDaemon`` consumes a service's queue, ``AMQPClient``
its replies.

Threads: everything runs on the I/O thread, the one that calls ``run()``. Other threads may only
call ``post()`` and wait on ``clear_to_send``. No handler ever runs on the I/O thread, so heartbeats
are always answered.

What must stay true: whatever a lost channel invalidates (sequence numbers, delivery tags, the
consumer) is dropped in one place, ``_down()``; and no exception ends the loop: it costs the
connection (``_on_error``), and the next attempt comes after a pause.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import pika
from pika.channel import Channel
from pika.exceptions import NoFreeChannels

from edeposit.amqp.engine import diagnosis
from edeposit.amqp.engine.backoff import Backoff
from edeposit.amqp.engine.deadline import ConfirmDeadline
from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.fastconnection import FastConnection
from edeposit.amqp.engine.loop import GuardedLoop
from edeposit.amqp.engine.owner import ConnectionOwner
from edeposit.amqp.engine.traffic import Life, Traffic
from edeposit.amqp.errors import AMQPError

logger = logging.getLogger(__name__)

# A connection that worked this long (s) starts its backoff anew when it is lost.
_STABLE = 5.0
_CLOSE_TIMEOUT = 5.0
_TICK = 1.0


class ConfirmTimeoutError(AMQPError):
    """The broker has not confirmed a message in time; the connection is given up."""


class BrokerConnection(Traffic):
    """A self-healing connection with pipelined, confirmed publishing.

    Args:
        parameters: where to connect, or a function that returns it; read at each attempt.
        owner: is told what happens.
        confirm_timeout: seconds until an unconfirmed message ends the connection, or a function
            that returns them; asked again and again.
        max_message_size: bytes the broker accepts, 0 to learn it from its first refusal.

    Attributes:
        ioloop: the loop; only for the I/O thread, but for ``post``.
    """

    def __init__(
        self,
        parameters: pika.ConnectionParameters | Callable[[], pika.ConnectionParameters],
        owner: ConnectionOwner,
        *,
        confirm_timeout: float | Callable[[], float] = 30.0,
        max_message_size: int = 0,
    ) -> None:
        super().__init__(owner, max_message_size)
        self._parameters = parameters
        self._tried = self.parameters
        self.ioloop = GuardedLoop(self._on_error, self.on_batch_end)
        self.post = self.ioloop.post
        limit = confirm_timeout if callable(confirm_timeout) else lambda: confirm_timeout
        self._deadline = ConfirmDeadline(limit, _TICK)
        self._backoff = Backoff()
        self._usable_since = 0.0

    @property
    def parameters(self) -> pika.ConnectionParameters:
        """Where the next attempt connects to."""
        return self._parameters() if callable(self._parameters) else self._parameters

    # --- life -------------------------------------------------------------------------------

    def run(self) -> None:
        """Connect and work until ``close()`` has finished or the owner gives up.

        Raises:
            OSError: no file descriptor is left for the loop itself, and the owner did not give up.
        """
        self.ioloop.call_later(_TICK, self._tick)
        self.ioloop.add_callback(self._connect)
        try:
            self.ioloop.start()
        except OSError as error:
            self._lost(error)
            if self.life is not Life.CLOSED:
                raise
        finally:
            self.life = Life.CLOSED
            self.open_gate()
            self.ioloop.close()

    def close(self) -> bool:
        """End in order: close channel and connection, then let ``run()`` return.

        Returns:
            False if it was closing already.
        """
        if self.life in (Life.CLOSING, Life.CLOSED):
            return False
        self.flush()
        self.life = Life.CLOSING
        self.ioloop.call_later(_CLOSE_TIMEOUT, self.stop)
        if self.connection is None or self.connection.is_closed:
            self.stop()
        elif not self.connection.is_closing:
            self.connection.close()
        return True

    def stop(self) -> None:
        """End at once: drop the socket, let ``run()`` return. Idempotent."""
        if self.life is Life.CLOSED:
            return
        self.life = Life.CLOSED
        self.open_gate()
        if self.connection is not None and not self.connection.is_closed:
            # Its close callback stops the loop; the timer is for a connection that has none left.
            self.ioloop.call_later(0.5, self.ioloop.stop)
            self.connection.discard(AMQPError("stopped"))
        else:
            self.ioloop.stop()

    # --- connecting -------------------------------------------------------------------------

    def _connect(self) -> None:
        if self.life in (Life.CLOSING, Life.CLOSED):
            return
        self.life = Life.CONNECTING
        try:
            self._tried = self.parameters
        except Exception as error:  # such as unreadable TLS files; they may be repaired
            self._lost(error)
            return
        self.connection = FastConnection(
            self._tried,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_lost,
            on_close_callback=self._on_lost,
            custom_ioloop=self.ioloop,
        )
        self.connection.on_error = self._on_error

    def _on_open(self, connection: FastConnection) -> None:
        if connection is not self.connection:
            return
        self.frame_max = connection.params.frame_max or self.frame_max
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        self._open_channel()

    def _open_channel(self) -> None:
        if self.life in (Life.CLOSING, Life.CLOSED):
            return
        if self.connection is not None and self.connection.is_open:
            self.life = Life.CONNECTING
            self.connection.channel(on_open_callback=self._on_channel_open)

    def reopen(self) -> None:
        """If only the channel was lost, open it now instead of after the pause."""
        if self.life is Life.WAITING:
            self._open_channel()

    def move(self, why: str) -> bool:
        """Close the channel in order; a fresh one follows. Nothing is published meanwhile.

        Returns:
            False if that cannot be now.
        """
        channel = self.channel
        if channel is None or not channel.is_open or self.life is not Life.USABLE:
            return False
        self.flush()
        self.life = Life.MOVING
        self._update_gate()
        channel.close(200, why)
        return True

    def _on_channel_open(self, channel: Channel) -> None:
        if channel.connection is not self.connection:
            return
        self.channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_cancel_callback(
            lambda frame: self.owner.on_cancelled(frame.method.consumer_tag)
        )
        # ``FastConnection`` takes the confirms; pika only has to switch the mode on.
        channel.confirm_delivery(lambda _frame: None, callback=self._on_confirm_mode)

    def _on_confirm_mode(self, _frame: Any) -> None:
        if self.connection is None or self.channel is None or self.life is not Life.CONNECTING:
            return
        self.connection.watch(self.channel.channel_number, self)
        self.owner.on_channel(self.channel)

    def usable(self) -> None:
        """The owner has prepared the channel: let messages flow."""
        if self.life not in (Life.CONNECTING, Life.USABLE):
            return
        self.life = Life.USABLE
        self._usable_since = time.monotonic()
        self._update_gate()
        self.owner.on_usable()

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked
        self._update_gate()
        self.owner.on_blocked(blocked)

    def probe(self, queue: str, done: Callable[[bool], None]) -> None:
        """Ask on a channel of its own whether a queue exists; ``done(answer)`` follows.

        A failed check closes its channel, so it must not be the one that carries messages. If the
        broker allows no second channel the answer is True: the consumer's own failure will tell.
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
        try:
            channel = self.connection.channel(on_open_callback=opened)
        except NoFreeChannels:
            done(True)
        else:
            channel.add_on_close_callback(lambda _channel, _reason: done(bool(answered)))

    # --- losing -----------------------------------------------------------------------------

    def _on_error(self, error: Exception) -> None:
        """Something on the I/O thread raised: the connection is in an unknown state, drop it.

        What it left half done is unacked: a new connection gets it delivered again.
        """
        logger.error("internal error, the connection is dropped", exc_info=error)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.discard(error)
        if self.life in (Life.CLOSING, Life.CLOSED):
            self.life = Life.CLOSED
            self.open_gate()
            self.ioloop.stop()
        elif connection is not None or self.life is not Life.WAITING:
            self._lost(error)

    def _on_lost(self, connection: FastConnection, error: BaseException) -> None:
        """pika could not connect, or lost the connection."""
        if connection is self.connection:
            self.connection = None
            self._lost(error)

    def _lost(self, error: BaseException) -> None:
        self.blocked = False
        failure = diagnosis.diagnose(error, self._tried)
        if self.life in (Life.CLOSING, Life.CLOSED):
            self.life = Life.CLOSED
            self._down(failure)
            self.ioloop.stop()
        else:
            self._down(failure)
            self._retry(failure, self._connect)

    def _on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        connection = self.connection
        if channel is not self.channel or connection is None or not connection.is_open:
            return  # the connection's own callback follows
        failure = diagnosis.diagnose(reason, self._tried)
        too_large = diagnosis.too_large(reason)
        if too_large is not None:
            self.max_message_size = too_large[1]
            logger.warning("the broker takes messages up to %d bytes", too_large[1])
        closing = self.life in (Life.CLOSING, Life.CLOSED)
        self._down(failure)

        def reopen_same() -> None:
            if self.connection is connection:
                self.reopen()

        if not closing:
            self._retry(failure, reopen_same)

    def _down(self, failure: Diagnosis) -> None:
        """Drop everything that the lost channel invalidates: the one place for it."""
        if self.connection is not None:
            self.connection.unwatch()
        worked = self.life in (Life.USABLE, Life.MOVING)
        if worked and time.monotonic() - self._usable_since > _STABLE:
            self._backoff.reset()
        if self.life not in (Life.CLOSING, Life.CLOSED):
            self.life = Life.WAITING
        unconfirmed = self._drop_traffic()
        try:
            self.owner.on_down(failure, unconfirmed)
        except Exception:
            logger.exception("internal error after a lost connection")

    def _retry(self, failure: Diagnosis, attempt: Callable[[], None]) -> None:
        delay = self._backoff.next(transient=failure.transient)
        try:
            goes_on = self.owner.on_retry(failure, delay)
        except Exception:
            logger.exception("internal error before the next attempt")
            goes_on = True
        if goes_on:
            self.ioloop.call_later(delay, attempt)
        else:
            self.stop()

    # --- watching ---------------------------------------------------------------------------

    def _tick(self) -> None:
        if self.life is Life.CLOSED:
            return
        self.ioloop.call_later(_TICK, self._tick)
        overdue = self._deadline.is_over(self.publisher.oldest())
        if overdue and not self.blocked and self.connection is not None:
            limit = self._deadline.limit()
            self.connection.discard(
                ConfirmTimeoutError(f"no confirm from the broker in {limit:g} s")
            )
        self.owner.on_tick()
