"""Back-pressure: threads that publish wait here while the broker cannot take messages."""

import threading

from edeposit.amqp.engine.publisher import Publisher

# 64 MiB hold two of the largest usual messages and keep a stalled broker from filling the memory.
_HIGH_WATER_BYTES = 64 * 1024 * 1024
_HIGH_WATER_MESSAGES = 10_000


class Gate:
    """An event that is set while messages may be published.

    Attributes:
        clear_to_send: threads wait on it; only the I/O thread changes it.
    """

    def __init__(self) -> None:
        self.clear_to_send = threading.Event()
        self._released = False

    def release(self) -> None:
        """Let every waiting thread go on, for good (shutdown)."""
        self._released = True
        self.clear_to_send.set()

    def update(self, able: bool, publisher: Publisher) -> None:
        """Open or close it.

        Args:
            able: there is a usable channel, and the broker is not blocked.
            publisher: tells how much is unconfirmed.
        """
        if self._released or (able and not congested(publisher)):
            self.clear_to_send.set()
        else:
            self.clear_to_send.clear()


def congested(publisher: Publisher) -> bool:
    """Is more unconfirmed than should be?"""
    return publisher.unconfirmed_bytes > _HIGH_WATER_BYTES or len(publisher) > _HIGH_WATER_MESSAGES
