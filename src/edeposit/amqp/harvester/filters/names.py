"""How alike titles and names are, as a shop and a catalogue write them.

Case, diacritics, punctuation and the order of words do not count; digits do: Windows 7 is not
Windows 8. All comparisons are symmetric.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from rapidfuzz import fuzz

_WORD = re.compile(r"[^\W_]+")


def name_to_vector(name: str) -> list[str]:
    """The words of a name, folded, longest first: ``["putsalek", "franta", "ing"]``."""
    return sorted(_words(name), key=len, reverse=True)


def compare_names(first: str, second: str) -> float:
    """Share of the words of the shorter name that are in the other, too: 0 to 100."""
    mine, other = Counter(_words(first)), Counter(_words(second))
    fewer = min(mine.total(), other.total())
    return 100.0 * (mine & other).total() / fewer if fewer else 0.0


def same_title(first: str, second: str, threshold: float) -> bool:
    """Do two titles name the same book?

    The words have to agree, and the titles as a whole: one that is only the beginning of a much
    longer one is another book. A title of a single word says so little that nothing but the same
    word will do.

    Args:
        threshold: per cent, for both.
    """
    mine, other = _words(first), _words(second)
    if min(len(mine), len(other)) <= 1:
        return bool(mine) and mine == other
    return (
        compare_names(first, second) >= threshold
        and fuzz.token_sort_ratio(" ".join(mine), " ".join(other)) >= threshold
    )


def same_person(first: str, second: str, threshold: float) -> bool:
    """May two names be those of one person?

    Initials stand for the words that begin with them, but do not make a person on their own.
    """
    mine, other = _words(first), _words(second)
    if not any(len(word) > 1 for word in set(mine) & set(other)):
        return False
    mine, other = _spelt_out(mine, other), _spelt_out(other, mine)
    return fuzz.token_set_ratio(" ".join(mine), " ".join(other)) >= threshold


def _spelt_out(words: Iterable[str], other: Iterable[str]) -> list[str]:
    """Initials replaced by the words of the other name that begin with them."""
    return [
        next((long for long in other if len(word) == 1 and long.startswith(word)), word)
        for word in words
    ]


def _words(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", str(text or "").casefold())
    return _WORD.findall("".join(c for c in decomposed if not unicodedata.combining(c)))
