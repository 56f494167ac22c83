"""Books while they are gathered: mutable, with the attributes of the first generation.

``to_namedtuple()`` gives the form that travels, see ``datastructures``. Equality and hash are the
book's identity, see ``identity``.
"""

from typing import TYPE_CHECKING, Any

from edeposit.amqp.harvester import datastructures
from edeposit.amqp.harvester.identity import identity_of

# Has no mutable form; the first generation had it here, too.
Publications = datastructures.Publications


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
    """An author; see ``datastructures.Author``.

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

    def to_namedtuple(self) -> datastructures.Author:
        """The form that travels."""
        return datastructures.Author(self.name, self.URL)


class Optionals(_Strict):
    """What may be known of a book; see ``datastructures.Optionals``. All None but ``is_ebook``.

    Raises:
        ValueError: at assignment of an attribute that is not in the list.
    """

    _fields = datastructures.Optionals._fields
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

    def to_namedtuple(self) -> datastructures.Optionals | None:
        """The form that travels; None when nothing was ever set."""
        if not self._is_set:
            return None
        return datastructures.Optionals(*(getattr(self, name) for name in self._fields))


class Publication(_Strict):
    """A book; see ``datastructures.Publication``.

    Args:
        title: title.
        authors: a name, one ``Author``, or several.
        price: with its currency.
        publisher: publisher.

    Raises:
        ValueError: at assignment of an attribute that is not in the list.
    """

    __slots__ = _fields = datastructures.Publication._fields

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

    def to_namedtuple(self) -> datastructures.Publication:
        """The form that travels.

        Raises:
            AttributeError: an author is none.
        """
        return datastructures.Publication(
            self.title,
            self.price,
            self.publisher,
            [author.to_namedtuple() for author in self.authors],
            self.optionals.to_namedtuple(),
        )
