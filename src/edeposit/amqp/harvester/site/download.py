"""One HTTP request within limits of bytes and time, whatever the server does.

* The deadline of a page covers connecting, headers and body, however slowly they drip.
* No address of a private network is connected to, whatever name leads to it: the address that is
  checked is the one that is connected to, so a name that changes its answer gains nothing.
* The body is unpacked piece by piece, so that a few kilobytes that unpack to gigabytes are noticed
  after ``HARVESTER_MAX_BYTES``. A body that breaks off is an error, never a page.
* A host may be served from another place (tests, demo, a mirror) while its URLs, cookies and Host
  header stay what they are.
"""

import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpcore2
import httpx2

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import FetchError
from edeposit.amqp.harvester.site.addresses import canonical_host, public_address

# The codings that are undone here.
ACCEPT_ENCODING = "gzip, deflate"
_GZIP, _DEFLATE = ("gzip", "x-gzip"), "deflate"
# Codings that were not asked for. Any other word is a mistake of the server (``utf-8``, ``none``)
# and the body is plain; browsers do the same.
_UNKNOWN_TO_US = ("br", "zstd", "compress", "x-compress", "dcb", "dcz", "bzip2", "xz", "lzma")
_MOST_LAYERS = 3
# Programs that compress in parallel write a member per 64 kB; more members are an attack.
_MOST_MEMBERS = 10_000

_current = threading.local()


class Response(NamedTuple):
    """An answer, whole.

    Attributes:
        status: HTTP status.
        headers: of the answer.
        content: the unpacked body; empty for any status but 200.
    """

    status: int
    headers: httpx2.Headers
    content: bytes


def download(client: httpx2.Client, request: httpx2.Request) -> Response:
    """Send a request and read the answer; redirects are not followed.

    Args:
        client: with its time-outs.
        request: what to send.

    Raises:
        FetchError: the body is too large or cannot be unpacked, or the address is a private one.
        httpx2.HTTPError: the request failed, took too long, or the body breaks off.
    """
    with _deadline_in(settings.HARVESTER_PAGE_TIMEOUT):
        response = client.send(request, stream=True)
        try:
            return Response(response.status_code, response.headers, _content(response))
        finally:
            response.close()


# --- the body -------------------------------------------------------------------------------------


def _content(response: httpx2.Response) -> bytes:
    if response.status_code != 200:
        return b""
    limit = settings.HARVESTER_MAX_BYTES
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > limit:
        raise FetchError(f"the page has {declared} bytes, more than {limit}")
    pieces = _limited(response.iter_raw(), limit)
    for coding in reversed(_codings(response.headers.get("content-encoding", ""))):
        pieces = _limited(_unpacked(pieces, coding, limit), limit)
    return b"".join(pieces)


def _codings(header: str) -> list[str]:
    """How the body is packed, innermost first."""
    names = [name.strip() for name in header.lower().split(",")]
    for name in names:
        if name in _UNKNOWN_TO_US:
            raise FetchError(f"the page is packed in a way that was not asked for: {name}")
    codings = [name for name in names if name in _GZIP or name == _DEFLATE]
    if len(codings) > _MOST_LAYERS:
        raise FetchError(f"the page is packed {len(codings)} times")
    return codings


def _limited(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise FetchError(f"the page has more than {limit} bytes")
        yield piece


def _unpacked(pieces: Iterable[bytes], coding: str, limit: int) -> Iterator[bytes]:
    """Unpack to the end of the last gzip member.

    Bytes behind the end that begin no further member are ignored, as gzip itself does.
    """
    members = 0
    unpack: Any = None
    waiting = b""
    try:
        for piece in pieces:
            waiting += piece
            # Two bytes show which header it is, or that there is no header.
            while len(waiting) >= 2:
                if unpack is None or unpack.eof:
                    if unpack is not None and not (coding in _GZIP and waiting[:2] == b"\x1f\x8b"):
                        waiting = b""
                        break
                    members += 1
                    if members > _MOST_MEMBERS:
                        raise FetchError(f"the page is packed in more than {_MOST_MEMBERS} parts")
                    unpack = zlib.decompressobj(_window_bits(waiting, coding))
                yield unpack.decompress(waiting, limit + 1)
                waiting = unpack.unused_data
            if unpack is not None and not unpack.eof and waiting:
                yield unpack.decompress(waiting, limit + 1)
                waiting = unpack.unused_data
    except zlib.error as error:
        raise FetchError(f"the page cannot be unpacked: {error}") from error
    if unpack is None or not unpack.eof:
        raise httpx2.RemoteProtocolError("the packed body breaks off")


def _window_bits(head: bytes, coding: str) -> int:
    if coding in _GZIP or head[:2] == b"\x1f\x8b":
        return 31
    zlib_header = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
    return 15 if zlib_header else -15  # some servers send deflate without the header of zlib


# --- connections ----------------------------------------------------------------------------------


@contextmanager
def _deadline_in(seconds: float) -> Iterator[None]:
    """All requests of this thread inside of it end within that many seconds."""
    _current.deadline = time.monotonic() + seconds
    try:
        yield
    finally:
        _current.deadline = None


class GuardedTransport(httpx2.HTTPTransport):
    """The transport of one source.

    Args:
        connections: to keep at most.
        base_urls: host to the URL of the server in its place.
        allow_private: no address is refused.
    """

    def __init__(
        self, connections: int, base_urls: Mapping[str, str], allow_private: bool = False
    ) -> None:
        super().__init__(trust_env=False)
        self._bases = {canonical_host(host): urlsplit(base) for host, base in base_urls.items()}
        # An address that the settings name explicitly may be private.
        named = {base.hostname or "" for base in self._bases.values()}
        plain = self._pool
        assert isinstance(plain, httpcore2.ConnectionPool)
        # httpx2 has no argument for the network backend; tests/harvester/test_fetcher.py fails if
        # it no longer uses this pool.
        self._pool = httpcore2.ConnectionPool(
            ssl_context=plain._ssl_context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=10.0,
            network_backend=_Backend(named, allow_private),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        base = self._bases.get(canonical_host(request.url.raw_host.decode("ascii")))
        if base is not None:
            prefix = base.path.rstrip("/").encode("ascii")
            request = httpx2.Request(
                request.method,
                request.url.copy_with(
                    scheme=base.scheme,
                    host=base.hostname,
                    port=base.port,
                    raw_path=prefix + request.url.raw_path,
                ),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        return super().handle_request(request)


class _Backend(httpcore2.SyncBackend):
    def __init__(self, named: set[str], allow_private: bool) -> None:
        super().__init__()
        self._named = named
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        address = host
        if not self._allow_private and host not in self._named:
            address = public_address(host, port)
        stream = super().connect_tcp(
            address, port, _remaining(timeout), local_address, socket_options
        )
        return _Stream(stream)


class _Stream(httpcore2.NetworkStream):
    """A stream whose every step ends with the deadline of its thread."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _remaining(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _remaining(timeout: float | None) -> float | None:
    end = getattr(_current, "deadline", None)
    if end is None:
        return timeout
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("the deadline of the page is over")
    return left if timeout is None else min(timeout, left)
