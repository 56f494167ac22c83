"""AMQP 0-9-1 frames of the hot path, encoded without pika's per-frame objects.

A reply costs three frames and an ack one; for small messages pika's general encoder is most of
the CPU a daemon spends. Here the method frame of a destination is encoded once and kept, and
properties are packed in one pass. The byte layout is that of the AMQP 0-9-1 specification,
sections 4.2.3 (frames), 4.2.6.1 (content header) and the RabbitMQ errata for field tables.

Nothing here touches a socket or knows a connection: bytes in, bytes out.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pika.data
from pika.spec import BasicProperties

from edeposit.amqp.errors import UnencodableError

FRAME_OVERHEAD = 8  # type 1, channel 2, size 4, end marker 1

METHOD, HEADER, BODY = 1, 2, 3
END = b"\xce"

BASIC_PUBLISH = 0x003C0028
BASIC_RETURN = 0x003C0032
BASIC_DELIVER = 0x003C003C
BASIC_ACK = 0x003C0050
BASIC_NACK = 0x003C0078

_FRAME_START = struct.Struct(">BHI")
_CONTENT_HEADER = struct.Struct(">BHIHHQ")
_ACK = struct.Struct(">BHIIQBB")
_TABLE_SIZE = struct.Struct(">I")
_DOUBLE = struct.Struct(">d")

# Pieces of a large body are handed to the socket about this big: joining less costs system calls,
# joining more makes every partial send copy the unsent rest.
_WRITE_CHUNK = 256 * 1024

# The properties after delivery_mode and priority, in the order of their flag bits.
_SHORT_STRINGS = (
    ("correlation_id", 1 << 10),
    ("reply_to", 1 << 9),
    ("expiration", 1 << 8),
    ("message_id", 1 << 7),
)
_RARE_SHORT_STRINGS = (
    ("type", 1 << 5),
    ("user_id", 1 << 4),
    ("app_id", 1 << 3),
    ("cluster_id", 1 << 2),
)


def ack_frame(channel: int, delivery_tag: int, multiple: bool) -> bytes:
    """Encode ``basic.ack``."""
    return _ACK.pack(METHOD, channel, 13, BASIC_ACK, delivery_tag, multiple, 0xCE)


def nack_frame(channel: int, delivery_tag: int, *, requeue: bool) -> bytes:
    """Encode ``basic.nack`` for one delivery."""
    return _ACK.pack(METHOD, channel, 13, BASIC_NACK, delivery_tag, requeue << 1, 0xCE)


@lru_cache(maxsize=1024)
def publish_method(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    """Encode ``basic.publish``; cached, most messages go to few addresses.

    Raises:
        UnencodableError, TypeError, ValueError: an address does not fit its AMQP type.
    """
    payload = b"".join(
        (
            struct.pack(">IH", BASIC_PUBLISH, 0),
            _short_string(exchange, "exchange"),
            _short_string(routing_key, "routing_key"),
            b"\x01" if mandatory else b"\x00",
        )
    )
    return _FRAME_START.pack(METHOD, channel, len(payload)) + payload + END


def _short_string(value: str | bytes, what: str) -> bytes:
    # surrogateescape: the adapter decodes foreign bytes with it, and they must come out again.
    encoded = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if len(encoded) > 255:
        raise UnencodableError(f"{what} is {len(encoded)} bytes long, AMQP allows 255")
    return bytes((len(encoded),)) + encoded


@lru_cache(maxsize=64)
def _content_type(value: str) -> bytes:
    return _short_string(value, "content_type")


def encode_headers(headers: Mapping[str, Any]) -> bytes:
    """Encode a headers table.

    Args:
        headers: names to values; str, bytes, bool, int, None, Decimal, datetime, list and dict.

    Raises:
        UnencodableError: a name is longer than 255 bytes, or AMQP has no type for a value.
    """
    pieces = []
    for name, value in headers.items():
        key = _short_string(name, "a header's name")
        if type(value) is str:
            text = value.encode("utf-8", "surrogatepass")
            pieces.append(key + b"S" + _TABLE_SIZE.pack(len(text)) + text)
        elif type(value) is float:  # read by pika, but not written
            pieces.append(key + b"d" + _DOUBLE.pack(value))
        else:
            encoded: list[bytes] = [key]
            try:
                pika.data.encode_value(encoded, value)
            except Exception as error:  # pika's own, struct's, decimal's, ...
                raise UnencodableError(f"header {name!r} cannot be encoded: {error}") from error
            pieces.append(b"".join(encoded))
    table = b"".join(pieces)
    return _TABLE_SIZE.pack(len(table)) + table


def encode_properties(properties: BasicProperties) -> bytes:
    """Encode property flags and values for a content header frame.

    Raises:
        UnencodableError: a value does not fit its AMQP type.
    """
    flags = 0
    pieces = []
    if properties.content_type is not None:
        flags |= 1 << 15
        pieces.append(_content_type(properties.content_type))
    if properties.content_encoding is not None:
        flags |= 1 << 14
        pieces.append(_short_string(properties.content_encoding, "content_encoding"))
    if properties.headers is not None:
        flags |= 1 << 13
        pieces.append(encode_headers(properties.headers))
    if properties.delivery_mode is not None:
        flags |= 1 << 12
        pieces.append(bytes((properties.delivery_mode,)))
    if properties.priority is not None:
        flags |= 1 << 11
        pieces.append(_octet(properties.priority, "priority"))
    flags |= _add_short_strings(properties, _SHORT_STRINGS, pieces)
    if properties.timestamp is not None:
        flags |= 1 << 6
        pieces.append(_timestamp(properties.timestamp))
    flags |= _add_short_strings(properties, _RARE_SHORT_STRINGS, pieces)
    return flags.to_bytes(2, "big") + b"".join(pieces)


def _add_short_strings(
    properties: BasicProperties, names: tuple[tuple[str, int], ...], pieces: list[bytes]
) -> int:
    flags = 0
    for name, flag in names:
        value = getattr(properties, name)
        if value is not None:
            flags |= flag
            pieces.append(_short_string(value, name))
    return flags


def _octet(value: int, what: str) -> bytes:
    if not 0 <= value <= 255:
        raise UnencodableError(f"{what} is {value}, AMQP allows 0 to 255")
    return bytes((value,))


def _timestamp(value: int) -> bytes:
    try:
        return struct.pack(">Q", value)
    except struct.error as error:
        raise UnencodableError(f"timestamp {value!r} is not a number of seconds") from error


def header_frame_size(properties: BasicProperties) -> int:
    """Bytes of the content header frame that these properties need, frame overhead included."""
    return len(encode_properties(properties)) + 12 + FRAME_OVERHEAD


def check_header(encoded: bytes, frame_max: int) -> None:
    """See whether encoded properties fit one frame.

    Raises:
        UnencodableError: they do not; the broker would close the connection.
    """
    if len(encoded) + 12 + FRAME_OVERHEAD > frame_max:
        raise UnencodableError(
            f"the message's headers need {len(encoded)} bytes, one frame holds {frame_max}"
        )


def publish_frames(
    channel: int,
    exchange: str,
    routing_key: str,
    mandatory: bool,
    properties: BasicProperties | bytes,
    body: bytes,
    frame_max: int,
) -> list[bytes]:
    """Encode a whole message as chunks ready for the socket.

    Args:
        properties: as they are, or encoded by ``encode_properties``.
        frame_max: negotiated largest frame in bytes, overhead included.

    Returns:
        One chunk for a small message, several of about 256 KiB for a large one.

    Raises:
        UnencodableError: the routing key, the exchange or a property does not fit its AMQP type,
            or the content header does not fit one frame (the broker would close the connection).
    """
    try:
        encoded = properties if isinstance(properties, bytes) else encode_properties(properties)
        method = publish_method(channel, exchange, routing_key, mandatory)
        size = len(body) if type(body) is bytes else memoryview(body).nbytes
    except UnencodableError:
        raise
    except Exception as error:  # a value of a wrong type, at any place
        raise UnencodableError(f"the message cannot be encoded: {error}") from error
    if len(encoded) + 12 + FRAME_OVERHEAD > frame_max:
        check_header(encoded, frame_max)
    start = (
        method
        + _CONTENT_HEADER.pack(HEADER, channel, len(encoded) + 12, 60, 0, size)
        + encoded
        + END
    )
    if not size:
        return [start]
    room = frame_max - FRAME_OVERHEAD
    if size <= room:
        return [start + _FRAME_START.pack(BODY, channel, size) + body + END]
    return _large_body(start, channel, memoryview(body), room)


def _large_body(start: bytes, channel: int, body: memoryview, room: int) -> list[bytes]:
    chunks: list[bytes] = []
    pieces: list[bytes | memoryview] = [start]
    pending = len(start)
    for offset in range(0, len(body), room):
        part = body[offset : offset + room]
        pieces += (_FRAME_START.pack(BODY, channel, len(part)), part, END)
        pending += len(part) + FRAME_OVERHEAD
        if pending >= _WRITE_CHUNK:
            chunks.append(b"".join(pieces))
            pieces, pending = [], 0
    if pieces:
        chunks.append(b"".join(pieces))
    return chunks
