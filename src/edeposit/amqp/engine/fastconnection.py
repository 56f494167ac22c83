"""pika's SelectConnection with a flat path for the frames that come by the thousand.

pika reads 4 KiB at a time, cuts each frame off the front of its buffer (a copy of the rest) and
sends deliveries and confirms through a general callback table. For one channel, chosen with
``watch()``, this adapter parses ``basic.deliver``, ``basic.return``, ``basic.ack`` and
``basic.nack`` itself; every other frame goes pika's usual way, so connection handling, heartbeats
and channel methods stay pika's.

What must stay true: ``bytes_received`` and ``bytes_sent`` keep counting (pika's heartbeat checker
lives on them), and content that cannot be decoded is delivered nevertheless, with the error. pika
would drop the connection and meet the same message again after each reconnect.

The overridden names are pika's private ones: ``setup.py`` pins pika below the next minor version
and ``tests/engine/test_fastconnection.py`` fails when they change.
"""

import logging
import struct
from collections.abc import Callable
from typing import Any, Protocol

import pika
import pika.data
import pika.frame
from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine import frames
from edeposit.amqp.engine.properties import decode_properties, short_string

logger = logging.getLogger(__name__)

_FRAME_START = struct.Struct(">BHI")
_METHOD_ID = struct.Struct(">I")
_TAG_AND_BITS = struct.Struct(">QB")
_BODY_SIZE = struct.Struct(">Q")

# One read of this size holds some 100 small messages; reads of pika's 4 KiB would cost a system
# call for every ten.
READ_SIZE = 64 * 1024


class ChannelEvents(Protocol):
    """What the watched channel reports, all on the I/O thread."""

    def on_deliver(
        self,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        error: Exception | None,
    ) -> None:
        """A message; ``error`` says why a part of its properties is missing."""

    def on_return(self, method: Basic.Return, properties: BasicProperties, body: bytes) -> None:
        """A mandatory message that the broker could not route."""

    def on_confirm(self, delivery_tag: int, multiple: bool, positive: bool) -> None:
        """``basic.ack`` or ``basic.nack`` of what was published."""

    def on_batch_end(self) -> None:
        """All frames of one read have been reported."""


class FastConnection(pika.SelectConnection):
    """A SelectConnection that reports one channel's content frames directly."""

    _watched: int = 0
    _events: ChannelEvents | None = None
    #: Gets what a callback raised while frames were read; pika would drop the stream, and only
    #: log why.
    on_error: Callable[[Exception], None] | None = None
    _content: Any = None
    _frame_buffer: bytes

    def watch(self, channel_number: int, events: ChannelEvents) -> None:
        """Report this channel's deliveries, returns and confirms to ``events``."""
        self._watched = channel_number
        self._events = events
        self._content = None
        self._transport._MAX_RECV_BYTES = READ_SIZE
        self._transport._MAX_CONSUME_BYTES = READ_SIZE

    def unwatch(self) -> None:
        """Stop reporting; further frames of the channel go pika's way."""
        self._watched = 0
        self._events = None
        self._content = None

    def emit(self, chunks: list[bytes]) -> None:
        """Hand encoded frames to the socket, one write for all the small ones."""
        if len(chunks) > 1 and sum(map(len, chunks)) <= READ_SIZE:
            chunks = [b"".join(chunks)]
        for chunk in chunks:
            self.bytes_sent += len(chunk)
            self.frames_sent += 1
            self._adapter_emit_data(chunk)

    def close_copy(self) -> None:
        """In a forked child: close its copy of the socket, which stays the parent's."""
        sock = getattr(self._transport, "_sock", None)
        if sock is not None:
            sock.close()

    def discard(self, error: Exception) -> None:
        """Drop the socket without a closing handshake, whatever state pika is in.

        The close callback follows if pika can still call it. Never raises.
        """
        if self.is_closed:
            return
        try:
            self._terminate_stream(error)
        except Exception:
            logger.exception("pika could not drop a connection")

    def _on_data_available(self, data_in: bytes) -> None:
        try:
            if self._events is None:
                super()._on_data_available(data_in)
            else:
                self._parse(data_in, self._events)
        except pika.exceptions.AMQPError:
            raise  # pika's own way to drop a stream
        except Exception as error:
            if self.on_error is None:
                raise
            self.on_error(error)

    def _read_frame(self) -> Any:
        """As pika's, but a content header with an odd property is not the end of the stream."""
        try:
            return super()._read_frame()
        except pika.exceptions.AMQPError:
            raise
        except Exception:
            return _read_header(self._frame_buffer)

    def _parse(self, data_in: bytes, events: ChannelEvents) -> None:
        buffer = self._frame_buffer + data_in if self._frame_buffer else data_in
        self._frame_buffer = b""
        position, end = 0, len(buffer)
        while end - position >= 8:
            frame_type, channel, size = _FRAME_START.unpack_from(buffer, position)
            frame_end = position + 8 + size
            if frame_end > end:
                break
            if buffer[frame_end - 1] != 0xCE:
                raise pika.exceptions.InvalidFrameError("Invalid FRAME_END marker")
            self.bytes_received += frame_end - position
            if channel != self._watched or not self._take(
                frame_type, buffer, position + 7, frame_end - 1
            ):
                _, value = pika.frame.decode_frame(buffer[position:frame_end])
                if value is not None:
                    self._process_frame(value)
                if self._events is None:  # the channel was closed by that frame
                    position = frame_end
                    break
            else:
                self.frames_received += 1
            position = frame_end
        rest = buffer[position:]
        if self._events is None:
            if rest:
                super()._on_data_available(rest)
            return
        self._frame_buffer = rest
        events.on_batch_end()

    def _take(self, frame_type: int, buffer: bytes, start: int, end: int) -> bool:
        """Handle one frame of the watched channel; False if it is not ours to handle."""
        events = self._events
        if events is None:
            return False
        if frame_type == frames.METHOD:
            method_id = _METHOD_ID.unpack_from(buffer, start)[0]
            if method_id == frames.BASIC_DELIVER:
                self._content = _Content(_decode_deliver(buffer, start + 4), self._finish_deliver)
            elif method_id == frames.BASIC_ACK or method_id == frames.BASIC_NACK:
                tag, bits = _TAG_AND_BITS.unpack_from(buffer, start + 4)
                events.on_confirm(tag, bool(bits & 1), method_id == frames.BASIC_ACK)
            elif method_id == frames.BASIC_RETURN:
                method = Basic.Return()
                method.decode(buffer[start:end], 4)
                self._content = _Content(method, self._finish_return)
            else:
                return False
            return True
        content = self._content
        if content is None or frame_type not in (frames.HEADER, frames.BODY):
            return False
        if content.add(frame_type, buffer, start, end):
            self._content = None
            content.finish(content)
        return True

    def _finish_deliver(self, content: "_Content") -> None:
        if self._events is not None:
            self._events.on_deliver(
                content.method, content.properties, content.body(), content.error
            )

    def _finish_return(self, content: "_Content") -> None:
        if self._events is not None:
            self._events.on_return(content.method, content.properties, content.body())


def _read_header(buffer: bytes) -> tuple[int, pika.frame.Header]:
    """Decode a whole content header frame; returns its size and its value."""
    frame_type, channel, size = _FRAME_START.unpack_from(buffer)
    if frame_type != frames.HEADER:
        raise pika.exceptions.InvalidFrameError("a frame cannot be decoded")
    body_size = _BODY_SIZE.unpack_from(buffer, 11)[0]
    properties, error = decode_properties(buffer[19 : 7 + size])
    logger.warning("a property of a message cannot be decoded and is lost: %r", error)
    return size + frames.FRAME_OVERHEAD, pika.frame.Header(channel, body_size, properties)


class _Content:
    """A message while its header and body frames arrive."""

    __slots__ = ("error", "finish", "method", "missing", "parts", "properties")

    def __init__(self, method: Any, finish: Callable[["_Content"], None]) -> None:
        self.method = method
        self.finish = finish
        self.parts: list[bytes] = []
        self.missing = 0
        self.properties: BasicProperties
        self.error: Exception | None = None

    def add(self, frame_type: int, buffer: bytes, start: int, end: int) -> bool:
        """Take one frame; True when the message is complete."""
        if frame_type == frames.HEADER:
            self.missing = _BODY_SIZE.unpack_from(buffer, start + 4)[0]
            self.properties, self.error = decode_properties(buffer[start + 12 : end])
        else:
            self.missing -= end - start
            try:
                self.parts.append(buffer[start:end])
            except MemoryError as error:
                self._give_up(error)
        return self.missing <= 0

    def body(self) -> bytes:
        try:
            return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        except MemoryError as error:
            self._give_up(error)
            return b""

    def _give_up(self, error: MemoryError) -> None:
        """There is no room for the body; the message is delivered without it, with the error.

        A lost connection instead would bring the same message again.
        """
        self.parts.clear()
        self.error = MemoryError("there is no memory for the body of a message")
        self.error.__cause__ = error


def _decode_deliver(buffer: bytes, offset: int) -> Basic.Deliver:
    consumer_tag, offset = short_string(buffer, offset)
    delivery_tag, bits = _TAG_AND_BITS.unpack_from(buffer, offset)
    exchange, offset = short_string(buffer, offset + 9)
    routing_key, _ = short_string(buffer, offset)
    return Basic.Deliver(consumer_tag, delivery_tag, bool(bits & 1), exchange, routing_key)
