"""What makes two publications the same book.

An ISBN (of either length, however written) or a book's EAN; else any other EAN; else title,
publisher and authors together. An electronic edition is another book than a printed one.
"""

import re
import unicodedata
from typing import Any

from stdnum import ean as stdnum_ean
from stdnum import isbn as stdnum_isbn

_DASHES = re.compile(r"[\u2010-\u2015\u2212]")
# Can occur in no name.
_SEPARATOR = "\x1f"


def canonical_isbn(text: Any) -> str | None:
    """The ISBN-13 (ISO 2108) in digits; None if the text is no valid ISBN."""
    if not isinstance(text, str):
        return None
    compact = re.sub(r"[\s-]", "", _DASHES.sub("-", text))
    if not re.fullmatch(r"[0-9]{9}[0-9Xx]|97[89][0-9]{10}", compact):
        return None
    return str(stdnum_isbn.to_isbn13(compact)) if stdnum_isbn.is_valid(compact) else None


def fold(text: str) -> str:
    """A text as it is compared: Unicode composed, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def identity_of(publication: Any) -> str | None:
    """The identity of a publication, as object or as namedtuple.

    Returns:
        A text, or None: without ISBN, EAN and title it cannot be told from others.
    """
    optionals = publication.optionals
    edition = ":e" if getattr(optionals, "is_ebook", False) else ""
    for number in (getattr(optionals, "ISBN", None), getattr(optionals, "EAN", None)):
        isbn = canonical_isbn(number)
        if isbn is not None:
            return f"isbn:{isbn}{edition}"
    ean = re.sub(r"\D", "", getattr(optionals, "EAN", None) or "")
    if len(ean) == 13 and stdnum_ean.is_valid(ean):
        return f"ean:{ean}{edition}"
    if not publication.title:
        return None
    names = [str(getattr(author, "name", author)) for author in publication.authors or ()]
    parts = (publication.title, publication.publisher or "", *names)
    return f"title:{_SEPARATOR.join(map(fold, parts))}{edition}"
