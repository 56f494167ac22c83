"""What a host allows us to fetch, and how often: robots.txt (RFC 9309) and a delay per host.

robots.txt is asked for once per host and harvest. No such file: everything is allowed. A host that
cannot answer allows nothing for now, as the RFC says; the next harvest asks again.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from protego import Protego

from edeposit.amqp.harvester.exceptions import FetchError
from edeposit.amqp.harvester.page.charset import decode

# The RFC demands that this much is read.
_MOST = 500 * 1024


class CrawlDelay:
    """Hands out slots in time, ``delay`` seconds apart, per host."""

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
            False: ``stop`` has ended it.
        """
        stop = stop or threading.Event()
        if delay <= 0:
            return not stop.is_set()
        with self._lock:
            now = time.monotonic()
            mine = max(self._next.get(host, 0.0), now)
            self._next[host] = mine + delay
        return not stop.wait(mine - now)


# One for the process: two sources on one host share the delay.
crawl_delay = CrawlDelay()


class _Rules(NamedTuple):
    parsed: Protego | None
    problem: str


class Robots:
    """The rules of all hosts that one source asks.

    Args:
        fetch: gets a URL's status and body, without asking here.
        user_agent: who we are.
    """

    def __init__(self, fetch: Callable[[str], tuple[int, bytes]], user_agent: str) -> None:
        self._fetch = fetch
        self._user_agent = user_agent.partition("/")[0].strip()  # the product token
        self._lock = threading.Lock()
        self._hosts: dict[str, _Rules] = {}

    def check(self, root: str, url: str) -> float:
        """May this page be fetched?

        Args:
            root: scheme and host of the page.
            url: the page.

        Returns:
            Seconds that the host wants between two requests; 0 if it does not say.

        Raises:
            FetchError: it may not, or the host cannot answer.
        """
        with self._lock:  # one thread asks, the others wait for its answer
            rules = self._hosts.get(root)
            if rules is None:
                rules = self._hosts[root] = self._ask(root)
        if rules.problem:
            raise FetchError(f"cannot get robots.txt of {root}: {rules.problem}", url)
        if rules.parsed is None:
            return 0.0
        if not rules.parsed.can_fetch(url, self._user_agent):
            raise FetchError("robots.txt does not allow it", url)
        return float(rules.parsed.crawl_delay(self._user_agent) or 0.0)

    def _ask(self, root: str) -> _Rules:
        try:
            status, body = self._fetch(f"{root}/robots.txt")
        except FetchError as error:
            return _Rules(None, str(error))
        if status == 200:
            return _Rules(Protego.parse(decode(body[:_MOST])), "")
        # Any other success contains no rules: nothing is forbidden.
        allowed = 200 < status < 300 or 400 <= status < 500
        return _Rules(None, "" if allowed else f"status {status}")
