"""Follows ProFTPD's extended log, through rotation, truncation and restarts of either side.

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
# A line is a path of at most 4 KiB and some words; anything longer is no line of ours.
_MAX_LINE = 64 * 1024
_FINGERPRINT = 256


class LogFollower:
    """Reads the lines that are new, each once over all restarts.

    Args:
        path: of the log; it may be missing for now.
        position_file: where the position is kept.
    """

    def __init__(self, path: str, position_file: Path) -> None:
        self.path = Path(path)
        self._position_file = position_file
        self._file: IO[bytes] | None = None
        self._offset = 0
        self._missing_told = False

    def lines(self) -> Iterator[bytes]:
        """The complete lines that have come since, without their line ends."""
        while True:
            if self._file is None and not self._open():
                return
            yield from self._rest()
            if not self._has_moved_on():
                return
            self._close()

    def save(self) -> None:
        """Keep the position on disk: everything read so far is dealt with."""
        if self._file is None:
            return
        info = os.fstat(self._file.fileno())
        position = {
            "inode": info.st_ino,
            "device": info.st_dev,
            "offset": self._offset,
            "before": self._fingerprint(self._file),
        }
        temporary = self._position_file.with_suffix(".new")
        temporary.write_text(json.dumps(position), "ascii")
        temporary.rename(self._position_file)

    # --- inside -------------------------------------------------------------------------------

    def _open(self) -> bool:
        """Open the log, or first its predecessor if that has not been read to its end."""
        position = self._load()
        if position is not None:
            for path in (self.path, *sorted(self.path.parent.glob(f"{self.path.name}?*"))):
                if self._resume(path, position):
                    return True
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115  (kept open between calls)
        except FileNotFoundError:
            if not self._missing_told:
                logger.warning("log %s is not there yet, waiting for it", self.path)
                self._missing_told = True
            return False
        self._missing_told = False
        self._offset = 0
        return True

    def _resume(self, path: Path, position: dict[str, Any]) -> bool:
        try:
            file = open(path, "rb")  # noqa: SIM115
        except OSError:
            return False
        info = os.fstat(file.fileno())
        if (info.st_ino, info.st_dev) == (position["inode"], position["device"]):
            self._offset = position["offset"]
            # Written anew in place (copytruncate), or an inode that is used again.
            if self._offset <= info.st_size and self._fingerprint(file) == position["before"]:
                self._file = file
                return True
        file.close()
        return False

    def _load(self) -> dict[str, Any] | None:
        try:
            position = json.loads(self._position_file.read_text("ascii"))
            return {key: position[key] for key in ("inode", "device", "offset", "before")}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("position %s is unusable (%s), the log is read from its begin",
                           self._position_file, error)  # fmt: skip
            return None

    def _fingerprint(self, file: IO[bytes]) -> str:
        """A digest of what stands right before the position."""
        start = max(self._offset - _FINGERPRINT, 0)
        return hashlib.sha256(os.pread(file.fileno(), self._offset - start, start)).hexdigest()

    def _rest(self) -> Iterator[bytes]:
        assert self._file is not None
        if os.fstat(self._file.fileno()).st_size < self._offset:
            logger.info("log %s was truncated, reading from its begin", self.path)
            self._offset = 0
        while True:
            data = os.pread(self._file.fileno(), _CHUNK, self._offset)
            end = data.rfind(b"\n") + 1
            if not end:
                if len(data) > _MAX_LINE:  # no line of ProFTPD's
                    logger.warning("a line of %s is too long, it is passed over", self.path)
                    self._offset += len(data)
                    continue
                return
            for line in data[:end].split(b"\n")[:-1]:
                self._offset += len(line) + 1
                yield line

    def _has_moved_on(self) -> bool:
        """Does another file have the log's name now?"""
        assert self._file is not None
        try:
            info = os.stat(self.path)
        except FileNotFoundError:
            return False  # moved away; the server may still write into what we read
        now = os.fstat(self._file.fileno())
        return (info.st_ino, info.st_dev) != (now.st_ino, now.st_dev)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        # The next one is read from its begin.
        self._position_file.unlink(missing_ok=True)
