"""The spool: imports on their way from a home to the broker, safe against a crash at any point.

An import is a directory of its own: ``entry.json`` says how far it is, ``files/`` holds what was
taken out of the home. It goes through three states:

``collecting``  files are being renamed out of the home; begun again after a crash, it goes on
``ready``       what will be sent, kept and told is decided and on disk
``returned``    the home has its logs, kept files and lock file again; only sending is left

and is deleted when the broker has confirmed the message, which carries the entry's UUID however
often it is sent. The spool lies on the file system of the homes, so taking a file is one rename,
but outside of every home, so nobody can touch a file once it is taken.
"""

import contextlib
import grp
import json
import logging
import os
import secrets
import shutil
import time
import uuid as uuid_module
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edeposit.amqp.ftp import settings
from edeposit.amqp.ftp.exceptions import FTPError

logger = logging.getLogger(__name__)

COLLECTING, READY, RETURNED = "collecting", "ready", "returned"
_TRASH = "trash-"
_ENTRY = "import-"


class SpoolEntry:
    """One import.

    Attributes:
        directory: of the entry.
        data: what ``entry.json`` holds.
    """

    def __init__(self, directory: Path, data: dict[str, Any]) -> None:
        self.directory = directory
        self.data = data

    @property
    def uuid(self) -> str:
        """UUID of the message, for ever."""
        return str(self.data["uuid"])

    @property
    def state(self) -> str:
        """One of the three."""
        return str(self.data["state"])

    @property
    def is_silent(self) -> bool:
        """Nothing is in it, and nobody has asked: it is not sent."""
        return not (self.data["announced"] or self.data["items"] or self.data["errors"])

    @property
    def files(self) -> Path:
        """Where the files are that were taken."""
        return self.directory / "files"

    def save(self, *, synced: bool = True, **changes: Any) -> None:
        """Change the entry's data, on disk as a whole.

        Args:
            synced: it survives a power failure; False: only a crash of the process, where the
                state before does no harm.
            changes: what is new.
        """
        self.data |= changes
        temporary = self.directory / "entry.new"
        with open(temporary, "w", encoding="ascii") as file:
            # ASCII: names that are no UTF-8 are surrogates here, which JSON escapes can hold.
            json.dump(self.data, file)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(self.directory / "entry.json")

    def delete(self) -> None:
        """The message is confirmed: forget the entry; renamed first, so it is never half there."""
        trash = self.directory.with_name(f"{_TRASH}{secrets.token_hex(8)}")
        self.directory.rename(trash)
        shutil.rmtree(trash)


class Spool:
    """All imports that are not yet at the broker.

    Args:
        path: its directory; None: the setting SPOOL_PATH.

    Raises:
        FTPError: it cannot be made, or is not ours alone.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = Path(settings.SPOOL_PATH if path is None else path)
        try:
            # Others may pass through to the outbox, but see nothing.
            self.path.mkdir(0o711, parents=True, exist_ok=True)
            info = os.lstat(self.path)
        except OSError as error:
            raise FTPError(f"spool {self.path}: {error.strerror}") from error
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            raise FTPError(f"spool {self.path}: others can write in it")

    def begin(
        self,
        username: str,
        home: str,
        below: tuple[str, ...],
        timestamp: str,
        *,
        announced: bool = True,
    ) -> SpoolEntry:
        """Begin an import.

        Args:
            username: whose.
            home: path of his home.
            below: names of the directories that lead to the imported one; empty: the home.
            timestamp: of the event, epoch seconds.
            announced: False: nobody has said that there is something to import.
        """
        number = str(uuid_module.uuid4())
        directory = self.path / f"{_ENTRY}{time.time_ns():020d}-{number}"
        making = self.path / f"{_TRASH}{number}"
        (making / "files").mkdir(0o700, parents=True)
        making.chmod(0o700)
        data = {
            "uuid": number,
            "username": username,
            "home": home,
            "below": below,
            "timestamp": timestamp,
            "announced": announced,
            "state": COLLECTING,
        }
        SpoolEntry(making, data).save()
        making.rename(directory)
        return SpoolEntry(directory, data)

    def entries(self) -> Iterator[SpoolEntry]:
        """All imports, oldest first; one that cannot be read is logged and left alone."""
        for directory in sorted(self.path.glob(f"{_ENTRY}*")):
            try:
                data = json.loads((directory / "entry.json").read_text("ascii"))
            except (OSError, ValueError) as error:
                logger.error("spool entry %s cannot be read, it stays: %s", directory, error)
            else:
                yield SpoolEntry(directory, data)

    def clean(self) -> None:
        """Delete what was left half made or half deleted, and what receivers have emptied."""
        for directory in self.path.glob(f"{_TRASH}*"):
            shutil.rmtree(directory, ignore_errors=True)
        for path, _directories, _files in os.walk(self.path / "outbox", topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def hand_over(self, entry: SpoolEntry, parts: tuple[str, ...]) -> str:
        """Move a file to the outbox, where the receiver takes it; returns its path there.

        Calling it again gives the same path.
        """
        target = self.path / "outbox" / entry.uuid / "/".join(parts)
        source = entry.files / "/".join(parts)
        if not target.exists() and source.exists():
            self._make_outbox(target.parent)
            source.chmod(0o640)
            group = _outbox_group()
            if group is not None:
                os.chown(source, -1, group)
            source.rename(target)
        return str(target)

    def _make_outbox(self, directory: Path) -> None:
        group = _outbox_group()
        missing = [directory]
        while missing[-1].parent != self.path:
            missing.append(missing[-1].parent)
        for path in reversed(missing):
            if not path.exists():
                path.mkdir(0o700)
                if group is not None:
                    os.chown(path, -1, group)
                    path.chmod(0o2770)  # the receiver deletes what it has taken


def _outbox_group() -> int | None:
    name = settings.OUTBOX_GROUP
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise FTPError(f"OUTBOX_GROUP: there is no group {name!r}") from error
