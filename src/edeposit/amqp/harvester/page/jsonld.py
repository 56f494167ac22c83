"""What a page says about itself for machines: JSON-LD (schema.org) and ``<meta>``.

Most shops carry it for search engines, and it survives a change of their layout. Broken JSON is
skipped: a page is allowed to be wrong.
"""

import html
import json
import logging
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

logger = logging.getLogger(__name__)

# Looked at first when a path names no type: the book, not the shop or the bread crumbs.
_BOOKISH = ("book", "product", "audiobook", "publicationissue", "creativework", "productgroup")
# Some shops wrap the JSON in CDATA or comments for parsers of the last century.
_WRAPPING = re.compile(
    r"^\s*(?:/[/*]\s*)?<!(?:\[CDATA\[|--)|(?:/[/*]\s*)?(?:\]\]|--)>(?:\s*\*/)?\s*$"
)


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

        A path may begin with a type and a colon; without one, books and products are asked first,
        then every other object. Lists on the way are gone through. An object at the end stands
        for its ``@value`` or ``name``.
        """
        kind, colon, rest = path.partition(":")
        keys = (rest if colon else path).split(".")
        if colon:
            groups = [[item for item in self.objects if kind.lower() in types_of(item)]]
        else:
            groups = self._untyped
        for group in groups:
            values = [text for item in group for text in _texts(_walk(item, keys))]
            if values:
                return values
        return []


def types_of(item: dict[str, Any]) -> set[str]:
    """The types of an object, lower-case, without the address of the vocabulary."""
    types = item.get("@type")
    names = types if isinstance(types, list) else [types]
    return {re.split(r"[/#:]", name)[-1].lower() for name in names if isinstance(name, str)}


def is_bookish(item: dict[str, Any]) -> bool:
    """Whether an object is the book (or what the shop calls it)."""
    return not types_of(item).isdisjoint(_BOOKISH)


def meta_values(tree: Any) -> dict[str, list[str]]:
    """The contents of all ``<meta>`` by lower-case ``property``, ``name`` or ``itemprop``."""
    found: dict[str, list[str]] = {}
    for element in tree.iter("meta"):
        content = element.get("content")
        if not content:
            continue
        for key in ("property", "name", "itemprop"):
            for name in (element.get(key) or "").lower().split():
                values = found.setdefault(name, [])
                if content not in values:
                    values.append(content)
    return found


def _load(text: str) -> list[Any]:
    if "<!" in text[:100]:
        text = _WRAPPING.sub("", text)
    text = text.strip().rstrip(";")
    try:
        # Numbers stay as they are written: a price of 199.00 is not 199.0.
        loaded = json.loads(text, strict=False, parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as error:
        logger.debug("Skipped JSON-LD: %s", error)
        return []
    documents = loaded if isinstance(loaded, list) else [loaded]
    return [
        item
        for document in documents
        if isinstance(document, dict)
        for item in (document["@graph"] if isinstance(document.get("@graph"), list) else [document])
        if isinstance(item, dict)
    ]


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


def _walk(value: Any, keys: list[str]) -> list[Any]:
    values = [value]
    for key in keys:
        found = []
        for item in values:
            for part in item if isinstance(item, list) else [item]:
                if isinstance(part, dict) and key in part:
                    found.append(part[key])
        values = found
    return values


def _texts(values: list[Any]) -> Iterator[str]:
    for value in values:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                item = item.get("@value", item.get("name"))
            if isinstance(item, bool):
                yield "true" if item else "false"
            elif isinstance(item, str) and item.strip():
                # Many shops escape for HTML what stands in no HTML.
                yield html.unescape(item)
