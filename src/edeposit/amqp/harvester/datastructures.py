"""The messages of the harvester: namedtuples, for the wire only.

While pages are read the mutable classes of ``structures`` are used. Field names and their order
are those of the first generation. Another ``Author`` is in the aleph service: a process that reads
both kinds of messages keeps two class tables.
"""

from typing import NamedTuple


class Author(NamedTuple):
    """An author.

    Attributes:
        name: as printed on the page.
        URL: of the author's page.
    """

    name: str
    URL: str | None = None


class Optionals(NamedTuple):
    """What a page may say about a book; all of it is text as printed.

    Attributes:
        sub_title: second title.
        format: size: ``17×24 cm``.
        pub_date: date or year of publication.
        pub_place: its place.
        ISBN: with or without hyphens; not checked.
        description: annotation; may hold sanitized HTML.
        pages: ``153 stran``.
        EAN: bar code.
        language: of the text.
        edition: ``1. české``.
        URL: of the book's page.
        binding: kind of it.
        is_ebook: an electronic book.
    """

    sub_title: str | None = None
    format: str | None = None
    pub_date: str | None = None
    pub_place: str | None = None
    ISBN: str | None = None
    description: str | None = None
    pages: str | None = None
    EAN: str | None = None
    language: str | None = None
    edition: str | None = None
    URL: str | None = None
    binding: str | None = None
    is_ebook: bool = False


class Publication(NamedTuple):
    """A book.

    Attributes:
        title: its title.
        price: with the currency; None where the shop has none.
        publisher: its name.
        authors: list of ``Author``.
        optionals: ``Optionals``, None if nothing of it is known.
    """

    title: str
    price: str | None
    publisher: str | None
    authors: list[Author]
    optionals: Optionals | None


class Publications(NamedTuple):
    """Books that a harvest has found: the service's message.

    Attributes:
        publications: list of ``Publication``.
    """

    publications: list[Publication]


class HarvestRequest(NamedTuple):
    """Asks for a harvest; the answer is ``Publications``.

    Attributes:
        sources: names of sources; None or empty: all that are switched on.
    """

    sources: list[str] | None = None


class SourceHarvested(NamedTuple):
    """Progress of an ordered harvest: a source is done.

    Attributes:
        source: its name.
        found: books on its pages.
        new: of these are in the answer.
        errors: what went wrong, a text each.
    """

    source: str
    found: int
    new: int
    errors: list[str]
