"""A harvest: all sources at once, each at its own pace; errors are collected and reported.

A source is a file (``definition``) or a Python function behind the entry point group
``edeposit.amqp.harvester.sources`` that returns a list of ``Publication``.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import (
    DefinitionError,
    ExtractionError,
    FetchError,
    HarvesterError,
)
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.site import Fetcher
from edeposit.amqp.harvester.site.cache import PageCache, open_cache
from edeposit.amqp.harvester.source import Source, load_source, source_files
from edeposit.amqp.harvester.source.extraction import Spot, read_publication
from edeposit.amqp.harvester.structures import Publication

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "edeposit.amqp.harvester.sources"
_MOST_SOURCES_AT_A_TIME = 16
# Of the number of a page; anything longer is not one.
_MOST_DIGITS = 12

Progress = Callable[[str, int, int], None]


class SourceResult(NamedTuple):
    """What a source gave.

    Attributes:
        name: of the source.
        publications: in the order of its pages.
        errors: of pages and books that could not be read (``HarvesterError``).
    """

    name: str
    publications: list[Publication]
    errors: list[HarvesterError]


def source_names() -> list[str]:
    """All known sources, sorted."""
    functions = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return sorted(set(source_files()) | functions)


def wanted_sources() -> list[str]:
    """The sources that the settings name; else the enabled ones.

    Raises:
        DefinitionError: a named source does not exist.
    """
    if settings.HARVESTER_SOURCES:
        check_names(settings.HARVESTER_SOURCES)
        return list(settings.HARVESTER_SOURCES)
    return [name for name in source_names() if _is_enabled(name)]


def check_names(names: Iterable[str]) -> None:
    """Look whether there are sources of these names.

    Raises:
        DefinitionError: there is none of a name; the text says which there are.
    """
    known = source_names()
    for name in names:
        if name not in known:
            raise DefinitionError(f"there is no source {name!r} (there are: {', '.join(known)})")


def _is_enabled(name: str) -> bool:
    path = source_files().get(name)
    if path is None:
        return False  # a function is named in the settings when it is wanted
    try:
        return load_source(path).enabled
    except DefinitionError:
        return True  # so that its mistake is reported


def harvest(
    sources: Iterable[str] | None = None,
    *,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Iterator[SourceResult]:
    """Harvest, and give each source's result when it is done.

    Args:
        sources: their names; None: ``wanted_sources()``.
        progress: called from other threads with name, books done and books known so far.
        stop: ends the harvest early when it is set; pages not fetched by then are errors.

    Raises:
        DefinitionError: a source that the settings name does not exist.
    """
    names = list(dict.fromkeys(wanted_sources() if sources is None else sources))
    results: queue.SimpleQueue[SourceResult] = queue.SimpleQueue()
    cache = open_cache()

    def work(name: str) -> None:
        results.put(_guarded(name, cache, progress, stop))

    with ThreadPoolExecutor(_MOST_SOURCES_AT_A_TIME, "source") as pool:
        for name in names:
            pool.submit(work, name)
        try:
            for _ in names:
                yield results.get()
        finally:
            cache.close()


def _guarded(
    name: str, cache: PageCache, progress: Progress | None, stop: threading.Event | None
) -> SourceResult:
    """One source; its errors are in the result."""
    try:
        path = source_files().get(name)
        if path is not None:
            return _Crawl(load_source(path), cache, progress, stop).run()
        return _call(name)
    except HarvesterError as error:
        return SourceResult(name, [], [error])
    except Exception as error:
        logger.exception("source %s failed", name)
        return SourceResult(name, [], [HarvesterError(f"{type(error).__name__}: {error}")])


def _call(name: str) -> SourceResult:
    check_names([name])
    point = next(p for p in entry_points(group=ENTRY_POINT_GROUP) if p.name == name)
    found: list[Publication] = []
    try:
        found.extend(point.load()())
    except Exception as error:  # a generator may have given books before
        logger.exception("source %s failed", name)
        return SourceResult(name, found, [HarvesterError(f"{type(error).__name__}: {error}")])
    return SourceResult(name, found, [])


class _Crawl:
    """One source, once."""

    def __init__(
        self,
        source: Source,
        cache: PageCache,
        progress: Progress | None,
        stop: threading.Event | None,
    ) -> None:
        self._source = source
        self._cache = cache
        self._progress = progress
        self._errors: list[HarvesterError] = []
        self._stop = stop
        self._lock = threading.Lock()
        self._known = self._done = 0
        self._seen: set[str] = set()

    def run(self) -> SourceResult:
        source = self._source
        books: list[Future[Publication | None]] = []
        connections = settings.HARVESTER_CONNECTIONS
        fetcher = Fetcher(
            source.hosts,
            cookies=source.cookies,
            delay=source.delay,
            cache=self._cache,
            stop=self._stop,
        )
        with fetcher, ThreadPoolExecutor(connections, source.name) as pool:
            for start in source.start:
                for page in self._list_pages(start, fetcher, pool):
                    books += self._books(page, fetcher, pool)
                    if len(books) > settings.HARVESTER_MAX_ITEMS:
                        self._report(
                            HarvesterError(
                                f"there are more than {settings.HARVESTER_MAX_ITEMS} books"
                                " (HARVESTER_MAX_ITEMS), the rest is left out"
                            )
                        )
                        break
            found = [book.result() for book in books[: settings.HARVESTER_MAX_ITEMS]]
        publications = [book for book in found if book is not None]
        logger.info(
            "source %s: %d books, %d errors", source.name, len(publications), len(self._errors)
        )
        return SourceResult(source.name, publications, self._errors)

    # --- lists --------------------------------------------------------------------------------

    def _list_pages(self, start: str, fetcher: Fetcher, pool: ThreadPoolExecutor) -> Iterator[Page]:
        first = self._page(start, fetcher)
        if first is None:
            return
        yield first
        paging = self._source.paging
        if paging is None:
            return
        if paging.next is not None:
            yield from self._following(first, start, fetcher)
            return
        assert paging.pages is not None
        texts = (text.lstrip("0") for text in paging.pages.find(first))
        numbers = [int(text) for text in texts if text.isdecimal() and len(text) <= _MOST_DIGITS]
        last = min(max(numbers, default=1), paging.most, settings.HARVESTER_MAX_PAGES)
        urls = [paging.url_of(start, number) for number in range(2, last + 1)]
        for page in pool.map(lambda url: self._page(url, fetcher), urls):
            if page is not None:
                yield page

    def _following(self, page: Page, start: str, fetcher: Fetcher) -> Iterator[Page]:
        paging = self._source.paging
        assert paging is not None
        assert paging.next is not None
        seen = {start}
        current: Page | None = page
        while current is not None and len(seen) < min(paging.most, settings.HARVESTER_MAX_PAGES):
            link = paging.next.first(current)
            url = current.resolve(link) if link else None
            if url is None or url in seen:
                return
            seen.add(url)
            current = self._page(url, fetcher)
            if current is not None:
                yield current

    def _page(self, url: str, fetcher: Fetcher) -> Page | None:
        try:
            return _load(url, fetcher)
        except HarvesterError as error:
            self._report(error)
        except Exception as error:
            logger.exception("a list page of source %s failed", self._source.name)
            self._report(HarvesterError(f"{type(error).__name__}: {error}"))
        return None

    # --- books --------------------------------------------------------------------------------

    def _books(
        self, page: Page, fetcher: Fetcher, pool: ThreadPoolExecutor
    ) -> list["Future[Publication | None]"]:
        source = self._source
        items = source.item.elements(page)
        if not items:
            # A changed layout is more likely than no new book.
            self._report(ExtractionError("no book is found on the list", page.url, "item"))
        books = []
        for item in items:
            spot = Spot(page, item)
            if source.skip_if is not None and source.skip_if.elements(page, item):
                continue
            if source.follow is None:
                books.append(self._submit(pool, self._read, spot, None, page.url))
                continue
            link = source.follow.first(page, item)
            url = page.resolve(link) if link else None
            if url is None:
                what = f"link {link[:200]!r} cannot be followed" if link else "no link is found"
                self._report(ExtractionError(f"{what} in a book on the list", page.url, "follow"))
            elif url not in self._seen:
                self._seen.add(url)
                books.append(self._submit(pool, self._follow, spot, url, fetcher))
        return books

    def _submit(
        self, pool: ThreadPoolExecutor, work: Callable[..., Publication], *arguments: Any
    ) -> "Future[Publication | None]":
        self._count(known=1)

        def guarded() -> Publication | None:
            try:
                return work(*arguments)
            except HarvesterError as error:
                self._report(error)
            except Exception as error:
                logger.exception("a book of source %s failed", self._source.name)
                self._report(HarvesterError(f"{type(error).__name__}: {error}"))
            finally:
                self._count(done=1)
            return None

        return pool.submit(guarded)

    def _follow(self, item: Spot, url: str, fetcher: Fetcher) -> Publication:
        if self._stop is not None and self._stop.is_set():
            raise FetchError("the harvest is being ended", url)
        page = _load(url, fetcher)
        return self._read(item, Spot(page), page.url)

    def _read(self, item: Spot, detail: Spot | None, url: str) -> Publication:
        return read_publication(self._source, item, detail, url)

    # --- telling ------------------------------------------------------------------------------

    def _report(self, error: HarvesterError) -> None:
        logger.warning("source %s: %s", self._source.name, error)
        with self._lock:
            self._errors.append(error)

    def _count(self, known: int = 0, done: int = 0) -> None:
        with self._lock:
            self._known += known
            self._done += done
            counts = self._done, self._known
        if self._progress is not None:
            self._progress(self._source.name, *counts)


def _load(url: str, fetcher: Fetcher) -> Page:
    fetched = fetcher.fetch(url)
    return Page(fetched.content, fetched.url, fetched.charset)
