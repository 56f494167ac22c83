"""Makes a book from a page, by the rules of a source. Fetches nothing."""

from typing import Any

from edeposit.amqp.harvester.exceptions import ExtractionError
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.source import Field, Source
from edeposit.amqp.harvester.structures import Author, Publication

# No field of a book is longer; a page with a longer one is broken or hostile.
_LONGEST = 20_000
_MOST_AUTHORS = 200


class Spot:
    """Where the fields of a book are looked for.

    Args:
        page: the page.
        scope: an element in it; None: all of it.
    """

    __slots__ = ("page", "scope")

    def __init__(self, page: Page, scope: Any = None) -> None:
        self.page = page
        self.scope = scope

    def first(self, field: Field) -> str | None:
        """The value of a field."""
        value = field.rule.first(self.page, self.scope)
        return value[:_LONGEST] if value else None


def read_field(name: str, field: Field, spot: Spot) -> Any:
    """The value of one field: a text, True or None for ``is_ebook``, a list of ``Author``."""
    if name == "authors":
        return _authors(field, spot)
    value = spot.first(field)
    return True if name == "is_ebook" and value else value


def _authors(field: Field, spot: Spot) -> list[Author]:
    found: list[tuple[str, str | None]] = []
    if field.each is None:
        names = field.rule.find(spot.page, spot.scope)
        found += [(name, None) for text in names for name in _split(text, field.split_names)]
    else:
        for element in field.each.elements(spot.page, spot.scope)[:_MOST_AUTHORS]:
            text = field.rule.first(spot.page, element)
            link = field.url.first(spot.page, element) if field.url is not None else None
            url = spot.page.resolve(link) if link else None
            found += [(name, url) for name in _split(text or "", field.split_names)]
    return [Author(name[:_LONGEST], url) for name, url in found[:_MOST_AUTHORS]]


def _split(text: str, separator: str) -> list[str]:
    parts = text.split(separator) if separator else [text]
    return [name for part in parts if (name := part.strip())]


def read_publication(source: Source, item: Spot, detail: Spot | None, url: str) -> Publication:
    """A book.

    Args:
        source: its rules.
        item: the book on the list.
        detail: its own page; None: there is none.
        url: address of the book's page, or of the list.

    Raises:
        ExtractionError: a required field is missing.
    """
    values: dict[str, Any] = dict(source.constants)
    for name, field in source.fields.items():
        value = read_field(name, field, item if field.on_item or detail is None else detail)
        if value or name not in values:
            values[name] = value
    for name in source.required:
        if not values.get(name):
            raise ExtractionError(f"required field {name!r} is not found", url, name)
    publication = Publication(
        values.pop("title"),
        values.pop("authors", None) or [],
        values.pop("price", None),
        values.pop("publisher", None),
    )
    for name, value in values.items():
        if value is not None:
            setattr(publication.optionals, name, value)
    if publication.optionals.URL is None and detail is not None:
        publication.optionals.URL = url
    return publication
