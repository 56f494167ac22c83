"""HTTP to the catalogue: bounded in time, size and rate, with retries for what may be repeated.

One keep-alive client for reading, made at the first request (so after the daemon's fork) and used
by all threads; exports get a client of their own, so that nothing of one, headers or cookies, goes
out with the other.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping

import httpx

from edeposit.amqp import __version__
from edeposit.amqp.aleph import settings
from edeposit.amqp.aleph.exceptions import AlephUnavailableException

logger = logging.getLogger(__name__)

USER_AGENT = f"edeposit.amqp/{__version__} (aleph)"
_FIRST_PAUSE = 0.2
_RETRY_STATUS = (500, 502, 503, 504)


class RateLimiter:
    """Lets at most so many requests pass in any second, over all threads; bursts are allowed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: deque[float] = deque()

    def wait(self, per_second: float, deadline: float) -> None:
        """Wait for the turn.

        Args:
            per_second: requests per second.
            deadline: ``time.monotonic()`` after which waiting makes no sense.

        Raises:
            AlephUnavailableException: the turn would come after the deadline.
        """
        most = max(int(per_second), 1)
        with self._lock:
            turns = self._turns
            while len(turns) > most:
                turns.popleft()
            now = turn = time.monotonic()
            if len(turns) == most:
                turn = max(now, turns[0] + most / per_second)
            if turn > deadline:
                raise AlephUnavailableException("too many requests are waiting for their turn")
            turns.append(turn)
        time.sleep(turn - now)


_limiter = RateLimiter()
_lock = threading.Lock()
_client: httpx.Client | None = None


def _reading_client() -> httpx.Client:
    global _client
    with _lock:
        if _client is None:
            _client = httpx.Client(
                headers={"User-Agent": USER_AGENT},
                limits=httpx.Limits(max_connections=200, max_keepalive_connections=100),
                follow_redirects=False,
                trust_env=False,
            )
        return _client


def _timeout() -> httpx.Timeout:
    return httpx.Timeout(settings.ALEPH_READ_TIMEOUT, connect=settings.ALEPH_CONNECT_TIMEOUT)


def get(url: str) -> bytes:
    """Fetch a URL, retrying after network errors and 5xx with growing pauses.

    Returns:
        The body.

    Raises:
        AlephUnavailableException: no answer in time, an HTTP error, or too large a body.
    """
    deadline = time.monotonic() + settings.ALEPH_TOTAL_TIMEOUT
    pause = _FIRST_PAUSE
    for attempt in range(settings.ALEPH_RETRIES + 1):
        _limiter.wait(settings.ALEPH_REQUESTS_PER_SECOND, deadline)
        try:
            status, body = _fetch(url, deadline)
        except httpx.InvalidURL as error:
            raise AlephUnavailableException(f"not a URL: {error}", url) from error
        except httpx.HTTPError as error:
            problem = AlephUnavailableException(f"{type(error).__name__}: {error}".strip(": "), url)
            problem.__cause__ = error
        else:
            if status == 200:
                return body
            problem = AlephUnavailableException(f"HTTP status {status}", url)
            if status not in _RETRY_STATUS:
                raise problem
        if attempt == settings.ALEPH_RETRIES or time.monotonic() + pause > deadline:
            raise problem
        logger.info("%s: trying again in %.1f s", problem, pause)
        time.sleep(pause)
        pause *= 2
    raise AssertionError("unreachable")


def _fetch(url: str, deadline: float) -> tuple[int, bytes]:
    limit = settings.ALEPH_MAX_REPLY
    with _reading_client().stream("GET", url, timeout=_timeout()) as response:
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > limit:
                raise AlephUnavailableException(f"the reply is larger than {limit} bytes", url)
            if time.monotonic() > deadline:
                raise AlephUnavailableException("the reply is too slow", url)
        return response.status_code, bytes(body)


def post_form(
    url: str, fields: Mapping[str, str], headers: Mapping[str, str]
) -> tuple[int, httpx.Headers, str]:
    """Send a form once; a POST is not idempotent and never repeated.

    Returns:
        Status, headers and text of the reply.

    Raises:
        httpx.ConnectError, httpx.ConnectTimeout: nothing was sent.
        httpx.HTTPError: the form may have arrived.
    """
    _limiter.wait(settings.ALEPH_REQUESTS_PER_SECOND, time.monotonic() + 60)
    with httpx.Client(headers={"User-Agent": USER_AGENT}, trust_env=False) as client:
        response = client.post(url, data=dict(fields), headers=dict(headers), timeout=_timeout())
        return response.status_code, response.headers, response.text
