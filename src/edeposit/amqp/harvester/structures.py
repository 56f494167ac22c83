"""Books while they are gathered: mutable, with the attributes of the first generation.

``to_namedtuple()`` returns the form that travels, see ``messages``. Two publications are the same
book if they have the same identity: an ISBN (of either length, however written) or a book's EAN;
else any other EAN; else title, publisher and authors together. An electronic edition is another
book than a printed one.
"""

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from stdnum import ean as stdnum_ean

from edeposit.amqp.formats import isbn
from edeposit.amqp.harvester import messages
from edeposit.amqp.harvester.exceptions import ExtractionError

# Has no mutable form; the first generation had it here, too.
Publications = messages.Publications

# In characters: longer texts are not kept in memory for the next time.
_SHORT = 100
# Occurs in no name.
_SEPARATOR = "\x1f"
# What an old identity of title and authors begins with, as no other does.
OLD = "old:"


class _Strict:
    """Refuses attributes that are not in its list."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._fields and not name.startswith("_"):
            raise ValueError(f"{type(self).__name__} has no attribute {name}!")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({shown})"


class Author(_Strict):
    """An author; see ``messages.Author``.

    Args:
        name: as printed.
        URL: page of the author.
    """

    __slots__ = _fields = ("name", "URL")

    def __init__(self, name: str, URL: str | None = None) -> None:
        self.name = name
        self.URL = URL

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Author):
            return NotImplemented
        return (self.name, self.URL) == (other.name, other.URL)

    def __hash__(self) -> int:
        return hash((self.name, self.URL))

    def to_namedtuple(self) -> messages.Author:
        """The form that travels."""
        return messages.Author(self.name, self.URL)


class Optionals(_Strict):
    """What may be known of a book; see ``messages.Optionals``. All None but ``is_ebook``.

    Raises:
        ValueError: at assignment of an attribute that is not in the list.
    """

    _fields = messages.Optionals._fields
    __slots__ = (*_fields, "_is_set")

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        for name in self._fields:
            super().__setattr__(name, None)
        super().__setattr__("is_ebook", False)
        self._is_set = False

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if value is not None and not name.startswith("_"):
            self._is_set = True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optionals):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._fields)

    __hash__ = None  # type: ignore[assignment]

    def to_namedtuple(self) -> messages.Optionals | None:
        """The form that travels; None when nothing was ever set."""
        if not self._is_set:
            return None
        return messages.Optionals(*(getattr(self, name) for name in self._fields))


class Publication(_Strict):
    """A book; see ``messages.Publication``.

    Args:
        title: title.
        authors: a name, one ``Author``, or several.
        price: with its currency.
        publisher: publisher.

    Raises:
        ValueError: at assignment of an attribute that is not in the list.
    """

    __slots__ = _fields = messages.Publication._fields

    title: Any
    price: Any
    publisher: Any
    authors: Any
    optionals: Optionals

    def __init__(self, title: Any, authors: Any, price: Any, publisher: Any) -> None:
        self.title = title
        self.price = price
        self.publisher = publisher
        if isinstance(authors, str):
            authors = [Author(authors)]
        elif not isinstance(authors, (list, set, tuple)):
            authors = [authors]
        self.authors = authors
        self.optionals = Optionals()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Publication):
            return NotImplemented
        mine, theirs = identity_of(self), identity_of(other)
        return self is other if mine is None else mine == theirs

    def __hash__(self) -> int:
        identity = identity_of(self)
        return id(self) if identity is None else hash(identity)

    def to_namedtuple(self) -> messages.Publication:
        """The form that travels.

        Raises:
            AttributeError: one of the authors is no ``Author``.
        """
        return messages.Publication(
            self.title,
            self.price,
            self.publisher,
            [author.to_namedtuple() for author in self.authors],
            self.optionals.to_namedtuple(),
        )


def canonical_isbn(text: Any) -> str | None:
    """The ISBN-13 in digits of the first valid ISBN in a text; None if there is none."""
    if not isinstance(text, str):
        return None
    return _canonical(text) if len(text) <= _SHORT else _canonical.__wrapped__(text)


@lru_cache(maxsize=1024)
def _canonical(text: str) -> str | None:
    """A harvest asks for the same ISBN several times in a row: filters, equality, marking."""
    try:
        return isbn.canonical(text)
    except ValueError:
        found = isbn.find_all(text)
        return isbn.canonical(found[0]) if found else None


def _fold(text: str) -> str:
    """A text as it is compared: Unicode composed, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def identity_of(publication: Any) -> str | None:
    """The identity of a publication, as object or as namedtuple.

    Returns:
        A text, or None: without ISBN, EAN and title it cannot be told from others.
    """
    optionals = publication.optionals
    edition = ":e" if getattr(optionals, "is_ebook", False) else ""
    for text in (getattr(optionals, "ISBN", None), getattr(optionals, "EAN", None)):
        number = canonical_isbn(text)
        if number is not None:
            return f"isbn:{number}{edition}"
    ean = re.sub(r"\D", "", getattr(optionals, "EAN", None) or "")
    if len(ean) == 13 and stdnum_ean.is_valid(ean):
        return f"ean:{ean}{edition}"
    if not publication.title:
        return None
    parts = (publication.title, publication.publisher or "", *author_names(publication))
    return f"title:{_SEPARATOR.join(map(_fold, parts))}{edition}"


def required_identity(publication: Any) -> str:
    """As ``identity_of``, for publications that have to have one.

    Raises:
        ExtractionError: it has neither a valid number nor a title, or is no publication at all.
    """
    try:
        identity = identity_of(publication)
    except Exception as error:  # a source written in Python may give anything
        raise ExtractionError(f"this is no book: {publication!r:.200}") from error
    if identity is None:
        url = getattr(publication.optionals, "URL", None) or ""
        raise ExtractionError("a book with neither title nor valid ISBN or EAN", url, "title")
    return identity


def author_names(publication: Any) -> list[str]:
    """Names of the authors; a source may have put texts in their place."""
    return [str(getattr(author, "name", author)) for author in publication.authors or ()]


def identity_of_old(text: str) -> str:
    """Today's identity for one of the first generation's cache.

    There it was an ISBN without hyphens (``97880`` before all of an ISBN-10, group and old check
    digit included), or an EAN, or title and authors. The edition is taken for the printed one. An
    entry whose meaning is in doubt lets a book pass once more rather than hiding another one.
    """
    ten = text[5:] if len(text) == 15 and text.startswith("97880") else None
    if number := canonical_isbn(ten) or canonical_isbn(text):
        return f"isbn:{number}"
    if re.fullmatch(r"[0-9]{13}", text) and stdnum_ean.is_valid(text):
        return f"ean:{text}"
    return OLD + text


def old_title_identity(publication: Any) -> str | None:
    """How an old cache knows a book that has no number."""
    if not publication.title:
        return None
    return f"{OLD}{publication.title}{','.join(author_names(publication))}"
