"""Where in a page a value is: whole elements, attributes, parts of texts, data for machines.

Texts are compared as readers see them. Only what is written in the page is looked at; nothing here
guesses.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from lxml import etree
from rapidfuzz import fuzz, process

from edeposit.amqp.harvester.autoparser.examples import AutoparserError, Wanted, comparable
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.page.jsonld import StructuredData, is_bookish, types_of
from edeposit.amqp.harvester.page.labels import fold
from edeposit.amqp.harvester.page.text import collapse, raw_text, text_of
from edeposit.amqp.harvester.source.rules import Rule

# How many places of a kind are followed; a "1" is everywhere.
MOST = 25
# In characters. Longer elements hold the page, not a value.
LONGEST = 50_000
# The similarity, in per cent, from which a text is shown as "did you mean".
_NEAR = 60


class Place(NamedTuple):
    """One occurrence of a value.

    Attributes:
        element: that holds it; None for data about the page as a whole.
        attr: the attribute, or the empty text for the element's text.
        raw: the whole text that it is a part of; empty when it is all of it.
        span: where in ``raw`` it is.
        rule: the finished locator, for JSON-LD and meta.
    """

    element: Any = None
    attr: str = ""
    raw: str = ""
    span: tuple[int, int] = (0, 0)
    rule: tuple[str, str] | None = None


class Index:
    """The texts of a page's elements, read once for all variables.

    Attributes:
        page: the page.
        texts: element, text with line ends, collapsed text; without elements that are longer than
            :data:`LONGEST`, which no value is.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self._counts: dict[str, int] = {}
        self.texts: list[tuple[Any, str, str]] = []
        for element in page.tree.iter(etree.Element):
            raw = raw_text(element)
            if len(raw) <= LONGEST:
                self.texts.append((element, raw, collapse(raw)))

    def count(self, css: str) -> int:
        """How many elements of the page a selector means."""
        if css not in self._counts:
            self._counts[css] = len(Rule.parse({"css": css}).elements(self.page))
        return self._counts[css]

    @cached_property
    def labelled(self) -> dict[Any, list[tuple[str, Any]]]:
        """The labels of each value element as they are printed, with the element of the label;
        None where that is no sibling (the head of a column)."""
        printed = {
            fold(text): text for head in self.page.tree.iter("th") if (text := text_of(head))
        }
        found: dict[Any, list[tuple[str, Any]]] = {}
        for key, cells in self.page.labels.items():
            for cell in cells:
                for before in cell.itersiblings(preceding=True):
                    text = collapse(raw_text(before))
                    if fold(text) == key:
                        found.setdefault(cell, []).append((text.rstrip(": "), before))
                        break
                else:
                    label = printed.get(key, key).rstrip(": ")
                    found.setdefault(cell, []).append((label, None))
        return found


def places_of(index: Index, text: str, wanted: Wanted) -> list[Place]:
    """All places of one value in a page, at most :data:`MOST` of each kind."""
    plain = not wanted.html
    return [
        *(_data(index.page, text) if plain and not wanted.tagname else ()),
        *islice(_elements(index, text, wanted), 2 * MOST),
        *(islice(_attributes(index.page, text, wanted), MOST) if plain else ()),
        *(islice(_parts(index, text, wanted), MOST) if plain else ()),
    ]


def without_markup(index: Index, wanted: Wanted) -> Wanted:
    """The same with texts where the user has written markup, as the first generation wanted it.

    ``360&nbsp;Kč`` and ``<b>Malý</b> princ`` stay what they are where a page really shows them.
    """
    if wanted.html or not any("<" in text or "&" in text for text in wanted.texts):
        return wanted
    shown = text_of(index.page.tree)
    values = [text if text in shown else comparable(text, html=True) for text in wanted.texts]
    return replace(wanted, values=tuple(values))


def distinct(places: list[Place]) -> int:
    """How many unrelated elements have the value as their whole text."""
    elements = {
        place.element
        for place in places
        if place.element is not None and not place.attr and not place.raw
    }
    return sum(
        1
        for element in elements
        if not any(inner in elements for inner in element.iterdescendants())
    )


def not_found(index: Index, wanted: Wanted, text: str, link: str) -> AutoparserError:
    """The error for a value that is nowhere, with the most similar texts of the page."""
    known = sorted({collapsed for _, _, collapsed in index.texts if 0 < len(collapsed) <= 500})
    near = process.extract(text, known, scorer=fuzz.ratio, limit=3, score_cutoff=_NEAR)
    message = f"{wanted.missing_message()} (in {link})"
    if near:
        message += " Nearest: " + ", ".join(f"'{_short(text)}'" for text, _, _ in near) + "."
    return AutoparserError(message)


def _named(element: Any, wanted: Wanted) -> bool:
    return not wanted.tagname or str(element.tag).lower() == wanted.tagname


def _elements(index: Index, text: str, wanted: Wanted) -> Iterator[Place]:
    for element, _, collapsed in index.texts:
        if collapsed == text and _named(element, wanted):
            yield Place(element)


def _attributes(page: Page, text: str, wanted: Wanted) -> Iterator[Place]:
    for element in page.tree.iter(etree.Element):
        if element.tag == "meta" or not _named(element, wanted):
            continue
        for name, value in element.attrib.items():
            if name in ("class", "id", "style"):
                continue
            linked = name in ("href", "src") and "/" in text
            if collapse(value) == text or (linked and page.resolve(value) == text):
                yield Place(element, attr=str(name))


def _parts(index: Index, text: str, wanted: Wanted) -> Iterator[Place]:
    words = r"\s+".join(re.escape(word) for word in text.split())
    if not words:
        return
    pattern = re.compile(rf"(?<!\w){words}(?!\w)")
    exact = {element for element, _, collapsed in index.texts if collapsed == text}
    # Bottom up: an element around the one with the value is useful one level up, for a label in
    # the text before, and no further.
    inner: set[Any] = set()
    for element, raw, _ in reversed(index.texts):
        if element in exact or not (match := pattern.search(raw)):
            continue
        if element.tag in ("html", "head", "body") and len(element):
            continue
        if any(child in inner for child in element):
            continue
        inner.add(element)
        if _named(element, wanted):
            yield Place(element, raw=raw, span=match.span())


def _data(page: Page, text: str) -> Iterator[Place]:
    for path in json_paths(page.structured, text):
        yield Place(rule=("jsonld", path))
    for name, values in page.meta.items():
        if collapse(values[0]) == text:
            yield Place(rule=("meta", name))


def json_paths(data: StructuredData, text: str) -> Iterator[str]:
    """The paths in the JSON-LD that lead to a text, those through books first."""
    for item in sorted(data.objects, key=lambda item: not is_bookish(item)):
        paths = {path for path, value in _flat(item, (), 4) if collapse(value) == text}
        kinds = sorted(types_of(item))
        for path in sorted(paths, key=lambda path: (len(path), path)):
            dotted = ".".join(path)
            if is_bookish(item):
                yield dotted
            yield from (f"{kind}:{dotted}" for kind in kinds)


def _flat(value: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for item in value:
            yield from _flat(item, path, depth)
    elif isinstance(value, dict) and depth:
        for key, item in value.items():
            if not key.startswith("@") and "." not in key and ":" not in key:
                yield from _flat(item, (*path, key), depth - 1)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
