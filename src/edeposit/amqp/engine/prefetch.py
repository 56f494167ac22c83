"""How many unacked messages the broker may send ahead, decided from what the work costs.

Few messages ahead make fast work slow: each one pays a round trip to the broker, and nothing can
be merged. Many ahead make slow work unfair: one daemon holds what others could do. So the window
starts small, grows while the queue keeps it full and the work ahead stays short, and shrinks when
messages turn out slow or large.

Pure arithmetic: no clock, no I/O. The consumer reports what happens and asks for a decision.
"""

# Work ahead that a daemon may hold (s). Another daemon that starts now waits about this long for
# its share, and a drain gives back no more than this.
_AHEAD = 0.1
# Bytes that a full window may hold, so that memory stays bounded by the window, not by the queue.
_BUDGET = 32 * 1024 * 1024
# Smaller bodies cannot fill that budget, and need not be counted.
LARGE_BODY = 32 * 1024
# More brings nothing measurable: at 256 acks are merged and each wake-up handles a batch.
_MOST = 256
_GROWTH = 4
# Full windows in a row before the size changes: one may be chance.
_PATIENCE = 2
# A run this much longer than the work ahead shows at once that messages are slow.
_SLOW = 10


class PrefetchWindow:
    """The size of one consumer's window.

    Args:
        concurrency: handler threads.
        most: upper bound in messages.

    Attributes:
        size: the present prefetch count.
    """

    def __init__(self, concurrency: int, most: int = _MOST) -> None:
        self._concurrency = concurrency
        self._least = concurrency + 1
        self._most = max(most, self._least)
        self.size = self._least
        self._slow = False
        self._strikes = 0
        self._begin_window()

    def arrived(self, size: int) -> None:
        """A message has come whose body is larger than ``LARGE_BODY``.

        Args:
            size: of its body in bytes.
        """
        self._bytes += size
        if size * self.size > 2 * _BUDGET:
            self._slow = True

    def finished(self, seconds: float) -> None:
        """A handler has run for a message, for this long."""
        self._seconds += seconds
        self._finished += 1
        if seconds > _SLOW * _AHEAD:
            self._slow = True

    def reset(self) -> int | None:
        """Back to the start, for a suspect of crashing the daemon or a large message.

        Returns:
            The new size if it is another one.
        """
        self._begin_window()
        self._slow = False
        self._strikes = 0
        return self._change(self._least)

    def decide(self, in_hand: int) -> int | None:
        """Look at what has been reported; call it after each batch.

        Args:
            in_hand: unacked messages.

        Returns:
            A new size, or None to stay.
        """
        if self._slow:
            return self.reset()
        if in_hand >= 2 and in_hand * 2 >= self.size:
            self._was_full = True
        if self._finished < self.size:
            return None
        bound = self._bound()
        was_full = self._was_full
        self._begin_window()
        if bound < self.size / 2:
            wanted = bound
        elif was_full and bound >= self.size * 2:
            wanted = min(self.size * _GROWTH, bound)
        else:
            self._strikes = 0
            return None
        self._strikes += 1
        if self._strikes < _PATIENCE:
            return None
        self._strikes = 0
        return self._change(wanted)

    def _bound(self) -> int:
        """The largest size that the last window's work allows."""
        bound = float(self._most)
        if self._seconds > 0:
            bound = min(bound, _AHEAD * self._concurrency * self._finished / self._seconds)
        if self._bytes > 0:
            bound = min(bound, _BUDGET * self._finished / self._bytes)
        return max(self._least, int(bound))

    def _begin_window(self) -> None:
        self._seconds = 0.0
        self._bytes = self._finished = 0
        self._was_full = False

    def _change(self, size: int) -> int | None:
        if size == self.size:
            return None
        self.size = size
        return size
