"""The time that one scan may take, all its steps together."""

import time

from edeposit.amqp.antivirus.exceptions import ScanTimeoutError


class Deadline:
    """A moment in the future.

    Args:
        seconds: until then.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds that are left; always more than zero.

        Raises:
            ScanTimeoutError: none are left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise ScanTimeoutError(self.seconds)
        return left
