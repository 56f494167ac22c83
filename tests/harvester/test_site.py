"""Bodies that break off, damaged caches, hosts in every spelling: one page's fault only."""

import gzip
import random
import sqlite3
import zlib

import pytest

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import FetchError
from edeposit.amqp.harvester.site import Fetcher
from edeposit.amqp.harvester.site.addresses import canonical_host, host_of, is_public
from edeposit.amqp.harvester.site.cache import open_cache

HOST = "shop.example"
BODY = b"".join(b"<div>%d</div>" % number for number in range(5000))
PACKED = gzip.compress(BODY)


def get(serve, headers, body, path="/"):
    serve({HOST: {"/": (200, headers, body)}})
    with Fetcher([HOST]) as fetcher:
        return fetcher.fetch(f"http://{HOST}{path}").content


def gzipped(body):
    return {"Content-Encoding": "gzip"}, body


def deflated(body):
    return {"Content-Encoding": "deflate"}, body


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        gzipped(b""),
        gzipped(PACKED[:1]),
        gzipped(PACKED[: len(PACKED) // 2]),
        gzipped(PACKED[:-8]),
        gzipped(PACKED[:-1]),
        gzipped(PACKED + PACKED[: len(PACKED) // 2]),
        deflated(zlib.compress(BODY)[:-1]),
        deflated(zlib.compress(BODY)[: len(PACKED) // 2]),
        deflated(zlib.compress(BODY)[2 : len(PACKED) // 2]),
        ({"Content-Encoding": "gzip, gzip"}, gzip.compress(PACKED[:-9])),
    ],
)
def test_a_packed_body_that_breaks_off_is_an_error(serve, answer):
    with pytest.raises(FetchError, match="the packed body breaks off"):
        get(serve, *answer)


def test_a_wrong_checksum_is_an_error(serve):
    with pytest.raises(FetchError, match="cannot be unpacked"):
        get(serve, *gzipped(PACKED[:-8] + b"\0" * 8))


@pytest.mark.parametrize(
    "answer",
    [
        gzipped(gzip.compress(BODY[:100]) + gzip.compress(BODY[100:])),
        gzipped(b"".join(gzip.compress(BODY[n : n + 50]) for n in range(0, len(BODY), 50))),
        gzipped(gzip.compress(b"") + PACKED + gzip.compress(b"")),
        gzipped(PACKED + b"\0" * 512),
        ({"Content-Encoding": "x-gzip"}, PACKED),
        ({"Content-Encoding": "GZIP"}, PACKED),
        ({"Content-Encoding": "gzip, identity"}, PACKED),
        ({"Content-Encoding": "gzip, gzip"}, gzip.compress(PACKED)),
        ({"Content-Encoding": "deflate, gzip"}, gzip.compress(zlib.compress(BODY))),
    ],
)
def test_all_members_and_layers_are_unpacked(serve, answer):
    assert get(serve, *answer) == BODY


@pytest.mark.parametrize(
    "word", ["utf-8", "UTF-8", "none", "binary", "iso-8859-2", "", "text/html"]
)
def test_a_word_that_is_no_coding_does_not_cost_the_page(serve, word):
    assert get(serve, {"Content-Encoding": word}, BODY) == BODY


def test_codings_that_were_not_asked_for_are_named(serve):
    with pytest.raises(FetchError, match="not asked for: br"):
        get(serve, {"Content-Encoding": "br"}, BODY)


def test_a_body_in_single_bytes_is_unpacked(serve):
    def drop_by_drop(handler):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for byte in packed:
            handler.wfile.write(b"1\r\n%c\r\n" % byte)
            handler.wfile.flush()
        handler.wfile.write(b"0\r\n\r\n")

    packed = gzip.compress(b"one") + gzip.compress(b"two")
    serve({HOST: {"/": drop_by_drop}})
    with Fetcher([HOST]) as fetcher:
        assert fetcher.fetch(f"http://{HOST}/").content == b"onetwo"


def test_members_without_end_are_an_error(serve):
    with pytest.raises(FetchError, match="parts"):
        get(serve, *gzipped(gzip.compress(b"") * 20_000))


def test_a_body_that_breaks_off_is_not_kept_under_its_etag(serve):
    bodies = [PACKED[: len(PACKED) // 2], PACKED]

    def page(handler):
        if handler.headers.get("If-None-Match"):
            handler.send_response(304)
            handler.end_headers()
            return
        body = bodies.pop(0)
        handler.send_response(200)
        for name, value in (("ETag", '"1"'), ("Content-Encoding", "gzip")):
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    serve({HOST: {"/": page}})
    cache = open_cache()
    with Fetcher([HOST], cache=cache) as fetcher:
        with pytest.raises(FetchError, match="breaks off"):
            fetcher.fetch(f"http://{HOST}/")
        assert fetcher.fetch(f"http://{HOST}/").content == BODY
        assert fetcher.fetch(f"http://{HOST}/").content == BODY
    cache.close()


def test_a_body_that_breaks_off_once_is_fetched_again(serve):
    settings.substitute_globals({"HARVESTER_RETRIES": 1})
    bodies = [PACKED[:100], PACKED]

    def page(handler):
        body = bodies.pop(0)
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    site = serve({HOST: {"/": page}})
    settings.substitute_globals({"HARVESTER_RETRIES": 1})
    with Fetcher([HOST]) as fetcher:
        assert fetcher.fetch(f"http://{HOST}/").content == BODY
    assert site.paths(HOST) == ["/", "/"]


@pytest.mark.parametrize(
    "damage",
    ["x'789c00'", "x''", "NULL", "17", "'text'", "zeroblob(100)", "substr(content, 1, 20)"],
)
def test_a_damaged_page_in_the_cache_is_fetched_again(serve, tmp_path, damage):
    site = serve({HOST: {"/": (200, {"ETag": '"1"'}, BODY)}})

    def fetch():
        cache = open_cache()
        with Fetcher([HOST], cache=cache) as fetcher:
            content = fetcher.fetch(f"http://{HOST}/").content
        cache.close()
        return content

    fetch()
    with sqlite3.connect(tmp_path / "pages.sqlite") as database:
        database.execute(f"UPDATE pages SET content = {damage}")
    database.close()
    assert fetch() == BODY
    assert "if-none-match" not in site.requests[-1].headers
    fetch()
    assert "if-none-match" in site.requests[-1].headers


# --- robots.txt -----------------------------------------------------------------------------------

RULES = "User-agent: *\nDisallow: /\n"


@pytest.mark.parametrize(
    "robots",
    [
        b"\xef\xbb\xbf" + RULES.encode(),
        b"\xef\xbb\xbf\xef\xbb\xbf" + RULES.encode(),
        RULES.encode("utf-16"),
        ("\ufeff" + RULES).encode("utf-16-be"),
        RULES.encode("utf-16-le"),
        RULES.encode("utf-16-be"),
        ("# příšerně žluťoučký kůň\n" + RULES).encode("cp1250"),
        ("# příšerně\n" + RULES).encode("utf-16"),
    ],
)
def test_robots_txt_is_obeyed_in_any_encoding(serve, robots):
    site = serve({HOST: {"/": b"page", "/robots.txt": robots}})
    with Fetcher([HOST]) as fetcher, pytest.raises(FetchError, match="does not allow"):
        fetcher.fetch(f"http://{HOST}/")
    assert site.paths(HOST) == []


@pytest.mark.parametrize("status", [201, 202, 204, 206])
def test_other_successes_forbid_nothing(serve, status):
    body = b"" if status == 204 else RULES.encode()
    serve({HOST: {"/": b"page", "/robots.txt": (status, {}, body)}})
    with Fetcher([HOST]) as fetcher:
        assert fetcher.fetch(f"http://{HOST}/").content == b"page"


# --- hosts ----------------------------------------------------------------------------------------

NAME = "kniha-čeština.example"
ASCII = NAME.encode("idna").decode()


@pytest.mark.parametrize("listed", [NAME, ASCII, NAME.upper()])
@pytest.mark.parametrize("asked", [NAME, ASCII, NAME.capitalize()])
@pytest.mark.parametrize("played", [NAME, ASCII])
def test_international_names_are_equal_in_both_spellings(serve, listed, asked, played):
    site = serve({played: {}})
    site.hosts[ASCII] = {"/": b"page"}
    with Fetcher([listed]) as fetcher:
        assert fetcher.fetch(f"http://{asked}/").content == b"page"


def test_ipv6_literals_work(serve):
    site = serve(
        {"[2606:4700::1111]:8080": {"/": b"page", "/robots.txt": b""}, "[2606:4700::1111]": {}}
    )
    with Fetcher(["[2606:4700:0::1111]:8080"]) as fetcher:
        assert fetcher.fetch("http://[2606:4700::1111]:8080/").content == b"page"
    assert [seen.path for seen in site.requests] == ["/robots.txt", "/"]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://[::1]/", "[::1]"),
        ("http://[2001:DB8:0:0::1]:80/", "[2001:db8::1]"),
        ("https://[::1]:8443/x", "[::1]:8443"),
        ("http://SHOP.example:80/", "shop.example"),
        ("https://shop.example:80/", "shop.example:80"),
        (f"http://{NAME}/", ASCII),
        ("http://Straße.example/", "xn--strae-oqa.example"),
    ],
)
def test_a_host_has_one_form(url, host):
    assert host_of(url) == host
    assert canonical_host(host) == host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("::1", "[::1]"),
        ("[::1]:80", "[::1]:80"),
        (" A.cz:8080 ", "a.cz:8080"),
        ("a.cz:x", "a.cz:x"),
    ],
)
def test_a_listed_host_has_that_form_too(text, host):
    assert canonical_host(text) == host


def test_odd_hosts_do_not_raise():
    random.seed(1)
    for _ in range(3000):
        text = "".join(random.choices("a.:[]@%/#ñß1-\u200d\ud800 ", k=random.randint(0, 12)))
        canonical_host(text)
        try:
            host_of(f"http://{text}/")
        except FetchError:
            continue


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:0:127.0.0.1",
        "::127.0.0.1",
        "::8.8.8.8",
        "64:ff9b:1::7f00:1",
        "64:ff9b:1:fffe::808:808",
        "64:ff9b::a00:1",
        "fec0::1",
        "5f00::1",
        "3fff::1",
        "3fff:fff::1",
        "2001:0:7f00:1::1",
        "2001:20::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:a00:1::",
        "4000::1",
        "e000::1",
        "200::1",
        "ff02::1",
        "192.0.0.9",
        "192.88.99.1",
        "240.0.0.1",
    ],
)
def test_odd_ranges_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_are(address):
    assert is_public(address)
