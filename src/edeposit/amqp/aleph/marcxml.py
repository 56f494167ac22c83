"""MARC records in XML, both dialects, as pymarc records.

``ill_get_doc`` of the X-Services answers in MARC 21 XML, ``present`` and ``find_doc`` in OAI MARC,
which pymarc does not read; one walk over the lxml tree serves both. Element names are matched
without their namespace.

What must stay true: no input hangs, fetches anything, or raises anything but
``InvalidRecordException``. A document type declaration is refused before it is parsed; libxml2
bounds depth, and the size is bounded by the setting ALEPH_MAX_REPLY.
"""

import logging
import re
from collections.abc import Iterator
from typing import Any

import pymarc
from lxml import etree

from edeposit.amqp.aleph import settings
from edeposit.amqp.aleph.exceptions import InvalidRecordException

logger = logging.getLogger(__name__)

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_BLANK_INDICATOR = " "
_FIELD_ELEMENTS = ("leader", "controlfield", "fixfield", "datafield", "varfield")
NO_NUMBER = "-1"


def parse_xml(xml: str | bytes) -> Any:
    """Parse a reply; a broken one gets one attempt to recover, which is logged.

    Args:
        xml: bytes with or without a declaration, or text.

    Returns:
        The root element.

    Raises:
        InvalidRecordException: it is no XML, too large, or declares a document type.
    """
    if isinstance(xml, str):
        xml = _DECLARATION.sub("", xml, count=1).encode("utf-8", "replace")
    if len(xml) > settings.ALEPH_MAX_REPLY:
        raise InvalidRecordException(f"XML of {len(xml)} bytes is too large")
    data = xml.strip()
    if not data:
        raise InvalidRecordException("empty XML document")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise InvalidRecordException("XML with a document type declaration is refused")
    try:
        return _parse(data, recover=False)
    except etree.XMLSyntaxError as error:
        reason = str(error)
    except ValueError as error:  # such as an encoding that libxml2 does not know
        raise InvalidRecordException(f"not XML: {error}") from error
    try:
        root = _parse(data, recover=True)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise InvalidRecordException(f"not XML: {reason}") from error
    if root is None:
        raise InvalidRecordException(f"not XML: {reason}")
    logger.warning("XML is broken and was repaired: %s", reason)
    return root


def _parse(data: bytes, *, recover: bool) -> Any:
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=recover,
        remove_comments=True,
        remove_pis=True,
    )
    root: Any = etree.fromstring(data, parser)
    if root is not None and root.getroottree().docinfo.doctype:
        raise InvalidRecordException("XML with a document type declaration is refused")
    return root


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
    """An element's text, stripped, with what stands in and between its children."""
    return ("".join(element.itertext()) if len(element) else element.text or "").strip()


class MarcRecord:
    """A record: a pymarc ``Record``, and beside it what pymarc cannot hold.

    Args:
        xml: of a record or of a reply with one in it; only the first counts.

    Attributes:
        record: the pymarc record with all data fields and numeric control fields.
        leader: as it stands in the XML; "" if there is none.
        controls: tag to text of all control fields, the last of a tag wins.
        is_oai: is it the OAI dialect?
        doc_number: of the reply around the record, with its zeros; ``-1`` if it has none.
        xml: the text it was read from.

    Raises:
        InvalidRecordException: it is no XML, or there is no record in it.
    """

    def __init__(self, xml: str | bytes) -> None:
        root = parse_xml(xml)
        record = first(root, "record")
        if record is None:
            raise InvalidRecordException("There is no <record> in your MARC XML document!")
        number = first(root, "doc_number")
        self.doc_number = text_of(number) if number is not None else NO_NUMBER
        self.xml = xml.decode("utf-8", "replace") if isinstance(xml, bytes) else xml
        self.controls: dict[str, str] = {}
        self.leader = ""
        self.record = pymarc.Record()
        self.is_oai = first(record, "oai_marc") is not None
        for element in elements(record, *_FIELD_ELEMENTS):
            name = local_name(element)
            if name == "leader":
                self.leader = element.text or ""
            elif name in ("controlfield", "fixfield"):
                self._add_control(element.get("tag") or element.get("id"), element)
            elif name in ("datafield", "varfield"):
                self._add_data(element.get("tag") or element.get("id"), element)
        if self.leader:
            self.record.leader = pymarc.Leader(self.leader[:24].ljust(24))

    def _add_control(self, tag: str | None, element: Any) -> None:
        if not tag:
            return
        value = text_of(element)
        if tag == "LDR":
            self.leader = value
            return
        self.controls[tag] = value
        if tag.isdigit() and tag < "010":
            self.record.remove_fields(tag)
            self.record.add_field(pymarc.Field(tag=tag, data=value))  # type: ignore[no-untyped-call]

    def _add_data(self, tag: str | None, element: Any) -> None:
        if not tag:
            return
        subfields = []
        for child in element.iterchildren("{*}subfield"):
            code = child.get("code") or child.get("label")
            if code:
                subfields.append(pymarc.Subfield(code[0], text_of(child)))
        indicators = pymarc.Indicators(
            _indicator(element.get("ind1") or element.get("i1")),
            _indicator(element.get("ind2") or element.get("i2")),
        )
        if tag.isdigit() and tag < "010":
            return  # a data field with the tag of a control field: pymarc has no place for it
        field = pymarc.Field(tag=tag, indicators=indicators, subfields=subfields)
        self.record.add_field(field)  # type: ignore[no-untyped-call]

    def fields(self, tag: str, ind1: str | None = None, ind2: str | None = None) -> list[Any]:
        """Data fields of a tag, in document order; an indicator of None is any."""
        return [
            field
            for field in self.record.get_fields(tag)
            if field.indicators is not None
            and (ind1 is None or field.indicators.first == ind1)
            and (ind2 is None or field.indicators.second == ind2)
        ]

    def subfields(
        self, tag: str, code: str, ind1: str | None = None, ind2: str | None = None
    ) -> list[str]:
        """Texts of a subfield in all fields of a tag, in document order."""
        return [
            value for field in self.fields(tag, ind1, ind2) for value in field.get_subfields(code)
        ]

    def has(self, tag: str) -> bool:
        """Is there a data or control field of this tag?"""
        return tag in self.controls or bool(self.record.get_fields(tag))

    @property
    def is_deleted(self) -> bool:
        """Does the record consist of its deletion (a data field DEL)?"""
        return bool(self.fields("DEL"))

    @property
    def is_continuing(self) -> bool:
        """Is it a periodical or another continuing resource?

        FMT says SE, or the bibliographic level (MARC 21, leader/07) is b, i or s.
        """
        return self.controls.get("FMT") == "SE" or self.leader[7:8] in ("b", "i", "s")


def _indicator(value: str | None) -> str:
    return value[0] if value else _BLANK_INDICATOR


def as_record(xml: "str | bytes | MarcRecord") -> MarcRecord:
    """A record, parsed if it is text."""
    return xml if isinstance(xml, MarcRecord) else MarcRecord(xml)
