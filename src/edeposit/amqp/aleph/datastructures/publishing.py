"""What books and periodicals have in common in their MARC fields."""

from collections.abc import Callable

from edeposit.amqp.aleph.cleaning import clean_date, hairs, unique
from edeposit.amqp.aleph.exceptions import DocumentNotFoundException
from edeposit.amqp.aleph.marcxml import MarcRecord


def check_not_deleted(record: MarcRecord) -> None:
    """Raises:
    DocumentNotFoundException: the record consists of its deletion.
    """
    if record.is_deleted:
        raise DocumentNotFoundException("Document was deleted.")


def joined(record: MarcRecord, tag: str, code: str) -> str:
    """All texts of a subfield, one after the other, freed of punctuation."""
    return hairs("".join(record.subfields(tag, code)))


def imprint(record: MarcRecord, code: str, clean: Callable[[str], str] = hairs) -> str:
    """Place ($a), publisher ($b) or date ($c) of publication.

    From 260 and 264 with second indicator 1 (publication); only where those say nothing, from any
    264 (producer, distributor, manufacturer, copyright).
    """
    texts = record.subfields("260", code, " ", " ") + record.subfields("264", code, None, "1")
    cleaned = unique([clean(text) for text in texts])
    if not cleaned:
        cleaned = unique([clean(text) for text in record.subfields("264", code)])
    return ", ".join(cleaned)


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
