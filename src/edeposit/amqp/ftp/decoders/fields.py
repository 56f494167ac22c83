"""Which metadata a book needs, and by which keywords they are found."""

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from stdnum import isbn as stdnum_isbn

from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException

if TYPE_CHECKING:
    from edeposit.amqp.aleph.datastructures.epublication import EPublication


class Field:
    """One field of the metadata.

    Args:
        keyword: has to be one of the words of a key, accents and case aside.
        descr: its name for people.
        epub: the field of ``EPublication``; default: the keyword.
    """

    def __init__(self, keyword: str, descr: str, epub: str | None = None) -> None:
        self.keyword = keyword
        self.descr = descr
        self.epub = epub or keyword
        self.value: Any = None

    def check(self, key: Any, value: Any) -> bool:
        """Take the value if the key is this field's; returns whether it is."""
        if self.keyword not in _plain_text(key).split():
            return False
        self.value = value.strip() if isinstance(value, str) else value
        return True

    def is_valid(self) -> bool:
        """Has a value been found?"""
        return self.value is not None


def _plain_text(key: Any) -> str:
    decomposed = unicodedata.normalize("NFKD", str(key))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).lower().strip()


class FieldParser:
    """Collects the fields of one book.

    Attributes:
        fields: required ones (list of ``Field``).
        optional: the others.
    """

    def __init__(self) -> None:
        self.fields = [
            Field("isbn", "ISBN", "ISBN"),
            Field("vazba", "Vazba/forma"),
            Field("nazev", "Název"),
            Field("misto", "Místo vydání", "mistoVydani"),
            Field("nakladatel", "Nakladatel", "nakladatelVydavatel"),
            Field("datum", "Měsíc a rok vydání", "datumVydani"),
            Field("poradi", "Pořadí vydání", "poradiVydani"),
            Field("zpracovatel", "Zpracovatel záznamu", "zpracovatelZaznamu"),
        ]
        self.optional = [
            Field("url", "Url"),
            Field("format", "Formát"),
            Field("podnazev", "Podnázev"),
            Field("cena", "Cena"),
        ]

    def process(self, key: Any, val: Any) -> None:
        """Give a pair to the first field it belongs to; unknown keys are ignored."""
        for field in (*self.fields, *self.optional):
            if field.check(key, val):
                return

    def is_valid(self) -> bool:
        """Are all required fields there?"""
        return all(field.is_valid() for field in self.fields)

    def get_epublication(self) -> "EPublication":
        """The book; fields that the metadata do not have are None.

        Raises:
            MetaParsingException: required fields are missing, or the ISBN is wrong.
        """
        # Late: reading metadata must not need what only the catalogue needs.
        from edeposit.amqp.aleph.datastructures.epublication import EPublication

        missing = [field for field in self.fields if not field.is_valid()]
        if missing:
            raise MetaParsingException(
                "Missing field(s):"
                + "".join(
                    f"\n\tKeyword '{field.keyword}' ({field.descr}) not found." for field in missing
                )
            )
        values: dict[str, Any] = dict.fromkeys(EPublication._fields)
        values |= {field.epub: field.value for field in (*self.fields, *self.optional)}
        values["ISBN"] = str(values["ISBN"])
        if not is_valid_isbn(values["ISBN"]):
            raise MetaParsingException(f"ISBN '{values['ISBN']}' is not valid!")
        return EPublication(**values)


def is_valid_isbn(text: str) -> bool:
    """Is a text nothing but an ISBN-10 or ISBN-13 with its right check digit (ISO 2108)?

    Hyphens and blanks between the digits are allowed.
    """
    return bool(re.fullmatch(r"[0-9Xx \-]+", text)) and bool(stdnum_isbn.is_valid(text))


def canonical_isbn(text: str) -> str | None:
    """The ISBN-13 without hyphens, None if the text is no ISBN."""
    if not is_valid_isbn(text):
        return None
    return str(stdnum_isbn.to_isbn13(stdnum_isbn.compact(text)))
