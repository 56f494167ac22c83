"""Books."""

from collections import namedtuple

from edeposit.amqp.aleph.cleaning import clean_isbns, hairs, split_isbn
from edeposit.amqp.aleph.datastructures.author import Author, authors_of
from edeposit.amqp.aleph.datastructures.format_enum import FormatEnum
from edeposit.amqp.aleph.datastructures.publishing import (
    check_not_deleted,
    imprint,
    imprint_date,
    internal_urls,
    joined,
    sentences,
)
from edeposit.amqp.aleph.marcxml import MarcRecord, as_record

__all__ = ["Author", "EPublication", "FormatEnum"]


class EPublication(
    namedtuple(
        "EPublication",
        "ISBN invalid_ISBN id_number nazev podnazev vazba cena castDil nazevCasti"
        " nakladatelVydavatel datumVydani poradiVydani zpracovatelZaznamu format url mistoVydani"
        " ISBNSouboruPublikaci autori originaly internal_url anotace",
    )
):
    """A book.

    Attributes:
        ISBN (list): of str.
        invalid_ISBN (list): of str; 020 $z.
        id_number (str): such as ``nkc20150003029``; None if the record has none.
        nazev (str): title.
        podnazev (str): subtitle.
        vazba (str): binding or form, see ``FormatEnum``.
        cena (str): price.
        castDil (str): number of the part.
        nazevCasti (str): name of the part.
        nakladatelVydavatel (str): publisher.
        datumVydani (str): date of publication.
        poradiVydani (str): edition.
        zpracovatelZaznamu (str): who made the record.
        format (str): dimensions.
        url (list): of str.
        mistoVydani (str): place of publication.
        ISBNSouboruPublikaci (list): ISBN of the series; always empty when read from MARC.
        autori (list): of ``Author``.
        originaly (list): titles of the originals.
        internal_url (list): addresses in the library.
        anotace (str): annotation; always None when read from MARC.
    """

    __slots__ = ()

    @staticmethod
    def from_xml(xml: str | bytes | MarcRecord) -> "EPublication":
        """Read a book from a MARC record.

        Raises:
            InvalidRecordException: there is no record in the text.
            DocumentNotFoundException: the record was deleted.
        """
        record = as_record(xml)
        check_not_deleted(record)
        invalid = clean_isbns(record.subfields("020", "z"))
        return EPublication(
            ISBN=_isbns(record, invalid),
            invalid_ISBN=invalid,
            id_number=record.controls.get("001"),
            nazev=joined(record, "245", "a"),
            podnazev=joined(record, "245", "b"),
            vazba=_binding(record),
            cena=", ".join(filter(None, map(hairs, record.subfields("020", "c")))),
            castDil=sentences(record, "245", "n"),
            nazevCasti=sentences(record, "245", "p"),
            nakladatelVydavatel=imprint(record, "b"),
            datumVydani=imprint_date(record),
            poradiVydani=joined(record, "901", "f"),
            zpracovatelZaznamu=next(iter(record.subfields("040", "a")), ""),
            format=joined(record, "300", "c").rstrip("+ "),
            url=record.subfields("856", "u", "4", "2"),
            mistoVydani=imprint(record, "a"),
            ISBNSouboruPublikaci=[],
            autori=authors_of(record),
            originaly=record.subfields("765", "t"),
            internal_url=internal_urls(record),
            anotace=None,
        )


def _isbns(record: MarcRecord, invalid: list[str]) -> list[str]:
    wrong = {number.replace("-", "") for number in invalid}
    isbns = clean_isbns(record.subfields("020", "a"))
    valid = [number for number in isbns if number.replace("-", "") not in wrong]
    return valid or clean_isbns(record.subfields("901", "i"))


def _binding(record: MarcRecord) -> str:
    """What follows the ISBN in 020 $a, else 020 $q: ``80-… (sv. 1 : váz.) :`` gives ``váz.``"""
    for field in record.fields("020"):
        notes = [split_isbn(text)[1] for text in field.get_subfields("a")]
        notes += [hairs(text) for text in field.get_subfields("q")]
        if found := next(filter(None, notes), ""):
            return found
    return ""
