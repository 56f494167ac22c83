"""How far the cataloguing of a record has come, read from the library's local fields."""

import re
from collections import namedtuple

from edeposit.amqp.aleph.marcxml import MarcRecord, as_record
from edeposit.amqp.formats import isbn

_SUMMARY = "SE"
_CLOSED = "90"
_TOKEN_ENDS = " .,:;<>(){}[]\\/"
_ID_NUMBER = re.compile(r"[A-Za-z]+\d{8,}")


class SemanticInfo(
    namedtuple(
        "SemanticInfo",
        "hasAcquisitionFields acquisitionFields ISBNAgencyFields descriptiveCatFields"
        " descriptiveCatReviewFields subjectCatFields subjectCatReviewFields isClosed"
        " isSummaryRecord contentOfFMT parsedSummaryRecordSysNumber summaryRecordSysNumber",
    )
):
    """State of a book's record.

    Attributes:
        hasAcquisitionFields (bool): whether there is a field HLD.
        acquisitionFields (list): STZ, of such a record.
        ISBNAgencyFields (list): signs of the ISBN agency.
        descriptiveCatFields (list): signs of descriptive cataloguing.
        descriptiveCatReviewFields (list): signs of its review.
        subjectCatFields (list): signs of subject cataloguing.
        subjectCatReviewFields (list): signs of its review.
        isClosed (bool): whether the record is finished.
        isSummaryRecord (bool): whether it sums up others.
        contentOfFMT (str): "" if there is no FMT.
        parsedSummaryRecordSysNumber (str): number found in the next one.
        summaryRecordSysNumber (str): text about the summary record.
    """

    __slots__ = ()

    @staticmethod
    def from_xml(xml: str | bytes | MarcRecord) -> "SemanticInfo":
        """Read the state from a MARC record.

        Raises:
            InvalidRecordException: there is no record in the text.
        """
        record = as_record(xml)
        summary = summary_number(record)
        return SemanticInfo(
            hasAcquisitionFields=record.has("HLD"),
            acquisitionFields=acquisition_fields(record),
            ISBNAgencyFields=signs(record, "ii2"),
            descriptiveCatFields=signs(record, "jp2"),
            descriptiveCatReviewFields=signs(record, "jr2"),
            subjectCatFields=signs(record, "vp"),
            subjectCatReviewFields=signs(record, "vr"),
            isClosed=is_closed(record),
            isSummaryRecord=is_summary(record),
            contentOfFMT=record.controls.get("FMT", ""),
            parsedSummaryRecordSysNumber=parse_summary_number(summary),
            summaryRecordSysNumber=summary,
        )


class EPeriodicalSemanticInfo(
    namedtuple(
        "EPeriodicalSemanticInfo",
        "hasAcquisitionFields acquisitionFields isClosed isSummaryRecord contentOfFMT"
        " parsedSummaryRecordSysNumber summaryRecordSysNumber",
    )
):
    """State of a periodical's record; attributes as of ``SemanticInfo``.

    A sign ``sk…`` counts as acquisition too.
    """

    __slots__ = ()

    @staticmethod
    def from_xml(xml: str | bytes | MarcRecord) -> "EPeriodicalSemanticInfo":
        """Read the state from a MARC record.

        Raises:
            InvalidRecordException: there is no record in the text.
        """
        record = as_record(xml)
        acquisition_signs = signs(record, "sk")
        summary = summary_number(record)
        return EPeriodicalSemanticInfo(
            hasAcquisitionFields=record.has("HLD") or bool(acquisition_signs),
            acquisitionFields=acquisition_fields(record) + acquisition_signs,
            isClosed=is_closed(record),
            isSummaryRecord=is_summary(record),
            contentOfFMT=record.controls.get("FMT", ""),
            parsedSummaryRecordSysNumber=parse_summary_number(summary),
            summaryRecordSysNumber=summary,
        )


def signs(record: MarcRecord, prefix: str) -> list[str]:
    """IST $a that begin so, each followed by the $b of its field (who signed)."""
    result = []
    for field in record.fields("IST"):
        for sign in field.get_subfields("a"):
            if sign.startswith(prefix):
                result += [sign.replace(" ", ""), *field.get_subfields("b")]
    return result


def acquisition_fields(record: MarcRecord) -> list[str]:
    """STZ $a and $b, of a record with HLD."""
    if not record.has("HLD"):
        return []
    return record.subfields("STZ", "a") + record.subfields("STZ", "b")


def is_closed(record: MarcRecord) -> bool:
    """Whether the record is in the base of closed ones."""
    return _CLOSED in record.subfields("BAS", "a")


def is_summary(record: MarcRecord) -> bool:
    """Whether the record sums up others."""
    return record.controls.get("FMT") == _SUMMARY


def summary_number(record: MarcRecord) -> str:
    """Text about the summary record."""
    return "\n".join(record.subfields("PJM", "a"))


def parse_summary_number(text: str) -> str:
    """The number in such a text: an identification number or ISBN, else any longer number."""
    tokens = [token.strip(_TOKEN_ENDS) for token in text.split()]
    for token in tokens:
        if _ID_NUMBER.fullmatch(token) or isbn.is_valid(token):
            return token
    for token in tokens:
        if sum(character.isdigit() for character in token) > 3:
            return token
    return ""
