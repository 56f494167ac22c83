"""One page, parsed once: what all rules of a source read from.

Broken markup and odd bytes make a page poorer, never an error. No entity, DTD or network is ever
followed, and the tree's depth is bounded by libxml2 (``huge_tree`` off). What only some rules need
(structured data, labels) is read when first asked for, and then kept.
"""

import re
from functools import cached_property
from typing import Any
from urllib.parse import urljoin, urlsplit

import lxml.html
from lxml import etree

from edeposit.amqp.harvester.charset import decode
from edeposit.amqp.harvester.labels import label_cells
from edeposit.amqp.harvester.oversized import cut_tags, cut_tree
from edeposit.amqp.harvester.structured import StructuredData, meta_values

# libxml2 drops what stands behind these, browsers do not; at the real end they are not needed.
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
        cut_tree(self.tree, len(text))

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
    content = _END.sub("", cut_tags(text.replace("\0", ""))).encode("utf-8", "replace")
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


def _join(base: str, link: str) -> str | None:
    try:
        return urljoin(base, link)
    except ValueError:
        return None
