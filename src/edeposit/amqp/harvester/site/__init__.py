"""Fetches the pages of one site, politely and within limits.

What must stay true: only http and https; only the hosts of the source, redirects included; never
faster than the host allows; no cookie of one source for the host of another; and limits for every
request: bytes, seconds, redirects, attempts.
"""

import json
import logging
import random
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import httpx2

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import FetchError
from edeposit.amqp.harvester.site.addresses import canonical_host, host_of
from edeposit.amqp.harvester.site.cache import CachedPage, PageCache
from edeposit.amqp.harvester.site.download import (
    ACCEPT_ENCODING,
    GuardedTransport,
    Response,
    download,
)
from edeposit.amqp.harvester.site.politeness import Robots, crawl_delay

logger = logging.getLogger(__name__)

_MAX_REDIRECTS = 5
# If a server wants a longer pause, the page is an error and the next harvest tries again.
_LONGEST_PAUSE = 60.0
# Each page of a host that accepts connections and never answers would cost its whole time limit.
_MOST_FAILURES = 8
_PASSING = {429, 500, 502, 503, 504}


class Fetched(NamedTuple):
    """A page.

    Attributes:
        url: where it came from after all redirects.
        content: its bytes, unpacked.
        charset: of the HTTP header, or None.
    """

    url: str
    content: bytes
    charset: str | None


class Fetcher:
    """The client of one source. Usable from many threads; a context manager.

    Args:
        hosts: that may be asked, with a port unless it is the usual one.
        cookies: sent to them.
        delay: seconds between two requests to a host; the settings and robots.txt may want more.
        cache: of earlier pages; None: no cache.
        stop: ends waiting and further requests when it is set.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        cookies: Mapping[str, str] | None = None,
        delay: float = 0.0,
        cache: PageCache | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._hosts = {canonical_host(host) for host in hosts}
        self._delay = max(delay, settings.HARVESTER_DELAY)
        self._cache = cache or PageCache(None, 0)
        self._stop = stop
        self._failures: Counter[str] = Counter()  # in a row, by host
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(
                settings.HARVESTER_TIMEOUT, connect=settings.HARVESTER_CONNECT_TIMEOUT
            ),
            headers={
                "User-Agent": settings.HARVESTER_USER_AGENT,
                "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.1",
                "Accept-Encoding": ACCEPT_ENCODING,
            },
            cookies=dict(cookies or {}),
            transport=_transport(),
            # A proxy or netrc from the environment would bypass the checks here.
            trust_env=False,
        )
        self._robots = Robots(self._fetch_robots, settings.HARVESTER_USER_AGENT)

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()

    def fetch(self, url: str) -> Fetched:
        """Fetch a page.

        Raises:
            FetchError: it cannot or may not be fetched; the text says why.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            host = self._check_host(url)
            wish = self._robots.check(f"{urlsplit(url).scheme}://{host}", url)
            if not wish <= _LONGEST_PAUSE:
                raise FetchError(f"robots.txt wants {wish:g} s between two requests", url)
            kept = self._cache.get(url)
            response = self._get(url, host, max(self._delay, wish), kept)
            if response.status == 304 and kept is not None:
                self._cache.touch(url)
                return Fetched(url, kept.content, kept.charset)
            if response.status == 200:
                page = self._page(url, response)
                self._keep(url, response, page)
                return page
            target = _target(url, response)
            if target is None:
                raise FetchError(f"the server answered with status {response.status}", url)
            url = target
        raise FetchError(f"more than {_MAX_REDIRECTS} redirects", url)

    def _check_host(self, url: str) -> str:
        host = host_of(url)
        if host not in self._hosts:
            raise FetchError(f"{host} is no host of this source", url)
        if self._failures[host] >= _MOST_FAILURES:
            raise FetchError(f"not asked: {host} has failed {_MOST_FAILURES} times in a row", url)
        return host

    def _fetch_robots(self, url: str) -> tuple[int, bytes]:
        host = host_of(url)
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._get(url, host, self._delay, None)
            target = _target(url, response)
            if target is None:
                return response.status, response.content
            url, host = target, self._check_host(target)
        return 404, b""  # RFC 9309, section 2.3.1.2: as if there were none

    def _get(self, url: str, host: str, delay: float, kept: CachedPage | None) -> Response:
        """One page's answer, with retries after what may pass."""
        for attempt in range(settings.HARVESTER_RETRIES + 1):
            if not crawl_delay.wait(host, delay, self._stop):
                raise FetchError("the harvest is being ended", url)
            pause = random.uniform(0.5, 1.0) * 2**attempt
            try:
                response = download(self._client, self._request(url, kept))
            except FetchError as error:
                raise FetchError(str(error), url) from error
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                problem = f"{type(error).__name__}: {error}"
                if not isinstance(error, httpx2.TransportError):
                    raise FetchError(problem, url) from error
            else:
                if response.status not in _PASSING:
                    self._failures[host] = 0
                    return response
                problem = f"the server answered with status {response.status}"
                pause = max(pause, _retry_after(response))
            if attempt == settings.HARVESTER_RETRIES or pause > _LONGEST_PAUSE:
                break
            logger.info("%s: %s; again in %.1f s", url, problem, pause)
            if (self._stop or threading.Event()).wait(pause):
                break
        self._failures[host] += 1
        raise FetchError(problem, url)

    def _request(self, url: str, kept: CachedPage | None) -> httpx2.Request:
        headers = {}
        if kept is not None and kept.etag:
            headers["If-None-Match"] = kept.etag
        if kept is not None and kept.modified:
            headers["If-Modified-Since"] = kept.modified
        return self._client.build_request("GET", url, headers=headers)

    def _page(self, url: str, response: Response) -> Fetched:
        kind = response.headers.get("content-type", "")
        _, _, charset = kind.lower().partition("charset=")
        return Fetched(url, response.content, charset.strip("\"' ;") or None)

    def _keep(self, url: str, response: Response, page: Fetched) -> None:
        headers = response.headers
        if "no-store" not in headers.get("cache-control", ""):
            self._cache.put(
                url,
                CachedPage(
                    headers.get("etag", ""),
                    headers.get("last-modified", ""),
                    page.charset,
                    page.content,
                ),
            )


def _target(url: str, response: Response) -> str | None:
    """Where a redirect leads; None if the answer is no redirect."""
    location = response.headers.get("location")
    if not 300 <= response.status < 400 or not location:
        return None
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise FetchError(f"it redirects to an invalid address: {error}", url) from error


def _transport() -> httpx2.BaseTransport:
    if settings.HARVESTER_PROXY:
        # The proxy decides which addresses may be reached.
        return httpx2.HTTPTransport(proxy=settings.HARVESTER_PROXY, trust_env=False)
    return GuardedTransport(
        settings.HARVESTER_CONNECTIONS,
        json.loads(settings.HARVESTER_BASE_URLS or "{}"),
        settings.HARVESTER_ALLOW_PRIVATE,
    )


def _retry_after(response: Response) -> float:
    """Seconds that the server asks for: a number or a date (RFC 9110, section 10.2.3)."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return 0.0
