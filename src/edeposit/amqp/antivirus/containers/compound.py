"""OLE2 compound files: old Office documents, and new ones with a password."""

import struct
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import olefile

from edeposit.amqp.antivirus.containers.recognition import HEAD

if TYPE_CHECKING:
    from edeposit.amqp.antivirus.containers.walk import Walk

_ENCRYPTED = {
    "encryptedpackage",
    "encryptioninfo",
    "encryptedsummary",
    "\x06dataspaces",
    "\tdrmcontent",
}
_FILEPASS = 0x2F  # [MS-XLS] 2.4.117


def look(file: IO[bytes], walk: "Walk") -> None:
    """Look at a compound file's streams."""
    file.seek(0)
    document = olefile.OleFileIO(file)
    paths = document.listdir()
    if not paths:
        walk.add("damaged", "the compound file has no streams")
    for path in paths:
        size = document.get_size(path)
        walk.count(size)
        name = path[-1].lower()
        if _ENCRYPTED & {part.lower() for part in path}:
            walk.add("encrypted-document", "the Office document needs a password or a licence")
        elif _is_encrypted(name, _head(document, path)):
            walk.add("encrypted-document", "the old Office document needs a password")
        else:
            walk.enter(path[-1], _pieces(document, path))


def _is_encrypted(name: str, head: bytes) -> bool:
    if name == "worddocument":  # [MS-DOC] 2.5.2: fEncrypted
        return len(head) > 11 and bool(head[11] & 1)
    if name == "current user":  # [MS-PPT] 2.3.2: headerToken
        return head[12:16] == b"\xdf\xc4\xd1\xf3"
    if name not in ("workbook", "book"):
        return False
    at = 0
    while at + 4 <= len(head):
        kind, size = struct.unpack_from("<HH", head, at)
        if kind == _FILEPASS:
            return True
        at += 4 + size
    return False


def _head(document: Any, path: list[str]) -> bytes:
    return next(_pieces(document, path), b"")[:HEAD]


def _pieces(document: Any, path: list[str]) -> Iterator[bytes]:
    """A stream; ``openstream`` would read all of it at once, so its begin is asked for first."""
    entry = document.direntries[document._find(path)]
    is_small = entry.size < document.minisectorcutoff
    if entry.size > HEAD and not is_small:
        # ``force_FAT``: a long stream's begin lies where long streams do.
        yield document._open(entry.isectStart, HEAD, force_FAT=True).read()
        stream = document.openstream(path)
        stream.seek(HEAD)
    else:
        stream = document.openstream(path)
    yield from iter(lambda: stream.read(65536), b"")
