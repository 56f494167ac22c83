"""ISBN checks, by python-stdnum (ISO 2108)."""

from typing import Any

from stdnum import isbn as stdnum_isbn

_DASHES = str.maketrans("‐‑‒–—−", "------")
_CZECH = ("80", "97880")


def is_valid(isbn: Any) -> bool:
    """Has a text the form and the checksum of an ISBN-10 or ISBN-13?

    A leading ``ISBN`` and blanks are allowed.

    Raises:
        ValueError: it is no text.
    """
    if not isinstance(isbn, str):
        raise ValueError(f"An ISBN must be a text, not {type(isbn).__name__}.")
    return bool(stdnum_isbn.is_valid(_bare(isbn)))


def is_czech(isbn: str) -> bool:
    """Does a valid ISBN belong to the Czech (and Slovak) registration group 80?"""
    return str(stdnum_isbn.compact(_bare(isbn))).startswith(_CZECH)


def _bare(isbn: str) -> str:
    text = isbn.strip().translate(_DASHES)
    return text[4:].lstrip(" :") if text[:4].upper() == "ISBN" else text
