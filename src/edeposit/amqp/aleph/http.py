"""HTTP to the catalogue: bounded in time, size and rate, with retries for what may be repeated.

One keep-alive client for reading, made at the first request (so after the daemon's fork), serves
all threads; each export gets a client of its own, so that they share no headers and no cookies.

Replies are asked for uncompressed, and compressed ones are refused: a few kilobytes could unpack to
gigabytes, and the server is next door.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx2

from edeposit.amqp import __version__
from edeposit.amqp.aleph import settings
from edeposit.amqp.aleph.deadlines import Transport, deadline_at
from edeposit.amqp.aleph.exceptions import AlephUnavailableException
from edeposit.amqp.aleph.xmltext import decode

logger = logging.getLogger(__name__)

USER_AGENT = f"edeposit.amqp/{__version__} (aleph)"
_HEADERS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
_CONNECTIONS = 100
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


class Reply(NamedTuple):
    """A reply, whole.

    Attributes:
        status: HTTP status.
        headers: of the reply.
        text: the body, decoded by its declared charset.
    """

    status: int
    headers: httpx2.Headers
    text: str


class ReplyError(Exception):
    """The reply is larger or slower than the settings allow, or compressed."""


_limiter = RateLimiter()
_lock = threading.Lock()
_client: httpx2.Client | None = None


def _new_client(connections: int) -> httpx2.Client:
    transport = Transport(connections)
    return httpx2.Client(headers=_HEADERS, transport=transport, trust_env=False)


def _reading_client() -> httpx2.Client:
    global _client
    with _lock:
        if _client is None:
            _client = _new_client(_CONNECTIONS)
        return _client


def _timeout() -> httpx2.Timeout:
    return httpx2.Timeout(settings.ALEPH_READ_TIMEOUT, connect=settings.ALEPH_CONNECT_TIMEOUT)


def get(url: str) -> str:
    """Fetch a URL, retrying after network errors and 5xx with growing pauses.

    Returns:
        The body, decoded by its declared charset.

    Raises:
        AlephUnavailableException: no answer in time, an HTTP error or a redirect, or a body that
            is too large or compressed.
    """
    deadline = time.monotonic() + settings.ALEPH_TOTAL_TIMEOUT
    pause = _FIRST_PAUSE
    for attempt in range(settings.ALEPH_RETRIES + 1):
        _limiter.wait(settings.ALEPH_REQUESTS_PER_SECOND, deadline)
        try:
            reply = _send(_reading_client(), "GET", url, deadline)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise AlephUnavailableException(f"not a URL: {error}", url) from error
        except ReplyError as error:
            raise AlephUnavailableException(str(error), url) from error
        except httpx2.HTTPError as error:
            problem = AlephUnavailableException(f"{type(error).__name__}: {error}".strip(": "), url)
            problem.__cause__ = error
        else:
            if reply.status == 200:
                return reply.text
            problem = AlephUnavailableException(f"HTTP status {reply.status}", url)
            if reply.status not in _RETRY_STATUS:
                raise problem
        if attempt == settings.ALEPH_RETRIES or time.monotonic() + pause > deadline:
            raise problem
        logger.info("%s: trying again in %.1f s", problem, pause)
        time.sleep(pause)
        pause *= 2
    raise AssertionError("unreachable")


def post_form(url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
    """Send a form once; a POST is not idempotent and never repeated.

    Raises:
        httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.InvalidURL, httpx2.UnsupportedProtocol,
            AlephUnavailableException: nothing was sent.
        httpx2.HTTPError, ReplyError: the form may have arrived.
    """
    deadline = time.monotonic() + settings.ALEPH_TOTAL_TIMEOUT
    _limiter.wait(settings.ALEPH_REQUESTS_PER_SECOND, deadline)
    encoded = {name: value.encode("utf-8") for name, value in headers.items()}
    with _new_client(1) as client:
        return _send(client, "POST", url, deadline, data=dict(fields), headers=encoded)


def _send(client: httpx2.Client, method: str, url: str, deadline: float, **content: Any) -> Reply:
    stream = client.stream(method, url, timeout=_timeout(), **content)
    with deadline_at(deadline), stream as response:
        return _whole(response, deadline)


def _whole(response: httpx2.Response, deadline: float) -> Reply:
    """Read a reply within the limits.

    Raises:
        ReplyError: it exceeds them.
    """
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() not in ("", "identity"):
        raise ReplyError(f"the reply is compressed ({encoding[:40]}), which was not asked for")
    limit = settings.ALEPH_MAX_REPLY
    body = bytearray()
    for piece in response.iter_raw():
        body += piece
        if len(body) > limit:
            raise ReplyError(f"the reply is larger than {limit} bytes")
        if time.monotonic() > deadline:
            raise ReplyError("the reply is too slow")
    text = decode(bytes(body), response.charset_encoding)
    return Reply(response.status_code, response.headers, text)
