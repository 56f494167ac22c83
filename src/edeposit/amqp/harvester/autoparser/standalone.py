"""Rules run by lxml alone: the heart of every parser that the autoparser writes.

The text of this module, and of the few it needs, is copied into the parser, so it must not use
anything but lxml and the standard library. CSS has become XPath by then.
"""

import re
from typing import Any
from urllib.parse import urljoin

import lxml.html
from lxml import etree

from edeposit.amqp.harvester.page.jsonld import StructuredData, meta_values
from edeposit.amqp.harvester.page.labels import fold, label_cells
from edeposit.amqp.harvester.page.text import Cut, raw_text, without_default_namespace

XML_PAGE = re.compile(r"\s*<\?xml\b(?!.{0,500}<!doctype\s+html)(?!.{0,500}<html\b)", re.I | re.S)


def parse_page(content: bytes | str, url: str = "") -> Any:
    """The root element of a page; bytes are decoded as the page says, else as UTF-8."""
    text = content if isinstance(content, str) else _decoded(content)
    data = re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1).replace("\0", "")
    data_bytes = data.encode("utf-8", "replace")
    options: dict[str, Any] = {
        "encoding": "utf-8",
        "huge_tree": False,
        "no_network": True,
        "remove_comments": True,
        "remove_pis": True,
    }
    try:
        if XML_PAGE.match(text):
            parser = etree.XMLParser(recover=True, resolve_entities=False, **options)
            root = etree.fromstring(data_bytes, parser, base_url=url)
            if root is not None:
                without_default_namespace(root)
                return root
        html_parser = lxml.html.HTMLParser(**options)
        return lxml.html.document_fromstring(data_bytes, html_parser, base_url=url)
    except (etree.ParserError, etree.XMLSyntaxError):
        return lxml.html.document_fromstring("<html><body></body></html>")


def _decoded(content: bytes) -> str:
    said = re.search(rb"""(?i)(?:charset|encoding)\s*=\s*["']?\s*([\w-]+)""", content[:4096])
    names = [said[1].decode("ascii")] if said else []
    for name in [*names, "utf-8-sig", "windows-1250"]:
        try:
            return content.decode(name)
        except (LookupError, UnicodeDecodeError):
            continue
    return content.decode("utf-8", "replace")


def find_values(dom: Any, rules: list[dict[str, Any]]) -> list[str]:
    """The values of the first rule that finds some."""
    for rule in rules:
        cut = Cut(rule)
        values = []
        for found in _located(dom, rule):
            if isinstance(found, str):
                text = found
            elif "attr" in rule:
                text = found.get(rule["attr"]) or ""
            else:
                text = raw_text(found)
            text = cut(text)
            if text and rule.get("clean") == "url":
                text = urljoin(dom.base or "", text)
            if text:
                values.append(text)
        if values:
            return values
    return []


def _located(dom: Any, rule: dict[str, Any]) -> list[Any]:
    if "xpath" in rule:
        found = dom.xpath(rule["xpath"], smart_strings=False)
        found = found if isinstance(found, list) else [str(found)]
    elif "label" in rule:
        found = label_cells(dom).get(fold(rule["label"]), [])
    elif "meta" in rule:
        found = meta_values(dom).get(rule["meta"].lower(), [])
    elif "jsonld" in rule:
        scripts = dom.iter("script")
        texts = [item.text for item in scripts if "ld+json" in (item.get("type") or "").lower()]
        found = StructuredData(text or "" for text in texts).find(rule["jsonld"])
    else:
        found = [rule["constant"]]
    if "index" in rule:
        index = rule["index"]
        found = [found[index]] if -len(found) <= index < len(found) else []
    return found
