"""Connections that keep to three rules which HTTP clients leave open.

* No address of a private network is connected to, whatever name leads to it: the address that is
  checked is the one that is connected to, so a name that changes its answer gains nothing.
* The deadline of a page covers connecting, headers and body, however slowly they drip.
* A host may be served from another place (tests, demo, a mirror) while its URLs, cookies and Host
  header stay what they are.
"""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from edeposit.amqp.harvester.exceptions import FetchError

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_current = threading.local()


@contextmanager
def deadline_in(seconds: float) -> Iterator[float]:
    """All requests of this thread inside of it end within that many seconds.

    Yields:
        the end as ``time.monotonic()``.
    """
    _current.deadline = end = time.monotonic() + seconds
    try:
        yield end
    finally:
        _current.deadline = None


class GuardedTransport(httpx.HTTPTransport):
    """The transport of one source.

    Args:
        connections: to keep at most.
        base_urls: host to the URL of what plays it.
        allow_private: no address is refused.
    """

    def __init__(
        self, connections: int, base_urls: Mapping[str, str], allow_private: bool = False
    ) -> None:
        super().__init__(trust_env=False)
        self._bases = {host: urlsplit(base) for host, base in base_urls.items()}
        # What the configuration names explicitly may be private.
        named = {base.hostname or "" for base in self._bases.values()}
        plain = self._pool
        assert isinstance(plain, httpcore.ConnectionPool)
        # httpx has no argument for the network backend; tests/harvester/test_fetcher.py would tell
        # if this were not what it uses.
        self._pool = httpcore.ConnectionPool(
            ssl_context=plain._ssl_context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=10.0,
            network_backend=_Backend(named, allow_private),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        base = self._bases.get(request.url.host)
        if base is not None:
            prefix = base.path.rstrip("/").encode("ascii")
            request = httpx.Request(
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


class _Backend(httpcore.SyncBackend):
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
    ) -> httpcore.NetworkStream:
        address = host
        if not self._allow_private and host not in self._named:
            address = public_address(host, port)
        stream = super().connect_tcp(
            address, port, _remaining(timeout), local_address, socket_options
        )
        return _Stream(stream)


class _Stream(httpcore.NetworkStream):
    """A stream whose every step ends with the deadline of its thread."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _remaining(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def public_address(host: str, port: int) -> str:
    """An address of the host outside of all private networks.

    Raises:
        FetchError: it has none.
        httpcore.ConnectError: the name is not known (now).
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(str(error)) from error
    for *_, address in found:
        if is_public(str(address[0])):
            return str(address[0])
    raise FetchError(f"{host} is at no public address (HARVESTER_ALLOW_PRIVATE)")


def is_public(text: str) -> bool:
    """Whether an address belongs to nobody's private network, in any of its disguises."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    return address.is_global and not address.is_multicast


def _remaining(timeout: float | None) -> float | None:
    end = getattr(_current, "deadline", None)
    if end is None:
        return timeout
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the deadline of the page is over")
    return left if timeout is None else min(timeout, left)
