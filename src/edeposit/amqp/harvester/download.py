"""One HTTP request within limits of bytes and time, whatever the server does.

The body is unpacked here, piece by piece, so that a few kilobytes that unpack to gigabytes are
noticed after ``HARVESTER_MAX_BYTES``, not after the memory is gone.
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import httpx

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.connections import deadline_in
from edeposit.amqp.harvester.exceptions import FetchError

# What we can unpack.
ACCEPT_ENCODING = "gzip, deflate"


class Response(NamedTuple):
    """An answer, whole.

    Attributes:
        status: HTTP status.
        headers: of the answer.
        content: the unpacked body; empty for anything but 200.
    """

    status: int
    headers: httpx.Headers
    content: bytes


def download(client: httpx.Client, request: httpx.Request) -> Response:
    """Send a request, read the answer; redirects are not followed.

    Args:
        client: with its time-outs.
        request: what to send.

    Raises:
        FetchError: the body is too large or cannot be unpacked, or the address is a private one.
        httpx.HTTPError: the request failed, or took too long.
    """
    # Connecting, headers and body together, however slowly they come.
    with deadline_in(settings.HARVESTER_PAGE_TIMEOUT):
        response = client.send(request, stream=True)
        try:
            return Response(response.status_code, response.headers, _content(response))
        finally:
            response.close()


def _content(response: httpx.Response) -> bytes:
    if response.status_code != 200:
        return b""
    limit = settings.HARVESTER_MAX_BYTES
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise FetchError(f"the page has {declared} bytes, more than {limit}")
    content = bytearray()
    for piece in _unpacked(response, limit):
        content += piece
        if len(content) > limit:
            raise FetchError(f"the page has more than {limit} bytes")
    return bytes(content)


def _unpacked(response: httpx.Response, limit: int) -> Iterator[bytes]:
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        yield from response.iter_raw()
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise FetchError(f"the page is packed in a way that was not asked for: {encoding[:50]}")
    unpack = zlib.decompressobj(47)  # gzip and zlib, by their headers
    first = True
    try:
        for piece in response.iter_raw():
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
