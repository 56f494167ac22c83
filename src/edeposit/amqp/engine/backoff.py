"""Pauses between attempts: growing, bounded, and different for each process."""

import random


class Backoff:
    """Growing, jittered delays between attempts (seconds).

    The jitter keeps many daemons from connecting to a restarted broker in the same moment.

    Args:
        first: the longest first delay.
        cap: no delay is longer, except where the trouble does not pass by itself: four times this.

    Attributes:
        attempts: delays handed out since the last ``reset()``.
    """

    def __init__(self, first: float = 0.25, cap: float = 10.0) -> None:
        self._first = first
        self._cap = cap
        self.attempts = 0

    def next(self, *, transient: bool = True) -> float:
        """The delay before the next attempt; longer if the trouble does not pass by itself."""
        first, cap = (1, 1) if transient else (8, 4)
        full = min(cap * self._cap, first * self._first * 2.0 ** min(self.attempts, 16))
        self.attempts += 1
        return random.uniform(full / 2, full)

    def reset(self) -> None:
        """Start again with a short delay."""
        self.attempts = 0
