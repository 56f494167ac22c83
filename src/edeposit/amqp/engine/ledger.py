"""The ledger of a daemon's deliveries: what each still waits for, and how it ends.

Every delivery ends in exactly one of: answered and acked, parked and acked, given back to its
queue. A reply that the broker does not take is replaced (too large), parked in
``<queue>.undeliverable``, or tried again after growing pauses while its request stays unacked.

When the channel is lost, running jobs are *detached*; the broker's copy of such a request takes
the job over (``accept``), so that its handler runs once and its replies are published again. Jobs
are recognised by ``job_key`` and by an equal body.

Everything here runs on the I/O thread.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine.acks import AckMerger
from edeposit.amqp.engine.backoff import Backoff
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.engine.deliveries import Delivery, Parked, park_reply, park_request
from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.errors import (
    ConnectionLostError,
    MessageTooLargeError,
    PublishError,
    UnencodableError,
)

logger = logging.getLogger(__name__)

# A finished job whose copy never comes back (another daemon got it) is forgotten after this (s);
# their number is bounded too, each may hold a large body.
_DETACHED_FOR = 600.0
_DETACHED_MOST = 1000


class Ledger:
    """The deliveries of one daemon.

    Args:
        link: where replies and acks go.
        queue: the consumed queue; ``<queue>.undeliverable`` is its parking queue.
        job_key: what a redelivered message is recognised by; None for nothing.
        replace: what to send instead of a reply that can never be delivered; None to park it.

    Attributes:
        live: deliveries of the current channel that have not ended, by their serial.
        handled: how many have been acked.
        draining: nothing is tried again later, the request is given back instead.
    """

    def __init__(
        self,
        link: BrokerConnection,
        queue: str,
        job_key: Callable[[BasicProperties], Any],
        replace: Callable[[Outgoing, PublishError], Outgoing | None],
    ) -> None:
        self.live: dict[int, Delivery] = {}
        self.handled = 0
        self.draining = False
        self._link = link
        self._queue = queue
        self._job_key = job_key
        self._replace = replace
        self._acks = AckMerger()
        self._detached: dict[Any, tuple[float, Delivery]] = {}
        # Detached or taken over: found by the handle that their handler knows.
        self._moved: dict[int, Delivery] = {}
        self._waiting: dict[Outgoing, Backoff] = {}

    @property
    def unfinished(self) -> int:
        """Requests at hand, those on a lost channel included."""
        return len(self.live) + sum(
            not delivery.finished or bool(delivery.open) for _, delivery in self._detached.values()
        )

    # --- the way in -------------------------------------------------------------------------

    def accept(
        self, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> Delivery | None:
        """Enter a delivery; its tag is replaced by a serial that stays unique over reconnects.

        Returns:
            The delivery to be handled, or None if a running job has taken it over.
        """
        serial = self._acks.delivered(method.delivery_tag)
        method.delivery_tag = serial
        delivery = Delivery(serial, method, properties, body)
        self.live[serial] = delivery
        if method.redelivered and self._detached and self._take_over(delivery):
            return None
        return delivery

    def _take_over(self, redelivered: Delivery) -> bool:
        key = self._job_key(redelivered.properties)
        if key is None or key not in self._detached:
            return False
        delivery = self._detached[key][1]
        if delivery.body != redelivered.body:
            return False
        del self._detached[key]
        logger.info("redelivered message %s is taken over by its running job", key)
        delivery.serial = redelivered.serial
        delivery.detached = False
        self.live[delivery.serial] = delivery
        for outgoing in list(delivery.open):
            self._link.publish(outgoing)
        self._end_if_done(delivery)
        return True

    # --- replies ----------------------------------------------------------------------------

    def publish(self, outgoing: Outgoing) -> None:
        """Publish a message; its owner, a delivery, is not acked before it is confirmed."""
        delivery = outgoing.owner
        if delivery is not None:
            if delivery.dead:
                logger.info("a reply is dropped: the broker has taken its request back")
                return
            delivery.open[outgoing] = None
            if delivery.detached:
                return
        self._link.publish(outgoing)

    def on_published(self, outgoing: Outgoing, error: PublishError | None) -> None:
        """How a publish ended; the ``done`` of every reply."""
        delivery = outgoing.owner
        if delivery is None:
            if error is not None:
                logger.error("message %s is lost: %s", outgoing.properties.message_id, error)
        elif error is None:
            delivery.open.pop(outgoing, None)
            if self._waiting:
                self._waiting.pop(outgoing, None)
            self._end_if_done(delivery)
        elif not delivery.detached and not delivery.dead:
            delivery.open.pop(outgoing, None)
            if isinstance(outgoing, Parked):
                self._parking_failed(outgoing, delivery, error)
            else:
                self._undeliverable(outgoing, delivery, error)

    # --- the ways out -----------------------------------------------------------------------

    def finish(self, delivery: Delivery) -> None:
        """The handler is done: ack as soon as all replies are confirmed."""
        delivery.finished = True
        self._end_if_done(delivery)

    def finish_handle(self, handle: int) -> None:
        """As ``finish``, by what the handler knows as the delivery tag."""
        delivery = self.live.get(handle) or self._moved.get(handle)
        if delivery is None:
            logger.info("ack of delivery %d comes too late, the broker sends it again", handle)
        else:
            self.finish(delivery)

    def _end_if_done(self, delivery: Delivery) -> None:
        if not delivery.finished or delivery.open or delivery.detached:
            return
        if self.live.pop(delivery.serial, None) is not None:
            self._acks.settle(delivery.serial)
            self.handled += 1
            self._moved.pop(delivery.handle, None)

    def park(self, what: tuple[Delivery, str, Outgoing | None]) -> None:
        """Put a request aside: (delivery, reason, what to publish without a parking queue)."""
        delivery, reason, fallback = what
        logger.error("delivery %d is parked: %s", delivery.handle, reason)
        delivery.finished = True
        self.publish(park_request(delivery, self._queue, reason, self.on_published, fallback))

    def give_back(self, delivery: Delivery) -> None:
        """Return a message to its queue at once."""
        delivery.dead = True
        channel = self._link.channel
        if self.live.pop(delivery.serial, None) is None or channel is None:
            return
        for outgoing in delivery.open:
            self._waiting.pop(outgoing, None)
        self._link.write([self._acks.give_back(channel.channel_number, delivery.serial)])

    def drain(self) -> None:
        """From now on nothing waits for better times: give back what does."""
        self.draining = True
        for outgoing in list(self._waiting):
            self.give_back(outgoing.owner)

    def write_acks(self) -> None:
        """Write the acks of all that have ended since the last call."""
        channel = self._link.channel
        if self._acks.waiting and channel is not None:
            self._link.write(self._acks.take(channel.channel_number))

    # --- what cannot be delivered -----------------------------------------------------------

    def _undeliverable(self, reply: Outgoing, delivery: Delivery, error: PublishError) -> None:
        logger.error(
            "undeliverable: message %s (UUID %s): %s",
            reply.properties.message_id,
            (reply.properties.headers or {}).get("UUID"),
            error,
        )
        if isinstance(error, (MessageTooLargeError, UnencodableError)):
            replacement = self._replace(reply, error)
            if replacement is not None:
                replacement.owner = delivery
                self.publish(replacement)
                return
        self.publish(park_reply(reply, self._queue, error, self.on_published))

    def _parking_failed(self, parked: Parked, delivery: Delivery, error: PublishError) -> None:
        if isinstance(error, UnencodableError) and parked.strip():
            self.publish(parked)
            return
        original, fallback = parked.original, parked.fallback
        if fallback is not None:
            logger.warning("no parking queue (%s): using the fallback", error)
            self.publish(fallback)
        elif original is None:
            self._later(parked, delivery, lambda: self.give_back(delivery))
        elif original.exchange == "" and not isinstance(error, MessageTooLargeError):
            # reply_to named a queue that is gone, and so is whoever waited at it.
            logger.error(
                "reply %s is dropped: its requester is gone and %s does not exist",
                original.properties.message_id,
                parked.routing_key,
            )
            self._end_if_done(delivery)
        else:
            self._later(original, delivery, lambda: self.publish(original))

    def _later(self, outgoing: Outgoing, delivery: Delivery, action: Callable[[], None]) -> None:
        """Keep the request, unacked, and try again after a growing pause."""
        delivery.open[outgoing] = None
        if self.draining:
            self.give_back(delivery)
            return
        backoff = self._waiting.setdefault(outgoing, Backoff(first=1.0, cap=60.0))

        def again() -> None:
            if outgoing in self._waiting and not delivery.dead and not delivery.detached:
                action()
                self._link.flush()

        self._link.ioloop.call_later(backoff.next(), again)

    # --- the channel is gone ----------------------------------------------------------------

    def channel_lost(self, failure: Diagnosis, unconfirmed: list[Outgoing]) -> None:
        """Detach the running jobs, forget what has not begun: the broker sends it again."""
        self._acks.reset()
        now = time.monotonic()
        for delivery in self.live.values():
            key = self._job_key(delivery.properties) if delivery.begun else None
            if key is None or len(self._detached) >= _DETACHED_MOST:
                delivery.dead = True
            else:
                delivery.detached = True
                self._detached[key] = (now, delivery)
                self._moved[delivery.handle] = delivery
        self.live.clear()
        self._waiting.clear()
        limit = self._link.max_message_size
        for outgoing in unconfirmed:
            if outgoing.owner is None:
                outgoing.done(outgoing, ConnectionLostError(failure.text))
            elif failure.code == "too-large" and len(outgoing.body) > limit:
                self._replace_too_large(outgoing, limit)

    def _replace_too_large(self, outgoing: Outgoing, limit: int) -> None:
        delivery = outgoing.owner
        replacement = self._replace(outgoing, MessageTooLargeError(len(outgoing.body), limit))
        if replacement is not None and delivery.detached:
            replacement.owner = delivery
            delivery.open.pop(outgoing, None)
            delivery.open[replacement] = None

    def expire(self) -> None:
        """Forget finished jobs whose copy has gone elsewhere; call it now and then."""
        now = time.monotonic()
        for key, (since, delivery) in list(self._detached.items()):
            if delivery.finished and now - since > _DETACHED_FOR:
                delivery.dead = True
                del self._detached[key]
                self._moved.pop(delivery.handle, None)
