"""Helpers of the first generation for sources written in Python, under their old names.

Elements may be those of pydhtmlparser, which the first generation used, or of lxml.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any
from urllib.parse import urljoin, urlsplit

from lxml import etree

from edeposit.amqp.harvester.crawl import harvest
from edeposit.amqp.harvester.exceptions import HarvestFailedError
from edeposit.amqp.harvester.page import charset

_URL = re.compile(r"http[^:]*://")
_SHORTEST_ISBN = 10


def self_test_idiom(fn: Callable[[], Iterable[Any]]) -> bool:
    """Does a source give books, and has each what a book needs?

    Args:
        fn: returns publications.

    Returns:
        True.

    Raises:
        AssertionError: there is no book, or one lacks something; the text holds the book.
    """
    books = list(fn())
    if not books:
        raise AssertionError("there are no books")
    for book in books:
        lacking = [name for name in ("title", "price", "publisher") if not getattr(book, name)]
        if book.authors is None:
            lacking.append("authors")
        isbn, url = book.optionals.ISBN, book.optionals.URL
        if isbn and len(isbn) < _SHORTEST_ISBN:
            lacking.append("ISBN")
        if url and not _URL.match(url):
            lacking.append("URL")
        # No assert statement: python -O would make the test pass.
        if lacking:
            raise AssertionError(f"{', '.join(lacking)} is missing or wrong: {book!r:.1000}")
    return True


def handle_encoding(html: bytes | str) -> str:
    """A page as text, whatever charset it is in."""
    return html if isinstance(html, str) else charset.decode(html)


handle_encodnig = handle_encoding


def get_first_content(el_list: Sequence[Any] | None, alt: Any = None, strip: bool = True) -> Any:
    """The inner markup of the first element, or ``alt`` if there is none or it is blank.

    Args:
        el_list: elements.
        alt: what to return instead.
        strip: remove white space around it.
    """
    content = _content(el_list[0]) if el_list else ""
    return (content.strip() if strip else content) or alt


def is_absolute_url(url: str, protocol: str = "http") -> bool:
    """Whether a URL has a scheme that begins with ``protocol``, and ``//`` after it."""
    scheme, _, rest = url.partition(":")
    return scheme.lower().startswith(protocol) and rest.startswith("//")


def normalize_url(base_url: str, rel_url: str | None) -> str | None:
    """The absolute form of a link; None if it is blank or cannot be fetched by HTTP.

    Args:
        base_url: of the page.
        rel_url: relative or absolute.
    """
    if not rel_url or not rel_url.strip():
        return None
    try:
        url = urljoin(base_url, rel_url.strip())
        return url if urlsplit(url).scheme in ("http", "https") else None
    except ValueError:
        return None


def has_param(param: str) -> Callable[[Any], bool]:
    """A predicate for ``find``: the element has an attribute of this name that is not blank."""
    return lambda element: bool((_attributes(element).get(param) or "").strip())


def content_matchs(
    tag_content: str, content_transformer: Callable[[str], str] | None = None
) -> Callable[[Any], bool]:
    """A predicate for ``find``: the inner markup of the element is ``tag_content``.

    Args:
        tag_content: markup.
        content_transformer: applied to the element's markup first.
    """
    transform = content_transformer or str
    return lambda element: _is_tag(element) and transform(_content(element)) == tag_content


def must_contain(tag_name: str, tag_content: str, container_tag_name: str) -> Callable[[Any], bool]:
    """A predicate for ``find``: an element with both of two children.

    Args:
        tag_name: of the first child, which has ``tag_content``, such as the head of a table row.
        tag_content: its markup, without white space around it.
        container_tag_name: of the second child.
    """

    def contains(element: Any) -> bool:
        labels = [child for child in _children(element) if _name(child) == tag_name]
        others = [child for child in _children(element) if _name(child) == container_tag_name]
        # With one name for both, the label itself does not count as the other child.
        return any(
            _content(label).strip() == tag_content and any(other is not label for other in others)
            for label in labels
        )

    return contains


def _content(element: Any) -> str:
    if hasattr(element, "getContent"):
        return str(element.getContent())
    inner = [etree.tostring(child, encoding="unicode", method="html") for child in element]
    return escape(element.text or "", quote=False) + "".join(inner)


def _attributes(element: Any) -> Any:
    return element.params if hasattr(element, "params") else element.attrib


def _children(element: Any) -> Iterable[Any]:
    return element.childs if hasattr(element, "childs") else element


def _name(element: Any) -> str:
    name = element.getTagName() if hasattr(element, "getTagName") else element.tag
    return name.lower() if isinstance(name, str) else ""


def _is_tag(element: Any) -> bool:
    return bool(element.isTag()) if hasattr(element, "isTag") else isinstance(element.tag, str)


def functions_of(source: str) -> tuple[Callable[[], list[Any]], Callable[[], bool]]:
    """``get_publications`` and ``self_test`` of a source that is described by a file."""

    def get_publications() -> list[Any]:
        """Harvest this source.

        Raises:
            HarvestFailedError: it gave no book.
        """
        (result,) = harvest([source])
        if result.errors and not result.publications:
            raise HarvestFailedError(f"{source} failed", [str(error) for error in result.errors])
        return result.publications

    def self_test() -> bool:
        """Harvest this source, and look whether its books have what they need.

        Raises:
            AssertionError: a book lacks something.
            HarvestFailedError: there is no book at all.
        """
        return self_test_idiom(get_publications)

    return get_publications, self_test
