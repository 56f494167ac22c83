"""Which deliveries of the current channel still need their ack, and how few frames say so.

Delivery tags count from 1 on every channel. A tag kept over a reconnect would ack somebody
else's message, so handlers only ever see *serial numbers*: tags plus the number of all deliveries
of earlier channels. A serial of an earlier channel is recognised and ignored; the broker has put
its message back into the queue anyway.
"""

from edeposit.amqp.engine import frames


class AckMerger:
    """Turns settled deliveries into acks, with ``multiple`` where that is correct."""

    def __init__(self) -> None:
        self._base = 0
        self._last = 0
        # The unacked deliveries in their order, each with: may its ack go out?
        self._unacked: dict[int, bool] = {}
        self._settled: list[int] = []

    def delivered(self, delivery_tag: int) -> int:
        """Note a delivery of the current channel; returns its serial number."""
        serial = self._base + delivery_tag
        self._last = serial
        self._unacked[serial] = False
        return serial

    def settle(self, serial: int) -> None:
        """The delivery is answered: its ack may go out with the next ``take()``."""
        if self._unacked.get(serial) is False:
            self._unacked[serial] = True
            self._settled.append(serial)

    def give_back(self, channel: int, serial: int) -> bytes:
        """Encode the return of one delivery to its queue."""
        self._unacked.pop(serial, None)
        return frames.nack_frame(channel, serial - self._base, requeue=True)

    @property
    def waiting(self) -> int:
        """Settled deliveries whose ack has not been written yet."""
        return len(self._settled)

    def take(self, channel: int) -> list[bytes]:
        """Encode the acks of all settled deliveries, in as few frames as is correct."""
        unacked = self._unacked
        first = []
        for serial, is_settled in unacked.items():
            if not is_settled:
                break
            first.append(serial)
        for serial in first:
            del unacked[serial]
        result = []
        if first:
            result.append(frames.ack_frame(channel, first[-1] - self._base, len(first) > 1))
        if len(first) < len(self._settled):
            for serial in self._settled:
                if unacked.pop(serial, None) is not None:
                    result.append(frames.ack_frame(channel, serial - self._base, False))
        self._settled = []
        return result

    def reset(self) -> None:
        """The channel is gone: everything unacked has returned to its queue."""
        self._base = self._last
        self._unacked.clear()
        self._settled = []
