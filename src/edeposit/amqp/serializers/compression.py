"""Compressed bodies: ``content_encoding`` gzip and deflate, undone within bounds.

The names are HTTP's (RFC 9110, 8.4.1). Other values of ``content_encoding`` are left alone: some
libraries put a charset there.
"""

import zlib

from edeposit.amqp.serializers.errors import SerializationError

# A broker takes no larger message by default (RabbitMQ before 4.0), so no honest request unpacks
# to more.
LIMIT = 128 * 1024 * 1024

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_FORMATS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class CompressionError(SerializationError):
    """A body is not compressed as its ``content_encoding`` says, or unpacks to too much."""


def decompress(body: bytes, encoding: str | None, limit: int = LIMIT) -> bytes:
    """Undo a body's ``content_encoding``.

    Args:
        body: as it came.
        encoding: of the message; None and unknown ones leave the body as it is.
        limit: bytes that it may unpack to.

    Raises:
        CompressionError: it is damaged, cut off or larger than ``limit``.
    """
    name = str(encoding).strip().lower()
    wbits = _FORMATS.get(name) if encoding is not None else None
    if wbits is None:
        return body
    try:
        return _unpack(body, wbits, limit)
    except zlib.error as error:
        if wbits == _ZLIB:  # many senders of "deflate" leave the zlib header out
            try:
                return _unpack(body, _RAW, limit)
            except zlib.error:
                pass  # the first error says more
        raise CompressionError(f"content_encoding is {name}, but: {error}") from error


def _unpack(body: bytes, wbits: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        unpacker = zlib.decompressobj(wbits)
        part = unpacker.decompress(body, limit - size + 1)
        size += len(part)
        if size > limit:
            raise CompressionError(f"the body unpacks to more than {limit} bytes")
        if not unpacker.eof:
            raise CompressionError("the compressed body is cut off")
        parts.append(part)
        body = unpacker.unused_data
        if not body or wbits != _GZIP:  # only gzip has several members
            return b"".join(parts)


def compress(body: bytes, accepted: object) -> tuple[str | None, bytes]:
    """Compress a body in the first way that its receiver accepts.

    Args:
        body: the plain body.
        accepted: names in their order, separated by commas; anything else accepts nothing.

    Returns:
        The ``content_encoding``, None for a plain body, and the body.
    """
    names = accepted.split(",") if isinstance(accepted, str) else []
    for name in (name.strip().lower() for name in names):
        if name in _FORMATS:
            packer = zlib.compressobj(wbits=_FORMATS[name])
            return name, packer.compress(body) + packer.flush()
    return None, body
