"""One HTTP request within limits of bytes and time, whatever the server does.

The body is unpacked here, piece by piece, so that a few kilobytes that unpack to gigabytes are
noticed after ``HARVESTER_MAX_BYTES``, not after the memory is gone.
"""

import time
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import httpx

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import FetchError

# What we can unpack.
ACCEPT_ENCODING = "gzip, deflate"
_PIECE = 64 * 1024


class Response(NamedTuple):
    """An answer, whole.

    Attributes:
        status: HTTP status.
        headers: of the answer.
        content: the unpacked body; empty for anything but 200.
        peer: address (str) that has answered, or None.
    """

    status: int
    headers: httpx.Headers
    content: bytes
    peer: str | None


def download(client: httpx.Client, request: httpx.Request) -> Response:
    """Send a request, read the answer; redirects are not followed.

    Args:
        client: with its time-outs.
        request: what to send.

    Raises:
        FetchError: the body is too large, comes too slowly, or cannot be unpacked.
        httpx.HTTPError: the request failed.
    """
    deadline = time.monotonic() + settings.HARVESTER_PAGE_TIMEOUT
    response = client.send(request, stream=True)
    try:
        content = b""
        if response.status_code == 200:
            pieces = bytearray()
            limit = settings.HARVESTER_MAX_BYTES
            declared = response.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > limit:
                raise FetchError(f"the page has {declared} bytes, more than {limit}")
            for piece in _unpacked(response, limit):
                pieces += piece
                if len(pieces) > limit:
                    raise FetchError(f"the page has more than {limit} bytes")
                if time.monotonic() > deadline:
                    raise FetchError(
                        f"the page did not come within {settings.HARVESTER_PAGE_TIMEOUT:g} s"
                    )
            content = bytes(pieces)
        return Response(response.status_code, response.headers, content, _peer(response))
    finally:
        response.close()


def _unpacked(response: httpx.Response, limit: int) -> Iterator[bytes]:
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        yield from response.iter_raw(_PIECE)
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise FetchError(f"the page is packed in a way that was not asked for: {encoding[:50]}")
    unpack = zlib.decompressobj(47)  # gzip and zlib, by their headers
    first = True
    try:
        for piece in response.iter_raw(_PIECE):
            try:
                yield unpack.decompress(piece, limit + 1)
            except zlib.error:
                if not first:
                    raise
                unpack = zlib.decompressobj(-15)  # deflate without a header, as some servers send
                yield unpack.decompress(piece, limit + 1)
            first = False
            if unpack.unconsumed_tail:
                raise FetchError(f"the page has more than {limit} bytes")
    except zlib.error as error:
        raise FetchError(f"the page cannot be unpacked: {error}") from error


def _peer(response: httpx.Response) -> str | None:
    stream = response.extensions.get("network_stream")
    address = stream.get_extra_info("server_addr") if stream is not None else None
    return str(address[0]) if address else None
