"""What makes two publications the same book, whichever page or shop they come from.

The identity is a text: the ISBN-13, else the EAN, else title, publisher and authors, folded; an
e-book is another publication than the printed book. What must stay true: a number that is wrong is
no identity (one shop's "ISBN" would hide all others with the same misprint), and texts written
into the database of books seen keep their meaning for ever.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from stdnum import ean as stdnum_ean
from stdnum import isbn as stdnum_isbn
from stdnum.exceptions import ValidationError

from edeposit.amqp.harvester.exceptions import ExtractionError

_NOT_OF_NUMBERS = re.compile(r"[^0-9Xx]")
_CANDIDATE = re.compile(r"(?:97[89][- ]?)?(?:\d[- ]?){9}[\dXx]")
# Stands between the parts of a title's identity: cannot occur in collapsed text.
_SEPARATOR = "\x1f"


def isbn13(text: object) -> str | None:
    """The ISBN in a text as 13 digits, None if there is no valid one.

    An ISBN-10 gets the prefix 978 and a new check digit (ISO 2108).
    """
    text = str(text or "")
    for candidate in (_NOT_OF_NUMBERS.sub("", text), *_CANDIDATE.findall(text)):
        try:
            return str(stdnum_isbn.to_isbn13(stdnum_isbn.validate(candidate))).replace("-", "")
        except ValidationError:
            continue
    return None


def ean(text: object) -> str | None:
    """The EAN in a text, digits only, None if it is not valid."""
    digits = _NOT_OF_NUMBERS.sub("", str(text or ""))
    return digits if stdnum_ean.is_valid(digits) else None


def number_of(text: object) -> str | None:
    """The identity that a number on a book gives, ``isbn:`` or ``ean:`` with its digits.

    An EAN of the book land (978, 979) is an ISBN.
    """
    if number := isbn13(text):
        return f"isbn:{number}"
    if number := ean(text):
        return f"ean:{number}"
    return None


def fold(text: object) -> str:
    """Case-folded, white space and control characters collapsed."""
    printable = "".join(c if c.isprintable() else " " for c in str(text or ""))
    return " ".join(printable.casefold().split())


def identity_of(publication: Any) -> str | None:
    """The identity of a publication; None if it has neither a valid number nor a title.

    Args:
        publication: mutable or namedtuple; ``optionals`` may be None.
    """
    optionals = publication.optionals
    number = None
    if optionals is not None:
        number = number_of(optionals.ISBN) or number_of(optionals.EAN)
    if number is None:
        title = fold(publication.title)
        if not title:
            return None
        authors = sorted(fold(name) for name in author_names(publication))
        number = "title:" + _SEPARATOR.join([title, fold(publication.publisher), *authors])
    # At the end, so that no title can make an identity that reads like another kind's.
    return number + _SEPARATOR + "ebook" if optionals is not None and optionals.is_ebook else number


def required_identity(publication: Any) -> str:
    """As ``identity_of``, for publications that have to have one.

    Raises:
        ExtractionError: it has neither a valid number nor a title.
    """
    identity = identity_of(publication)
    if identity is None:
        url = publication.optionals.URL if publication.optionals is not None else None
        raise ExtractionError(
            "a book with neither a title nor a valid ISBN or EAN", url or "", "title"
        )
    return identity


def author_names(publication: Any) -> list[str]:
    """Names of the authors, empty ones left out; a source may have put texts there."""
    names = (getattr(author, "name", author) for author in publication.authors or ())
    return [str(name) for name in names if name]


def old_title_identity(publication: Any) -> str | None:
    """How an imported cache of the first generation knows a book without valid numbers."""
    if not publication.title:
        return None
    return f"old:{publication.title}{','.join(author_names(publication))}"


def import_old(strings: Iterable[str]) -> Iterator[str]:
    """Identities for the entries of the first generation's cache.

    Numbers are computed anew: it had put ``97880`` before an ISBN-10, group and old check digit
    included. The rest were titles with authors.
    """
    for string in strings:
        if len(string) == 15 and string.startswith("97880") and (number := isbn13(string[5:])):
            yield f"isbn:{number}"
        elif re.fullmatch(r"[\d -]{8,20}[\dXx]?", string) and (known := number_of(string)):
            yield known
        else:
            yield f"old:{string}"
