"""Follows ProFTPD's extended log, through rotation, truncation and restarts of either side.

Each FTP session has opened the log for itself: after a rotation the old sessions go on writing into
the old file while new ones write into the new one. So the old files are read as well.

The log is a hint, the homes are the truth (``monitor``): what is read twice is recognised there,
and what is missed is found there. So the position may be saved a little late, but never early.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
# A line is a path of at most 4 KiB and some words; anything longer is not from ProFTPD.
_MAX_LINE = 64 * 1024
_FINGERPRINT = 256
# Sessions end after some minutes of idleness, logs are rotated once a day: two would do.
_MAX_FILES = 4


class _LogFile:
    """One file that has been the log, and how far it has been read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.offset = 0
        self._before = self.fingerprint()  # of the position when it was reached

    def identity(self) -> tuple[int, int]:
        info = os.fstat(self.file.fileno())
        return info.st_ino, info.st_dev

    def fingerprint(self) -> str:
        """A digest of the bytes right before the position."""
        start = max(self.offset - _FINGERPRINT, 0)
        return hashlib.sha256(os.pread(self.file.fileno(), self.offset - start, start)).hexdigest()

    def position(self) -> dict[str, Any]:
        inode, device = self.identity()
        return {
            "inode": inode,
            "device": device,
            "offset": self.offset,
            "before": self.fingerprint(),
        }

    def is_at(self, position: dict[str, Any]) -> bool:
        """Is it the file of a stored position? Takes over the offset if it is.

        Not if it was written anew in place (copytruncate), or has the inode of a deleted one.
        """
        if self.identity() != (position["inode"], position["device"]):
            return False
        self.offset, self._before = position["offset"], position["before"]
        if self.fingerprint() == self._before:
            return True
        self.offset = 0
        self._before = self.fingerprint()
        return False

    def lines(self) -> Iterator[bytes]:
        """The complete lines that have come since."""
        # A truncated log may have grown past the position again: its size alone does not tell.
        if self.fingerprint() != self._before:
            logger.info("log %s was truncated, reading from its begin", self.file.name)
            self.offset = 0
        try:
            yield from self._rest()
        finally:
            self._before = self.fingerprint()

    def _rest(self) -> Iterator[bytes]:
        while True:
            data = os.pread(self.file.fileno(), _CHUNK, self.offset)
            end = data.rfind(b"\n") + 1
            if not end:
                if len(data) > _MAX_LINE:  # no line of ProFTPD's
                    logger.warning("a line of %s is too long, it is passed over", self.file.name)
                    self.offset += len(data)
                    continue
                return
            for line in data[:end].split(b"\n")[:-1]:
                self.offset += len(line) + 1
                yield line


class LogFollower:
    """Reads the lines that are new, each once over all restarts.

    Args:
        path: of the log; it may be missing for now.
        position_file: where the positions are kept.
    """

    def __init__(self, path: str, position_file: Path) -> None:
        self.path = Path(path)
        self._position_file = position_file
        self._files: list[_LogFile] | None = None  # oldest first
        self._missing_told = False

    def lines(self) -> Iterator[bytes]:
        """The complete lines that have come since, without their line ends."""
        if self._files is None:
            self._files = list(self._resume())
        self._look_for_a_new_one()
        for file in self._files:
            yield from file.lines()

    def save(self) -> None:
        """Keep the positions on disk: everything read so far is dealt with."""
        temporary = self._position_file.with_suffix(".new")
        temporary.write_text(json.dumps([file.position() for file in self._files or ()]), "ascii")
        temporary.rename(self._position_file)

    # --- inside -------------------------------------------------------------------------------

    def _resume(self) -> Iterator[_LogFile]:
        """Find the files of the stored positions, whatever rotation has called them since."""
        candidates = []
        for path in (self.path, *sorted(self.path.parent.glob(f"{self.path.name}?*"))):
            try:
                candidates.append(_LogFile(open(path, "rb")))  # noqa: SIM115  (kept open)
            except OSError:
                continue
        for position in self._load():
            for file in candidates:
                if file.is_at(position):
                    candidates.remove(file)
                    yield file
                    break
        for file in candidates:
            file.file.close()

    def _load(self) -> list[dict[str, Any]]:
        try:
            positions = json.loads(self._position_file.read_text("ascii"))
            return [
                {key: position[key] for key in ("inode", "device", "offset", "before")}
                for position in positions
            ]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning(
                "position %s is unusable (%s), the log is read from its begin",
                self._position_file,
                error,
            )
            return []

    def _look_for_a_new_one(self) -> None:
        """Does a file that is not known yet have the log's name?"""
        assert self._files is not None
        try:
            info = os.stat(self.path)
            if any(file.identity() == (info.st_ino, info.st_dev) for file in self._files):
                return
            self._files.append(_LogFile(open(self.path, "rb")))  # noqa: SIM115  (kept open)
        except FileNotFoundError:
            if not self._files and not self._missing_told:
                logger.warning("log %s is not there yet, waiting for it", self.path)
                self._missing_told = True
            return
        self._missing_told = False
        for old in self._files[:-_MAX_FILES]:
            old.file.close()
        del self._files[:-_MAX_FILES]
