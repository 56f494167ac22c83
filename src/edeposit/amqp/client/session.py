"""One connection of a client and its I/O thread, from the first attempt to the end.

What must stay true: no caller waits longer than its own deadline, for a connection neither; nobody
waits while holding the lock; a session that has ended stays ended, everybody who waits in it gets
an error at once, and the next caller starts another session.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pika
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp import settings
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.engine.traffic import Life
from edeposit.amqp.errors import AMQPError, CallTimeoutError, ClosedError

logger = logging.getLogger(__name__)

# The closing handshake is a courtesy: a broker that has stopped answering gets this long (s).
CLOSE_TIMEOUT = 3.0


def remaining(deadline: float) -> float:
    """Seconds until a deadline of ``time.monotonic()``; 0 if it is over."""
    return max(deadline - time.monotonic(), 0.0)


class Session:
    """A connection in a thread of its own; the base of ``Requests`` and ``Output``.

    Args:
        parameters: returns where to connect to; called at each attempt.
        name: of the thread.

    Attributes:
        trouble: why no message flows at the moment, for error texts; empty: all is well.

    Raises:
        StartError, SettingsError: the connection's settings are unusable.
        AMQPError: no thread or file descriptor is left.
    """

    def __init__(self, parameters: Callable[[], pika.ConnectionParameters], name: str) -> None:
        where = parameters()
        self.where = f"{where.host}:{where.port}"
        self.trouble = ""
        self._lock = threading.Lock()
        self._decided = threading.Event()  # the first attempt has succeeded or failed
        self._was_usable = False
        self._end: AMQPError | None = None
        self._opening_ticks = 0
        self._opening_limit = settings.RABBITMQ_CONNECT_TIMEOUT
        try:
            self.link = BrokerConnection(
                parameters,
                self,
                confirm_timeout=lambda: settings.RABBITMQ_CONFIRM_TIMEOUT,
                max_message_size=settings.RABBITMQ_MAX_MESSAGE_SIZE,
            )
            self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        except OSError as error:
            raise AMQPError(f"cannot connect to {self.where}: {error}") from error

    def start(self) -> None:
        """Start the thread, which connects.

        Raises:
            AMQPError: no thread can be started.
        """
        try:
            self.thread.start()
        except RuntimeError as error:
            raise AMQPError(f"cannot connect to {self.where}: {error}") from error

    # --- callers' threads -------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """True if it will never work (again)."""
        return self._end is not None

    def wait(self, deadline: float) -> None:
        """Wait for the first connection; later ones are made in the background.

        Raises:
            CallTimeoutError: it was not there in time.
            AMQPError: it failed, or the session has ended; in one line.
        """
        if not self._decided.wait(remaining(deadline)):
            raise CallTimeoutError(
                f"no connection to RabbitMQ at {self.where} in time", maybe_sent=False
            )
        self._check()

    def post(self, function: Callable[[Any], None], argument: Any) -> None:
        """Have ``function(argument)`` called on the I/O thread.

        Raises:
            AMQPError: the session has ended.
        """
        with self._lock:
            self._check()
            self.link.post(function, argument)

    def close(self) -> None:
        """End everything that waits, then the connection; does not wait for it."""
        self._finish(ClosedError("the client was closed"))
        self.link.post(lambda _none: self.leave(), None)

    def join(self, deadline: float) -> None:
        """Wait for the end of the thread after ``close()``; then drop the connection."""
        self.thread.join(remaining(deadline))
        if self.thread.is_alive():
            self.link.post(lambda _none: self.link.stop(), None)

    def forget(self) -> None:
        """In a forked child: the connection and its thread are the parent's."""
        if self.link.connection is not None:
            self.link.connection.close_copy()

    def _check(self) -> None:
        if self._end is not None:
            # A new instance: one that several threads raise would collect all their tracebacks.
            raise type(self._end)(str(self._end))

    def _finish(self, error: AMQPError) -> None:
        with self._lock:
            if self._end is None:
                self._end = error
        self._decided.set()
        self.fail_all(self._end)

    def fail_all(self, error: AMQPError) -> None:
        """The session has ended: give the error to everybody who waits."""
        raise NotImplementedError

    # --- I/O thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.link.run()
        except BaseException:
            logger.exception("the I/O thread of the client ends")
        finally:
            self._finish(AMQPError(f"the connection to {self.where} has ended: {self.trouble}"))

    def leave(self) -> None:
        """The client is closed: end the connection."""
        if self.link.is_usable:
            self.link.close()
        else:
            self.link.stop()

    def on_channel(self, channel: Channel) -> None:
        """(engine) Prepare the channel, then call ``link.usable()``."""
        raise NotImplementedError

    def on_usable(self) -> None:
        """(engine)"""
        self._was_usable = True
        self.trouble = ""
        self._decided.set()

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        """(engine) A message has arrived."""
        raise NotImplementedError

    def on_batch_end(self) -> None:
        """(engine)"""

    def on_cancelled(self, consumer_tag: str) -> None:
        """(engine) A queue was deleted: begin anew on a new channel."""
        channel = self.link.channel
        if channel is not None and channel.is_open:
            channel.close(320, "consumer cancelled by the broker")

    def on_down(self, failure: Diagnosis, unconfirmed: list[Outgoing]) -> None:
        """(engine)"""
        self.trouble = str(failure)

    def on_retry(self, failure: Diagnosis, delay: float) -> bool:
        """(engine) The first connection must work at once; later ones are tried without end."""
        if not self._was_usable:
            self._finish(AMQPError(str(failure)))
            return False
        logger.warning("%s; next attempt in %.1f s", failure, delay)
        return True

    def on_blocked(self, blocked: bool) -> None:
        """(engine)"""
        self.trouble = "the broker is blocked (memory or disk alarm)" if blocked else ""

    def on_tick(self) -> None:
        """(engine) Drop a connection that does not open a channel, as heartbeats may be off."""
        connection = self.link.connection
        is_opening = self.link.life is Life.CONNECTING
        if connection is None or not connection.is_open or not is_opening:
            self._opening_ticks = 0
            return
        self._opening_ticks += 1
        if self._opening_ticks > self._opening_limit:
            self._opening_ticks = 0
            connection.discard(AMQPError("no channel could be opened in time"))
