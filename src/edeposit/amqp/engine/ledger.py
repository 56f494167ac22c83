"""The ledger of a daemon's deliveries: what each still waits for, and how it ends.

Every delivery ends in exactly one of: answered and acked, parked and acked, given back to its
queue. It is acked when its handler is done and the broker has confirmed all its replies.

When the channel is lost, running jobs lose their tags and go on; what they send is published as
soon as there is a connection. A copy that the broker delivers again gives its tag to the running
job (``accept``), so that the handler runs once; the copy of a job that has been answered meanwhile
is acked without a run. See ``jobs`` for how copies are recognised, ``outbox`` for what is sent.

Everything here runs on the I/O thread.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine.acks import AckMerger
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.engine.deliveries import ENDED, FINISHED, Delivery, MarkParked
from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.jobs import JobTable
from edeposit.amqp.engine.outbox import Outbox, Replace
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.engine.suspects import SuspectChannel

logger = logging.getLogger(__name__)

_POSTPONED_FOR = 30.0


class Ledger:
    """The deliveries of one daemon.

    Args:
        link: where replies and acks go.
        exchange: the output exchange, which the main channel watches.
        parking_queue: where messages are parked; empty: nowhere.
        mark_parked: makes the properties of a parked copy.
        job_key: the user's ``jobKey``.
        replace: the user's ``replaceUndeliverable``.
        confirm_timeout: seconds until an unconfirmed message is taken for refused.

    Attributes:
        handled: how many have been acked.
        outbox: what is on its way out.
        publish: sends a message (``Outbox.send``).
        on_published: the ``done`` of every reply.
        received: how many deliveries have come.
        draining: nothing is tried again later, the request is given back instead.
    """

    def __init__(
        self,
        link: BrokerConnection,
        exchange: str,
        parking_queue: str,
        mark_parked: MarkParked,
        job_key: Callable[[BasicProperties], Any],
        replace: Replace,
        confirm_timeout: float,
    ) -> None:
        self.handled = 0
        self._link = link
        self._acks = AckMerger()
        self._jobs = JobTable(job_key)
        self._side = SuspectChannel(link, exchange, confirm_timeout)
        self.outbox = Outbox(
            link, self._side, parking_queue, mark_parked, replace, self._end_if_done, self.give_back
        )
        self.publish = self.outbox.send
        self.on_published = self.outbox.settle
        self.received = 0
        self.draining = False

    @property
    def unfinished(self) -> int:
        """Requests that have not ended, those of a lost channel included."""
        return len(self._jobs.deliveries)

    # --- the way in -------------------------------------------------------------------------

    def accept(
        self, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> Delivery | None:
        """Enter a delivery; its tag is replaced by a serial that stays unique over reconnects.

        Returns:
            The delivery to be handled, or None if it is the copy of a known job.
        """
        serial = self.received = self._acks.delivered(method.delivery_tag)
        method.delivery_tag = serial
        delivery = Delivery(serial, method, properties, body)
        if method.redelivered and self._is_known(delivery):
            return None
        self._jobs.deliveries[serial] = delivery
        return delivery

    def _is_known(self, copy: Delivery) -> bool:
        job = self._jobs.find(copy)
        if job is not None:
            logger.info("delivery %d is a copy of running job %d", copy.handle, job.handle)
            job.tags += copy.tags
            self._end_if_done(job)
        elif self._jobs.was_answered(copy):
            logger.info("delivery %d is a copy of an answered job: acked, not run", copy.handle)
            self._acks.settle(copy.handle)
        else:
            return False
        return True

    # --- replies and ways out ---------------------------------------------------------------

    def finish(self, delivery: Delivery) -> None:
        """The handler is done: ack as soon as all replies are confirmed."""
        if delivery.state is not ENDED:
            delivery.state = FINISHED
            if not delivery.replies:
                self._end_if_done(delivery)

    def finish_handle(self, handle: int) -> None:
        """As ``finish``, by what the handler knows as the delivery tag."""
        delivery = self._jobs.deliveries.get(handle)
        if delivery is None:
            logger.info("ack of delivery %d comes too late, the broker sends it again", handle)
        else:
            self.finish(delivery)

    def _end_if_done(self, delivery: Delivery) -> None:
        if delivery.state is not FINISHED or delivery.replies:
            return
        if delivery.tags:
            for tag in delivery.tags:
                self._acks.settle(tag)
        else:
            self._jobs.remember(delivery)
        self.handled += 1
        self._jobs.end(delivery)

    def park(self, what: tuple[Delivery, str, Outgoing | None]) -> None:
        """Park a request: (delivery, reason, what to publish if that is impossible)."""
        delivery, reason, fallback = what
        if delivery.state is ENDED:
            return
        logger.error("delivery %d is parked: %s", delivery.handle, reason)
        delivery.state = FINISHED
        self.outbox.park_request(delivery, reason, fallback)

    def postpone(self, delivery: Delivery) -> None:
        """Return a message to its queue after a pause: another daemon may be able to handle it."""

        def give_back() -> None:
            if delivery.state is not ENDED:
                self.give_back(delivery)
                self._link.flush()

        self._link.ioloop.call_later(_POSTPONED_FOR, give_back)

    def give_back(self, delivery: Delivery) -> None:
        """Return a message to its queue at once."""
        channel = self._link.channel
        self.outbox.forget(delivery)
        self._jobs.end(delivery)
        if channel is not None:
            self._link.write(
                [self._acks.give_back(channel.channel_number, tag) for tag in delivery.tags]
            )

    def drain(self) -> None:
        """From now on nothing waits for better times: give back what does."""
        self.draining = True
        self.outbox.drain()

    def write_acks(self) -> None:
        """Write the acks of all that have ended since the last call."""
        channel = self._link.channel
        if self._acks.waiting and channel is not None:
            self._link.write(self._acks.take(channel.channel_number))

    # --- the channel or the consumer is gone ------------------------------------------------

    def channel_lost(
        self, failure: Diagnosis, unconfirmed: list[Outgoing], waiting: Iterable[Delivery]
    ) -> None:
        """Running jobs go on without tags.

        Args:
            failure: why.
            unconfirmed: what the channel has not confirmed.
            waiting: what no handler has begun; the broker sends it again.
        """
        self._acks.reset()
        self._jobs.detach(waiting)
        self.outbox.lost(failure, unconfirmed)

    def consumer_cancelled(self, waiting: Iterable[Delivery]) -> None:
        """The broker has cancelled the consumer, the channel is still there.

        The broker returns the messages of a consumer that it cancels (its queue was deleted or
        has failed, or RabbitMQ 4.3 found an ack overdue). The tags are not acked any more: they
        stay in the merger, so that no ``multiple`` ack of a later message covers them either.
        """
        for delivery in list(waiting):
            self.give_back(delivery)
        self._jobs.detach(())

    def usable(self) -> None:
        """There is a channel again: send what waits for one."""
        self.outbox.resume()

    def tick(self) -> None:
        """Once a second."""
        self._jobs.expire()
        self._side.expire()
