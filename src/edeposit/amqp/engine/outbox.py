"""What a daemon sends, until it has arrived: sent again, replaced, parked, or given up.

A message that the broker does not take is treated by *why*:

=====================  ========================================================================
no connection          kept, and sent again as soon as there is one
refused (queue full)   tried again after growing pauses, then parked
too large, unencodable replaced by what ``replaceUndeliverable()`` gives, else parked
unroutable, rejected   parked
=====================  ========================================================================

The parking queue is declared when it is missing. What cannot even be parked is dropped only if the
broker has proven that it reaches nobody: a reply to a ``reply_to`` that is gone. Everything else
is *stuck*: tried again for as long as it takes, while its request stays unacked.

Everything here runs on the I/O thread.
"""

import logging
from collections.abc import Callable
from typing import Any

from edeposit.amqp.engine.backoff import Backoff
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.engine.deliveries import (
    ENDED,
    Delivery,
    MarkParked,
    ParkedCopy,
    park_reply,
    park_request,
)
from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.hooks import call_hook
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.engine.suspects import SuspectChannel, is_suspect
from edeposit.amqp.errors import (
    ConnectionLostError,
    MessageTooLargeError,
    PublishError,
    RefusedError,
    RejectedError,
    UnencodableError,
    UnroutableError,
)

logger = logging.getLogger(__name__)

# A full queue is usually emptied soon; after this many attempts (about half a minute) the reply
# is parked, so that somebody sees it.
_REFUSED_ATTEMPTS = 6

Replace = Callable[[Outgoing, PublishError], Outgoing | None]


class Outbox:
    """The messages on their way out, replies and others.

    Args:
        link: the connection.
        side: where suspects and parked copies go.
        parking_queue: its name; empty if there is none.
        mark_parked: makes the properties of a parked copy.
        replace: what to send instead of a reply that can never be delivered; None to park it.
        ended: called with a delivery that may be done: a reply of it was settled.
        give_back: called with a delivery that has to go back to its queue.

    Attributes:
        draining: nothing waits for better times, its request is given back instead.
    """

    def __init__(
        self,
        link: BrokerConnection,
        side: SuspectChannel,
        parking_queue: str,
        mark_parked: MarkParked,
        replace: Replace,
        ended: Callable[[Delivery], None],
        give_back: Callable[[Delivery], None],
    ) -> None:
        self.draining = False
        self._link = link
        self._side = side
        self._parking_queue = parking_queue
        self._mark_parked = mark_parked
        self._replace = replace
        self._ended = ended
        self._give_back = give_back
        self._unsent: dict[Outgoing, None] = {}
        self._retries: dict[Outgoing, Backoff] = {}

    @property
    def stuck(self) -> int:
        """Messages that nobody takes at present; they are tried again and again."""
        return len(self._retries)

    @property
    def is_empty(self) -> bool:
        """Is nothing on its way?"""
        return not (len(self._link.publisher) or len(self._side) or self._unsent)

    def send(self, outgoing: Outgoing) -> None:
        """Publish a message; its ``done`` is called when its fate is known.

        Its owner, a delivery, is not acked before that.
        """
        delivery = outgoing.owner
        if delivery is not None:
            if delivery.state is ENDED:
                logger.info("a reply is dropped: the broker has taken its request back")
                return
            delivery.replies[outgoing] = None
        # Without a connection ``settle`` keeps it.
        if outgoing.suspect or self._side.is_alert or type(outgoing) is not Outgoing:
            self._send_carefully(outgoing)
        else:
            self._link.publish(outgoing)

    def _send_carefully(self, outgoing: Outgoing) -> None:
        delivery = outgoing.owner
        # Order: a reply must not overtake another one of its request that waits at the side.
        if (
            outgoing.suspect
            or isinstance(outgoing, ParkedCopy)
            or self._side.takes_all
            or self._side.is_bad(outgoing.exchange)
            or (delivery is not None and any(reply.suspect for reply in delivery.replies))
        ):
            self._side.publish(outgoing)
        else:
            self._link.publish(outgoing)

    def resume(self) -> None:
        """There is a connection again: send what waits for one."""
        unsent, self._unsent = self._unsent, {}
        for outgoing in unsent:
            self.send(outgoing)
        self._side.resume()

    def lost(self, failure: Diagnosis, unconfirmed: list[Outgoing]) -> None:
        """The channel is gone: what it has not confirmed is sent again."""
        limit = self._link.max_message_size
        for outgoing in unconfirmed:
            size = len(outgoing.body)
            if failure.code == "too-large" and size > limit:
                outgoing.done(outgoing, MessageTooLargeError(size, limit))
                continue
            if self._side.lost(outgoing, failure):
                continue
            if failure.code != "too-large" and is_suspect(failure, outgoing):
                outgoing.suspect = True
            if outgoing.done == self.settle or (outgoing.suspect and failure.reply_code):
                self._unsent[outgoing] = None
            else:  # its sender decides
                outgoing.done(outgoing, ConnectionLostError(failure.text))

    def settle(self, outgoing: Outgoing, error: PublishError | None) -> None:
        """How a publish ended; the ``done`` of replies, and of messages that nobody waits for."""
        delivery = outgoing.owner
        if error is None:
            if self._retries:
                self._forget_retry(outgoing)
            if delivery is not None:
                delivery.replies.pop(outgoing, None)
                self._ended(delivery)
        elif delivery is not None and delivery.state is ENDED:
            self._retries.pop(outgoing, None)
        elif type(error) in (PublishError, ConnectionLostError):
            self._unsent[outgoing] = None
        else:
            if delivery is not None:
                delivery.replies.pop(outgoing, None)
            if isinstance(outgoing, ParkedCopy):
                self._not_parked(outgoing, error)
            else:
                self._undeliverable(outgoing, error)

    def _forget_retry(self, outgoing: Outgoing) -> None:
        self._retries.pop(outgoing, None)
        if isinstance(outgoing, ParkedCopy) and outgoing.original is not None:
            self._retries.pop(outgoing.original, None)

    # --- what cannot be delivered -----------------------------------------------------------

    def _undeliverable(self, reply: Outgoing, error: PublishError) -> None:
        if reply not in self._retries:
            logger.error(
                "undeliverable: message %s (UUID %s): %s",
                reply.properties.message_id,
                (reply.properties.headers or {}).get("UUID"),
                error,
            )
        if isinstance(error, RefusedError) and self._attempts(reply) < _REFUSED_ATTEMPTS:
            self._later(reply, lambda: self.send(reply))
            return
        if isinstance(error, (MessageTooLargeError, UnencodableError)):
            replacement = call_hook(self._replace, reply, error)
            if replacement is not None:
                self._retries.pop(reply, None)
                replacement.owner = reply.owner
                replacement.done = self.settle
                self.send(replacement)
                return
        self._park_reply(reply, error)

    def _park_reply(self, reply: Outgoing, error: PublishError) -> None:
        parked = park_reply(reply, self._parking_queue, error, self._mark_parked, self.settle)
        if self._parking_queue:
            self.send(parked)
        else:
            self._cannot_park(parked, error)

    def park_request(self, delivery: Delivery, reason: str, fallback: Outgoing | None) -> None:
        """Park a request; ``fallback`` is published if that is impossible."""
        parked = park_request(delivery, self._parking_queue, reason, self._mark_parked, self.settle)
        parked.fallback = fallback
        self.send(parked)

    def _not_parked(self, parked: ParkedCopy, error: PublishError) -> None:
        reduced = parked.reduced() if isinstance(error, UnencodableError) else None
        if reduced is not None:
            self.send(reduced)
        elif isinstance(error, UnroutableError) and not parked.has_declared:
            parked.has_declared = True
            if parked.owner is not None:
                parked.owner.replies[parked] = None
            self._side.declare(
                self._parking_queue, lambda is_there: self._declared(parked, error, is_there)
            )
        elif isinstance(error, RefusedError):
            self._later(parked, lambda: self.send(parked))
        else:
            self._cannot_park(parked, error)

    def _declared(self, parked: ParkedCopy, error: PublishError, is_there: bool) -> None:
        if is_there:
            logger.warning("the parking queue %s was missing and is declared", parked.routing_key)
            self.send(parked)
        elif not self._link.is_usable:
            parked.has_declared = False
            self._unsent[parked] = None
        else:
            if parked.owner is not None:
                parked.owner.replies.pop(parked, None)
            self._cannot_park(parked, error)

    def _cannot_park(self, parked: ParkedCopy, error: PublishError) -> None:
        original, delivery = parked.original, parked.owner
        if parked.fallback is not None:
            logger.warning("no parking queue (%s): using the fallback", error)
            self.send(parked.fallback)
        elif delivery is not None and original is None:
            self._later(parked, lambda: self._give_back(delivery))
        elif original is None or delivery is None or self._is_hopeless(original, parked.cause):
            logger.error(
                "message %s is dropped: it cannot be delivered (%s), its requester is gone, and it"
                " cannot be parked (%s)",
                original.properties.message_id if original else parked.properties.message_id,
                parked.cause,
                error,
            )
            if original is not None:
                self._retries.pop(original, None)
            if delivery is not None:
                self._ended(delivery)
        elif isinstance(parked.cause, (MessageTooLargeError, UnencodableError)):
            # The request did fit: let that be parked.
            self.park_request(delivery, str(parked.cause), None)
        else:
            self._later(original, lambda: self.send(original))

    @staticmethod
    def _is_hopeless(original: Outgoing, cause: PublishError | None) -> bool:
        """Was it for a ``reply_to`` that the broker says does not exist or may not be used?"""
        if original.exchange != "":
            return False
        if isinstance(cause, RejectedError):
            return cause.reply_code != 0
        return isinstance(cause, UnroutableError)

    # --- better times -----------------------------------------------------------------------

    def _attempts(self, outgoing: Outgoing) -> int:
        backoff = self._retries.get(outgoing)
        return backoff.attempts if backoff is not None else 0

    def _later(self, outgoing: Outgoing, action: Callable[[], Any]) -> None:
        """Keep a message, its request unacked, and try again after a growing pause."""
        delivery = outgoing.owner
        if delivery is not None:
            delivery.replies[outgoing] = None
            if self.draining:
                self._give_back(delivery)
                return
        backoff = self._retries.setdefault(outgoing, Backoff(first=1.0, cap=60.0))

        def again() -> None:
            if outgoing in self._retries and (delivery is None or delivery.state is not ENDED):
                action()
                self._link.flush()

        self._link.ioloop.call_later(backoff.next(), again)

    def forget(self, delivery: Delivery) -> None:
        """The delivery has ended: nothing is tried for it any more."""
        if self._retries:
            for outgoing in delivery.replies:
                self._retries.pop(outgoing, None)

    def drain(self) -> None:
        """From now on nothing waits for better times: give back what does."""
        self.draining = True
        for outgoing in list(self._retries):
            if outgoing.owner is not None and outgoing in self._retries:
                self._give_back(outgoing.owner)
