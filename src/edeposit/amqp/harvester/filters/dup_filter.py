"""Books sent before, on disk: SQLite, so that a kill at any moment costs at most a batch.

What must stay true: a book is in here only after the broker has confirmed its message; one batch
is one transaction; several processes may use the file at the same time; a broken file never stops
a harvest. A lost entry means that a book is sent twice, which is cheap; a wrong one means that a
book is never sent, which is not.

The functions are those of the first generation. Unlike there, looking at a book does not make it
seen: call ``mark_seen`` when the broker has confirmed its message. All functions and methods raise
``CacheError`` when the file cannot be used.
"""

import contextlib
import fcntl
import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import CacheError, ExtractionError
from edeposit.amqp.harvester.structures import (
    OLD,
    identity_of,
    identity_of_old,
    old_title_identity,
    required_identity,
)

__all__ = ["SeenBooks", "filter_publication", "load_cache", "mark_seen", "save_cache"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_VERSION = 1
# In seconds: another process holds the file for some milliseconds; this is for a slow disk.
_BUSY_TIMEOUT = 60.0
# Values in one statement; old versions of SQLite take 999.
_AT_ONCE = 500
_SCHEMA = """CREATE TABLE seen (
    identity TEXT PRIMARY KEY NOT NULL, title TEXT, source TEXT, first_seen TEXT NOT NULL
) WITHOUT ROWID"""
_INSERT = "INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)"


def load_cache() -> set[str]:
    """The identities of all books sent."""
    with SeenBooks() as seen:
        return set(seen.identities())


def save_cache(cache: set[str]) -> None:
    """Add identities to the books sent; none is removed, as another process may have added it."""
    with SeenBooks() as seen:
        seen.add(cache)


def filter_publication(publication: _T, cache: set[str] | None = None) -> _T | None:
    """The publication, or None if it was sent before.

    Args:
        publication: mutable or namedtuple.
        cache: identities to look at instead of the database; a new one is added to them.

    Raises:
        ExtractionError: it has neither a valid number nor a title.
    """
    if cache is None:
        with SeenBooks() as seen:
            return publication if seen.is_new(publication) else None
    identity = required_identity(publication)
    if identity in cache:
        return None
    cache.add(identity)
    return publication


def mark_seen(publications: Iterable[object], source: str = "") -> None:
    """Remember books that were sent, in one transaction."""
    with SeenBooks() as seen:
        seen.mark_seen(publications, source)


class SeenBooks:
    """The database of the books sent. A context manager; belongs to the thread that made it.

    Args:
        path: of the database, which is made if it is missing; default: the setting.
        old_cache: JSON of the first generation, read once, when the database is made.

    Raises:
        CacheError: the file cannot be used: permissions, disk full, or not the harvester's.
    """

    def __init__(self, path: Path | None = None, old_cache: Path | None = None) -> None:
        self.path = path or settings.seen_path()
        self._old_cache = old_cache or (None if path else settings.old_cache_path())
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # One process at a time checks the file, and replaces it if it is broken.
            with open(f"{self.path}.lock", "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._connection = self._open()
            self._has_old = self._knows_kind(OLD)

    def __enter__(self) -> "SeenBooks":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def is_new(self, publication: Any) -> bool:
        """Was this book never sent?

        Raises:
            ExtractionError: it has neither a valid number nor a title.
            CacheError: the file cannot be read.
        """
        return not self._known(_keys(publication, self._has_old))

    def new_ones(self, publications: Iterable[_T]) -> Iterator[_T]:
        """Those that were never sent, in their order; of equal ones the first.

        Publications without identity are passed on: ``Sieve`` refuses them.
        """
        passed: set[str] = set()
        for batch in _batches(publications, _AT_ONCE // 2):
            keys = [_keys_or_none(publication, self._has_old) for publication in batch]
            known = self._known([key for group in keys if group for key in group])
            for publication, group in zip(batch, keys, strict=True):
                if group is None:
                    yield publication
                elif known.isdisjoint(group) and group[0] not in passed:
                    passed.add(group[0])
                    yield publication

    def _known(self, keys: Iterable[str]) -> set[str]:
        known: set[str] = set()
        with self._explained():
            for batch in _batches(keys, _AT_ONCE):
                marks = ",".join("?" * len(batch))
                query = f"SELECT identity FROM seen WHERE identity IN ({marks})"
                known.update(row[0] for row in self._connection.execute(query, batch))
        return known

    def identities(self) -> Iterator[str]:
        """All identities."""
        with self._explained():
            for (identity,) in self._connection.execute("SELECT identity FROM seen"):
                yield identity

    def count(self) -> int:
        """How many books are known."""
        with self._explained():
            number: int = self._connection.execute("SELECT count(*) FROM seen").fetchone()[0]
        return number

    def export(self, file: IO[str]) -> None:
        """Write all as a JSON array of objects, one a line."""
        columns = ("identity", "title", "source", "first_seen")
        separator = "[\n"
        with self._explained():
            for row in self._connection.execute(f"SELECT {', '.join(columns)} FROM seen"):
                line = json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
                file.write(separator + line)
                separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")

    def mark_seen(self, publications: Iterable[Any], source: str = "") -> None:
        """Remember books, in one transaction. Only after the broker has confirmed them.

        Args:
            publications: mutable or namedtuples; those without identity are left out.
            source: where they come from.

        Raises:
            CacheError: the file cannot be written; none of the books is marked then.
        """
        now = _now()
        self._insert(
            (_storable(identity), _storable(str(publication.title or "")), source, now)
            for publication in publications
            if (identity := identity_of(publication)) is not None
        )

    def add(self, identities: Iterable[str]) -> None:
        """Remember identities, in one transaction."""
        now = _now()
        self._insert((identity, None, None, now) for identity in identities)

    def _insert(self, rows: Iterable[tuple[str | None, ...]]) -> None:
        with self._explained(), _transaction(self._connection):
            self._connection.executemany(_INSERT, rows)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            # Its subclasses say that something is wrong with disk, lock or permissions.
            if type(error) is not sqlite3.DatabaseError:
                raise
            return self._replace(error)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            [(verdict,), *_] = connection.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._create(connection)
            elif version > _VERSION:
                raise CacheError("was made by a newer version of edeposit.amqp", str(self.path))
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise CacheError("is the database of another program", str(self.path))
        now = _now()
        old = [(identity, None, "old cache", now) for identity in self._read_old_cache()]
        with _transaction(connection):
            connection.execute(_SCHEMA)
            connection.executemany(_INSERT, old)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        if old:
            logger.info("%s: %d books imported from %s", self.path, len(old), self._old_cache)

    def _read_old_cache(self) -> list[str]:
        path = self._old_cache
        if path is None or not path.is_file():
            return []
        try:
            return _old_identities(path)
        except ValueError as error:
            aside = _keep_broken(path)
            logger.warning("%s: no cache of books (%s): kept as %s", path, error, aside)
            return []

    def _replace(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """A new file for a broken one, with what can still be read of that."""
        for suffix in ("-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                _keep_broken(Path(f"{self.path}{suffix}"))
        aside = _keep_broken(self.path)
        connection = self._connect()
        with contextlib.closing(sqlite3.connect(aside)) as broken, _transaction(connection):
            connection.executemany(_INSERT, _readable_rows(broken))
        rescued = connection.execute("SELECT count(*) FROM seen").fetchone()[0]
        logger.warning(
            "%s is broken (%s): kept as %s; %d books could be rescued, others are sent again",
            self.path,
            error,
            aside,
            rescued,
        )
        return connection

    def _knows_kind(self, prefix: str) -> bool:
        query = "SELECT 1 FROM seen WHERE identity >= ? AND identity < ? LIMIT 1"
        after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        return self._connection.execute(query, (prefix, after)).fetchone() is not None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            message = f"the database of sent books cannot be used: {error}"
            raise CacheError(message, str(self.path)) from error


def _readable_rows(broken: sqlite3.Connection) -> Iterator[tuple[str | None, ...]]:
    """The rows of a broken file up to the first that cannot be read."""
    with contextlib.suppress(sqlite3.Error):
        yield from broken.execute("SELECT identity, title, source, first_seen FROM seen")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _keys(publication: Any, with_old: bool) -> list[str]:
    identity = required_identity(publication)
    old = old_title_identity(publication) if with_old and identity.startswith("title:") else None
    return [_storable(identity), _storable(old)] if old else [_storable(identity)]


def _keys_or_none(publication: Any, with_old: bool) -> list[str] | None:
    try:
        return _keys(publication, with_old)
    except ExtractionError:
        return None


def _storable(text: str) -> str:
    """Lone surrogates, which a Python source may give, have no place in UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _keep_broken(path: Path) -> Path:
    """Rename a file so that nothing there is overwritten."""
    for number in range(1, 1000):
        aside = Path(f"{path}.broken-{number}")
        if not aside.exists():
            return path.rename(aside)
    raise OSError(f"there are too many broken copies of {path}")


def _old_identities(path: Path) -> list[str]:
    """Identities from a cache file of the first generation, a JSON array of texts."""
    try:
        texts = json.loads(path.read_text("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("not a JSON array of texts")
    return [identity_of_old(text) for text in texts]
