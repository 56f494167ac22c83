"""What a person did for a publication, as fields 100 and 700 say it.

$4 has a code of the MARC relator list, or its address at the Library of Congress or in another
vocabulary; without $4, $e has a word, in the language and with the abbreviations of the library.
"""

import re
import unicodedata
from typing import Any

# Last parts of $4 that mean an author: MARC, GND, RDA (work, agent), Wikidata.
_AUTHOR_CODES = frozenset({"aut", "author", "p10061", "p50195", "q482980"})

# Beginnings of words in $e: Czech, Slovak, English, German.
_AUTHOR_WORD = re.compile("aut$|autor|author|verfasser|spisovatel")
_OTHER_WORD = re.compile(
    r"""
    [a-z]{3}$| # a code where a word should be
    (ed|eds|il|tr|st|hg|bez)$|
    adapt|aranž|arr|bearb|compil|compos|cond|consult|contribut|dedic|director|diri|doslov|
    dramat|drehbuch|edit|fotogr|garant|grafi|graphic|herausg|herec|hereč|hrsg|hud|illust|
    ilust|interpr|kameram|kartogr|koment|kompil|konzult|kresl|lektor|mitwirk|nakl|narrat|
    oborov|odbor|odpov|oponent|perform|photogr|predslov|prekl|print|produc|publish|předml|
    překl|přel|přisp|recenz|redak|redig|regis|reži|rozhovor|sběratel|schauspiel|sestav|
    singer|skladatel|sponzor|supervis|sänger|texař|tisk|transl|ubers|uprav|vedouc|verlag|vyd|
    vyprav|výtvar|zeichn|zostav|zprac|zpěv|úvod|účink|übers
    """,
    re.VERBOSE,
)
# What follows "author of" and the like makes another role: autor úvodu, author of introduction.
_PART_OF_A_BOOK = re.compile(
    r"\w+ (?:of |der |des )?(?:an |the )?(?:úvod|předml|predslov|doslov|koment|poznám|doprov|rejst"
    r"|obál|hud|intro|foreword|prefac|afterw|comment|vorwort|nachwort|einleit)"
)


def is_author(field: Any) -> bool:
    """Whether a person is an author: a role says so, or none is known to say something else."""
    codes = [_code(word) for text in field.get_subfields("4") for word in re.split("[,; ]+", text)]
    if any(codes):
        return not _AUTHOR_CODES.isdisjoint(codes)
    words = [word for text in field.get_subfields("e") for word in _words(text)]
    return any(map(_is_author_word, words)) or not any(map(_is_known_word, words))


def _code(text: str) -> str:
    """``aut.``, ``AUT`` and ``http://id.loc.gov/vocabulary/relators/aut`` are all ``aut``."""
    return re.split("[/#:]", text.lower().rstrip("/#:"))[-1].partition(".")[0]


def _words(text: str) -> list[str]:
    """The roles in a $e, which may name several: ``autor, ilustrátor``."""
    parts = re.split(r"[,;/&]| a | and | und ", unicodedata.normalize("NFC", text.lower()))
    return [word for part in parts if (word := part.strip(" .()[]"))]


def _is_author_word(word: str) -> bool:
    return bool(_AUTHOR_WORD.match(word)) and not _PART_OF_A_BOOK.match(word)


def _is_known_word(word: str) -> bool:
    return bool(_AUTHOR_WORD.match(word) or _OTHER_WORD.match(word))
