"""Which uploaded files belong together. Works on names only, opens nothing."""

import unicodedata
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple

from edeposit.amqp.ftp.decoders import SUPPORTED_FILES, canonical_isbn

Parts = tuple[str, ...]


class Item(NamedTuple):
    """What is imported as one: a metadata file, an e-book, or both.

    Attributes:
        metadata: path of the metadata file below the home; None: there is none.
        ebook: path of the e-book; None: there is none.
    """

    metadata: Parts | None
    ebook: Parts | None


class Pairs(NamedTuple):
    """The result.

    Attributes:
        items: what is imported, in the order of the files.
        ambiguous: groups of three and more files of one name, or of two whose whole names are the
            same but for case and accents; none of them is imported.
    """

    items: list[Item]
    ambiguous: list[list[Parts]]


def is_metadata(name: str) -> bool:
    """Is a file metadata, by its last suffix? Everything else is an e-book."""
    return "." in name and name.rsplit(".", 1)[1].lower() in SUPPORTED_FILES


def base_name(name: str) -> str:
    """A name without its last suffix: ``a.tar.gz`` is ``a.tar``."""
    return name.rsplit(".", 1)[0]


def pair(files: Iterable[Parts], wanted: Callable[[str], bool]) -> Pairs:
    """Pair metadata with e-books.

    Args:
        files: paths below the home, those of one directory one after another.
        wanted: tells whether a flag of ``structures.FLAGS`` is on.
    """
    pairs = Pairs([], [])
    by_name = wanted("SAME_NAME_DIR_PAIRING")
    for _, group in groupby(files, key=lambda parts: parts[:-1]):
        directory = sorted(group)
        if by_name or wanted("SAME_DIR_PAIRING"):
            directory = _without_collisions(directory, pairs.ambiguous)
        if wanted("SAME_DIR_PAIRING") and len(directory) == 2:
            pairs.items.extend(_together(directory))
        elif by_name:
            _by_name(directory, pairs)
        else:
            pairs.items.extend(_single(parts) for parts in directory)
    if wanted("ISBN_PAIRING"):
        _by_isbn(pairs.items)
    return pairs


def _folded(name: str) -> str:
    """What two names have in common that differ only in case, or in how accents are written.

    macOS writes an accent as a character of its own (NFD), other systems do not.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _without_collisions(directory: list[Parts], ambiguous: list[list[Parts]]) -> list[Parts]:
    """Take files of the same folded name out: nobody knows which of them is meant."""
    groups: dict[str, list[Parts]] = {}
    for parts in directory:
        groups.setdefault(_folded(parts[-1]), []).append(parts)
    ambiguous.extend(group for group in groups.values() if len(group) > 1)
    return [group[0] for group in groups.values() if len(group) == 1]


def _single(parts: Parts) -> Item:
    return Item(parts, None) if is_metadata(parts[-1]) else Item(None, parts)


def _together(two: list[Parts]) -> list[Item]:
    """A pair, if one of the two is metadata and the other is not; else two single items."""
    first, second = map(_single, two)
    if (first.metadata is None) == (second.metadata is None):
        return [first, second]
    return [Item(first.metadata or second.metadata, first.ebook or second.ebook)]


def _by_name(directory: list[Parts], pairs: Pairs) -> None:
    groups: dict[str, list[Parts]] = {}
    for parts in directory:
        groups.setdefault(_folded(base_name(parts[-1])), []).append(parts)
    for group in groups.values():
        if len(group) > 2:
            pairs.ambiguous.append(group)
        elif len(group) == 2:
            pairs.items.extend(_together(group))
        else:
            pairs.items.append(_single(group[0]))


def _by_isbn(items: list[Item]) -> None:
    """Join single items whose names are the same ISBN, however it is written; in place."""
    ebooks: dict[str, int] = {}
    for index, item in enumerate(items):
        if item.metadata is None and item.ebook is not None:
            isbn = canonical_isbn(base_name(item.ebook[-1]))
            if isbn is not None:
                ebooks.setdefault(isbn, index)
    taken = set()
    for index, item in enumerate(items):
        if item.ebook is None and item.metadata is not None:
            isbn = canonical_isbn(base_name(item.metadata[-1]))
            found = ebooks.pop(isbn, None) if isbn is not None else None
            if found is not None:
                items[index] = Item(item.metadata, items[found].ebook)
                taken.add(found)
    items[:] = [item for index, item in enumerate(items) if index not in taken]
