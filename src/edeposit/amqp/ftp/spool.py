"""The spool: imports on their way from a home to the broker, safe against a crash at any point.

An import is a directory of its own: ``entry.json`` says how far it is, ``files/`` holds what was
taken out of the home, each file under its number in the plan. It goes through three states:

``collecting``
    The plan is on disk, files are being renamed out of the home. Begun again after a crash, it goes
    on with the same plan.
``ready``
    What will be sent, kept and told is decided and on disk.
``returned``
    The home has its logs and kept files again, and gets the lock file that is ready in the entry.
    When it has that as well, only sending is left.

It is deleted when the broker has confirmed the message, which carries the entry's UUID however
often it is sent. The spool lies on the file system of the homes, so taking a file is one rename,
but outside of every home, so nobody can touch a file once it is taken. What lies in ``files/`` is
flat: no name and no directory of a user's is ever a path here.
"""

import contextlib
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
from edeposit.amqp.ftp.names import shown

logger = logging.getLogger(__name__)

COLLECTING, READY, RETURNED = "collecting", "ready", "returned"
_TRASH = "trash-"
_NEW = "new-"
_ENTRY = "import-"
_FORGOTTEN = 3600.0  # seconds until something half made is surely of a process that is gone
_KEYS = {"uuid", "username", "home", "below", "timestamp", "announced", "state"}
_DECIDED_KEYS = {"plan", "items", "kept", "errors", "told", "has_import_log"}


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
        """UUID of the message; it never changes."""
        return str(self.data["uuid"])

    @property
    def state(self) -> str:
        """One of the three."""
        return str(self.data["state"])

    @property
    def place(self) -> tuple[str, ...]:
        """The directory that is imported: home and what leads down from it."""
        return (self.data["home"], *self.data["below"])

    @property
    def lock(self) -> Path:
        """The lock file while it is not yet in the home."""
        return self.directory / "lock"

    @property
    def is_returned(self) -> bool:
        """Is nothing left to do but to send it?"""
        return self.state == RETURNED and not self.lock.exists()

    @property
    def is_silent(self) -> bool:
        """Nothing is in it, and nobody has asked: it is not sent."""
        return not (self.data["announced"] or self.data["items"] or self.data["errors"])

    @property
    def files(self) -> Path:
        """Where the files are that were taken."""
        return self.directory / "files"

    def taken(self) -> list[int]:
        """Numbers of the files that are here."""
        return sorted(int(name) for name in os.listdir(self.files))

    def parts(self, number: int) -> tuple[str, ...]:
        """The path below the home that a file had."""
        return tuple(self.data["plan"][number])

    def open(self, number: int) -> int:
        """A descriptor of a file that was taken, for reading.

        Raises:
            OSError: it is not here, or cannot be opened.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(self.files / str(number), flags)

    def read(self, number: int, limit: int) -> bytes:
        """The first bytes of a file that was taken."""
        with open(self.open(number), "rb") as file:
            return file.read(limit)

    def save(self, *, synced: bool = True, **changes: Any) -> None:
        """Change the entry's data, on disk as a whole.

        Args:
            synced: it survives a power failure; False: only a crash of the process, where the
                state before does no harm.
            changes: what is new.
        """
        data = self.data | changes
        temporary = self.directory / "entry.new"
        with open(temporary, "w", encoding="ascii") as file:
            # ASCII: names that are no UTF-8 are surrogates here, which JSON escapes can hold.
            json.dump(data, file)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(self.directory / "entry.json")
        self.data = data

    def reject(self, numbers: list[int], errors: list[str]) -> None:
        """Make it an import that gives files back to their user, and tells why.

        Args:
            numbers: of the files.
            errors: the reasons; paths in them are marked.
        """
        follower = str(uuid_module.uuid5(uuid_module.UUID(self.uuid), "rejected"))
        self.save(
            uuid=follower,
            state=READY,
            plan=self.data.get("plan", []),
            items=[],
            kept=numbers,
            errors=errors,
            told=[],
            has_import_log=self.data.get("has_import_log", True),
        )

    def keep_for_administrator(self, numbers: list[int]) -> None:
        """Move files whose home is gone to ``failed``."""
        for number in set(numbers) & set(self.taken()):
            failed = self.directory.parent / "failed" / self.directory.name
            failed.mkdir(0o700, parents=True, exist_ok=True)
            (self.files / str(number)).rename(failed / str(number))
            logger.error(
                "%s of %s has no home any more, it is now %s",
                shown("/".join(self.parts(number))),
                self.data["username"],
                failed / str(number),
            )

    def delete(self) -> None:
        """The message is confirmed: forget the entry; renamed first, so it is never half there."""
        trash = self.directory.with_name(f"{_TRASH}{secrets.token_hex(8)}")
        self.directory.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)


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
            self.path.mkdir(0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                info = os.fstat(descriptor)
                if info.st_uid != os.geteuid() or info.st_mode & 0o022:
                    raise FTPError(f"spool {self.path}: others can write in it")
                # Others may pass through to the outbox, but see nothing.
                os.fchmod(descriptor, 0o711)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise FTPError(f"spool {self.path}: {error.strerror}") from error

    def begin(
        self,
        username: str,
        home: str,
        below: tuple[str, ...],
        timestamp: str,
        *,
        announced: bool = True,
        identity: list[int] | None = None,
        broken: list[str] | None = None,
    ) -> SpoolEntry:
        """Begin an import.

        Args:
            username: whose.
            home: path of his home.
            below: names of the directories that lead to the imported one; empty: the home.
            timestamp: of the event, epoch seconds.
            announced: False: nobody has said that there is something to import.
            identity: of the home, see ``homes.identity_of``.
            broken: paths of files whose last upload was broken off.

        Raises:
            OSError: it cannot be written; nothing is left of it.
        """
        number = str(uuid_module.uuid4())
        directory = self.path / f"{_ENTRY}{time.time_ns():020d}-{number}"
        making = self.new_directory()
        data = {
            "uuid": number,
            "username": username,
            "home": home,
            "identity": identity,
            "below": list(below),
            "timestamp": timestamp,
            "announced": announced,
            "broken": broken or [],
            "state": COLLECTING,
        }
        try:
            (making / "files").mkdir(0o700)
            # Nothing is taken yet: an entry that a power failure leaves empty is no loss.
            SpoolEntry(making, data).save(synced=False)
            making.rename(directory)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        return SpoolEntry(directory, data)

    def new_directory(self) -> Path:
        """Make a directory in which something is prepared, to be renamed when it is whole."""
        path = self.path / f"{_NEW}{secrets.token_hex(8)}"
        path.mkdir(0o700)
        return path

    def put_aside(self, path: str) -> Path:
        """Rename a directory into the spool, where nothing changes while it is deleted."""
        aside = self.path / f"{_TRASH}{secrets.token_hex(8)}"
        os.rename(path, aside)
        return aside

    def entries(self) -> Iterator[SpoolEntry]:
        """All imports, oldest first; one that is no import is put into ``failed``."""
        for directory in sorted(self.path.glob(f"{_ENTRY}*")):
            try:
                yield SpoolEntry(directory, _checked((directory / "entry.json").read_bytes()))
            except FileNotFoundError as error:
                if directory.exists():  # and not sent meanwhile
                    self.give_up(directory, str(error))
            except OSError as error:
                logger.error("spool entry %s cannot be read: %s", directory, error)
            except ValueError as error:
                self.give_up(directory, str(error))

    def give_up(self, directory: Path, reason: str) -> None:
        """Put an entry that cannot be dealt with into ``failed``, for the administrator."""
        failed = self.path / "failed"
        try:
            failed.mkdir(0o700, exist_ok=True)
            directory.rename(failed / directory.name)
        except OSError as error:
            logger.error(
                "spool entry %s is unusable (%s) and cannot be moved: %s", directory, reason, error
            )
        else:
            logger.error(
                "spool entry %s is unusable, it is now in %s: %s", directory.name, failed, reason
            )

    def clean(self) -> None:
        """Delete what was left half made or half deleted, and what receivers have emptied."""
        for directory in self.path.glob(f"{_TRASH}*"):
            shutil.rmtree(directory, ignore_errors=True)
        for path in (*self.path.glob(f"{_NEW}*"), *self.path.glob(f".{_NEW}*")):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _FORGOTTEN:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        outbox = self.path / "outbox"
        with contextlib.suppress(OSError):
            for _, names, _, descriptor in os.fwalk(outbox, topdown=False):
                for name in names:
                    with contextlib.suppress(OSError):
                        os.rmdir(name, dir_fd=descriptor)
            os.rmdir(outbox)


def _checked(text: bytes) -> dict[str, Any]:
    """The data of an entry.

    Raises:
        ValueError: they are not what this module writes.
    """
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("entry.json is not an object")
    wanted = _KEYS if data.get("state") == COLLECTING else _KEYS | _DECIDED_KEYS
    missing = wanted - data.keys()
    if missing or data["state"] not in (COLLECTING, READY, RETURNED):
        raise ValueError(f"entry.json has no {', '.join(sorted(missing)) or 'known state'}")
    uuid_module.UUID(data["uuid"])
    return data
