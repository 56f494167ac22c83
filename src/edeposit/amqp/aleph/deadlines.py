"""Network streams that end with a deadline, however slowly the other side sends.

An HTTP client's own time-outs hold for each read: a server that sends a byte a second, in the
headers or in the body, would keep a request alive without end.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore2
import httpx2

_current = threading.local()


@contextmanager
def deadline_at(end: float) -> Iterator[None]:
    """Every network operation of this thread in this context ends then.

    Args:
        end: as ``time.monotonic()``.
    """
    _current.deadline = end
    try:
        yield
    finally:
        _current.deadline = None


class Transport(httpx2.HTTPTransport):
    """The transport of a client whose requests are made in ``deadline_at``.

    Args:
        connections: how many to keep at most.
    """

    def __init__(self, connections: int) -> None:
        super().__init__(trust_env=False)
        plain = self._pool
        assert isinstance(plain, httpcore2.ConnectionPool)
        # httpx2 has no argument for the network backend; the tests of dripping servers would fail
        # if this were not what it uses.
        self._pool = httpcore2.ConnectionPool(
            ssl_context=plain._ssl_context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=5.0,
            network_backend=_Backend(),
        )


class _Backend(httpcore2.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            stream = super().connect_tcp(host, port, _left(timeout), local_address, socket_options)
        except UnicodeError as error:  # a host name that cannot be one
            raise httpcore2.ConnectError(str(error)) from error
        return _Stream(stream)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(timeout: float | None) -> float | None:
    """The time-out of one operation, cut at the deadline.

    Raises:
        httpcore2.ReadTimeout: the deadline has passed.
    """
    end = getattr(_current, "deadline", None)
    if end is None:
        return timeout
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("the total time is over")
    return left if timeout is None else float(min(timeout, left))
