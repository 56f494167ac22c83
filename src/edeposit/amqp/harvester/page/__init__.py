"""One page, parsed once: all rules of a source read from it.

Broken markup and odd bytes make a page poorer but never raise. No entity, DTD or network address
is followed, and libxml2 bounds the depth of the tree (``huge_tree`` off). Structured data and
labels, which only some rules need, are read on first use and then kept.
"""

import logging
import re
from functools import cached_property
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import lxml.html
from lxml import etree

from edeposit.amqp.harvester.page.charset import decode
from edeposit.amqp.harvester.page.jsonld import StructuredData, meta_values
from edeposit.amqp.harvester.page.labels import label_cells
from edeposit.amqp.harvester.page.text import without_default_namespace

logger = logging.getLogger(__name__)

# What only a hostile page has is cut off, with a warning, before it costs minutes: libxml2 takes
# the square of the number of attributes of a tag to parse it, and the square of the number of nodes
# for some expressions. The limits are far above what pages of books have.
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

# libxml2 drops what follows these tags, browsers do not; at the real end they are not needed.
_END = re.compile(r"</(?:body|html)\s*>", re.I)
# An XML page (a feed, an API's answer) must keep its case and its empty elements.
_XML = re.compile(r"\s*<\?xml\b(?!.{0,500}<!doctype\s+html)(?!.{0,500}<html\b)", re.I | re.S)


class Page:
    """One parsed HTML or XML page.

    Args:
        content: bytes as they came, or text.
        url: of the page; links are relative to it (or to its ``<base>``).
        charset: the charset of the HTTP header, if there was one.

    Attributes:
        url: as given.
        tree: the root element (lxml); always there, for an empty page as well.
        is_xml: whether it was read as XML.
    """

    def __init__(self, content: bytes | str, url: str = "", charset: str | None = None) -> None:
        text = decode(content, charset) if isinstance(content, bytes) else content
        self.url = url
        self.is_xml = bool(_XML.match(text))
        self.tree = _parse_xml(text) if self.is_xml else _parse_html(text)
        _cut_tree(self.tree, len(text))

    @cached_property
    def base_url(self) -> str:
        """What links of the page are relative to."""
        for base in self.tree.iter("base"):
            if href := base.get("href"):
                return _join(self.url, href) or self.url
        return self.url

    def resolve(self, link: str) -> str | None:
        """The absolute form of a link, or None if it cannot be fetched by HTTP."""
        joined = _join(self.base_url, link.strip())
        if joined is None:
            return None
        parts = urlsplit(joined)
        return joined if parts.scheme in ("http", "https") and parts.hostname else None

    @cached_property
    def structured(self) -> StructuredData:
        """The JSON-LD objects of the page."""
        scripts = self.tree.iter("script")
        return StructuredData(
            script.text or ""
            for script in scripts
            if "ld+json" in (script.get("type") or "").lower()
        )

    @cached_property
    def meta(self) -> dict[str, list[str]]:
        """The contents of ``<meta>`` by lower-case ``property``, ``name`` or ``itemprop``."""
        return meta_values(self.tree)

    @cached_property
    def labels(self) -> dict[str, list[Any]]:
        """The value elements by their folded label; see :mod:`.labels`."""
        return label_cells(self.tree)


def _parse_html(text: str) -> Any:
    # Bytes, because lxml refuses text that declares an encoding; NUL would become part of names.
    content = _END.sub("", _cut_tags(text.replace("\0", ""))).encode("utf-8", "replace")
    parser = lxml.html.HTMLParser(
        encoding="utf-8", huge_tree=False, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        return lxml.html.document_fromstring(content, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError):
        # It contains only blanks or comments.
        return lxml.html.document_fromstring(b"<html><body></body></html>", parser=parser)


def _parse_xml(text: str) -> Any:
    parser = etree.XMLParser(
        encoding="utf-8",
        recover=True,
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    # The declaration names the charset of the original bytes.
    content = re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1).replace("\0", "")
    try:
        root = etree.fromstring(content.encode("utf-8", "replace"), parser=parser)
    except etree.XMLSyntaxError:
        root = None
    if root is None:
        return _parse_html(text)
    without_default_namespace(root)
    return root


def _join(base: str, link: str) -> str | None:
    try:
        return urljoin(base, link)
    except ValueError:
        return None


def _cut_tags(text: str) -> str:
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


def _cut_tree(tree: Any, length: int) -> None:
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
