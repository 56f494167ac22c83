"""One page, parsed once: what all rules of a source read from.

Broken markup and odd bytes make a page poorer, never an error. No entity, DTD or network is ever
followed, and the tree's depth is bounded by libxml2 (``huge_tree`` off). What only some rules need
(structured data, labels) is read when first asked for, and then kept.
"""

import logging
import re
from functools import cached_property
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import lxml.html
from lxml import etree

from edeposit.amqp.harvester.charset import decode
from edeposit.amqp.harvester.labels import label_cells
from edeposit.amqp.harvester.structured import StructuredData, meta_values

logger = logging.getLogger(__name__)

# An XML page (a feed, an API's answer) must keep its case and its empty elements.
_XML = re.compile(r"\s*<\?xml\b(?!.{0,500}<!doctype\s+html)(?!.{0,500}<html\b)", re.I | re.S)

# libxml2 takes the square of the number of nodes for some expressions. No list of books has so many
# siblings, no page of books so many elements; what is behind them is left out.
MOST_CHILDREN, MOST_ELEMENTS = 3000, 50_000
_CHILD_TOO_MANY = etree.XPath(f"//*[{MOST_CHILDREN + 1}]")
_TOO_MANY = etree.XPath(f"(//*)[{MOST_ELEMENTS + 1}]")
# A shorter page (``<p>`` is the shortest element) cannot have so many.
_SHORT = 3 * MOST_CHILDREN


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
        if len(text) > _SHORT:
            _leave_out(self.tree)

    @cached_property
    def base_url(self) -> str:
        """What links of the page are relative to."""
        for base in self.tree.iter("base"):
            if href := base.get("href"):
                return _join(self.url, href) or self.url
        return self.url

    def resolve(self, link: str) -> str | None:
        """The absolute form of a link, or None where it is none that can be fetched by HTTP."""
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
    content = text.replace("\0", "").encode("utf-8", "replace")
    parser = lxml.html.HTMLParser(
        encoding="utf-8", huge_tree=False, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        return lxml.html.document_fromstring(content, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError):
        # Nothing in it but blanks or comments.
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
    # The declaration names the charset of the bytes, which these are not any more.
    content = re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1).replace("\0", "")
    try:
        root = etree.fromstring(content.encode("utf-8", "replace"), parser=parser)
    except etree.XMLSyntaxError:
        root = None
    return _parse_html(text) if root is None else root


def _leave_out(tree: Any) -> None:
    """Cuts a tree that only a hostile page has."""
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


def _join(base: str, link: str) -> str | None:
    try:
        return urljoin(base, link)
    except ValueError:
        return None
