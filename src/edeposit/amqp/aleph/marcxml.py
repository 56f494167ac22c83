"""MARC records in XML, both dialects, as pymarc records.

``ill_get_doc`` of the X-Services answers in MARC 21 XML, ``present`` and ``find_doc`` in OAI MARC,
which pymarc does not read; one walk over the lxml tree serves both. Element names are matched
without their namespace.
"""

import re
from typing import Any

import pymarc

from edeposit.amqp.aleph.exceptions import InvalidRecordException
from edeposit.amqp.aleph.xmltext import decode, elements, first, local_name, parse_xml, text_of

_BLANK_INDICATOR = " "
_FIELD_ELEMENTS = ("leader", "controlfield", "fixfield", "datafield", "varfield")
NO_NUMBER = "-1"

# Marks around words that do not count in sorting (articles), as catalogues write them.
_NON_FILING = str.maketrans(dict.fromkeys("\x88\x89\x98\x9c"))
_NON_FILING_BRACKETS = re.compile("<<([^<>]*)>>")


class MarcRecord:
    """A record: a pymarc ``Record``, and beside it what pymarc cannot hold.

    Args:
        xml: of a record or of a reply with one in it; only the first counts.

    Attributes:
        record: the pymarc record with all data fields and numeric control fields.
        leader: as in the XML; "" if there is none.
        controls: tag to text of all control fields; of repeated ones, the last.
        is_oai: whether it is the OAI dialect.
        doc_number: of the reply around the record, with its zeros; ``-1`` if it has none.
        xml: the text it was read from.

    Raises:
        InvalidRecordException: it is not XML, or there is no record in it.
    """

    def __init__(self, xml: str | bytes) -> None:
        root = parse_xml(xml)
        record = first(root, "record")
        if record is None:
            raise InvalidRecordException("There is no <record> in your MARC XML document!")
        number = first(root, "doc_number")
        self.doc_number = text_of(number) if number is not None else NO_NUMBER
        self.xml = decode(xml) if isinstance(xml, bytes) else xml
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
        for tag, value in self.controls.items():
            if _is_control(tag):
                self.record.add_field(pymarc.Field(tag=tag, data=value))  # type: ignore[no-untyped-call]
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

    def _add_data(self, tag: str | None, element: Any) -> None:
        if not tag or _is_control(tag):  # pymarc has no place for a data field 00X
            return
        subfields = []
        for child in element.iterchildren("{*}subfield"):
            code = child.get("code") or child.get("label")
            if code:
                subfields.append(pymarc.Subfield(code[0], _plain(text_of(child))))
        indicators = pymarc.Indicators(
            _indicator(element.get("ind1") or element.get("i1")),
            _indicator(element.get("ind2") or element.get("i2")),
        )
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
        """Whether there is a data or control field of this tag."""
        return tag in self.controls or bool(self.record.get_fields(tag))

    @property
    def is_deleted(self) -> bool:
        """Whether the record was deleted (a data field DEL)."""
        return bool(self.fields("DEL"))

    @property
    def is_continuing(self) -> bool:
        """Whether it is a periodical or another continuing resource.

        FMT says SE, or the bibliographic level (MARC 21, leader/07) is b, i or s.
        """
        return self.controls.get("FMT") == "SE" or self.leader[7:8] in ("b", "i", "s")


def _is_control(tag: str) -> bool:
    return tag.isdigit() and tag < "010"


def _plain(text: str) -> str:
    """A subfield as a reader sees it: single blanks, no line breaks, no marks for sorting."""
    text = _NON_FILING_BRACKETS.sub(r"\1", text.translate(_NON_FILING))
    return " ".join(text.split())


def _indicator(value: str | None) -> str:
    return value[0] if value else _BLANK_INDICATOR


def as_record(xml: "str | bytes | MarcRecord") -> MarcRecord:
    """A record, parsed if it is text."""
    return xml if isinstance(xml, MarcRecord) else MarcRecord(xml)
