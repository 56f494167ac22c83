"""Values by their labels: "ISBN" in one cell, the number in the next.

Read once per page. A label is the collapsed text of a header cell, a term of a definition list or
a cell before another; where there is no table, also of a small element directly before another
one (``<span>ISBN</span><span>…</span>``, a heading before a paragraph).
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from edeposit.amqp.harvester.page.text import BREAKING, collapse, raw_text

# Longer texts are descriptions, not labels.
LONGEST = 60
# Terms that share a definition, definitions of a term, rows below a head: hostile pages have
# thousands of each, and every pair would be kept.
MOST = 100

_CELLS = ("td", "th")
_PLAIN_NAMES = """
b dfn div em font h2 h3 h4 h5 h6 i label p small span strong u
"""
_PLAIN = frozenset(_PLAIN_NAMES.split())


def fold(label: str) -> str:
    """A label as it is compared: collapsed, without the colon at its end, case-folded."""
    return collapse(label).rstrip(": ").casefold()


def label_cells(tree: Any) -> dict[str, list[Any]]:
    """The value elements of each folded label, in document order.

    Cells and definitions win over looser pairs with the same label.
    """
    cells: dict[str, list[Any]] = {}
    loose: dict[str, list[Any]] = {}
    for element in tree.iter("td", "th", "dt", *_PLAIN):
        found, values = (
            (loose, _beside)
            if element.tag in _PLAIN
            else (cells, _definitions if element.tag == "dt" else _next_cells)
        )
        label = None
        for value in values(element):
            if label is None:
                text = raw_text(element)
                # White space may make a short label long; 5 times is generous.
                label = fold(text) if len(text) <= 5 * LONGEST else ""
            if label and len(label) <= LONGEST:
                found.setdefault(label, []).append(value)
    return loose | cells


def _next_cells(cell: Any) -> Iterator[Any]:
    following = cell.getnext()
    if cell.tag == "td" or (following is not None and following.tag == "td"):
        if following is not None and following.tag in _CELLS:
            yield following
        return
    # The head of a column: the cells below it.
    row = cell.getparent()
    place = row.index(cell)
    section = row.getparent()
    if section is None or row.tag != "tr":
        return
    rows = row.itersiblings("tr") if section.tag != "thead" else section.getparent().iter("tr")
    for below in islice(rows, MOST):
        if below is not row and len(below) > place and below[place].tag == "td":
            yield below[place]


def _definitions(term: Any) -> Iterator[Any]:
    defined = False
    for sibling in islice(term.itersiblings(), MOST):
        if sibling.tag == "dd":
            defined = True
            yield sibling
        elif defined or sibling.tag != "dt":
            # Several terms may share the definition after them.
            return


def _beside(element: Any) -> Iterator[Any]:
    if len(element) > 1 or any(child.tag in BREAKING for child in element):
        # A label fits on one line.
        return
    following = element.getnext()
    # With text between them, the label does not belong to the element.
    if following is None or following.tag == "br" or (element.tail or "").strip(" \t\r\n\xa0:"):
        return
    yield following
