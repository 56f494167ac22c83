"""Periodicals and other continuing resources."""

from collections import namedtuple

from edeposit.amqp.aleph.cleaning import clean_issn
from edeposit.amqp.aleph.datastructures.publishing import (
    check_not_deleted,
    imprint,
    imprint_date,
    internal_urls,
    joined,
)
from edeposit.amqp.aleph.marcxml import MarcRecord, as_record


class EPeriodical(
    namedtuple(
        "EPeriodical",
        "url ISSN invalid_ISSNs nazev anotace podnazev id_number mistoVydani datumVydani"
        " internal_url nakladatelVydavatel ISSNSouboruPublikaci",
    )
):
    """A periodical.

    Attributes:
        url (list): of str.
        ISSN (list): of str.
        invalid_ISSNs (list): of str; 022 $z and $y.
        nazev (str): title.
        anotace (str): annotation; always None when read from MARC.
        podnazev (str): subtitle.
        id_number (str): None if the record has none.
        mistoVydani (str): place of publication.
        datumVydani (str): date of publication.
        internal_url (list): addresses in the library.
        nakladatelVydavatel (str): publisher.
        ISSNSouboruPublikaci (list): linking ISSN.
    """

    __slots__ = ()

    @staticmethod
    def from_xml(xml: str | bytes | MarcRecord) -> "EPeriodical":
        """Read a periodical from a MARC record.

        Raises:
            InvalidRecordException: there is no record in the text.
            DocumentNotFoundException: the record was deleted.
        """
        record = as_record(xml)
        check_not_deleted(record)
        invalid = _issns(record, "z") + _issns(record, "y")
        wrong = set(invalid)
        return EPeriodical(
            url=record.subfields("856", "u", "4", "2"),
            ISSN=[issn for issn in _issns(record, "a") if issn not in wrong],
            invalid_ISSNs=invalid,
            nazev=joined(record, "245", "a"),
            anotace=None,
            podnazev=joined(record, "245", "b"),
            id_number=record.controls.get("001"),
            mistoVydani=imprint(record, "a"),
            datumVydani=imprint_date(record),
            internal_url=internal_urls(record),
            nakladatelVydavatel=imprint(record, "b"),
            ISSNSouboruPublikaci=_issns(record, "l"),
        )


def _issns(record: MarcRecord, code: str) -> list[str]:
    return [clean_issn(text) for text in record.subfields("022", code)]
