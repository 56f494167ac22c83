"""How often a host is asked: a slot in time per request, shared by all sources of a process."""

import threading
import time


class RateLimiter:
    """Hands out slots, ``delay`` seconds apart, per host."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}

    def wait(self, host: str, delay: float, stop: threading.Event | None = None) -> bool:
        """Wait for the next slot of a host.

        Args:
            host: its name and port.
            delay: seconds to the slot after this one.
            stop: ends the waiting when it is set.

        Returns:
            False: it was ended by ``stop``.
        """
        if delay <= 0:
            return stop is None or not stop.is_set()
        with self._lock:
            now = time.monotonic()
            mine = max(self._next.get(host, 0.0), now)
            self._next[host] = mine + delay
        pause = mine - now
        if stop is not None:
            return not stop.wait(pause) if pause > 0 else not stop.is_set()
        if pause > 0:
            time.sleep(pause)
        return True


# One for the process: two sources on one host share its patience.
limiter = RateLimiter()
