"""XML as Aleph servers send it: decoded, repaired where that is safe, and parsed.

What must stay true: no input hangs, fetches anything, or raises anything but
``InvalidRecordException``. A document type declaration is refused before it is parsed; libxml2
bounds depth, the setting ALEPH_MAX_REPLY bounds the size, and time grows with the size only.
"""

import codecs
import logging
import re
from collections.abc import Iterator
from html.entities import name2codepoint
from typing import Any

from lxml import etree

from edeposit.amqp.aleph import settings
from edeposit.amqp.aleph.exceptions import InvalidRecordException

logger = logging.getLogger(__name__)

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    # Without a mark, but not to be mistaken either.
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_DECLARED = re.compile(rb"\s*<\?xml[^>]{1,100}?encoding\s{0,9}=\s{0,9}[\"']([A-Za-z0-9._-]{1,40})")
_DECLARATION = re.compile(r"<\?xml[^>]*\?>")
# Charsets of documents whose declaration can be read as ASCII. Python also has codecs that are
# no charsets, some of quadratic cost (punycode).
_CHARSET = re.compile(
    r"(utf-?8|us-?ascii|ascii|iso|latin|windows|cp|mac|koi8|gb|big5|shift|euc)[a-z0-9_.-]*", re.I
)
_AMPERSAND = re.compile(r"&(?:(#[0-9]+|#x[0-9A-Fa-f]+)|([A-Za-z][A-Za-z0-9]{0,30}));|&")
_XML_ENTITIES = ("amp", "lt", "gt", "quot", "apos")


def decode(body: bytes, charset: str | None = None) -> str:
    """The text of a reply, without a declaration that no longer holds.

    The charset is that of the byte order mark, else of the XML declaration, else the given one,
    else UTF-8. Bytes that are wrong in it become U+FFFD.

    Args:
        charset: what the HTTP header Content-Type says.
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return _without_declaration(body.decode(name, "replace"))
    declared = _DECLARED.match(body[:300])
    for name in (declared[1].decode("ascii") if declared else "", charset or ""):
        if _CHARSET.fullmatch(name):
            try:
                text = body.decode(name, "replace")
            except LookupError:
                logger.warning("the charset %r is not known", name)
                continue
            return text if name.lower() in ("utf-8", "utf8") else _without_declaration(text)
    return body.decode("utf-8", "replace")


def _without_declaration(text: str) -> str:
    text = text.lstrip("\ufeff \t\r\n")
    declaration = _DECLARATION.match(text)
    return text[declaration.end() :].lstrip() if declaration else text


def parse_xml(xml: str | bytes) -> Any:
    """Parse a reply; a broken one gets one attempt to repair it, which is logged.

    A bare ``&`` is kept as text, an entity of HTML (``&nbsp;``) becomes its character.

    Returns:
        The root element.

    Raises:
        InvalidRecordException: it is not XML, too large, or declares a document type.
    """
    if not isinstance(xml, (str, bytes)):  # a message may bring anything
        raise InvalidRecordException(f"XML must be a text, not {type(xml).__name__}")
    if len(xml) > settings.ALEPH_MAX_REPLY:
        raise InvalidRecordException(f"XML of {len(xml)} bytes is too large")
    text = _without_declaration(decode(xml) if isinstance(xml, bytes) else xml).strip()
    if not text:
        raise InvalidRecordException("empty XML document")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InvalidRecordException("XML with a document type declaration is refused")
    try:
        return _parse(text, recover=False)
    except etree.XMLSyntaxError as error:
        reason = str(error)
    try:
        root = _parse(_without_bare_ampersands(text), recover=True)
    except etree.XMLSyntaxError as error:
        raise InvalidRecordException(f"not XML: {reason}") from error
    if root is None:
        raise InvalidRecordException(f"not XML: {reason}")
    logger.warning("XML is broken and was repaired: %s", reason)
    return root


def _parse(text: str, *, recover: bool) -> Any:
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=recover,
        remove_comments=True,
        remove_pis=True,
    )
    return etree.fromstring(text.encode("utf-8", "replace"), parser)


def _without_bare_ampersands(text: str) -> str:
    first, *others = text.split("<![CDATA[")
    parts = [_AMPERSAND.sub(_escaped, first)]
    for other in others:
        cdata, end, rest = other.partition("]]>")
        parts += ["<![CDATA[", cdata, end, _AMPERSAND.sub(_escaped, rest)]
    return "".join(parts)


def _escaped(match: re.Match[str]) -> str:
    number, name = match.groups()
    if number or name in _XML_ENTITIES:
        return match[0]
    return chr(name2codepoint[name]) if name in name2codepoint else f"&amp;{match[0][1:]}"


def local_name(element: Any) -> str:
    """An element's name without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def first(root: Any, name: str) -> Any | None:
    """The first element of a name, the root included."""
    return next(elements(root, name), None)


def elements(root: Any, *names: str) -> Iterator[Any]:
    """All elements of these names, of any namespace or none, in document order."""
    return iter(root.iter(*(f"{{*}}{name}" for name in names)))


def text_of(element: Any) -> str:
    """An element's text, stripped, with the text of its children."""
    return ("".join(element.itertext()) if len(element) else element.text or "").strip()
