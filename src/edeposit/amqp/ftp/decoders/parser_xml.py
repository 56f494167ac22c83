"""XML: ``<root>`` with ``<item key="K">V</item>`` in it; namespaces do not matter.

Publishers' files are not always well-formed: what the strict parser refuses is tried again as
HTML. No DOCTYPE is accepted, so there are no entities to expand and nothing to fetch.
"""

import re
from typing import Any

from lxml import etree, html

from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException
from edeposit.amqp.ftp.decoders.validator import check_structure

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


def decode(data: str) -> dict[str, Any]:
    """Read pairs from XML; names of elements and attributes match in any case.

    Raises:
        MetaParsingException: it is not XML, or not of this structure.
    """
    if re.search(r"<!DOCTYPE|<!ENTITY", data, re.IGNORECASE):
        raise MetaParsingException("Can't parse your XML data: a DOCTYPE is not allowed")
    # The text is decoded already: what its declaration says of the encoding is no longer true.
    roots = _roots(_DECLARATION.sub("", data))
    if not roots:
        raise MetaParsingException("All elements have to be inside <root>.")
    if len(roots) > 1:
        raise MetaParsingException("Too many <root> elements in your XML!")
    items = [element for element in roots[0].iter() if _name(element.tag) == "item"]
    if not items:
        raise MetaParsingException("There are no <items> in your XML <root>!")
    pairs = []
    for item in items:
        keys = [value for name, value in item.attrib.items() if _name(name) == "key"]
        if not keys or not keys[0].strip():
            raise MetaParsingException("There is no 'key' parameter in <item>.")
        pairs.append([keys[0], "".join(map(str, item.itertext(with_tail=False))).strip()])
    return check_structure(pairs)


def _roots(text: str) -> list[etree._Element]:
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
    )
    try:
        root = etree.fromstring(text, parser)
        inside = [element for element in root.iter() if _name(element.tag) == "root"]
        return inside if _name(root.tag) == "root" else []
    except (etree.XMLSyntaxError, ValueError):
        pass
    try:
        document = html.document_fromstring(text)
    except (etree.ParserError, ValueError) as error:
        raise MetaParsingException(f"Can't parse your XML data: {error}") from error
    body = document.find("body")
    if body is None:
        raise MetaParsingException("All elements have to be inside <root>.")
    if any(_name(element.tag) != "root" for element in body) or (body.text or "").strip():
        return []
    return [element for element in body.iter() if _name(element.tag) == "root"]


def _name(name: object) -> str:
    """A name without its namespace or prefix; a comment and the like have none."""
    return re.split("[}:]", name)[-1].lower() if isinstance(name, str) else ""
