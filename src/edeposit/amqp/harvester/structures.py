"""Publications while they are put together: mutable, but only with the fields of the message.

Equality and hash are those of the identity (``identity.identity_of``): the same book read from two
pages is equal. A publication without identity is only equal to itself. Publications that change
while they are in a set are the caller's fault, as with all mutable things.
"""

from collections.abc import Iterable
from typing import Any

from edeposit.amqp.harvester import datastructures as wire
from edeposit.amqp.harvester.identity import identity_of

__all__ = ["Author", "Optionals", "Publication"]


class _Fields:
    """Takes assignments only to the fields of its message class."""

    __slots__ = ()
    _names: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._names and not name.startswith("_"):
            raise ValueError(f"{type(self).__name__} has no attribute {name}!")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__name__}({values})"


class Author(_Fields):
    """An author: ``name`` as printed, ``URL`` of a page about them or None."""

    __slots__ = ("URL", "name")
    _names = wire.Author._fields
    name: str
    URL: str | None

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

    def to_namedtuple(self) -> wire.Author:
        """The author as it is sent."""
        return wire.Author(self.name, self.URL)


class Optionals(_Fields):
    """What a page may say about a book; fields as in :class:`datastructures.Optionals`."""

    __slots__ = (*wire.Optionals._fields, "_any_set")
    _names = wire.Optionals._fields
    sub_title: str | None
    format: str | None
    pub_date: str | None
    pub_place: str | None
    ISBN: str | None
    description: str | None
    pages: str | None
    EAN: str | None
    language: str | None
    edition: str | None
    URL: str | None
    binding: str | None
    is_ebook: bool
    _any_set: bool

    def __init__(self) -> None:
        for name, default in wire.Optionals._field_defaults.items():
            setattr(self, name, default)
        self._any_set = False

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if value is not None and name in self._names:
            super().__setattr__("_any_set", True)

    def to_namedtuple(self) -> wire.Optionals | None:
        """The fields as they are sent; None if none was ever set."""
        if not self._any_set:
            return None
        return wire.Optionals(*(getattr(self, name) for name in wire.Optionals._fields))


class Publication(_Fields):
    """A book.

    Args:
        title: its title.
        authors: a list, set or tuple of ``Author`` is kept as it is; a text becomes one author,
            anything else the only item of a list.
        price: text with its currency.
        publisher: its name.
    """

    __slots__ = ("authors", "optionals", "price", "publisher", "title")
    _names = wire.Publication._fields
    title: str
    price: str | None
    publisher: str | None
    authors: Iterable[Author]
    optionals: Optionals

    def __init__(self, title: str, authors: Any, price: str | None, publisher: str | None) -> None:
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
        if self is other:
            return True
        identity = identity_of(self)
        return identity is not None and identity == identity_of(other)

    def __hash__(self) -> int:
        identity = identity_of(self)
        return object.__hash__(self) if identity is None else hash(identity)

    def to_namedtuple(self) -> wire.Publication:
        """The book as it is sent.

        Raises:
            AttributeError: an author is not an ``Author``.
        """
        return wire.Publication(
            self.title,
            self.price,
            self.publisher,
            [author.to_namedtuple() for author in self.authors],
            self.optionals.to_namedtuple(),
        )
