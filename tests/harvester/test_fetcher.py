"""Fetching: polite, bounded, and only from where it may, with a real server that misbehaves."""

import gzip
import threading
import time
import zlib
from email.utils import formatdate
from itertools import pairwise

import pytest

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import FetchError
from edeposit.amqp.harvester.site import Fetcher, addresses
from edeposit.amqp.harvester.site.cache import CachedPage, PageCache, open_cache
from edeposit.amqp.harvester.site.politeness import CrawlDelay

HOST = "shop.example"
URL = f"http://{HOST}/"


@pytest.fixture
def fetch(serve):
    """Fetch a path of a site with these pages; ``fetch.site`` is the server."""
    fetchers = []

    def start(pages, **options):
        hosts = pages if HOST in pages else {HOST: pages}
        start.site = serve(hosts)
        fetcher = Fetcher(hosts, **options)
        fetchers.append(fetcher)
        return lambda path="/": fetcher.fetch(f"http://{HOST}{path}")

    yield start
    for fetcher in fetchers:
        fetcher.__exit__(None, None, None)


def raises(words):
    return pytest.raises(FetchError, match=words)


# --- what comes -------------------------------------------------------------------------------


def test_a_page_comes_with_its_charset(fetch):
    get = fetch({"/": (200, {"Content-Type": 'text/html; charset="windows-1250"'}, b"\xe8")})
    assert get() == (URL, b"\xe8", "windows-1250")
    seen = fetch.site.requests[-1]
    assert seen.headers["user-agent"] == settings.HARVESTER_USER_AGENT
    assert seen.headers["host"] == HOST


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("identity", bytes),
    ],
)
def test_packed_pages_are_unpacked(fetch, name, pack):
    body = b"<p>page</p>" * 10_000
    get = fetch({"/": (200, {"Content-Encoding": name}, pack(body))})
    assert get().content == body


def test_redirects_are_followed_and_tell_where_the_page_is(fetch):
    get = fetch({"/": (302, {"Location": "next?a=1"}, b""), "/next?a=1": b"there"})
    assert get() == (f"{URL}next?a=1", b"there", None)


# --- what may not be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("http://other.example/", "other.example is no host of this source"),
        ("file:///etc/hostname", "only http and https"),
        ("ftp://shop.example/", "only http"),
        ("//evil.example/x", "evil.example is no host"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://shop.example:99999/", "invalid address"),
        ("javascript:alert(1)", "InvalidURL|only http"),
        ("http://user:pass@other.example/", "other.example is no host"),
    ],
)
def test_redirects_lead_nowhere_else(fetch, target, words):
    get = fetch({"/": (302, {"Location": target}, b"")})
    with raises(words):
        get()
    assert [seen.host for seen in fetch.site.requests] == [HOST, HOST]


def test_endless_redirects_end(fetch):
    get = fetch({"/": (301, {"Location": "/"}, b"")})
    with raises("more than 5 redirects"):
        get()


@pytest.mark.parametrize(
    "address",
    [
        "224.0.0.1",
        "64:ff9b::7f00:1",
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "::1",
        "fe80::1%lo",
        "0.0.0.0",
        "::ffff:127.0.0.1",
    ],
)
def test_private_addresses_are_refused(address):
    assert not addresses.is_public(address)
    with raises("has no public address"):
        addresses.public_address(address, 80)
    assert addresses.is_public("93.184.216.34")


def test_a_source_at_a_private_address_is_refused_unless_allowed(serve):
    site = serve({})
    host = f"127.0.0.1:{site.port}"
    site.hosts[host] = {"/": b"page"}
    with Fetcher([host]) as fetcher, raises(r"127\.0\.0\.1 has no public address"):
        fetcher.fetch(f"http://{host}/")
    assert site.requests == []
    settings.substitute_globals({"HARVESTER_ALLOW_PRIVATE": True})
    with Fetcher([host]) as fetcher:
        assert fetcher.fetch(f"http://{host}/").content == b"page"


def test_robots_txt_is_honoured(fetch):
    robots = b"User-agent: *\nDisallow: /private\nCrawl-delay: 0.2\n"
    get = fetch(
        {
            "/robots.txt": (200, {"Content-Type": "text/plain"}, robots),
            "/": b"page",
            "/private/x": b"secret",
        }
    )
    started = time.monotonic()
    assert get().content == b"page"
    with raises(r"robots\.txt does not allow it"):
        get("/private/x")
    assert get().content == b"page"
    assert get().content == b"page"
    assert time.monotonic() - started >= 0.4
    assert fetch.site.paths(HOST) == ["/", "/", "/"]
    assert [seen.path for seen in fetch.site.requests].count("/robots.txt") == 1


@pytest.mark.parametrize("wish", ["1000000", "61"])
def test_a_delay_that_nobody_can_wait_for_is_an_error_not_a_hang(fetch, wish):
    robots = f"User-agent: *\nCrawl-delay: {wish}\n".encode()
    get = fetch({"/robots.txt": robots, "/": b"page"})
    for _ in range(2):
        with raises(r"robots\.txt wants \S+ s between two requests"):
            get()
    assert fetch.site.paths(HOST) == []


@pytest.mark.parametrize("target", ["http://[x", "http://other.example/robots.txt", "file:///x"])
def test_robots_txt_is_had_from_nowhere_else(fetch, target):
    get = fetch({"/robots.txt": (302, {"Location": target}, b""), "/": b"page"})
    for _ in range(2):
        with raises(r"cannot get robots\.txt of http://shop\.example"):
            get()
    assert len(fetch.site.requests) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_without_robots_txt_all_is_allowed(fetch, status):
    assert fetch({"/robots.txt": (status, {}, b""), "/": b"page"})().content == b"page"


def test_robots_txt_that_cannot_be_had_forbids_all_for_now(fetch):
    get = fetch({"/robots.txt": (503, {}, b""), "/": b"page"})
    with raises(r"cannot get robots\.txt of http://shop\.example"):
        get()
    assert fetch.site.paths(HOST) == []


def test_no_cookie_crosses_sources(serve):
    site = serve(
        {
            "a.example": {"/": (200, {"Set-Cookie": "id=1"}, b"a"), "/2": b"a2"},
            "b.example": {"/": b"b"},
        }
    )
    with (
        Fetcher(["a.example"], cookies={"pageSize": "100"}) as first,
        Fetcher(["b.example"]) as second,
    ):
        first.fetch("http://a.example/")
        first.fetch("http://a.example/2")
        second.fetch("http://b.example/")
    cookies = [seen.headers.get("cookie") for seen in site.requests if seen.path != "/robots.txt"]
    assert cookies[0] == "pageSize=100"
    assert set(cookies[1].split("; ")) == {"pageSize=100", "id=1"}
    assert cookies[2] is None


# --- delay and retries --------------------------------------------------------------------------


def test_the_delay_is_kept_over_threads():
    limiter = CrawlDelay()
    times = []

    def work():
        limiter.wait("h", 0.05)
        times.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    assert all(b - a > 0.04 for a, b in pairwise(times))


def test_waiting_ends_with_the_harvest():
    limiter, stop = CrawlDelay(), threading.Event()
    assert limiter.wait("h", 1000, stop)
    threading.Timer(0.1, stop.set).start()
    assert not limiter.wait("h", 1000, stop)


class Failing:
    """Answers some times with an error, then with a page."""

    def __init__(self, times, status, **headers):
        self.left = times
        self.status = status
        self.headers = headers

    def __call__(self, handler):
        self.left -= 1
        status, body = (self.status, b"") if self.left >= 0 else (200, b"page")
        handler.send_response(status)
        for name, value in self.headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_what_passes_is_tried_again(fetch, status):
    settings.substitute_globals({"HARVESTER_RETRIES": 1})
    get = fetch({"/": Failing(1, status, Retry_After="0")})
    settings.substitute_globals({"HARVESTER_RETRIES": 1})
    assert get().content == b"page"
    assert fetch.site.paths(HOST) == ["/", "/"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_what_does_not_pass_is_not(fetch, status):
    get = fetch({"/": Failing(1, status)})
    settings.substitute_globals({"HARVESTER_RETRIES": 3})
    with raises(f"status {status}"):
        get()
    assert fetch.site.paths(HOST) == ["/"]


def test_retry_after_is_honoured(fetch):
    get = fetch({"/": Failing(1, 429, Retry_After="2")})
    settings.substitute_globals({"HARVESTER_RETRIES": 1})
    started = time.monotonic()
    assert get().content == b"page"
    assert time.monotonic() - started >= 2


@pytest.mark.parametrize("is_date", [False, True])
def test_a_long_retry_after_is_not_waited_for(fetch, is_date):
    when = formatdate(time.time() + 3600, usegmt=True) if is_date else "3600"
    get = fetch({"/": Failing(1, 503, Retry_After=when)})
    settings.substitute_globals({"HARVESTER_RETRIES": 3})
    with raises("status 503"):
        get()
    assert fetch.site.paths(HOST) == ["/"]


def test_a_host_that_fails_again_and_again_is_asked_no_more(fetch):
    get = fetch({f"/{n}": (500, {}, b"") for n in range(20)})
    for number in range(8):
        with raises("status 500"):
            get(f"/{number}")
    with raises("not asked: shop.example has failed 8 times in a row"):
        get("/8")
    assert len(fetch.site.paths(HOST)) == 8


# --- bounds ---------------------------------------------------------------------------------------


def drip(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.02)


def drip_headers(handler):
    for _ in range(1000):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.02)


def liar(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000000")
    handler.end_headers()


def never(handler):
    time.sleep(5)


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1024):
        handler.wfile.write(b"x" * 2**20)


def gzip_bomb(handler):
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.end_headers()
    for _ in range(1024):
        handler.wfile.write(pack.compress(b"\0" * 2**20))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (drip, "the deadline|timed out"),
        (drip_headers, "the deadline|timed out"),
        (never, "ReadTimeout|timed out"),
        (endless, "more than 100000 bytes"),
        (gzip_bomb, "more than 100000 bytes"),
        (liar, "has 1000000000 bytes, more than"),
        ((200, {"Content-Encoding": "gzip"}, b"no gzip"), "cannot be unpacked"),
        ((200, {"Content-Encoding": "br"}, b"x"), "packed in a way that was not asked for"),
    ],
)
def test_every_request_ends(fetch, answer, words):
    get = fetch({"/": answer})
    settings.substitute_globals(
        {"HARVESTER_PAGE_TIMEOUT": 0.5, "HARVESTER_TIMEOUT": 0.6, "HARVESTER_MAX_BYTES": 100_000}
    )
    with Fetcher([HOST]) as fetcher:
        started = time.monotonic()
        with raises(words):
            fetcher.fetch(URL)
        assert time.monotonic() - started < 4
    assert get


# --- pages that were had before -------------------------------------------------------------------


def tagged(handler):
    if handler.headers.get("If-None-Match") == '"v1"':
        handler.send_response(304)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(200)
    handler.send_header("ETag", '"v1"')
    handler.send_header("Content-Type", "text/html; charset=utf-8")
    handler.send_header("Content-Length", "4")
    handler.end_headers()
    handler.wfile.write(b"page")


def test_an_unchanged_page_is_not_transferred_again(fetch):
    for _ in range(2):
        cache = open_cache()
        get = fetch({"/": tagged}, cache=cache)
        assert get() == (URL, b"page", "utf-8")
        cache.close()
    assert fetch.site.requests[-1].headers["if-none-match"] == '"v1"'


def test_the_cache_is_bounded_and_forgets_what_was_not_used(tmp_path):
    import os

    cache = PageCache(tmp_path / "c", 50_000)
    for number in range(20):
        cache.put(str(number), CachedPage("e", "", None, os.urandom(10_000)))
        cache.touch("0")
    cache.shrink()
    kept = [number for number in range(20) if cache.get(str(number))]
    assert 0 in kept
    assert 19 in kept
    assert 2 <= len(kept) <= 5
    cache.close()


@pytest.mark.parametrize("content", [b"", b"nonsense" * 1000])
def test_a_broken_cache_is_put_aside(tmp_path, content):
    path = tmp_path / "c"
    path.write_bytes(content)
    cache = PageCache(path, 10**6)
    cache.put("a", CachedPage("e", "", None, b"x"))
    assert cache.get("a") == ("e", "", None, b"x")
    cache.close()
    assert (tmp_path / "c.broken").exists() == bool(content)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    cache = PageCache(tmp_path / "file" / "c", 10**6)
    (tmp_path / "other").write_text("x")
    blocked = PageCache(tmp_path / "other" / "c", 10**6)
    for one in (cache, blocked):
        one.put("a", CachedPage("e", "", None, b"x"))
    assert blocked.get("a") is None
    cache.close()
