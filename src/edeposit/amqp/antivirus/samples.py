"""Samples that show what a scanner looks into: each hides EICAR where only an unpacker finds it.

They are generated, so that no scanner reports a file of this project. EICAR, the test file of
eicar.org that every scanner knows, is in none of them as plain bytes, and is always a file of its
own: its signatures may match only at the start of a file, or its digest.
"""

import base64
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

EICAR = base64.b64decode(
    "WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJELUFOVElWSVJVUy1URVNULUZJTEUhJEgrSCo="
)
_NAME = "eicar.com"
_DEFLATED = zipfile.ZIP_DEFLATED


def zipped(content: bytes = EICAR, method: int = _DEFLATED) -> bytes:
    """A zip with one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(_NAME, content)
    return buffer.getvalue()


def nested(depth: int) -> bytes:
    """Zips in zips."""
    data = EICAR
    for _ in range(depth):
        data = zipped(data)
    return data


def many_members(count: int) -> bytes:
    """A zip with the file last."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", _DEFLATED) as archive:
        for number in range(count):
            archive.writestr(str(number), b"x")
        archive.writestr(_NAME, EICAR)
    return buffer.getvalue()


def long_stream(size: int) -> Iterator[bytes]:
    """The pieces of a zip of about ``size`` bytes: one stored file of zeros, then EICAR."""
    zeros = bytes(1024**2)
    count = -(-size // len(zeros))
    checksum = 0
    for _ in range(count):
        checksum = zlib.crc32(zeros, checksum)
    length = count * len(zeros)
    stored = (zipfile.ZIP_STORED, 0, checksum, length, length, b"zeros")
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(EICAR) + packer.flush()
    small = (_DEFLATED, 0, zlib.crc32(EICAR), len(packed), len(EICAR), _NAME.encode())
    first, second = _local_header(*stored), _local_header(*small) + packed
    yield first
    for _ in range(count):
        yield zeros
    offset = len(first) + length
    yield second + _directory([(stored, 0), (small, offset)], offset + len(second))


def long_member(size: int) -> bytes:
    """The same in a zip, deflated: small outside, ``size`` bytes when unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", _DEFLATED, compresslevel=1) as archive:
        info = zipfile.ZipInfo("long.zip")
        info.compress_type = _DEFLATED
        with archive.open(info, "w") as member:
            for piece in long_stream(size):
                member.write(piece)
    return buffer.getvalue()


def encrypted_zip() -> bytes:
    """A zip whose file needs a password."""
    packed = zlib.compress(EICAR * 2)[:60]  # indistinguishable from encrypted bytes
    fields = (_DEFLATED, 1, zlib.crc32(EICAR), len(packed), len(EICAR), _NAME.encode())
    local = _local_header(*fields) + packed
    return local + _directory([(fields, 0)], len(local))


def _local_header(
    method: int, flags: int, checksum: int, packed: int, size: int, name: bytes
) -> bytes:
    """See APPNOTE.TXT 4.3.7."""
    return (
        struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, flags, method, 0, 0x21, checksum, packed, size, len(name), 0
        )
        + name
    )


def _directory(
    members: list[tuple[tuple[int, int, int, int, int, bytes], int]], offset: int
) -> bytes:
    """Central directory and its end; see APPNOTE.TXT 4.3.12 and 4.3.16."""
    entries = b"".join(
        struct.pack(
            "<4s6H3L5H2L",
            b"PK\1\2",
            20,
            20,
            flags,
            method,
            0,
            0x21,
            checksum,
            packed,
            size,
            len(name),
            0,
            0,
            0,
            0,
            0,
            start,
        )
        + name
        for (method, flags, checksum, packed, size, name), start in members
    )
    count = len(members)
    return entries + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(entries), offset, 0)


def mail() -> bytes:
    """A mail with an attachment."""
    return (
        b"From: a@example.org\r\nTo: b@example.org\r\nSubject: probe\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment; filename="
        + _NAME.encode()
        + b"\r\n\r\n"
        + base64.b64encode(EICAR)
        + b"\r\n--B--\r\n"
    )


def pdf() -> bytes:
    """A PDF with an attachment."""
    content = EICAR.hex().encode() + b">"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Names << /EmbeddedFiles << /Names [(e) 4 0 R] >> >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
        b"<< /Type /Filespec /F (e) /EF << /F 5 0 R >> >>",
        b"<< /Type /EmbeddedFile /Filter /ASCIIHexDecode /Length %d >>\nstream\n%s\nendstream"
        % (len(content), content),
    ]
    result, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(result))
        result += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return result + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer << /Root 1 0 R /Size %d >>\n"
        b"startxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table, len(objects) + 1, len(result))
    )


def ole2() -> bytes:
    """A compound file, as of old Word documents, with one stream; see [MS-CFB]."""
    # gzip's extra field makes it longer than 4096 bytes; shorter streams are stored elsewhere.
    packed = gzip.compress(EICAR, mtime=0)
    extra = bytes(5000)
    stream = packed[:3] + b"\4" + packed[4:10] + struct.pack("<H", len(extra)) + extra + packed[10:]
    sectors = -(-len(stream) // 512)
    end, free = 0xFFFFFFFE, 0xFFFFFFFF
    # Sector 0 is the table of sectors, 1 the directory, then comes the stream.
    table = [0xFFFFFFFD, end, *range(3, 2 + sectors), end]
    table += [free] * (128 - len(table))
    header = struct.pack(
        "<8s16s6H10L",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        bytes(16),
        0x3E,
        3,
        0xFFFE,
        9,
        6,
        0,
        0,
        0,
        1,
        1,
        0,
        4096,
        end,
        0,
        end,
        0,
    ) + struct.pack("<109L", 0, *[free] * 108)
    directory = _ole2_entry("Root Entry", 5, 1, end, 0) + _ole2_entry(
        "Package", 2, free, 2, len(stream)
    )
    directory += _ole2_entry("", 0, free, 0, 0) * 2
    return header + struct.pack("<128L", *table) + directory + stream.ljust(sectors * 512, b"\0")


def _ole2_entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
    encoded = name.encode("utf-16-le") + b"\0\0" if name else b""
    free = 0xFFFFFFFF
    return struct.pack(
        "<64sHBB3L16sL16sLQ",
        encoded,
        len(encoded),
        kind,
        1,
        free,
        free,
        child,
        bytes(16),
        0,
        bytes(16),
        start,
        size,
    )


def encrypted_rar() -> bytes:
    """A RAR whose headers are encrypted: what opens RAR at all says so. See the RAR 4 technote."""
    body = struct.pack("<BHH", 0x73, 0x0080, 13) + bytes(6)
    main = struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body
    return b"Rar!\x1a\x07\x00" + main + zlib.compress(EICAR * 2) * 4
