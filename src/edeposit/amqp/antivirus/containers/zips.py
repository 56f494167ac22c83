"""Zip, and what is a zip: documents of offices, e-books, comics."""

import re
import struct
import zipfile
from typing import IO, TYPE_CHECKING

from edeposit.amqp.antivirus.containers.recognition import end_of, pieces_of

if TYPE_CHECKING:
    from edeposit.amqp.antivirus.containers.walk import Walk

# Stored, deflated, bzip2: what both ClamAV and Python unpack.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}
# Bytes of a central directory: 20,000 members with names as usual.
_MAX_DIRECTORY = 2 * 1024**2
_LOCAL = struct.Struct("<4s5H3L2H")
_ZIP64 = 0xFFFFFFFF
_METADATA = 1024**2
_ALGORITHM = re.compile(r"EncryptionMethod\b[^>]*\bAlgorithm\s*=\s*[\"']([^\"']*)")
# Fonts are disguised so in e-books that anybody can read.
_FONTS = {"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"}


def look(file: IO[bytes], walk: "Walk") -> None:
    """Look at a zip's members."""
    if _directory_size(file) > _MAX_DIRECTORY:
        walk.add("too-much", "the zip has too many members to look at")
        return
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        walk.add("damaged-zip", f"the zip has no valid directory: {error}")
        return
    with archive:
        members = archive.infolist()
        _look_between(file, archive, members, walk)
        for member in members:
            walk.count(member.file_size)
            if not _is_unscanned(file, member, walk) and not member.is_dir():
                _look_at_member(archive, member, walk)


def _directory_size(file: IO[bytes]) -> int:
    _, tail = end_of(file)
    at = tail.rfind(b"PK\5\6")
    return int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0


def _is_unscanned(file: IO[bytes], member: zipfile.ZipInfo, walk: "Walk") -> bool:
    """Note why a member cannot have been scanned, if so."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\3\4"):
        walk.add("damaged-zip", f"{member.filename!r} is not where the zip's directory says")
        return True
    _, _, flags, method, _, _, _, packed, size, _, _ = _LOCAL.unpack(header)
    if (flags | member.flag_bits) & 0x41:
        walk.add("encrypted-zip", f"{member.filename!r} needs a password")
        return True
    if not {method, member.compress_type} <= _METHODS:
        walk.add("zip-method", f"{member.filename!r} is packed by method {member.compress_type}")
        return True
    if method != member.compress_type:
        walk.add("damaged-zip", f"{member.filename!r} is packed by two methods")
        return True
    if _ZIP64 in (packed, size) or _has_zip64(member.extra):
        walk.add("zip64", f"{member.filename!r} is a zip64 member, which ClamAV does not unpack")
    return False


def _has_zip64(extra: bytes) -> bool:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == 1:
            return True
        extra = extra[4 + size :]
    return False


def _look_at_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, walk: "Walk") -> None:
    try:
        with archive.open(member) as content:
            name = member.filename.lower()
            if name in ("meta-inf/encryption.xml", "meta-inf/manifest.xml"):
                _look_at_metadata(name, content.read(_METADATA), walk)
            else:
                walk.enter(member.filename, pieces_of(content))
    except walk.FATAL:
        raise
    except Exception as error:
        walk.add("damaged-zip", f"{member.filename!r} cannot be unpacked: {error}")


def _look_at_metadata(name: str, data: bytes, walk: "Walk") -> None:
    text = data.decode("utf-16" if b"\0" in data[:8] else "utf-8", "replace")
    if name.endswith("manifest.xml"):
        if "encryption-data" in text:
            walk.add("encrypted-document", "the OpenDocument file needs a password")
    elif "EncryptedData" in text:
        algorithms = set(_ALGORITHM.findall(text))
        if not algorithms or algorithms - _FONTS:
            walk.add("drm", "the e-book is encrypted (META-INF/encryption.xml)")


def _look_between(
    file: IO[bytes], archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], walk: "Walk"
) -> None:
    """Note members that the directory does not name: some programs unpack them, ClamAV does not."""
    starts = sorted(member.header_offset for member in members)
    ends = sorted(_end_of(file, member) for member in members)
    for end, start in zip([0, *ends], [*starts, archive.start_dir], strict=True):
        file.seek(end)
        left, tail = start - end, b""
        while left > 0 and (piece := file.read(min(left, 65536))):
            walk.deadline.remaining()
            if b"PK\3\4" in tail + piece:
                walk.add("damaged-zip", "the zip has members that its directory does not name")
                return
            left, tail = left - len(piece), piece[-3:]


def _end_of(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    file.seek(member.header_offset + 26)
    lengths = file.read(4)
    names = sum(struct.unpack("<HH", lengths)) if len(lengths) == 4 else 0
    return member.header_offset + _LOCAL.size + names + member.compress_size
