"""How long the broker may take to confirm what was published."""

import time
from collections.abc import Callable


class ConfirmDeadline:
    """Notices that the broker has stopped confirming.

    Args:
        limit: tells after how many seconds an unconfirmed message is overdue.
        interval: seconds between two calls of ``is_over``.
    """

    def __init__(self, limit: Callable[[], float], interval: float) -> None:
        self.limit = limit
        self._interval = interval
        self._last_look = time.monotonic()

    def is_over(self, oldest: float | None) -> bool:
        """Is a message overdue?

        After a stop of the whole process (SIGSTOP, suspend) confirms may wait unread: they get
        one more interval.

        Args:
            oldest: ``time.monotonic()`` of the longest unconfirmed publish; None if there is none.
        """
        now = time.monotonic()
        frozen = now - self._last_look > 5 * self._interval
        self._last_look = now
        return oldest is not None and not frozen and now - oldest > self.limit()
