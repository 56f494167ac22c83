"""The consumer of a daemon's queue: registered, cancelled, registered again.

The broker may end a consumer and leave the channel open: ``basic.cancel`` when its queue is
deleted, moves, or (RabbitMQ 4.3) when an ack is overdue. A quorum queue that is deleted and
declared again at once ends it without a word; so once a minute the consumer is checked.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pika
from pika.channel import Channel

from edeposit.amqp.engine.backoff import Backoff
from edeposit.amqp.engine.connection import BrokerConnection

logger = logging.getLogger(__name__)

_CHECK_INTERVAL = 60.0
_RESUBSCRIBE_CAP = 5.0


class _Found(NamedTuple):
    messages: int
    consumers: int


class Consumer:
    """Consumes one queue of a connection's channel.

    Args:
        link: the connection.
        queue: its name; empty: nothing is consumed.
        exchange: must exist before anything is consumed; empty: any.
        prefetch: asked for the number of unacked messages that the broker may send ahead.
        wanted: asked whether there still is to be a consumer.
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
        self._tag: str | None = None
        self._backoff = Backoff(cap=_RESUBSCRIBE_CAP)
        self._last_sign = time.monotonic()
        self._deliveries = 0

    def start(self, channel: Channel) -> None:
        """On a fresh channel: see whether the exchange is there, consume, say ``usable()``."""
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

    def delivered(self) -> None:
        """A message has come."""
        self._deliveries += 1

    def cancel(self) -> None:
        """Stop consuming."""
        channel, tag = self._link.channel, self._tag
        self._tag = None
        if channel is not None and channel.is_open and tag is not None:
            channel.basic_cancel(tag)

    def down(self) -> None:
        """The channel is gone, and the consumer with it."""
        self._tag = None

    def renew(self, *, resized: bool = False) -> None:
        """Consume anew on the same channel, for another prefetch count or a lost consumer.

        Messages that the old consumer holds stay unacked, but do not count for the prefetch of
        the new one (RabbitMQ counts per consumer).
        """
        channel = self._link.channel
        if self._tag is not None and channel is not None and channel.is_open:
            self.cancel()
            self._consume(channel, resized=resized)

    # --- cancelled by the broker ------------------------------------------------------------

    def cancelled(self) -> None:
        """The broker has cancelled the consumer: try to consume again, ever more slowly."""
        self._tag = None
        self._again_later()

    def _again_later(self) -> None:
        channel = self._link.channel

        def probed(found: _Found | None) -> None:
            if self._link.channel is not channel or channel is None or not self._wanted():
                return
            if found is not None:
                self._consume(channel)
            else:
                logger.warning("queue %r is still missing", self._queue)
                self._again_later()

        def probe() -> None:
            if self._link.channel is channel and self._tag is None and self._wanted():
                self._probe(probed)

        self._link.ioloop.call_later(self._backoff.next(), probe)

    # --- once a minute ----------------------------------------------------------------------

    def check(self, unfinished: int) -> None:
        """See now and then whether the queue still knows its consumer; call it once a second.

        Args:
            unfinished: requests that have not ended; a busy consumer needs no check.
        """
        now = time.monotonic()
        if self._deliveries or unfinished:
            self._deliveries = 0
            self._last_sign = now
        if self._tag is None or now - self._last_sign < _CHECK_INTERVAL or not self._wanted():
            return
        self._last_sign = now
        tag = self._tag

        def probed(found: _Found | None) -> None:
            if found is None or self._tag != tag or self._deliveries:
                return
            if not found.consumers or found.messages:
                logger.warning(
                    "queue %r has %d messages and %d consumers, and sends nothing: consuming anew",
                    self._queue,
                    found.messages,
                    found.consumers,
                )
                self.renew()

        self._probe(probed)

    def _probe(self, done: Callable[[_Found | None], None]) -> None:
        """Ask for the queue on a channel of its own: a failed check closes its channel."""
        connection = self._link.connection
        if connection is None or not connection.is_open:
            return
        answers: list[_Found] = []

        def opened(channel: Channel) -> None:
            def declared(frame: Any) -> None:
                answers.append(_Found(frame.method.message_count, frame.method.consumer_count))
                channel.close()

            channel.queue_declare(self._queue, passive=True, callback=declared)

        try:
            channel = connection.channel(on_open_callback=opened)
        except pika.exceptions.AMQPError:  # no channel is left: just try to consume
            done(_Found(0, 1))
            return
        channel.add_on_close_callback(
            lambda _channel, _reason: done(answers[0] if answers else None)
        )
