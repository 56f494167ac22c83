"""The table of a daemon's jobs, and how the broker's copies of their messages are recognised.

The broker delivers a message again when the channel is lost, when the consumer is cancelled, and
when its queue moves; meanwhile the first copy may still be handled, or have been answered. A copy
is recognised by everything that decides what the answer is and where it goes: the user's
``jobKey()``, the body, exchange, routing key and all properties. Two requests that differ in any
of these are two jobs; several jobs may be equal in all of them.

Only a message that the broker marks as redelivered is looked up, so the usual way costs nothing.
"""

import copy
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from pika.spec import BasicProperties

from edeposit.amqp.engine import frames
from edeposit.amqp.engine.deliveries import ENDED, UNKNOWN, Delivery
from edeposit.amqp.engine.hooks import call_hook

# A job that was answered without its channel is remembered this long (s) from its end, because a
# copy may come back late: another daemon holds it up to the broker's ack limit (half an hour by
# default). Longer is not better: a client may send an equal request again.
ANSWERED_KEPT = 3600.0
_ANSWERED_MOST = 10_000

# Headers that a quorum queue adds anew to each copy.
_COUNTERS = ("x-delivery-count", "x-acquired-count")


class JobTable:
    """All deliveries that have not ended, those of lost channels included.

    Args:
        job_key: the user's ``jobKey``; None for a message without one.

    Attributes:
        deliveries: by their handle, in their order.
    """

    def __init__(self, job_key: Callable[[BasicProperties], Any]) -> None:
        self.deliveries: dict[int, Delivery] = {}
        self._job_key = job_key
        self._by_identity: dict[Hashable, list[Delivery]] = {}
        self._indexed_to = 0
        self._answered: OrderedDict[Hashable, float] = OrderedDict()

    def end(self, delivery: Delivery) -> None:
        """The delivery has ended: forget it, and free its body."""
        delivery.state = ENDED
        self.deliveries.pop(delivery.handle, None)
        if delivery.replies:
            delivery.replies.clear()
        if delivery.identity is not UNKNOWN:
            self._unindex(delivery)

    def _unindex(self, delivery: Delivery) -> None:
        same = self._by_identity.get(delivery.identity, [])
        if delivery in same:
            same.remove(delivery)
            if not same:
                del self._by_identity[delivery.identity]

    def find(self, redelivered: Delivery) -> Delivery | None:
        """The job that this copy belongs to: one without a tag if there are several."""
        self._index_all()
        identity = self.identify(redelivered)
        same = self._by_identity.get(identity) if identity is not None else None
        if not same:
            return None
        return next((delivery for delivery in same if not delivery.tags), same[0])

    def identify(self, delivery: Delivery) -> Hashable:
        """What its copies are recognised by; None: nothing, then a copy is run again."""
        if delivery.identity is UNKNOWN:
            key = call_hook(self._job_key, delivery.properties)
            delivery.identity = None if key is None else call_hook(_identity, key, delivery)
        return delivery.identity

    def _index_all(self) -> None:
        """Enter what has come since the last call; each delivery is entered once."""
        new = []
        for handle, delivery in reversed(self.deliveries.items()):
            if handle <= self._indexed_to:
                break
            new.append(delivery)
        for delivery in reversed(new):
            self._indexed_to = delivery.handle
            self._index(delivery)

    def _index(self, delivery: Delivery) -> None:
        identity = self.identify(delivery)
        if identity is not None:
            self._by_identity.setdefault(identity, []).append(delivery)

    def detach(self, waiting: Iterable[Delivery]) -> None:
        """The deliveries' tags are void; what runs goes on.

        Args:
            waiting: what no handler has begun. It is forgotten: the broker sends it again.
        """
        for delivery in waiting:
            self.end(delivery)
            delivery.body = b""
        self._index_all()
        for delivery in list(self.deliveries.values()):
            delivery.tags = ()
            if delivery.identity is None:
                self.end(delivery)

    # --- what was answered while its copy was elsewhere -------------------------------------

    def remember(self, delivery: Delivery) -> None:
        """The job was answered, but has no tag to ack: its copy is not to be run."""
        self._answered[self.identify(delivery)] = time.monotonic()
        self._answered.move_to_end(self.identify(delivery))
        if len(self._answered) > _ANSWERED_MOST:
            self._answered.popitem(last=False)

    def was_answered(self, redelivered: Delivery) -> bool:
        """Is this the copy of a job that was answered? Each answer serves one copy."""
        identity = self.identify(redelivered)
        return identity is not None and self._answered.pop(identity, None) is not None

    def expire(self) -> None:
        """Forget the answered jobs whose copies have gone elsewhere; call it now and then."""
        oldest = time.monotonic() - ANSWERED_KEPT
        while self._answered and next(iter(self._answered.values())) < oldest:
            self._answered.popitem(last=False)


def _identity(key: Any, delivery: Delivery) -> Hashable:
    try:
        hash(key)
    except TypeError:  # a UUID header may be a table
        key = repr(key)
    return key, digest_of(delivery)


def digest_of(delivery: Delivery) -> bytes:
    """A digest of all that is equal in each copy of a message.

    Raises:
        Exception: a user has put into the properties what cannot be encoded.
    """
    method, properties = delivery.method, delivery.properties
    if properties.headers and not properties.headers.keys().isdisjoint(_COUNTERS):
        properties = copy.copy(properties)
        properties.headers = {
            name: value for name, value in properties.headers.items() if name not in _COUNTERS
        }
    digest = hashlib.blake2b(digest_size=20)
    address = repr((method.exchange, method.routing_key)).encode("utf-8", "backslashreplace")
    for part in (address, frames.encode_properties(properties)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    digest.update(delivery.body)
    return digest.digest()
