"""How one value is found in a page: the vocabulary of the source files.

A rule is data (a text or a mapping, see :doc:`/autoparser`). It is checked and compiled once, when
the file is read, and then run on many pages; mistakes are reported at that time, with their place.
Running a rule never raises: what is not in the page is an empty list.

XPath has no ``document()`` and no regular expressions here, so no expression can read files or
use the network.
"""

import copy
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

import nh3
from lxml import etree

from edeposit.amqp.harvester.exceptions import DefinitionError
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.page.labels import fold
from edeposit.amqp.harvester.page.text import Cut, raw_text
from edeposit.amqp.harvester.source.cleaning import CLEANERS
from edeposit.amqp.harvester.source.css import SelectorError, css_to_xpath
from edeposit.amqp.harvester.source.rulechecks import LOCATORS, at, checked_rule, listed

# What a description may contain; nh3 always removes scripts, styles and event attributes.
_TAG_NAMES = """
a b blockquote br dd div dl dt em h2 h3 h4 h5 h6 i li ol p span strong sub sup u ul
"""
_TAGS = set(_TAG_NAMES.split())
# XML, which catalogues exchange, cannot contain them.
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ufffe\uffff]")
# No field of a book is longer, so a cleaner finds nothing after this many characters.
_LONGEST = 20_000
_SOMEWHERE = etree.fromstring(b"<html><body/></html>")


class Rule:
    """One way, and its alternatives, to find the values of a field.

    Made by :meth:`parse`. The same rule may be used by several threads at once.
    """

    def __init__(self, data: dict[str, Any], where: str) -> None:
        self._data = data
        self._kind = next(key for key in LOCATORS if key in data)
        self._locator: str = data[self._kind]
        self._attr: str | None = data.get("attr")
        self._html: bool = data.get("html", False)
        self._index: int | None = data.get("index")
        self._cut = Cut(data)
        self._cleaners = [CLEANERS[name] for name in listed(data.get("clean", []))]
        self._remove = [_css(selector, where) for selector in listed(data.get("remove", []))]
        self._select = self._compiled(where)
        self._label = fold(self._locator) if self._kind == "label" else ""
        self.fallbacks: list[Rule] = []

    @classmethod
    def parse(cls, data: Any, where: str = "") -> "Rule":
        """Checks and compiles a rule.

        Args:
            data: a text (CSS, with ``::text`` or ``::attr(name)`` at its end if wanted), a mapping
                with one locator and modifiers, or a list of such: the later ones are fallbacks.
            where: the place in the file, for the message.

        Raises:
            DefinitionError: it is wrong; the text says where and what would be right.
        """
        if isinstance(data, list):
            if not data:
                raise DefinitionError(at(where, "An empty list is no rule."))
            first, *others = [cls.parse(item, f"{where}[{i}]") for i, item in enumerate(data)]
            first.fallbacks.extend(others)
            return first
        if isinstance(data, str):
            data = {"css": data}
        if not isinstance(data, Mapping):
            raise DefinitionError(
                at(where, f"A rule is a text or a mapping, not {type(data).__name__} {data!r}.")
            )
        checked = checked_rule(dict(data), where)
        rule = cls(checked, where)
        fallback = data.get("fallback")
        if fallback is not None:
            for number, item in enumerate(listed(fallback)):
                place = f"{where}.fallback" + (f"[{number}]" if isinstance(fallback, list) else "")
                rule.fallbacks.append(cls.parse(item, place))
        return rule

    def find(self, page: Page, scope: Any = None) -> list[str]:
        """All values in document order, cleaned, without empty ones.

        The first alternative that yields something answers.

        Args:
            page: to look into.
            scope: only in this element (``jsonld`` and ``meta`` belong to the page as a whole).
        """
        values = [text for raw in self._located(page, scope) if (text := self._value(raw, page))]
        if not values:
            for fallback in self.fallbacks:
                if values := fallback.find(page, scope):
                    break
        return values

    def first(self, page: Page, scope: Any = None) -> str | None:
        """The first value, or None."""
        for raw in self._located(page, scope):
            if text := self._value(raw, page):
                return text
        for fallback in self.fallbacks:
            if (found := fallback.first(page, scope)) is not None:
                return found
        return None

    def elements(self, page: Page, scope: Any = None) -> list[Any]:
        """The elements that ``css``, ``xpath`` or ``label`` leads to; those of the first
        alternative that has some."""
        found = [item for item in self._located(page, scope) if not isinstance(item, str)]
        if not found:
            for fallback in self.fallbacks:
                if found := fallback.elements(page, scope):
                    break
        return found

    def hits(self, page: Page, scope: Any = None) -> list[tuple[Any, str]]:
        """What this alternative alone (no fallback) finds: where, and the value.

        The place is the element, or the text itself for what is in no element (JSON-LD, XPath
        that ends in text).
        """
        located = self._located(page, scope)
        return [(raw, text) for raw in located if (text := self._value(raw, page))]

    def to_dict(self) -> dict[str, Any] | str:
        """The rule as data; :meth:`parse` makes an equal one of it."""
        data = dict(self._data)
        fallbacks = [fallback.to_dict() for fallback in self.fallbacks]
        if fallbacks:
            data["fallback"] = fallbacks[0] if len(fallbacks) == 1 else fallbacks
        if set(data) == {"css", "attr"}:
            return f"{data['css']}::attr({data['attr']})"
        return data["css"] if set(data) == {"css"} else data

    def __repr__(self) -> str:
        return f"Rule.parse({self.to_dict()!r})"

    def _compiled(self, where: str) -> Callable[[Page, Any], Any] | None:
        if self._kind == "css":
            html, xml = _css(self._locator, where), _css(self._locator, where, xml=True)
            return lambda page, scope: (xml if page.is_xml else html)(scope)
        if self._kind == "xpath":
            anywhere = _xpath(self._locator, where)
            # In a scope, // means below it, not the whole document.
            inside = _xpath(re.sub(r"(^|\|)\s*(?=/)", r"\1.", self._locator), where)
            return lambda page, scope: (anywhere if scope is page.tree else inside)(scope)
        return None

    def _located(self, page: Page, scope: Any) -> list[Any]:
        if self._select is not None:
            try:
                found = self._select(page, page.tree if scope is None else scope)
            except etree.XPathError:
                # Only a type that depends on the page can still be wrong here.
                return []
            if not isinstance(found, list):
                found = [_scalar(found)]
        elif self._kind == "label":
            found = page.labels.get(self._label, [])
            if scope is not None:
                found = [cell for cell in found if cell is scope or scope in cell.iterancestors()]
        elif self._kind == "jsonld":
            found = page.structured.find(self._locator)
        elif self._kind == "meta":
            found = page.meta.get(self._locator.lower(), [])
        else:
            found = [self._locator]
        if self._index is not None:
            found = [found[self._index]] if -len(found) <= self._index < len(found) else []
        return found

    def _value(self, raw: Any, page: Page) -> str:
        if isinstance(raw, str):
            if self._html:
                return _sanitized(raw)
            text = raw
        elif self._attr is not None:
            text = raw.get(self._attr) or ""
        elif self._html:
            return _inner_html(raw, self._taken_away(raw))
        else:
            text = raw_text(raw, self._taken_away(raw) if self._remove else ())
        text = self._cut(text)
        for cleaner in self._cleaners:
            text = cleaner(text[:_LONGEST], page)
        return _CONTROLS.sub("", text)

    def _taken_away(self, element: Any) -> set[Any]:
        found: list[Any] = []
        for select in self._remove:
            found.extend(cast("list[Any]", select(element)))
        return set(found) - {element}


@lru_cache(maxsize=1024)
def _translated(selector: str, xml: bool) -> etree.XPath:
    return etree.XPath(css_to_xpath(selector, xml), regexp=False, smart_strings=False)


def _css(selector: str, where: str, xml: bool = False) -> etree.XPath:
    if "::" in selector:
        raise DefinitionError(
            at(
                where,
                f"CSS {selector!r}: '::text' and '::attr(name)' may only be at the end, once.",
            )
        )
    try:
        return _translated(selector, xml)
    except (SelectorError, etree.XPathError) as error:
        raise DefinitionError(at(where, f"CSS {selector!r}: {error}")) from error


def _xpath(expression: str, where: str) -> etree.XPath:
    try:
        compiled = etree.XPath(expression, regexp=False, smart_strings=False)
        # Unknown functions, variables and prefixes show only when it is run.
        compiled(_SOMEWHERE)
    except etree.XPathError as error:
        raise DefinitionError(at(where, f"XPath {expression!r}: {error}")) from error
    return compiled


def _inner_html(element: Any, without: set[Any]) -> str:
    if without:
        # All rules share the tree of the page: only a copy may be cut.
        places = [list(element.iter()).index(item) for item in without]
        element = copy.deepcopy(element)
        items = list(element.iter())
        for place in places:
            _cut(items[place])
    inner = (element.text or "") + "".join(
        etree.tostring(child, encoding="unicode", method="html") for child in element
    )
    return _sanitized(inner)


def _sanitized(text: str) -> str:
    cleaned = nh3.clean(text, tags=_TAGS, url_schemes={"http", "https"}).strip()
    return cleaned.replace("\xa0", " ").replace("&nbsp;", " ")


def _cut(element: Any) -> None:
    """Removes an element but keeps the text after it."""
    parent, before = element.getparent(), element.getprevious()
    if before is not None:
        before.tail = (before.tail or "") + (element.tail or "")
    else:
        parent.text = (parent.text or "") + (element.tail or "")
    # remove() takes the tail along with the element, so it was copied first.
    parent.remove(element)


def _scalar(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool):
        return "true" if value else ""
    return str(value)
