"""robots.txt (RFC 9309): what a host allows us to fetch, and how often.

Asked once per host and harvest. No such file: everything is allowed. The host cannot answer:
nothing is allowed for now, as the RFC says; the next harvest asks again.
"""

import threading
from collections.abc import Callable

from protego import Protego

from edeposit.amqp.harvester.exceptions import FetchError

# As much as the RFC wants to be read.
_MOST = 500 * 1024


class _Rules:
    def __init__(self, parsed: Protego | None, problem: str) -> None:
        self.parsed = parsed
        self.problem = problem


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
            Seconds that the host wants between two requests; 0 if it has no wish.

        Raises:
            FetchError: it may not, or the host cannot say.
        """
        with self._lock:  # one thread asks, the others wait for its answer
            rules = self._hosts.get(root)
            if rules is None:
                rules = self._hosts[root] = self._ask(root)
        if rules.problem:
            raise FetchError(f"robots.txt of {root} cannot be had: {rules.problem}", url)
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
            return _Rules(Protego.parse(body[:_MOST].decode("utf-8", "replace")), "")
        return _Rules(None, "" if 400 <= status < 500 else f"status {status}")
