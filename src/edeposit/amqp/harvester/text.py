"""The text of an element as a reader sees it: lines, with white space collapsed.

Entities are decoded by the parser; no-break spaces become blanks; ``<br>`` and the borders of
blocks end a line, so that words of two cells or paragraphs never grow together.
"""

from collections.abc import Collection
from typing import Any

# The end of a line as it is seen. Line feeds of the source are only white space; both collapse.
LINE_END = "\v"

# Elements that begin and end a line.
BREAKING = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "details",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4",
    "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "option", "p", "pre", "section",
    "select", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "title", "tr", "ul",
})  # fmt: skip
_SILENT = frozenset({"script", "style", "template"})


def collapse(text: str) -> str:
    """White space (no-break spaces included) as single blanks, none at the ends."""
    return " ".join(text.split())


def raw_text(element: Any, without: Collection[Any] = ()) -> str:
    """The text with :data:`LINE_END` at each line's end, otherwise as it is in the page.

    Args:
        element: of an lxml tree.
        without: elements that are left out together with what they hold.
    """
    if not len(element):
        return element.text or "" if element.tag not in _SILENT else ""
    pieces: list[str] = []
    # Recursion is safe: without huge_tree libxml2 builds no tree deeper than 256.
    _collect(element, without, pieces)
    return "".join(pieces)


def text_of(element: Any) -> str:
    """The whole collapsed text."""
    return collapse(raw_text(element))


def _collect(element: Any, without: Collection[Any], pieces: list[str]) -> None:
    tag = element.tag
    if tag in _SILENT or element in without or not isinstance(tag, str):
        return
    breaking = tag in BREAKING
    if breaking:
        pieces.append(LINE_END)
    if text := element.text:
        pieces.append(text)
    for child in element:
        _collect(child, without, pieces)
        if tail := child.tail:
            pieces.append(tail)
    if breaking:
        pieces.append(LINE_END)
