"""Which deliveries of the current channel still need their ack, and how few frames say so.

Delivery tags count from 1 on every channel. A tag kept over a reconnect would ack somebody
else's message, so handlers only ever see *serial numbers*: tags plus the number of all deliveries
of earlier channels. A serial of an earlier channel is recognised and ignored; the broker has put
its message back into the queue anyway.
"""

from collections import deque

from edeposit.amqp.engine import frames


class AckMerger:
    """Turns settled deliveries into acks, with ``multiple`` where that is correct."""

    def __init__(self) -> None:
        self._base = 0
        self._last = 0
        self._open: deque[int] = deque()
        self._settled: set[int] = set()
        self._acked: set[int] = set()

    def delivered(self, delivery_tag: int) -> int:
        """Note a delivery of the current channel; returns its serial number."""
        serial = self._base + delivery_tag
        self._last = serial
        self._open.append(serial)
        return serial

    def is_current(self, serial: int) -> bool:
        """Does this serial belong to the current channel?"""
        return serial > self._base

    def settle(self, serial: int) -> None:
        """The delivery is answered: its ack may go out with the next ``take()``."""
        if serial > self._base:
            self._settled.add(serial)

    def give_back(self, channel: int, serial: int) -> bytes:
        """Encode the return of one delivery to its queue."""
        self._acked.add(serial)
        return frames.nack_frame(channel, serial - self._base, requeue=True)

    @property
    def waiting(self) -> int:
        """Settled deliveries whose ack has not been written yet."""
        return len(self._settled)

    def take(self, channel: int) -> list[bytes]:
        """Encode the acks of all settled deliveries, in as few frames as is correct."""
        settled, acked, open_ = self._settled, self._acked, self._open
        merged, count = 0, 0
        while open_:
            serial = open_[0]
            if serial in settled:
                settled.discard(serial)
                merged = serial
                count += 1
            elif serial in acked:
                acked.discard(serial)
            else:
                break
            open_.popleft()
        result = []
        if count:
            result.append(frames.ack_frame(channel, merged - self._base, count > 1))
        for serial in settled:
            result.append(frames.ack_frame(channel, serial - self._base, False))
        acked |= settled
        settled.clear()
        return result

    def reset(self) -> None:
        """The channel is gone: everything unacked has returned to its queue."""
        self._base = self._last
        self._open.clear()
        self._settled.clear()
        self._acked.clear()
