"""Books as they travel: namedtuples of the names that ``__nt_name`` has on the wire.

While they are gathered, books are the mutable classes of the same names in ``structures``.
"""

from collections import namedtuple


class Author(namedtuple("Author", ["name", "URL"], defaults=(None,))):
    """An author.

    Attributes:
        name (str): as printed on the page.
        URL (str): page of the author, or None.
    """

    __slots__ = ()


class Optionals(
    namedtuple(
        "Optionals",
        [
            "sub_title",
            "format",
            "pub_date",
            "pub_place",
            "ISBN",
            "description",
            "pages",
            "EAN",
            "language",
            "edition",
            "URL",
            "binding",
            "is_ebook",
        ],
        defaults=(*[None] * 12, False),
    )
):
    """What else a page may say about a book: texts as printed, or None.

    Attributes:
        sub_title (str): subtitle.
        format (str): such as ``17×24 cm``.
        pub_date (str): date of publication.
        pub_place (str): its place.
        ISBN (str): as printed.
        description (str): may hold HTML of a few harmless elements.
        pages (str): such as ``153 stran``.
        EAN (str): 13 digits.
        language (str): language of the book.
        edition (str): such as ``1. české``.
        URL (str): the page.
        binding (str): such as ``brožovaná``.
        is_ebook (bool): an electronic edition.
    """

    __slots__ = ()


class Publication(
    namedtuple("Publication", ["title", "price", "publisher", "authors", "optionals"])
):
    """A book.

    Attributes:
        title (str): title.
        price (str): with its currency, or None.
        publisher (str): publisher.
        authors (list): of ``Author``.
        optionals (Optionals): None if the page says nothing more.
    """

    __slots__ = ()


class Publications(namedtuple("Publications", ["publications"])):
    """The books that a harvest sends; also the answer to ``HarvestRequest``.

    Attributes:
        publications (list): of ``Publication``.
    """

    __slots__ = ()


class HarvestRequest(namedtuple("HarvestRequest", ["sources"], defaults=(None,))):
    """Request: harvest now, and answer with the new books.

    Attributes:
        sources (list): names (str); None or empty: the ones that the settings name.
    """

    __slots__ = ()


class SourceHarvested(namedtuple("SourceHarvested", ["source", "found", "new", "errors"])):
    """Progress of an ordered harvest: a source is done.

    Attributes:
        source (str): its name.
        found (int): books on its pages.
        new (int): how many of these are in the answer.
        errors (list): what went wrong, a text (str) each.
    """

    __slots__ = ()
