"""The consumer of a daemon's queue: registered, cancelled, registered again.

The broker may end a consumer and leave the channel open: ``basic.cancel`` when its queue is
deleted, moves, or (quorum queues of RabbitMQ 4.3) when an ack is overdue. The messages that the
consumer held are then in doubt. RabbitMQ 4.3 returns only the overdue ones, keeps the rest
assigned to the dead consumer, and cancels it once more for each ack that becomes overdue. So the
next consumer gets a fresh channel; closing the old one returns everything to the queue.

A quorum queue that is deleted and declared again at once is worse: the broker says nothing, counts
the consumer, and drops what the new queue sends to it. No question shows that, so a consumer that
was idle for a minute moves to a fresh channel, too.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from pika.channel import Channel

from edeposit.amqp.engine.backoff import Backoff
from edeposit.amqp.engine.connection import BrokerConnection

logger = logging.getLogger(__name__)

_IDLE_MOST = 60.0
_RESUBSCRIBE_CAP = 5.0
# So many unacked requests may wait for better times; each holds its body.
_STUCK_MOST = 1000


class Consumer:
    """Consumes one queue of a connection's channel.

    Args:
        link: the connection.
        queue: its name; empty: nothing is consumed.
        exchange: must exist before anything is consumed; empty: any.
        prefetch: asked for the number of unacked messages that the broker may send ahead.
        wanted: asked whether there still is to be a consumer.

    Attributes:
        is_moving: the channel was closed only to get a fresh one. What it still delivers is to be
            ignored; it comes again.
    """

    def __init__(
        self,
        link: BrokerConnection,
        queue: str,
        exchange: str,
        prefetch: Callable[[], int],
        wanted: Callable[[], bool],
    ) -> None:
        self._link = link
        self._queue = queue
        self._exchange = exchange
        self._prefetch = prefetch
        self._wanted = wanted
        #: The prefetch count of the present consumer.
        self.count = 0
        self.is_moving = False
        self._tag: str | None = None
        self._is_renewing = False
        self._backoff = Backoff(cap=_RESUBSCRIBE_CAP)
        self._last_sign = time.monotonic()
        self._received = 0
        self._stuck = 0

    def start(self, channel: Channel) -> None:
        """On a fresh channel: see whether the exchange is there, consume, say ``usable()``."""
        self._stuck = 0
        if self._exchange:
            channel.exchange_declare(
                self._exchange, passive=True, callback=lambda _frame: self._begin(channel)
            )
        else:
            self._begin(channel)

    def _begin(self, channel: Channel) -> None:
        if self._queue:
            self._consume(channel)
        else:
            self._link.usable()

    @property
    def is_consuming(self) -> bool:
        """Is the consumer registered, or about to be?"""
        return self._tag is not None

    def _consume(self, channel: Channel, *, resized: bool = False) -> None:
        def with_qos(_frame: Any) -> None:
            self._tag = channel.basic_consume(
                self._queue, on_message_callback=lambda *_: None, callback=consuming
            )

        def consuming(_frame: Any) -> None:
            self._backoff.reset()
            self._last_sign = time.monotonic()
            if resized:
                logger.debug("the prefetch count of %r is now %d", self._queue, self.count)
            else:
                self._link.usable()

        self.count = self._prefetch()
        channel.basic_qos(prefetch_count=self.count, callback=with_qos)

    def cancel(self) -> None:
        """Stop consuming."""
        channel, tag = self._link.channel, self._tag
        self._tag = None
        if channel is not None and channel.is_open and tag is not None:
            channel.basic_cancel(tag)

    def down(self) -> None:
        """The channel is gone, and the consumer with it."""
        self._tag = None
        self._is_renewing = False

    def renew(self, *, resized: bool = False, between: Callable[[], None] = lambda: None) -> bool:
        """Consume anew on the same channel, for another prefetch count or a lost consumer.

        Messages that the old consumer holds stay unacked, but do not count for the prefetch of
        the new one (RabbitMQ counts per consumer).

        Args:
            resized: only the prefetch count changes.
            between: called when the old consumer has got its last message, and the new one none.

        Returns:
            False if that cannot be now.
        """
        channel, tag = self._link.channel, self._tag
        if tag is None or channel is None or not channel.is_open:
            return False

        def cancelled(_frame: Any) -> None:
            if self._is_renewing and self._link.channel is channel:
                self._is_renewing = False
                between()
                if self._wanted():
                    self._consume(channel, resized=resized)

        self._tag = None
        self._is_renewing = True
        channel.basic_cancel(tag, callback=cancelled)
        return True

    def make_room(self, stuck: int, room: int) -> None:
        """Consume anew when requests whose answers nobody takes use up the prefetch.

        Args:
            stuck: unacked requests that wait for better times.
            room: so many of them may wait at one consumer.
        """
        stuck = min(stuck, _STUCK_MOST)
        if stuck - self._stuck >= room and self.renew():
            self._stuck = stuck

    # --- cancelled by the broker ------------------------------------------------------------

    def is_current(self, tag: str) -> bool:
        """Is this the present consumer, not one that was cancelled before?"""
        return tag == self._tag

    def cancelled(self) -> None:
        """The broker has cancelled the consumer: try to consume again, ever more slowly.

        The channel is replaced when all that was published on it is confirmed: what is unconfirmed
        would be sent twice.
        """
        self._tag = None
        self._is_renewing = False
        self._again_later()

    def _again_later(self) -> None:
        channel = self._link.channel

        def probed(exists: bool) -> None:
            if self._link.channel is not channel or not self._wanted():
                return
            if exists and not self._link.publisher and self._move("its consumer was cancelled"):
                return
            if not exists:
                logger.warning("queue %r is still missing", self._queue)
            self._again_later()

        def probe() -> None:
            if self._link.channel is channel and self._tag is None and self._wanted():
                self._link.probe(self._queue, probed)

        self._link.ioloop.call_later(self._backoff.next(), probe)

    # --- once a minute ----------------------------------------------------------------------

    def check(self, idle: bool, received: int) -> None:
        """Move to a fresh channel after a minute without work; call it once a second.

        Args:
            idle: nothing is handled, and nothing is on its way out.
            received: how many messages have come.
        """
        now = time.monotonic()
        if received != self._received or not idle:
            self._received = received
            self._last_sign = now
        channel = self._link.channel
        if self._tag is None or channel is None or not channel.is_open or not self._wanted():
            return
        if now - self._last_sign >= _IDLE_MOST:
            self._last_sign = now
            self._move("its consumer was idle")

    def _move(self, why: str) -> bool:
        self.is_moving = self._link.move(f"moves to a fresh channel: {why}")
        return self.is_moving
