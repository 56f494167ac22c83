"""Knows every request that the broker has confirmed, and what became of each."""

import threading
from collections import Counter


class Oracle:
    """The books of a campaign. Thread-safe.

    A request counts as lost when the broker has confirmed it and nothing about it ever came back:
    no answer, no exception, no parked copy.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self.confirmed = set()
        self.answers = Counter()
        self.parked = Counter()
        self.progress = 0
        self.foreign = 0

    def confirm(self, numbers):
        with self._lock:
            self.confirmed.update(numbers)

    def answered(self, number):
        with self._lock:
            self.answers[number] += 1

    def told_progress(self):
        with self._lock:
            self.progress += 1

    def was_parked(self, number):
        with self._lock:
            self.parked[number] += 1

    def missing(self):
        """Confirmed requests without any end so far."""
        with self._lock:
            return {
                number
                for number in self.confirmed
                if number not in self.answers and number not in self.parked
            }

    def twice(self):
        """Requests that were answered more than once."""
        with self._lock:
            return sum(1 for count in self.answers.values() if count > 1)
