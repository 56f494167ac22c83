"""7z: by which methods its members are packed. See 7zFormat.txt of the LZMA SDK."""

import io
import lzma
import struct
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from edeposit.amqp.antivirus.containers.walk import Walk

_SIGNATURE = struct.Struct("<6sBBLQQL")
_MAX_HEADER = 1024**2
_MAX_UNPACKED_HEADER = 8 * 1024**2
_ENCRYPTED = b"\x06\xf1\x07\x01"
_LZMA = b"\x03\x01\x01"
# What ClamAV 1.4 was seen to unpack: copy, LZMA, LZMA2, and the filters of x86 and ARM code.
_METHODS = {b"\0", _LZMA, b"\x21", b"\x03\x03\x01\x03", b"\x03\x03\x05\x01"}
_END, _HEADER, _PACK, _UNPACK, _SUBSTREAMS, _SIZE, _CRC, _FOLDER = 0, 1, 6, 7, 8, 9, 10, 11
_UNPACK_SIZE, _COUNT, _ENCODED = 12, 13, 23


class _Folder(NamedTuple):
    """Members that are packed together: the coders' methods and properties, the sizes."""

    methods: list[tuple[bytes, bytes]]
    sizes: list[int]


def look(file: IO[bytes], walk: "Walk") -> None:
    """Look at a 7z's methods, sizes and number of members."""
    file.seek(0)
    _, _, _, _, offset, size, _ = _SIGNATURE.unpack(file.read(_SIGNATURE.size))
    if not size:
        return
    if size > _MAX_HEADER:
        walk.add("too-much", "the 7z has too many members to look at")
        return
    file.seek(_SIGNATURE.size + offset)
    header = _Reader(file.read(size))
    kind = header.byte()
    while kind == _ENCODED:
        packed, folders, _ = header.streams()
        if not _are_known(folders, walk):
            return
        header = _Reader(_decoded(file, packed, folders[0]))
        kind = header.byte()
    if kind != _HEADER:
        raise ValueError(f"header of kind {kind}")
    walk.is_opaque = True
    while (kind := header.byte()) != _END:
        if kind == 4:  # main streams
            _, folders, counts = header.streams()
            _are_known(folders, walk)
            for folder, count in zip(folders, counts, strict=True):
                for _ in range(min(count, _MAX_HEADER)):
                    walk.count(max(folder.sizes))
            return
        if kind != 5:  # archive properties and the like
            raise ValueError(f"property {kind} before the streams")
        return


def _are_known(folders: list[_Folder], walk: "Walk") -> bool:
    for method, _ in (coder for folder in folders for coder in folder.methods):
        if method == _ENCRYPTED:
            walk.add("encrypted-7z", "the 7z needs a password")
            return False
        if method not in _METHODS:
            walk.add("7z-method", f"the 7z is packed by method {method.hex()}")
            return False
    return True


def _decoded(file: IO[bytes], packed: tuple[int, list[int]], folder: _Folder) -> bytes:
    offset, sizes = packed
    file.seek(_SIGNATURE.size + offset)
    data = file.read(min(sizes[0], _MAX_HEADER))
    (method, properties), *more = folder.methods
    if method == b"\0":
        return data
    if more or folder.sizes[-1] > _MAX_UNPACKED_HEADER:
        raise ValueError("unusual header")
    coder = _lzma(properties) if method == _LZMA else _lzma2(properties)
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[coder])
    return unpacker.decompress(data, folder.sizes[-1])


def _lzma(properties: bytes) -> dict[str, int]:
    rest, context = divmod(properties[0], 9)
    position, literal = divmod(rest, 5)
    dictionary = int.from_bytes(properties[1:5], "little")
    return {
        "id": lzma.FILTER_LZMA1,
        "dict_size": _bounded(dictionary),
        "lc": context,
        "lp": literal,
        "pb": position,
    }


def _lzma2(properties: bytes) -> dict[str, int]:
    bits = properties[0]
    dictionary = (2 | bits & 1) << (bits // 2 + 11)
    return {"id": lzma.FILTER_LZMA2, "dict_size": _bounded(dictionary)}


def _bounded(dictionary: int) -> int:
    """A dictionary need not be larger than all that is unpacked."""
    return max(4096, min(dictionary, _MAX_UNPACKED_HEADER))


class _Reader:
    """Reads the fields of a header."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def take(self, count: int) -> bytes:
        data = self._data.read(count)
        if len(data) < count:
            raise EOFError("the header is cut off")
        return data

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """A number of one to nine bytes: the first one's leading ones say how many follow."""
        first, mask, value = self.byte(), 0x80, 0
        for position in range(8):
            if not first & mask:
                return value + ((first & (mask - 1)) << (8 * position))
            value |= self.byte() << (8 * position)
            mask >>= 1
        return value

    def numbers(self, count: int) -> list[int]:
        if count > _MAX_HEADER:
            raise ValueError(f"{count} of one thing")
        return [self.number() for _ in range(count)]

    def digests(self, count: int) -> None:
        known = count
        if not self.byte():
            bits = self.take(-(-count // 8))
            known = sum(byte.bit_count() for byte in bits)
        self.take(4 * known)

    def streams(self) -> tuple[tuple[int, list[int]], list[_Folder], list[int]]:
        """Place and sizes of what is packed, the folders, and the members in each of them."""
        packed: tuple[int, list[int]] = (0, [])
        folders: list[_Folder] = []
        counts: list[int] | None = None
        while (kind := self.byte()) != _END:
            if kind == _PACK:
                packed = self._packed()
            elif kind == _UNPACK:
                folders = self._folders()
            elif kind == _SUBSTREAMS:
                # Sizes and digests of the members follow; the folders' are enough.
                counts = [1] * len(folders)
                if self.byte() == _COUNT:
                    counts = self.numbers(len(folders))
                break
            else:
                raise ValueError(f"property {kind} among the streams")
        return packed, folders, counts or [1] * len(folders)

    def _packed(self) -> tuple[int, list[int]]:
        offset, count = self.numbers(2)
        sizes: list[int] = []
        while (kind := self.byte()) != _END:
            if kind == _SIZE:
                sizes = self.numbers(count)
            elif kind == _CRC:
                self.digests(count)
            else:
                raise ValueError(f"property {kind} among the sizes")
        return offset, sizes

    def _folders(self) -> list[_Folder]:
        if self.byte() != _FOLDER:
            raise ValueError("no folders")
        count = self.number()
        if self.byte() or count > _MAX_HEADER:
            raise ValueError("the folders are elsewhere")
        coders = [self._coders() for _ in range(count)]
        if self.byte() != _UNPACK_SIZE:
            raise ValueError("no sizes")
        folders = [_Folder(methods, self.numbers(outputs)) for methods, outputs in coders]
        while (kind := self.byte()) != _END:
            if kind != _CRC:
                raise ValueError(f"property {kind} among the folders")
            self.digests(count)
        return folders

    def _coders(self) -> tuple[list[tuple[bytes, bytes]], int]:
        methods, inputs, outputs = [], 0, 0
        for _ in range(min(self.number(), 32)):
            flags = self.byte()
            method = self.take(flags & 15)
            streams = self.numbers(2) if flags & 16 else [1, 1]
            inputs, outputs = inputs + streams[0], outputs + streams[1]
            methods.append((method, self.take(self.number()) if flags & 32 else b""))
        self.numbers(2 * (outputs - 1))
        packed = inputs - (outputs - 1)
        if packed > 1:
            self.numbers(packed)
        return methods, outputs
