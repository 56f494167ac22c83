"""Source files: how to read the site of a publisher, as data.

A file is checked as a whole when it is read; every mistake is reported with file, key and what
would be right. The rules in a file can only select and cut text: they run no code.
"""

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

import yaml

from edeposit.amqp.harvester import messages, settings
from edeposit.amqp.harvester.exceptions import DefinitionError, FetchError
from edeposit.amqp.harvester.site.addresses import host_of
from edeposit.amqp.harvester.source.rulechecks import at
from edeposit.amqp.harvester.source.rules import Rule

_KEYS = (
    "name",
    "enabled",
    "start",
    "hosts",
    "cookies",
    "delay",
    "paginate",
    "item",
    "skip_if",
    "follow",
    "constants",
    "required",
    "fields",
    "samples",
)
_PUBLICATION = ("title", "price", "publisher")
FIELDS = (*_PUBLICATION, "authors", *messages.Optionals._fields)
_FIELD_KEYS = ("from", "split_names", "each", "name", "url")


class Paging(NamedTuple):
    """Further list pages.

    Attributes:
        pages: finds the numbers of pages on the first; None with ``next``.
        url: their address, with ``{page}``, relative to the first.
        next: finds the link to the next page; None with ``pages``.
        most: pages per list.
    """

    pages: Rule | None
    url: str
    next: Rule | None
    most: int

    def url_of(self, start: str, number: int) -> str:
        """The address of a page."""
        return urljoin(start, self.url.replace("{page}", str(number)))


class Field(NamedTuple):
    """How a field of a book is found.

    Attributes:
        rule: finds its value; of authors, their names, or the elements with ``each``.
        on_item: look on the list, not on the book's page.
        each: for authors: finds an element per author; None: ``rule`` gives names.
        url: for authors: finds the link in such an element.
        split_names: for authors: what separates names in one text.
    """

    rule: Rule
    on_item: bool
    each: Rule | None = None
    url: Rule | None = None
    split_names: str = ""


class Sample(NamedTuple):
    """A stored page and what has to be found in it.

    Attributes:
        file: path of the page.
        url: where it came from.
        item: number of the book on a list; None: it is a book's own page.
        expect: field to value.
    """

    file: Path
    url: str
    item: int | None
    expect: dict[str, Any]


class Source(NamedTuple):
    """A checked source file; see :doc:`/harvester`."""

    name: str
    enabled: bool
    start: list[str]
    hosts: set[str]
    cookies: dict[str, str]
    delay: float
    paging: Paging | None
    item: Rule
    skip_if: Rule | None
    follow: Rule | None
    constants: dict[str, str]
    required: list[str]
    fields: dict[str, Field]
    samples: list[Sample]


def load_source(path: Path) -> Source:
    """Read a source file.

    Raises:
        DefinitionError: it is wrong, or cannot be read.
    """
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise DefinitionError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    return _Reader(data, path).source()


def source_files() -> dict[str, Path]:
    """All source files by name: those that ship, and those in ``HARVESTER_SOURCES_DIR``."""
    shipped = Path(str(resources.files("edeposit.amqp.harvester"))) / "source" / "shipped"
    directories = [shipped]
    if settings.HARVESTER_SOURCES_DIR:
        directories.append(Path(settings.HARVESTER_SOURCES_DIR).expanduser())
    return {
        path.stem: path
        for directory in directories
        for path in sorted([*directory.glob("*.yaml"), *directory.glob("*.yml")])
    }


class _Reader:
    """Checks the data of a file."""

    def __init__(self, data: Any, path: Path) -> None:
        self._where = str(path)
        self._path = path
        if not isinstance(data, Mapping):
            raise DefinitionError(f"{path}: a source file consists of keys and values")
        self._data = dict(data)
        self._check_keys(self._data, _KEYS, "")

    def source(self) -> Source:
        name = self._text("name", self._path.stem)
        start = self._texts("start")
        if not start:
            raise self._wrong("start", "the addresses of the lists of books")
        fields = self._fields()
        required = self._texts("required", ["title"])
        constants = self._pairs("constants")
        for place, names in (("required", required), ("constants", constants)):
            for field in names:
                if field not in FIELDS:
                    raise self._wrong(place, f"fields of a book; {field!r} is none")
        if "title" not in fields and "title" not in constants:
            raise self._wrong("fields", "at least a title")
        return Source(
            name=name,
            enabled=self._typed("enabled", bool, False),
            start=start,
            hosts={self._host(url) for url in start} | set(self._texts("hosts", [])),
            cookies=self._pairs("cookies"),
            delay=float(self._typed("delay", (int, float), 0.0)),
            paging=self._paging(),
            item=self._rule("item"),
            skip_if=self._optional_rule("skip_if"),
            follow=self._optional_rule("follow"),
            constants=constants,
            required=required,
            fields=fields,
            samples=self._samples(),
        )

    # --- parts --------------------------------------------------------------------------------

    def _paging(self) -> Paging | None:
        data = self._data.get("paginate")
        if data is None:
            return None
        if not isinstance(data, Mapping):
            raise self._wrong("paginate", "pages and url, or next")
        self._check_keys(data, ("pages", "url", "next", "max"), "paginate")
        most = data.get("max", settings.HARVESTER_MAX_PAGES)
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise self._wrong("paginate.max", "a whole number from 1 on")
        if ("next" in data) == ("pages" in data):
            raise self._wrong("paginate", "either pages and url, or next")
        if "next" in data:
            return Paging(None, "", Rule.parse(data["next"], self._place("paginate.next")), most)
        url = data.get("url")
        if not isinstance(url, str) or "{page}" not in url:
            raise self._wrong("paginate.url", "an address with {page} in it")
        return Paging(Rule.parse(data["pages"], self._place("paginate.pages")), url, None, most)

    def _fields(self) -> dict[str, Field]:
        data = self._data.get("fields")
        if not isinstance(data, Mapping):
            raise self._wrong("fields", "the fields of a book, each with its rule")
        self._check_keys(data, FIELDS, "fields")
        return {name: self._field(name, value) for name, value in data.items()}

    def _field(self, name: str, data: Any) -> Field:
        place = f"fields.{name}"
        own = {}
        if isinstance(data, Mapping):
            own = {key: data[key] for key in _FIELD_KEYS if key in data}
            data = {key: value for key, value in data.items() if key not in own}
        where = own.pop("from", "detail" if "follow" in self._data else "item")
        if where not in ("item", "detail"):
            raise self._wrong(f"{place}.from", "item or detail")
        if where == "detail" and "follow" not in self._data:
            raise self._wrong(f"{place}.from", "item: without follow there is no page of a book")
        on_item = where == "item"
        if own and name != "authors":
            raise self._wrong(place, f"no {', '.join(own)}: only authors have that")
        separator = own.get("split_names", "")
        if not isinstance(separator, str):
            raise self._wrong(f"{place}.split_names", "a text")
        if "each" not in own:
            return Field(Rule.parse(data, self._place(place)), on_item, split_names=separator)
        if data:
            raise self._wrong(place, "either each, name and url, or a rule for the names")
        return Field(
            Rule.parse(own.get("name", ":scope"), self._place(f"{place}.name")),
            on_item,
            Rule.parse(own["each"], self._place(f"{place}.each")),
            Rule.parse(own["url"], self._place(f"{place}.url")) if "url" in own else None,
            separator,
        )

    def _samples(self) -> list[Sample]:
        found = []
        for number, data in enumerate(self._typed("samples", list, [])):
            place = f"samples[{number}]"
            if not isinstance(data, Mapping):
                raise self._wrong(place, "file, url and expect")
            self._check_keys(data, ("file", "url", "item", "expect"), place)
            item = data.get("item")
            expect = data.get("expect")
            if not isinstance(data.get("file"), str) or not isinstance(expect, Mapping):
                raise self._wrong(place, "the file of a page, and what to expect in it")
            if item is not None and (isinstance(item, bool) or not isinstance(item, int)):
                raise self._wrong(f"{place}.item", "the number of a book on the list, from 0")
            self._check_keys(expect, FIELDS, f"{place}.expect")
            file = self._path.parent / data["file"]
            found.append(Sample(file, str(data.get("url", "")), item, dict(expect)))
        return found

    # --- checks -------------------------------------------------------------------------------

    def _check_keys(self, data: Mapping[Any, Any], known: tuple[str, ...], place: str) -> None:
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise DefinitionError(at(self._place(place), f"unknown key {key!r}: {hint}"))

    def _typed(self, key: str, kind: Any, default: Any) -> Any:
        value = self._data.get(key, default)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            names = {bool: "true or false", list: "a list"}
            raise self._wrong(key, names.get(kind, "a number"))
        return value

    def _text(self, key: str, default: str) -> str:
        value = self._data.get(key, default)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, "a text")
        return value

    def _texts(self, key: str, default: list[str] | None = None) -> list[str]:
        value = self._data.get(key, default if default is not None else [])
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of texts")
        return value

    def _pairs(self, key: str) -> dict[str, str]:
        value = self._data.get(key, {})
        if not isinstance(value, Mapping) or not all(
            isinstance(item, (str, int, float)) for item in value.values()
        ):
            raise self._wrong(key, "names and texts")
        return {str(name): str(item) for name, item in value.items()}

    def _rule(self, key: str) -> Rule:
        if key not in self._data:
            raise self._wrong(key, "a rule")
        return Rule.parse(self._data[key], self._place(key))

    def _optional_rule(self, key: str) -> Rule | None:
        return self._rule(key) if self._data.get(key) is not None else None

    def _host(self, url: str) -> str:
        try:
            return host_of(url)
        except FetchError as error:
            raise self._wrong("start", f"http or https addresses: {error}") from error

    def _place(self, key: str) -> str:
        return f"{self._where}: {key}" if key else self._where

    def _wrong(self, key: str, right: str) -> DefinitionError:
        return DefinitionError(at(self._place(key), f"must be {right}"))
