"""Does each source still find what it should? By its stored samples, and on the live site.

A changed layout shows as fields that are no longer found, before an incomplete harvest is sent.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from edeposit.amqp.harvester import crawl
from edeposit.amqp.harvester.exceptions import DefinitionError, HarvesterError
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.source import Sample, Source, load_source, source_files
from edeposit.amqp.harvester.source.extraction import Spot, read_field
from edeposit.amqp.harvester.structures import Publication

_FOUND = "(any)"


class FieldCheck(NamedTuple):
    """One field of one source.

    Attributes:
        source: name of the source.
        where: ``sample:<file>`` or ``live``.
        field: name of the field, or ``(source)`` for the source as a whole.
        expected: what should be found.
        found: what is found, or what went wrong.
        ok: whether that is right.
    """

    source: str
    where: str
    field: str
    expected: str
    found: str
    ok: bool


def check_sources(
    names: Iterable[str] | None = None, *, live: bool = True, samples: bool = True
) -> Iterator[FieldCheck]:
    """Check sources field by field.

    Args:
        names: of the sources; None: live those that the settings name, by their samples all.
        live: harvest each, and look whether the fields that its samples have are found at all.
        samples: check the stored samples.

    Raises:
        DefinitionError: a source that the settings name does not exist.
    """
    chosen = None if names is None else list(names)
    if samples:
        for name in crawl.source_names() if chosen is None else chosen:
            path = source_files().get(name)
            if path is not None:
                yield from _check_samples(name)
    if live:
        for result in crawl.harvest(chosen):
            yield from _check_live(result)


def _check_samples(name: str) -> Iterator[FieldCheck]:
    try:
        source = load_source(source_files()[name])
    except DefinitionError as error:
        yield FieldCheck(name, "file", "(source)", "a right source file", str(error), False)
        return
    for sample in source.samples:
        yield from _check_sample(source, sample)


def _check_sample(source: Source, sample: Sample) -> Iterator[FieldCheck]:
    where = f"sample:{sample.file.name}"
    try:
        page = Page(sample.file.read_bytes(), sample.url)
    except OSError as error:
        yield FieldCheck(source.name, where, "(source)", "a stored page", str(error), False)
        return
    spot = Spot(page)
    if sample.item is not None:
        items = source.item.elements(page)
        if not -len(items) <= sample.item < len(items):
            found = f"{len(items)} books"
            yield FieldCheck(source.name, where, "item", f"book {sample.item}", found, False)
            return
        spot = Spot(page, items[sample.item])
    for name, expected in sample.expect.items():
        found = _value(source, name, spot)
        right = found == (expected if isinstance(expected, (list, bool)) else str(expected))
        yield FieldCheck(source.name, where, name, _shown(expected), _shown(found), right)


def _value(source: Source, name: str, spot: Spot) -> Any:
    field = source.fields.get(name)
    if field is None:
        return source.constants.get(name)
    value = read_field(name, field, spot)
    return [author.name for author in value] if name == "authors" else value


def _check_live(result: crawl.SourceResult) -> Iterator[FieldCheck]:
    name, books, errors = result
    problem = "; ".join(str(error) for error in errors[:3])
    if len(errors) > 3:
        problem += f"; and {len(errors) - 3} more"
    found = f"{len(books)} books" + (f", {len(errors)} errors: {problem}" if errors else "")
    yield FieldCheck(name, "live", "(source)", "books", found, bool(books) and not errors)
    if not books:
        return
    for field in _expected_fields(name):
        values = [value for book in books if (value := _of_book(book, field))]
        shown = f"in {len(values)} of {len(books)}"
        yield FieldCheck(name, "live", field, _FOUND, shown, bool(values))


def _expected_fields(name: str) -> list[str]:
    """What some book of a live harvest has to have: what the samples have."""
    path = source_files().get(name)
    if path is None:
        return ["title", "publisher"]
    try:
        source = load_source(path)
    except HarvesterError:
        return []
    fields = {field for sample in source.samples for field in sample.expect}
    # There is not an electronic book every month.
    return sorted((fields | set(source.required)) - {"is_ebook"})


def _of_book(book: Publication, field: str) -> Any:
    return getattr(book if field in book._fields else book.optionals, field)


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
