"""Pages that were fetched before, for conditional requests (RFC 9110, section 13).

A page that the server reports as unchanged is not transferred again. SQLite keeps the file
consistent whatever happens to the process; a broken file is renamed and replaced, a damaged page is
fetched again. The size is bounded: the pages that were not used for the longest time go first.
"""

import logging
import sqlite3
import threading
import time
import zlib
from pathlib import Path
from typing import NamedTuple

from edeposit.amqp.harvester import settings

logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pages (
    url TEXT PRIMARY KEY, etag TEXT, modified TEXT, charset TEXT, content BLOB, used REAL,
    size INTEGER
) WITHOUT ROWID
"""
# Writes between two checks of the size.
_PATIENCE = 200


class CachedPage(NamedTuple):
    """A page as it was.

    Attributes:
        etag: its ``ETag``, or empty.
        modified: its ``Last-Modified``, or empty.
        charset: of the HTTP header, or None.
        content: its bytes.
    """

    etag: str
    modified: str
    charset: str | None
    content: bytes


class PageCache:
    """Pages on disk. Usable from many threads; after a disk error pages are fetched again.

    Args:
        path: of the file; None: no page is kept.
        size: bytes that it may hold.
    """

    def __init__(self, path: Path | None, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._writes = 0
        self._database = None if path is None else _open(path)

    def get(self, url: str) -> CachedPage | None:
        """A page, if it is kept."""
        rows = self._run("SELECT etag, modified, charset, content FROM pages WHERE url = ?", url)
        if not rows:
            return None
        etag, modified, charset, packed = rows[0]
        try:
            # The checksum of zlib tells whether it is what was put there.
            content = zlib.decompress(packed)
        except (zlib.error, TypeError) as error:
            logger.warning("page cache: %s is damaged (%s) and fetched again", url, error)
            self._run("DELETE FROM pages WHERE url = ?", url)
            return None
        return CachedPage(etag, modified, charset, content)

    def put(self, url: str, page: CachedPage) -> None:
        """Keep a page, if it has an ETag or a date."""
        if self._database is None or not (page.etag or page.modified):
            return
        packed = zlib.compress(page.content, 1)
        self._run(
            "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?, ?)",
            url,
            page.etag,
            page.modified,
            page.charset,
            packed,
            time.time(),
            len(packed),
        )
        self._writes += 1
        if self._writes % _PATIENCE == 0:
            self.shrink()

    def touch(self, url: str) -> None:
        """Remember that the page has been used."""
        self._run("UPDATE pages SET used = ? WHERE url = ?", time.time(), url)

    def shrink(self) -> None:
        """Forget what is over the size."""
        self._run(
            "DELETE FROM pages WHERE url IN (SELECT url FROM (SELECT url, SUM(size) OVER"
            " (ORDER BY used DESC, url) AS total FROM pages) WHERE total > ?)",
            self._size,
        )

    def close(self) -> None:
        """Shrink and close."""
        self.shrink()
        with self._lock:
            # A harvest that is no longer waited for may still fetch: it finds no cache.
            database, self._database = self._database, None
        if database is not None:
            database.close()

    def _run(self, statement: str, *values: object) -> list[tuple[str, str, str | None, bytes]]:
        with self._lock:
            if self._database is None:
                return []
            try:
                return self._database.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                logger.warning("page cache: %s", error)
                return []


def _open(path: Path) -> sqlite3.Connection | None:
    for _ in range(2):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            database = sqlite3.connect(
                path, timeout=10, check_same_thread=False, isolation_level=None
            )
            # What a power failure destroys is fetched again.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")
            database.execute(_SCHEMA)
            return database
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                logger.warning("pages are not kept: %s: %s", path, error)
                return None
            logger.warning("%s is broken (%s) and replaced", path, error)
            path.replace(path.with_name(path.name + ".broken"))
        except OSError as error:
            logger.warning("pages are not kept: %s", error)
            return None
    return None


def open_cache() -> PageCache:
    """The cache that the settings name."""
    name = settings.HARVESTER_CACHE
    if name == "-" or not settings.HARVESTER_CACHE_SIZE:
        return PageCache(None, 0)
    path = Path(name).expanduser() if name else settings.state_file("pages.sqlite")
    return PageCache(path, settings.HARVESTER_CACHE_SIZE)
