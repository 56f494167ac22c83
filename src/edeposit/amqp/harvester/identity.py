"""What makes two publications the same book.

An ISBN (of either length, however written) or a book's EAN; else any other EAN; else title,
publisher and authors together. An electronic edition is another book than a printed one.
"""

import re
import unicodedata
from typing import Any

from stdnum import ean as stdnum_ean
from stdnum import isbn as stdnum_isbn

from edeposit.amqp.harvester.exceptions import ExtractionError

# In a longer text: "978-80-7300-502-3 (Exlibris)".
_ISBN = re.compile(r"(?:97[89][- ]?)?(?:[0-9][- ]?){9}[0-9Xx]")
# Can occur in no name.
_SEPARATOR = "\x1f"


def canonical_isbn(text: Any) -> str | None:
    """The ISBN-13 (ISO 2108) in digits; None if the text is no valid ISBN."""
    if not isinstance(text, str):
        return None
    for candidate in (text, *_ISBN.findall(text)):
        compact = re.sub(r"[^0-9Xx]", "", candidate)
        if len(compact) in (10, 13) and stdnum_isbn.is_valid(compact):
            return str(stdnum_isbn.to_isbn13(compact))
    return None


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
    parts = (publication.title, publication.publisher or "", *author_names(publication))
    return f"title:{_SEPARATOR.join(map(fold, parts))}{edition}"


def required_identity(publication: Any) -> str:
    """As ``identity_of``, for publications that have to have one.

    Raises:
        ExtractionError: it has neither a valid number nor a title, or is no publication at all.
    """
    try:
        identity = identity_of(publication)
    except (AttributeError, TypeError) as error:
        raise ExtractionError(f"this is no book: {publication!r:.200}") from error
    if identity is None:
        url = getattr(publication.optionals, "URL", None) or ""
        raise ExtractionError("a book with neither title nor valid ISBN or EAN", url, "title")
    return identity


def author_names(publication: Any) -> list[str]:
    """Names of the authors; a source may have put texts in their place."""
    return [str(getattr(author, "name", author)) for author in publication.authors or ()]
