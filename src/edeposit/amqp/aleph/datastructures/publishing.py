"""What books and periodicals have in common in their MARC fields."""

from collections.abc import Callable
from typing import Any

from edeposit.amqp.aleph.cleaning import clean_date, hairs, unique
from edeposit.amqp.aleph.exceptions import DocumentNotFoundException
from edeposit.amqp.aleph.marcxml import MarcRecord

# MARC 21, 260 and 264: the current publisher, the first one, then those in between.
_SEQUENCE = ("3", " ")


def check_not_deleted(record: MarcRecord) -> None:
    """Raises:
    DocumentNotFoundException: the record was deleted.
    """
    if record.is_deleted:
        raise DocumentNotFoundException("Document was deleted.")


def joined(record: MarcRecord, tag: str, code: str) -> str:
    """All texts of a subfield, divided by blanks, freed of punctuation."""
    return hairs(" ".join(record.subfields(tag, code)))


def sentences(record: MarcRecord, tag: str, code: str) -> str:
    """All texts of a subfield, each freed of punctuation, divided by full stops."""
    *others, last = unique([hairs(text) for text in record.subfields(tag, code)]) or [""]
    return ". ".join([*(text.rstrip(".") for text in others), last])


def imprint(record: MarcRecord, code: str, clean: Callable[[str], str] = hairs) -> str:
    """Place ($a), publisher ($b) or date ($c) of publication.

    From 260 and from 264 with second indicator 1 (publication); only where those say nothing, from
    any 264 (producer, distributor, manufacturer, copyright).
    """
    fields = [*_in_sequence(record.fields("260")), *_in_sequence(record.fields("264", None, "1"))]
    cleaned = _cleaned(fields, code, clean) or _cleaned(record.fields("264"), code, clean)
    return ", ".join(cleaned)


def _in_sequence(fields: list[Any]) -> list[Any]:
    def place(field: Any) -> int:
        first = field.indicators.first
        return _SEQUENCE.index(first) if first in _SEQUENCE else len(_SEQUENCE)

    return sorted(fields, key=place)


def _cleaned(fields: list[Any], code: str, clean: Callable[[str], str]) -> list[str]:
    return unique([clean(text) for field in fields for text in field.get_subfields(code)])


def imprint_date(record: MarcRecord) -> str:
    """Date of publication."""
    return imprint(record, "c", clean_date)


def internal_urls(record: MarcRecord) -> list[str]:
    """Addresses of the document in the library: 856 40, 998, URL."""
    return [
        *record.subfields("856", "u", "4", "0"),
        *record.subfields("998", "a"),
        *record.subfields("URL", "u"),
    ]
