"""Formats by their first bytes."""

import lzma
import re
import struct
from collections.abc import Iterator
from typing import IO

# Bytes at the start of a file that are enough to recognise its format.
HEAD = 4096
# Levels of containers; one more than clamd's MaxRecursion allows at most.
MAX_DEPTH = 101
_PIECE = 64 * 1024

_SIGNATURES = (
    (0, b"PK\3\4", "zip"),
    (0, b"PK\5\6", "zip"),
    (0, b"PK\7\b", "zip"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "OLE2"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"RE~^", "rar 1.4"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (4, b"1AY&SY", "bzip2"),
    (4, b"\x17\x72\x45\x38\x50\x90", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (257, b"ustar", "tar"),
    (60, b"BOOKMOBI", "Mobipocket"),
    (60, b"TEXtREAd", "Mobipocket"),
    (0, b"MSCF\0\0\0\0", "cab"),
    (0, b"\x60\xea", "arj"),
    (0, b"ITSF\3\0\0\0", "chm"),
    (0, b"xar!\0\x1c", "xar"),
    (0, b"EGGA\0\1", "egg"),
    (0, b"070701", "cpio"),
    (0, b"070702", "cpio"),
    (0, b"070707", "cpio"),
    (0, b"\xc7\x71", "cpio"),
    (2, b"-lh", "lha"),
    (2, b"-lz", "lha"),
    (0, b"\x78\x9f\x3e\x22", "tnef"),
    (0, b"SZDD\x88\xf0\x27\x33", "szdd"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"\x02\x21\x4c\x18", "lz4"),
    (0, b"LZIP\1", "lzip"),
    (0, b"\x1f\x9d", "compress"),
    (0, b"\x1f\xa0", "compress"),
    (0, b"\x1f\x1e", "pack"),
    (0, b"\x89LZO\0\r\n\x1a\n", "lzop"),
    (0, b"LRZI\0", "lrzip"),
    (7, b"**ACE**", "ace"),
    (20, b"\xdc\xa7\xc4\xfd", "zoo"),
    (0, b"7kSt", "zpaq"),
    (0, b"zPQ\1", "zpaq"),
    (0, b"ALZ\1", "alz"),
    (0, b"StuffIt (c)", "sit"),
    (10, b"rLau", "sit"),
    (0, b"MSWIM\0\0\0", "wim"),
    (0, b"\xff\x06\0\0sNaPpY", "snappy"),
    (0, b"hsqs", "squashfs"),
    (0, b"\xeaDRMION\xee", "Kindle DRM"),
)
UNKNOWN_TO_CLAMAV = frozenset(
    {
        "rar 1.4",
        "zstd",
        "lz4",
        "lzip",
        "lzma",
        "compress",
        "pack",
        "lzop",
        "lrzip",
        "ace",
        "zoo",
        "zpaq",
        "alz",
        "sit",
        "wim",
        "snappy",
        "squashfs",
        "Kindle DRM",
    }
)
# clamd opens these by options of their own, all others by ScanArchive.
NO_ARCHIVES = frozenset({"OLE2", "PDF", "mail", "Mobipocket"})

_MAIL = re.compile(
    rb"(?:[ \t\r\n]*|From .*\r?\n)(?:From|To|Cc|Date|Subject|Received|Return-Path|Reply-To|"
    rb"Delivered-To|Message-ID|MIME-Version|Content-[A-Z-]+|X-[A-Z-]+):[ \t]",
    re.IGNORECASE,
)
_MAIL_BODY = re.compile(rb"^(?:Content-Type|MIME-Version|Received|From):", re.IGNORECASE | re.M)


def format_of(head: bytes) -> str | None:
    """The name of a container's format by its first ``HEAD`` bytes; None: no container."""
    for offset, signature, name in _SIGNATURES:
        if head.startswith(signature, offset):
            return name
    if b"%PDF-" in head[:1024]:
        return "PDF"
    if _MAIL.match(head) and _MAIL_BODY.search(head):
        return "mail"
    return "lzma" if _is_lzma(head) else None


def by_end(file: IO[bytes]) -> str | None:
    """The format of a file with an archive behind something else, such as a program."""
    start, tail = end_of(file)
    at = tail.rfind(b"PK\5\6")
    if at >= 0:
        directory = start + at - int.from_bytes(tail[at + 12 : at + 16], "little")
        file.seek(max(directory, 0))
        if file.read(4) == b"PK\1\2":
            return "zip"
    file.seek(32769)
    return "iso" if file.read(5) == b"CD001" else None


def end_of(file: IO[bytes]) -> tuple[int, bytes]:
    """The last bytes of a file, as many as a zip's end may have, and where they begin."""
    start = max(file.seek(0, 2) - 65535 - 22, 0)
    file.seek(start)
    return start, file.read()


def _is_lzma(head: bytes) -> bool:
    """The old format of LZMA has no signature; its fields are checked as xz does, then its data."""
    if len(head) < 18 or head[0] >= 225 or head[13]:
        return False
    dictionary, size = struct.unpack("<LQ", head[1:13])
    bits = dictionary.bit_count()
    if not (
        bits == 1 or (bits == 2 and (dictionary >> (dictionary.bit_length() - 2)) == 3)
    ) or not (size == 2**64 - 1 or size < 2**38):
        return False
    try:
        lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=2**30).decompress(head, HEAD)
    except lzma.LZMAError:
        return False
    return True


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a file in pieces."""
    return iter(lambda: file.read(_PIECE), b"")
