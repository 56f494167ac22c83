"""What a page tells machines about itself: JSON-LD (schema.org) and ``<meta>``.

Most shops have it for search engines, and it survives a new layout. Broken JSON is skipped.
"""

import html
import json
import logging
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any

from edeposit.amqp.harvester.page.text import whole

logger = logging.getLogger(__name__)

# They come first when a path names no type: the book, not the shop or the breadcrumbs.
_BOOKISH = ("book", "product", "audiobook", "publicationissue", "creativework", "productgroup")
# Values of one path.
_MOST_VALUES = 10_000
# A string up to its closing quote, or up to the end of the text.
_STRING = r'"(?:[^"\\]|\\.)*+(?:"|\Z)'
# JavaScript comments, and the wrappers that hid scripts from the parsers of the 1990s.
_CLUTTER = (
    r"//\s*(?:<!--|-->|<!\[CDATA\[|\]\]>)|<!--|-->|<!\[CDATA\[|\]\]>|//[^\r\n]*|/\*.*?(?:\*/|\Z)"
)
_STRING_OR_CLUTTER = re.compile(f"{_STRING}|{_CLUTTER}", re.S)
_STRING_OR_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])", re.S)
_ESCAPE = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9A-Fa-f]{4})|(.))', re.S)
_BETWEEN = re.compile(r"[\s,;\ufeff]*")
# Numbers stay as they are written: a price of 199.00 is not 199.0.
_DECODER = json.JSONDecoder(strict=False, parse_float=str, parse_int=str, parse_constant=str)


class StructuredData:
    """The JSON-LD of one page.

    Args:
        texts: the contents of the page's ``application/ld+json`` scripts.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._documents = [document for text in texts for document in _load(text)]

    @cached_property
    def objects(self) -> list[dict[str, Any]]:
        """All objects that have a type, in document order, nested ones after their owner."""
        return [item for document in self._documents for item in _typed(document)]

    @cached_property
    def _untyped(self) -> list[list[dict[str, Any]]]:
        """Where a path without a type is looked for, in turn."""
        bookish = [item for item in self.objects if is_bookish(item)]
        return [bookish, self._documents, self.objects]

    def find(self, path: str) -> list[str]:
        """The values at a dotted path of keys, e.g. ``offers.price`` or ``Book:author.name``.

        A path may begin with a type and a colon; without one, books and products come first, then
        all other objects. Lists on the way are searched. An object at the end counts as its
        ``@value`` or ``name``.
        """
        kind, colon, rest = path.partition(":")
        keys = (rest if colon else path).split(".")
        if colon:
            groups = [[item for item in self.objects if kind.lower() in types_of(item)]]
        else:
            groups = self._untyped
        for group in groups:
            values = list(_texts(self._walk(group, keys)))
            if values:
                return values
        return []

    def _walk(self, values: list[Any], keys: list[str]) -> list[Any]:
        for key in keys:
            found = [value[key] for value in values if isinstance(value, dict) and key in value]
            values = list(islice(self._parts(found), _MOST_VALUES))
        return values

    def _parts(self, values: list[Any]) -> Iterator[Any]:
        """The values, lists taken apart; references that lead to one object yield it once."""
        seen: set[int] = set()
        for value in values:
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, dict) and part.keys() <= {"@id", "@type"}:
                    part = self._by_id.get(str(part.get("@id")), part)
                if isinstance(part, dict):
                    if id(part) in seen:
                        continue
                    seen.add(id(part))
                yield part

    @cached_property
    def _by_id(self) -> dict[str, dict[str, Any]]:
        named = (item for item in self.objects if isinstance(item.get("@id"), str))
        return {item["@id"]: item for item in named if item.keys() > {"@id", "@type"}}


def types_of(item: dict[str, Any]) -> set[str]:
    """The types of an object, lower-case, without the address of the vocabulary."""
    types = item.get("@type")
    names = types if isinstance(types, list) else [types]
    return {re.split(r"[/#:]", name)[-1].lower() for name in names if isinstance(name, str)}


def is_bookish(item: dict[str, Any]) -> bool:
    """Whether an object is the book, by whatever type the shop gives it."""
    return not types_of(item).isdisjoint(_BOOKISH)


def meta_values(tree: Any) -> dict[str, list[str]]:
    """The contents of all ``<meta>`` by lower-case ``property``, ``name`` or ``itemprop``."""
    found: dict[str, dict[str, None]] = {}
    for element in tree.iter("meta"):
        content = element.get("content")
        if not content:
            continue
        for key in ("property", "name", "itemprop"):
            for name in (element.get(key) or "").lower().split():
                found.setdefault(name, {})[content] = None
    return {name: list(contents) for name, contents in found.items()}


def _load(text: str) -> list[dict[str, Any]]:
    """The objects of a script.

    Shops write trailing commas, comments, several objects in a row and escapes that JSON does
    not have. The tools of browsers and search engines read them, so this does, too.
    """
    if "&quot;" in text and '"' not in text:
        text = html.unescape(text)
    values, complete = _values_in(text)
    if not complete:
        text = _STRING_OR_COMMA.sub(_json_only, _STRING_OR_CLUTTER.sub(_json_only, text))
        values, _ = _values_in(text)
    documents = []
    waiting = values[::-1]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            graph = value.get("@graph")
            if isinstance(graph, (list, dict)):
                waiting.append(graph)
            else:
                documents.append(value)
    return documents


def _values_in(text: str) -> tuple[list[Any], bool]:
    """The JSON values in a text up to the first mistake, and whether there is none."""
    values: list[Any] = []
    place = 0
    try:
        while found := _BETWEEN.match(text, place):
            if found.end() == len(text):
                return values, True
            value, place = _DECODER.raw_decode(text, found.end())
            values.append(value)
    except (ValueError, RecursionError) as error:
        logger.debug("JSON-LD: %s", error)
    return values, False


def _json_only(token: re.Match[str]) -> str:
    """A string with only the escapes that JSON has; a blank for a comment or comma."""
    text = token[0]
    if not text.startswith('"'):
        return " "
    return _ESCAPE.sub(lambda escape: escape[0] if escape[1] else escape[2], text)


def _typed(value: Any) -> Iterator[dict[str, Any]]:
    # No recursion: json has read it, but a generator per level would cost the square of the depth.
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "@type" in item:
                yield item
            waiting.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            waiting.extend(reversed(item))


def _texts(values: list[Any]) -> Iterator[str]:
    for value in values:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                item = item.get("@value", item.get("name"))
            if isinstance(item, bool):
                yield "true" if item else "false"
            elif isinstance(item, str) and item.strip():
                # Many shops escape for HTML what is not in HTML.
                yield whole(html.unescape(item))
