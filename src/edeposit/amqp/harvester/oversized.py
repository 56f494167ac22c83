"""What only a hostile page has is cut off before it costs minutes.

libxml2 takes the square of the number of attributes of a tag to parse it, and the square of the
number of nodes for some expressions. The limits are far above what pages of books have; what is
behind them is left out, with a warning.
"""

import logging
import re
from typing import Any, cast

from lxml import etree

logger = logging.getLogger(__name__)

MOST_ATTRIBUTES = 5000
MOST_CHILDREN = 3000
MOST_ELEMENTS = 50_000

# In characters: in a shorter page there is no room for too much.
_ROOM_FOR_CHILDREN = 3 * MOST_CHILDREN
_ROOM_FOR_ATTRIBUTES = 100_000
_START = re.compile(r"<[A-Za-z][^\s/>]*")
_ATTRIBUTE = re.compile(r"""[\s/]*[^\s/>=][^\s/>=]*(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s>"']*))?""")
_CHILD_TOO_MANY = etree.XPath(f"//*[{MOST_CHILDREN + 1}]")
_TOO_MANY = etree.XPath(f"(//*)[{MOST_ELEMENTS + 1}]")


def cut_tags(text: str) -> str:
    """The page with at most :data:`MOST_ATTRIBUTES` attributes in each tag."""
    if len(text) < _ROOM_FOR_ATTRIBUTES:
        return text
    kept: list[str] = []
    done = position = 0
    while start := _START.search(text, position):
        position = start.end()
        count, limit = 0, 0
        while attribute := _ATTRIBUTE.match(text, position):
            position = attribute.end()
            count += 1
            if count == MOST_ATTRIBUTES:
                limit = position
        if count > MOST_ATTRIBUTES:
            logger.warning("A tag with %d attributes is cut.", count)
            kept.append(text[done:limit])
            done = position
    return "".join([*kept, text[done:]]) if kept else text


def cut_tree(tree: Any, length: int) -> None:
    """Cuts the elements after :data:`MOST_ELEMENTS`, and those of an element after
    :data:`MOST_CHILDREN`.

    Args:
        tree: the root; it is changed.
        length: of the page, in characters.
    """
    if length < _ROOM_FOR_CHILDREN:
        return
    for node in cast("list[Any]", _TOO_MANY(tree)):
        logger.warning("A page of more than %d elements is cut.", MOST_ELEMENTS)
        keep = 0
        while (parent := node.getparent()) is not None:
            del parent[parent.index(node) + keep :]
            node, keep = parent, 1
    for child in cast("list[Any]", _CHILD_TOO_MANY(tree)):
        parent = child.getparent()
        # The root has none, and neither has what is already gone.
        if parent is not None:
            logger.warning("An element with more than %d children is cut.", MOST_CHILDREN)
            del parent[MOST_CHILDREN:]
