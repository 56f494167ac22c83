"""Single compressed streams, tar, and Mobipocket books."""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from edeposit.amqp.antivirus.containers.recognition import pieces_of

if TYPE_CHECKING:
    from edeposit.amqp.antivirus.containers.walk import Walk


def look_gzip(file: IO[bytes], walk: "Walk") -> None:
    """Look at what was compressed by gzip."""
    file.seek(0)
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        _look(unpacked, walk)


def look_bzip2(file: IO[bytes], walk: "Walk") -> None:
    """Look at what was compressed by bzip2."""
    file.seek(0)
    with bz2.BZ2File(file) as unpacked:
        _look(unpacked, walk)


def look_xz(file: IO[bytes], walk: "Walk") -> None:
    """Look at what was compressed by xz."""
    file.seek(0)
    with lzma.LZMAFile(file) as unpacked:
        _look(unpacked, walk)


def _look(unpacked: "gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile", walk: "Walk") -> None:
    size = 0

    def pieces() -> Iterator[bytes]:
        nonlocal size
        while piece := unpacked.read(65536):
            walk.spend(len(piece))
            size += len(piece)
            yield piece

    walk.enter("the compressed file", pieces())
    for _ in pieces():  # to its end: it may be cut off
        pass
    walk.count(size)


def look_tar(file: IO[bytes], walk: "Walk") -> None:
    """Look at a tar's members."""
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            walk.count(member.size)
            if member.isreg() and (content := archive.extractfile(member)) is not None:
                walk.enter(member.name, pieces_of(content))
            archive.members = []  # type: ignore[attr-defined]  # or all of them are kept


def look_mobipocket(file: IO[bytes], walk: "Walk") -> None:
    """Look whether a Mobipocket or Kindle book has DRM: field "encryption" of its first record."""
    file.seek(78)
    record = int.from_bytes(file.read(4), "big")
    file.seek(record + 12)
    if file.read(2) != b"\0\0":
        walk.add("drm", "the Mobipocket book is encrypted")
