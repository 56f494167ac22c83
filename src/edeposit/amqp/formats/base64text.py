"""Base64 as it travels in messages: a text that is decoded piece by piece, or read like a file.

White space is allowed anywhere (the first generation breaks lines), anything else foreign is an
error. What must stay true: the text is never copied as a whole, and every step over it is done in
C: one Python call per 64 KiB.
"""

import bisect
import io
from collections.abc import Iterator
from typing import IO, NamedTuple

import pybase64

# Characters of text per piece: small enough for the CPU's cache.
_STEP = 64 * 1024
_WHITE_SPACE = " \t\r\n\f\v"


class Base64Error(ValueError):
    """The text is not base64; the error says why."""


class _Place(NamedTuple):
    """Where a piece begins: in the decoded bytes, and in the text after the carried characters."""

    decoded: int
    text: int
    carried: bytes


class Base64Text:
    """A text of base64.

    Args:
        text: the base64; white space in it is skipped.

    Attributes:
        most: bytes that the decoded content has at most, known at once.

    Raises:
        Base64Error: it is not a string, or not ASCII. All else is found while it is decoded.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise Base64Error("not a text")
        if not text.isascii():
            raise Base64Error("not base64: characters beyond ASCII")
        self._text = text
        self._white_space = [mark.encode() for mark in _WHITE_SPACE if mark in text]
        self.most = len(text) // 4 * 3
        self._size: int | None = None
        # Where the pieces begin, as far as they have been decoded.
        self._places = [_Place(0, 0, b"")]

    @property
    def size(self) -> int:
        """Bytes of the decoded content; counted if it has not been decoded yet.

        Raises:
            Base64Error: the text's length or padding is wrong.
        """
        if self._size is None:
            text = self._text
            length = len(text) - sum(text.count(mark.decode()) for mark in self._white_space)
            begin = text.find("=")
            padding = text.count("=", begin) if begin >= 0 else 0
            if length % 4 or padding > 2:
                raise Base64Error("not base64: wrong length or padding")
            self._size = length // 4 * 3 - padding
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        """The content in pieces of at most 48 KiB.

        Raises:
            Base64Error: there is a foreign character, padding before the end, or an end too early.
        """
        number = total = 0
        while number < len(self._places):
            piece, _ = self._piece(number)
            if piece:
                yield piece
            total += len(piece)
            number += 1
        self._size = total

    def open(self) -> IO[bytes]:
        """The content as a seekable file, decoded where it is read."""
        return io.BufferedReader(_Reader(self), _STEP)

    def _piece(self, number: int) -> tuple[bytes, int]:
        """Decode a piece, and note where the next one begins; returns it with its offset."""
        place = self._places[number]
        end = place.text + _STEP
        text = self._text[place.text : end].encode("ascii")
        for mark in self._white_space:
            text = text.replace(mark, b"")
        text = place.carried + text
        is_last = end >= len(self._text)
        whole = len(text) if is_last else len(text) - len(text) % 4
        try:
            piece = pybase64.b64decode(text[:whole], validate=True)
        except ValueError as error:
            raise Base64Error(f"not base64: {error}") from error
        if not is_last:
            # Behind padding there may be white space.
            is_padded = text.endswith(b"=", 0, whole)
            if is_padded and (whole < len(text) or self._has_more(end)):
                raise Base64Error("not base64: padding before its end")
            if number + 1 == len(self._places):
                self._places.append(_Place(place.decoded + len(piece), end, text[whole:]))
        return piece, place.decoded

    def _has_more(self, offset: int) -> bool:
        marks = "".join(mark.decode() for mark in self._white_space)
        while offset < len(self._text):
            if self._text[offset : offset + _STEP].strip(marks or None):
                return True
            offset += _STEP
        return False

    def _piece_at(self, offset: int) -> tuple[bytes, int]:
        """The piece that holds a byte of the content, with its offset."""
        while True:
            number = bisect.bisect_right(self._places, offset, key=lambda place: place.decoded) - 1
            known = len(self._places)
            piece, start = self._piece(number)
            if offset < start + len(piece) or len(self._places) == known:
                return piece, start


class _Reader(io.RawIOBase):
    """Reads the content at any place; keeps the piece it has read last."""

    def __init__(self, text: Base64Text) -> None:
        self._source = text
        self._offset = 0
        self._piece, self._start = b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise OSError(22, "negative offset")
        self._offset = base + offset
        return self._offset

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        if self._offset >= self._source.size:
            return 0
        if not self._start <= self._offset < self._start + len(self._piece):
            self._piece, self._start = self._source._piece_at(self._offset)
        begin = self._offset - self._start
        data = self._piece[begin : begin + len(buffer)]
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)


def encoded(file: IO[bytes]) -> str:
    """The rest of a file as one line of base64."""
    return pybase64.b64encode_as_string(file.read())
