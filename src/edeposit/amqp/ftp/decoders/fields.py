"""The fields of one book, collected from its metadata."""

from typing import TYPE_CHECKING, Any

from edeposit.amqp.formats import isbn as isbn_reader
from edeposit.amqp.ftp.decoders.keys import KEYS, Key, meant_by
from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException
from edeposit.amqp.ftp.decoders.validator import short

if TYPE_CHECKING:
    from edeposit.amqp.aleph.datastructures.epublication import EPublication


class Field:
    """One field of the metadata.

    Args:
        keyword: in lower case, without accents.
        descr: its name for people.
        epub: the field of ``EPublication``; default: the keyword.
    """

    def __init__(self, keyword: str, descr: str, epub: str | None = None) -> None:
        self.keyword = keyword
        self.descr = descr
        self.epub = epub or keyword
        self._key = Key(keyword, descr, self.epub)
        self._found: list[tuple[str, Any]] = []  # keys and values of the best rank
        self._rank = 0

    @property
    def value(self) -> Any:
        """What the best key says; None: there is none."""
        return self._found[0][1] if self._found else None

    def check(self, key: Any, value: Any) -> bool:
        """Take the value if the key means this field; returns whether it does."""
        rank = self._key.rank(key)
        if not rank:
            return False
        if rank > self._rank:
            self._rank, self._found = rank, []
        if rank == self._rank:
            self._found.append((str(key), value.strip() if isinstance(value, str) else value))
        return True

    def is_valid(self) -> bool:
        """Has a value been found?"""
        return self.value is not None

    def check_unambiguous(self) -> None:
        """Look whether all keys of the best rank say the same.

        Raises:
            MetaParsingException: they do not; the text names two.
        """
        for key, value in self._found[1:]:
            if str(value) != str(self.value):
                raise MetaParsingException(
                    f"Keywords '{self._found[0][0]}' and '{key}' ({self.descr}) have two values:"
                    f" {short(self.value)} and {short(value)}!"
                )


class FieldParser:
    """Collects the fields of one book.

    Attributes:
        fields: required ones (list of ``Field``).
        optional: the others.
    """

    def __init__(self) -> None:
        self.fields = [Field(*key[:3]) for key in KEYS if key.is_required]
        self.optional = [Field(*key[:3]) for key in KEYS if not key.is_required]

    def process(self, key: Any, val: Any) -> None:
        """Give a pair to the field it belongs to; unknown keys are ignored.

        Raises:
            MetaParsingException: the key means two fields.
        """
        meant = [one.keyword for one in meant_by(key)]
        if len(meant) > 1:
            raise MetaParsingException(
                f"Keyword '{key}' is not clear: it means {' and '.join(meant)}!"
            )
        for field in (*self.fields, *self.optional):
            if field.keyword in meant:
                field.check(key, val)

    def is_valid(self) -> bool:
        """Are all required fields there?"""
        return all(field.is_valid() for field in self.fields)

    def get_epublication(self) -> "EPublication":
        """The book; fields that the metadata do not have are None.

        Raises:
            MetaParsingException: a field has two values, required fields are missing, or the ISBN
                is wrong.
        """
        # Late: reading metadata must not need what only the catalogue needs.
        from edeposit.amqp.aleph.datastructures.epublication import EPublication

        for field in (*self.fields, *self.optional):
            field.check_unambiguous()
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
        values["ISBN"] = _isbn(values["ISBN"])
        return EPublication(**values)


def _isbn(value: Any) -> str:
    """An ISBN as it is printed; Excel and JSON make a number or a text with a mark of it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    try:
        return isbn_reader.read(text.removeprefix("'"))
    except ValueError as error:
        raise MetaParsingException(f"ISBN {short(text)} is not valid!") from error


def is_valid_isbn(text: str) -> bool:
    """Is a text nothing but an ISBN with its right check digit?"""
    return isbn_reader.is_valid(text)


def canonical_isbn(text: str) -> str | None:
    """The ISBN-13 without hyphens, None if the text is no ISBN."""
    try:
        return isbn_reader.canonical(text)
    except ValueError:
        return None
