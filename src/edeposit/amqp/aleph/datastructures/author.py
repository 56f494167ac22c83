"""Persons."""

from collections import namedtuple
from typing import Any

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
    """The authors of a record: fields 100 and 700 without a role, or with the role ``aut``."""
    result = []
    for tag in ("100", "700"):
        for field in record.fields(tag):
            roles = field.get_subfields("4")
            if roles and "aut" not in roles:
                continue
            author = _author(field)
            if any(author):
                result.append(author)
    return result


def _author(field: Any) -> Author:
    """MARC 21, X00 fields: the first indicator says what $a begins with."""
    name = ", ".join(part.strip(_ENDS) for part in field.get_subfields("a"))
    more = ", ".join(part.strip(_ENDS) for part in field.get_subfields("c"))
    if field.indicators.first == _FORENAME:
        numeration = ", ".join(part.strip(_ENDS) for part in field.get_subfields("b"))
        return Author(f"{name} {numeration}".strip(_ENDS), more, "")
    if field.indicators.first == _FAMILY_NAME:
        return Author("", name, more)
    separator = "," if "," in name else " "
    last, _, given = name.partition(separator)
    return Author(given.strip(_ENDS), last.strip(_ENDS), more)
