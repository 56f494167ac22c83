"""Persons."""

from collections import namedtuple
from typing import Any

from edeposit.amqp.aleph.datastructures.roles import is_author
from edeposit.amqp.aleph.marcxml import MarcRecord

_ENDS = " ,;:/"
_FAMILY_NAME = "3"
_FORENAME = "0"


class Author(namedtuple("Author", ["firstName", "lastName", "title"])):
    """A person.

    Attributes:
        firstName (str): "" if there is none.
        lastName (str): "" if there is none.
        title (str): such as "prof."
    """

    __slots__ = ()


def authors_of(record: MarcRecord) -> list[Author]:
    """The persons in fields 100 and 700, without those whose role is another than author."""
    fields = [*record.fields("100"), *record.fields("700")]
    authors = [_author(field) for field in fields if is_author(field)]
    return [author for author in authors if any(author)]


def _author(field: Any) -> Author:
    """MARC 21, X00 fields: the first indicator says what $a begins with."""
    name = _joined(field, "a")
    more = _joined(field, "c")
    if field.indicators.first == _FORENAME:
        return Author(f"{name} {_joined(field, 'b')}".strip(_ENDS), more, "")
    if field.indicators.first == _FAMILY_NAME:
        return Author("", name, more)
    separator = "," if "," in name else " "
    last, _, given = name.partition(separator)
    return Author(given.strip(_ENDS), last.strip(_ENDS), more)


def _joined(field: Any, code: str) -> str:
    return ", ".join(part.strip(_ENDS) for part in field.get_subfields(code))
