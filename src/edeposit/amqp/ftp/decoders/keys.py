"""Which keys of a publisher's metadata mean which field.

A key means a field when it is the field's keyword or its label, or when the keyword is one of its
words; accents and case do not matter. Which match counts if there are several, see ``rank``.
"""

import re
import unicodedata
from typing import NamedTuple

NONE, WEAK, STRONG = 0, 1, 2

# Words that may stand beside a keyword without changing what it means.
_QUALIFIERS = {
    "a",
    "cislo",
    "dila",
    "dilo",
    "kniha",
    "knihy",
    "publikace",
    "titul",
    "titulu",
    "vydani",
    "zaznamu",
}
# Beginnings of words with which a key speaks of something else: "Datum narození autora".
_FOREIGN = (
    "aktualizac",
    "autor",
    "ilustrator",
    "narozeni",
    "original",
    "prekladatel",
    "redaktor",
    "umrti",
    "zmeny",
)


class Key(NamedTuple):
    """A field of the metadata.

    Attributes:
        keyword: in lower case, without accents.
        label: its name for people.
        epub: the field of ``EPublication``.
        is_required: a book without it is refused.
    """

    keyword: str
    label: str
    epub: str
    is_required: bool = True

    def rank(self, key: object) -> int:
        """How well a key means this field.

        STRONG: the key is the keyword or the label, or has besides the keyword only words such as
        "knihy". WEAK: there are other words; it counts if there is nothing better. NONE: it does
        not mean it.
        """
        text = plain(key)
        if text in (self.keyword, plain(self.label)):
            return STRONG
        words = re.split(r"[\s/]+", text)
        others = {word for word in words if word != self.keyword}
        if self.keyword not in words or any(word.startswith(_FOREIGN) for word in others):
            return NONE
        return WEAK if others - _QUALIFIERS else STRONG


KEYS = (
    Key("isbn", "ISBN", "ISBN"),
    Key("vazba", "Vazba/forma", "vazba"),
    Key("nazev", "Název", "nazev"),
    Key("misto", "Místo vydání", "mistoVydani"),
    Key("nakladatel", "Nakladatel", "nakladatelVydavatel"),
    Key("datum", "Měsíc a rok vydání", "datumVydani"),
    Key("poradi", "Pořadí vydání", "poradiVydani"),
    Key("zpracovatel", "Zpracovatel záznamu", "zpracovatelZaznamu"),
    Key("url", "Url", "url", is_required=False),
    Key("format", "Formát", "format", is_required=False),
    Key("podnazev", "Podnázev", "podnazev", is_required=False),
    Key("cena", "Cena", "cena", is_required=False),
)


def plain(key: object) -> str:
    """A key in lower case, without accents and blanks around it."""
    decomposed = unicodedata.normalize("NFKD", str(key))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).lower().strip()


def meant_by(key: object) -> list[Key]:
    """The fields that a key means: none, one, or several, which is for nobody to decide."""
    if not isinstance(key, str) or len(key) > 200:
        return []
    text = plain(key)
    for one in KEYS:
        if text in (one.keyword, plain(one.label)):
            return [one]
    # Two fields count even if a foreign word is there: what such a key means is not clear.
    words = set(re.split(r"[\s/]+", text))
    named = [one for one in KEYS if one.keyword in words]
    return named if len(named) > 1 else [one for one in named if one.rank(key)]
