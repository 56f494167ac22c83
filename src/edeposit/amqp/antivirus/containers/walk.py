"""The walk through a file, its members, their members, and so on."""

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from edeposit.amqp.antivirus.containers import (
    compound,
    mails,
    pdfs,
    recognition,
    sevenzip,
    streams,
    zips,
)
from edeposit.amqp.antivirus.deadline import Deadline
from edeposit.amqp.antivirus.exceptions import ScanTimeoutError

# What is unpacked stays in memory up to this size, then goes to disk.
_IN_MEMORY = 1024**2


class Problem(NamedTuple):
    """A part of a file that was not scanned.

    Attributes:
        kind: short name, as in the setting ACCEPT.
        text: for people, with the member's name.
    """

    kind: str
    text: str


class _TooMuch(Exception):
    """More would have to be unpacked than is allowed."""


class Walk:
    """Looks through one file.

    Args:
        deadline: of the whole scan.
        max_unpacked: bytes that may be unpacked, all members together.

    Attributes:
        problems: the parts that were not scanned.
        formats: names of the formats met, see ``recognition``.
        depth: containers within each other, at the deepest place.
        members: of all containers together.
        largest: bytes of the largest member.
        is_opaque: a container was met that only the scanner opens.
        FATAL: exceptions that end the whole walk.
    """

    FATAL = (_TooMuch, ScanTimeoutError)

    def __init__(self, deadline: Deadline, max_unpacked: int) -> None:
        self.deadline = deadline
        self.problems: list[Problem] = []
        self.formats: set[str] = set()
        self.depth = 0
        self.members = 0
        self.largest = 0
        self.is_opaque = False
        self._room = max_unpacked
        self._level = 0
        self._names: list[str] = []

    def look(self, file: IO[bytes]) -> None:
        """Look at a seekable file, and at what is in it.

        Raises:
            ScanTimeoutError: the deadline has passed.
        """
        try:
            self._look(file)
        except _TooMuch:
            self.add("too-much", "it unpacks to more than is looked through")

    def add(self, kind: str, text: str) -> None:
        """Note a problem of the container that is being looked at."""
        where = " in ".join(repr(name) for name in reversed(self._names))
        if all(problem.kind != kind for problem in self.problems):
            self.problems.append(Problem(kind, f"{where}: {text}" if where else text))

    def spend(self, size: int) -> None:
        """Note that so many bytes were unpacked."""
        self.deadline.remaining()
        self._room -= size
        if self._room < 0:
            raise _TooMuch

    def count(self, size: int) -> None:
        """Note one member and its size when unpacked."""
        self.deadline.remaining()
        self.members += 1
        self.largest = max(self.largest, size)

    def enter(self, name: str, pieces: Iterable[bytes]) -> None:
        """Look at a member; it is unpacked as a whole only if it is a container itself.

        Args:
            name: of the member, for people.
            pieces: its content, not yet unpacked.
        """
        pieces = iter(pieces)
        head = next(pieces, b"")
        while len(head) < recognition.HEAD and (more := next(pieces, b"")):
            head += more
        if recognition.format_of(head) is None:
            return
        self._names.append(name)
        try:
            with self._unpacked(head, pieces) as file:
                self._look(file)
        finally:
            self._names.pop()

    @contextmanager
    def _unpacked(self, head: bytes, pieces: Iterator[bytes]) -> Iterator[IO[bytes]]:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
            for piece in itertools.chain([head], pieces):
                self.spend(len(piece))
                file.write(piece)
            yield file

    def _look(self, file: IO[bytes]) -> None:
        file.seek(0)
        name = recognition.format_of(file.read(recognition.HEAD)) or recognition.by_end(file)
        if name is None:
            return
        self.formats.add(name)
        self._level += 1
        self.depth = max(self.depth, self._level)
        try:
            if self._level > recognition.MAX_DEPTH:
                self.add("too-much", "there are too many containers in each other")
                return
            _LOOKERS.get(name, _unopened)(file, self)
        except self.FATAL:
            raise
        except Exception as error:
            # Whatever a reader makes of a crafted file: it was not read.
            self.add("damaged", f"the {name} cannot be read: {type(error).__name__}: {error}"[:300])
        finally:
            self._level -= 1


def _unopened(file: IO[bytes], walk: Walk) -> None:
    """A format that only the scanner opens, or nobody."""
    file.seek(0)
    name = recognition.format_of(file.read(recognition.HEAD))
    if name in recognition.UNKNOWN_TO_CLAMAV:
        walk.add("unknown-format", f"ClamAV does not unpack {name}")
    else:
        walk.is_opaque = True


_LOOKERS: dict[str, Callable[[IO[bytes], Walk], None]] = {
    "zip": zips.look,
    "OLE2": compound.look,
    "7z": sevenzip.look,
    "PDF": pdfs.look,
    "mail": mails.look,
    "gzip": streams.look_gzip,
    "bzip2": streams.look_bzip2,
    "xz": streams.look_xz,
    "tar": streams.look_tar,
    "Mobipocket": streams.look_mobipocket,
}
