"""The first generation's cache of books seen: what its entries mean today.

It was a JSON array of identities: ISBN without hyphens (``97880`` before all of an ISBN-10, group
and old check digit included), or EAN, or title and authors. What must stay true: an entry whose
meaning is in doubt lets a book pass once more rather than hiding another one for ever.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stdnum import ean as stdnum_ean

from edeposit.amqp.harvester.identity import author_names, canonical_isbn

# What an identity of title and authors has in front, as no identity of today has.
OLD = "old:"


def read(path: Path) -> list[str]:
    """The identities of a cache file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON array of texts.
    """
    try:
        strings = json.loads(path.read_text("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(strings, list) or not all(isinstance(text, str) for text in strings):
        raise ValueError("not a JSON array of texts")
    return list(import_old(strings))


def import_old(strings: Iterable[str]) -> Iterator[str]:
    """Today's identities for old ones. An edition is taken for the printed one."""
    for string in strings:
        ten = string[5:] if len(string) == 15 and string.startswith("97880") else None
        if isbn := canonical_isbn(ten) or canonical_isbn(string):
            yield f"isbn:{isbn}"
        elif re.fullmatch(r"[0-9]{13}", string) and stdnum_ean.is_valid(string):
            yield f"ean:{string}"
        else:
            yield OLD + string


def old_title_identity(publication: Any) -> str | None:
    """How an old cache knows a book that has no number."""
    if not publication.title:
        return None
    return f"{OLD}{publication.title}{','.join(author_names(publication))}"
