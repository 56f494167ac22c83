"""The service's output queue, read by ``AMQPClient.receive()``.

The queue is shared with others, so nothing is taken ahead: each ``take()`` is a consumer with a
prefetch of one, which is cancelled when its message has come or its caller has given up. The
connection is a separate one: whatever the queue's trouble is, calls do not notice.

What must stay true: a message is acked only after it was read, on the channel that it came on; in
every other case it goes back to the queue. A message whose ack was lost with the connection is
delivered again: it is recognised and acked, not handed out twice.
"""

import itertools
import logging
import queue
from typing import Any, NamedTuple

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from edeposit.amqp.client.session import Session, remaining
from edeposit.amqp.contract import UUID_HEADER
from edeposit.amqp.engine import frames
from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.errors import AMQPError, CallTimeoutError

logger = logging.getLogger(__name__)

# So many acks may be lost with a connection: those of the last moment of each thread.
_LATELY = 100


class Delivery(NamedTuple):
    """A message that is neither acked nor given back yet.

    Attributes:
        channel_serial: of the channel it came on: its tag means nothing on another.
        tag: the delivery tag.
    """

    channel_serial: int
    tag: int
    properties: BasicProperties
    body: bytes

    def identity(self) -> int:
        """The same number for the same message, however often it is delivered."""
        uuid = (self.properties.headers or {}).get(UUID_HEADER)
        return hash((repr(uuid), self.properties.message_id, self.body))


class _Taker:
    """A caller in ``take()`` and its consumer; the inbox gets one delivery, or an exception."""

    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self.tag = f"receive.{next(self._numbers)}"
        self.consuming_on = -1  # serial of a channel
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()


class Output(Session):
    """The session that takes messages from the output queue.

    Args:
        name: of the queue.
        options: as of ``Session``.
    """

    def __init__(self, queue_name: str, **options: Any) -> None:
        super().__init__(**options)
        self._queue = queue_name
        self._takers: dict[str, _Taker] = {}
        self._channel_serial = 0
        self._acked: dict[int, int] = {}  # identity: channel, of the latest acks

    # --- callers' threads -------------------------------------------------------------------

    def take(self, deadline: float) -> Delivery:
        """Wait for the next message; ``ack()`` or ``give_back()`` should follow.

        Raises:
            CallTimeoutError: nothing came in time.
            AMQPError: the session has ended.
        """
        taker = _Taker()
        self._takers[taker.tag] = taker
        try:
            self.post(self._begin, taker)
            item = taker.inbox.get(timeout=remaining(deadline))
        except queue.Empty:
            trouble = f" ({self.trouble})" if self.trouble else ""
            raise CallTimeoutError(
                f"no message in time in the output queue {self._queue!r}{trouble}"
            ) from None
        finally:
            self.link.post(self._stop, taker)
        if isinstance(item, Exception):
            raise item
        assert isinstance(item, Delivery)
        return item

    def ack(self, delivery: Delivery, deadline: float) -> bool:
        """Remove a message from the queue.

        Returns:
            False if its channel is gone: the broker has put it back and delivers it again.

        Raises:
            AMQPError: the session has ended, the message is in the queue again.
        """
        done: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.post(self._ack, (delivery, delivery.identity(), done))
        try:
            return done.get(timeout=max(remaining(deadline), 1.0))
        except queue.Empty:
            return True  # the ack is on its way; should it be lost, the message comes again

    def give_back(self, delivery: Delivery) -> None:
        """Return a message to the queue."""
        self.link.post(self._give_back, delivery)

    def fail_all(self, error: AMQPError) -> None:
        """(Session) Every caller gets the error."""
        for taker in list(self._takers.values()):
            taker.inbox.put(type(error)(str(error)))

    # --- I/O thread -------------------------------------------------------------------------

    def on_channel(self, channel: Channel) -> None:
        """(engine) One message for each consumer."""
        channel.basic_qos(prefetch_count=1, callback=lambda _frame: self.link.usable())

    def on_usable(self) -> None:
        """(engine) Consume again for those who wait."""
        trouble = self.trouble
        super().on_usable()
        for taker in list(self._takers.values()):
            self.trouble = trouble  # until a consumer works
            self._consume(taker)

    def _begin(self, taker: _Taker) -> None:
        if self.link.is_usable:
            self._consume(taker)
        else:
            self.link.reopen()

    def _consume(self, taker: _Taker) -> None:
        def consuming(_frame: Any) -> None:
            self.trouble = ""

        channel = self.link.channel
        is_consuming = taker.consuming_on == self._channel_serial
        if channel is not None and channel.is_open and not is_consuming:
            taker.consuming_on = self._channel_serial
            channel.basic_consume(
                self._queue,
                on_message_callback=lambda *_: None,
                consumer_tag=taker.tag,
                callback=consuming,
            )

    def _stop(self, taker: _Taker) -> None:
        is_consuming = taker.consuming_on == self._channel_serial
        if self._takers.pop(taker.tag, None) is not None and is_consuming:
            self._cancel(taker.tag)
        while not taker.inbox.empty():  # it came after its caller had gone
            item = taker.inbox.get()
            if isinstance(item, Delivery):
                self._give_back(item)

    def _cancel(self, consumer_tag: str) -> None:
        channel = self.link.channel
        if channel is not None and channel.is_open:
            # With a callback: without one pika keeps the tag as long as the channel.
            channel.basic_cancel(consumer_tag, callback=lambda _frame: None)

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        """(engine) Give a message to its taker, or back."""
        delivery = Delivery(self._channel_serial, method.delivery_tag, properties, body)
        if method.redelivered and self._ack_was_lost(delivery):
            return
        taker = self._takers.pop(method.consumer_tag, None)
        if taker is None:
            self._give_back(delivery)
            return
        self._cancel(taker.tag)
        taker.inbox.put(delivery)

    def _ack(self, what: tuple[Delivery, int, "queue.SimpleQueue[bool]"]) -> None:
        delivery, identity, done = what
        number = self._channel_of(delivery)
        if number:
            self.link.write([frames.ack_frame(number, delivery.tag, False)])
            self._acked[identity] = self._channel_serial
            if len(self._acked) > _LATELY:
                del self._acked[next(iter(self._acked))]
        done.put(bool(number))

    def _ack_was_lost(self, delivery: Delivery) -> bool:
        """Was this message handed out before, on a channel that took its ack with it? Then ack."""
        identity = delivery.identity()
        if self._acked.get(identity, self._channel_serial) == self._channel_serial:
            return False
        del self._acked[identity]
        number = self._channel_of(delivery)
        self.link.write([frames.ack_frame(number, delivery.tag, False)])
        return True

    def _give_back(self, delivery: Delivery) -> None:
        number = self._channel_of(delivery)
        if number:
            self.link.write([frames.nack_frame(number, delivery.tag, requeue=True)])

    def _channel_of(self, delivery: Delivery) -> int:
        """The channel's number if it is still the one that the delivery came on, else 0."""
        channel = self.link.channel
        if channel is None or not channel.is_open:
            return 0
        return channel.channel_number if delivery.channel_serial == self._channel_serial else 0

    def on_down(self, failure: Diagnosis, unconfirmed: list[Outgoing]) -> None:
        """(engine) Everything unacked is in the queue again."""
        super().on_down(failure, unconfirmed)
        self._channel_serial += 1
