"""The simulator's records: made from a list of works, or read from a folder, and searched."""

import csv
import re
import unicodedata
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from edeposit.amqp.aleph.exceptions import InvalidRecordException
from edeposit.amqp.aleph.marcxml import MarcRecord

_WORD = re.compile(r"\w+")
# Field code of a query to the MARC subfields it searches (tag, code).
_INDEXES = {
    "wtl": (("245", "a"), ("245", "b"), ("245", "p"), ("246", "a")),
    "wau": (("100", "a"), ("700", "a"), ("110", "a"), ("710", "a")),
    "wpb": (("260", "b"), ("264", "b")),
    "wpp": (("260", "a"), ("264", "a")),
    "wyr": (("260", "c"), ("264", "c")),
    "sbn": (("020", "a"), ("901", "i"), ("902", "a")),
    "ssn": (("022", "a"), ("022", "l")),
    "isn": (("020", "a"), ("022", "a"), ("901", "i"), ("902", "a")),
}
_NUMBERS = ("sbn", "ssn", "isn")


class Entry(NamedTuple):
    """A record of the simulator.

    Attributes:
        number: of the document, nine digits.
        record: parsed.
        words: field code to the words (or numbers) that find it.
    """

    number: str
    record: MarcRecord
    words: dict[str, set[str]]


def fold(text: str) -> str:
    """Lower case, without diacritics: ``Čapek`` and ``capek`` are the same."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _words(text: str) -> set[str]:
    return set(_WORD.findall(fold(text)))


def _number(text: str) -> str:
    """An ISBN or ISSN without hyphens and what follows it."""
    return text.strip().partition(" ")[0].replace("-", "").upper()


class Catalogue:
    """Records that can be searched.

    Args:
        records: MARC records in XML, either dialect.
    """

    def __init__(self, records: Iterable[str | bytes]) -> None:
        self.entries: dict[str, Entry] = {}
        for position, xml in enumerate(records, 1):
            record = MarcRecord(xml)
            number = f"{position:09d}"
            self.entries[number] = Entry(number, record, _index(record))

    @classmethod
    def of_works(cls) -> "Catalogue":
        """The catalogue that comes with the simulator: about 200 works in the public domain."""
        here = files("edeposit.amqp.aleph.simulator")
        with (here / "works.csv").open("r", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter=";"))
        examples = [
            (here / name).read_text("utf-8")
            for name in ("unix_example.xml", "echa.xml", "periodical.xml")
        ]
        return cls([*examples, *(_record(n, row) for n, row in enumerate(rows, 1))])

    @classmethod
    def of_folder(cls, folder: Path) -> "Catalogue":
        """The records of all ``*.xml`` files in a folder, in the order of their names.

        Raises:
            InvalidRecordException: a file holds no record; the text names it.
        """
        records = []
        for path in sorted(folder.glob("*.xml")):
            data = path.read_bytes()
            try:
                MarcRecord(data)
            except InvalidRecordException as error:
                raise InvalidRecordException(f"{path}: {error}") from error
            records.append(data)
        return cls(records)

    def search(self, field: str, phrase: str) -> list[str]:
        """Numbers of the documents that hold all words of the phrase in the field."""
        field = field.lower()
        wanted = {_number(phrase)} if field in _NUMBERS else _words(phrase)
        if not wanted - {""}:
            return []
        return [
            number
            for number, entry in self.entries.items()
            if wanted <= entry.words.get(field, set())
        ]


def _index(record: MarcRecord) -> dict[str, set[str]]:
    words: dict[str, set[str]] = {}
    for field, places in _INDEXES.items():
        texts = [text for tag, code in places for text in record.subfields(tag, code)]
        if field in _NUMBERS:
            words[field] = {_number(text) for text in texts}
        else:
            words[field] = set().union(*map(_words, texts)) if texts else set()
    words["icz"] = words["cnb"] = words["sys"] = _words(record.controls.get("001", ""))
    words["wrd"] = set().union(*(_words(text) for text in _all_texts(record)))
    return words


def _all_texts(record: MarcRecord) -> list[str]:
    return [
        subfield.value
        for field in record.record.get_fields()
        if not field.control_field
        for subfield in field.subfields
    ] or [""]


def _record(position: int, row: dict[str, Any]) -> str:
    """A MARC 21 record of a work; its ISBN is made up, but valid."""
    body = f"97880{99000 + position // 100:05d}{position % 100:02d}"
    check = -sum(int(d) * (1, 3)[i % 2] for i, d in enumerate(body)) % 10
    isbn = f"978-80-{body[5:10]}-{body[10:]}-{check}"
    fields = [
        _field("020", " ", " ", ("a", f"{isbn} (brož.) :"), ("c", "Kč 199,00")),
        _field("040", " ", " ", ("a", "ABA001"), ("b", "cze")),
        _field("100", "1", " ", ("a", row["author"]), ("4", "aut")),
        _field("245", "1", "0", ("a", f"{row['title']} /")),
        _field(
            "260",
            " ",
            " ",
            ("a", f"{row['place']} :"),
            ("b", f"{row['publisher']},"),
            ("c", row["year"]),
        ),
        _field("300", " ", " ", ("a", "200 s. ;"), ("c", "21 cm")),
        _field("901", " ", " ", ("f", "1. vyd.")),
    ]
    return (
        '<record xmlns="http://www.loc.gov/MARC21/slim/"><leader>-----nam-a22------a-4500</leader>'
        f'<controlfield tag="001">nkc20990{position:05d}</controlfield>'
        f'<controlfield tag="FMT">BK</controlfield>{"".join(fields)}</record>'
    )


def _field(tag: str, ind1: str, ind2: str, *subfields: tuple[str, str]) -> str:
    inner = "".join(f'<subfield code="{c}">{escape(text)}</subfield>' for c, text in subfields)
    return f'<datafield tag="{tag}" ind1="{ind1}" ind2="{ind2}">{inner}</datafield>'
