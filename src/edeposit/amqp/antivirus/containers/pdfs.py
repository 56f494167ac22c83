"""PDF: attachments and encryption. See ISO 32000-1, 7.5.7, 7.6 and 7.11.4."""

import re
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from edeposit.amqp.antivirus.containers.walk import Walk

_PIECE = 256 * 1024
# Longer than what is looked for, with its dictionary.
_OVERLAP = 4096
_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")
_ATTACHMENT = re.compile(rb"/(?:EmbeddedFile|FileAttachment|EF\s*(?:<<|\d+\s+\d+\s+R))")
_ENCRYPTED = re.compile(rb"/Encrypt\b\s*(?:<<|\d+\s+\d+\s+R)")
_OBJECTS = re.compile(rb"/ObjStm\b.{0,2000}?\bstream\r?\n", re.DOTALL)
_MAX_OBJECTS = 4 * 1024**2
_TEXT = "the PDF has an attachment, which ClamAV may not unpack"


def look(file: IO[bytes], walk: "Walk") -> None:
    """Look for attachments, also in streams of objects, and for encryption."""
    for offset, window in _windows(file):
        walk.deadline.remaining()
        if _ENCRYPTED.search(window):
            walk.add("encrypted-pdf", "the PDF is encrypted")
        if _has_attachment(window):
            walk.add("pdf-attachment", _TEXT)
        for match in _OBJECTS.finditer(window):
            walk.deadline.remaining()
            objects = _inflated(file, offset + match.end())
            if objects is None and b"/Filter" in match[0]:
                walk.add("damaged", "a stream of objects in the PDF cannot be read")
            elif objects and _has_attachment(objects):
                walk.add("pdf-attachment", _TEXT)


def _windows(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The file in pieces that overlap, with their offsets."""
    offset = 0
    while True:
        file.seek(offset)
        window = file.read(_PIECE)
        yield offset, window
        if len(window) < _PIECE:
            return
        offset += _PIECE - _OVERLAP


def _has_attachment(data: bytes) -> bool:
    if b"#" in data:  # any letter of a name may be written as #xx
        data = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), data)
    return _ATTACHMENT.search(data) is not None


def _inflated(file: IO[bytes], offset: int) -> bytes | None:
    """A deflated stream; None: it is not deflated, or too long."""
    file.seek(offset)
    unpacker = zlib.decompressobj()
    result = b""
    try:
        while not unpacker.eof and (data := file.read(65536)):
            result += unpacker.decompress(data, _MAX_OBJECTS)
            if len(result) >= _MAX_OBJECTS:
                return None
    except zlib.error:
        pass
    return result or None
