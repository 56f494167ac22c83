"""Metadata as people make them: Excel, other charsets, labels as keys, values left empty."""

import csv
import io
import json

import pytest

from edeposit.amqp.ftp.decoders import MetaParsingException, as_text, parse_meta

BOOK = {
    "isbn": "80-86056-31-7",
    "vazba": "brož.",
    "nazev": "Žluťoučký kůň; díl 1",
    "misto": "Brno",
    "nakladatel": "Garda, s. r. o.",
    "datum": "09/2012",
    "poradi": "1. vyd.",
    "zpracovatel": "ABA001",
    "url": "http://a.cz",
    "podnazev": 'Tzv. "Zen"',
}
LABELS = {
    "isbn": "ISBN",
    "vazba": "Vazba/forma",
    "nazev": "Název",
    "misto": "Místo vydání",
    "nakladatel": "Nakladatel",
    "datum": "Měsíc a rok vydání",
    "poradi": "Pořadí vydání",
    "zpracovatel": "Zpracovatel záznamu",
    "url": "Url",
    "podnazev": "Podnázev",
}


def as_csv(pairs=BOOK, delimiter=";", quoting=csv.QUOTE_MINIMAL, ending="\r\n"):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=ending)
    writer.writerows(pairs.items() if isinstance(pairs, dict) else pairs)
    return text.getvalue()


def as_xml(pairs=BOOK, item="item", root="root", attributes=""):
    values = {key: value.replace('"', "&quot;") for key, value in pairs.items()}
    items = "".join(f'<{item} key="{key}">{value}</{item}>' for key, value in values.items())
    return f"<{root}{attributes}>{items}</{root}>"


def as_yaml(pairs=BOOK):
    return "".join(
        f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in pairs.items()
    )


def with_(**changes):
    return {**BOOK, **changes}


SAME = {
    "plain.csv": as_csv().encode(),
    "excel.csv": as_csv().encode("cp1250"),
    "excelutf8.csv": as_csv().encode("utf-8-sig"),
    "unicodetext.csv": as_csv(delimiter="\t").encode("utf-16"),
    "hint.csv": ("sep=;\r\n" + as_csv()).encode(),
    "comma.csv": ("sep=,\n" + as_csv(delimiter=",")).encode(),
    "header.csv": ("klíč;hodnota\r\n" + as_csv()).encode(),
    "columns.csv": as_csv(quoting=csv.QUOTE_ALL).replace("\r\n", ";;\r\n").encode(),
    "blankrows.csv": (as_csv() + ";\r\n;;\r\n").encode(),
    "mac.csv": as_csv(ending="\r").encode(),
    "table.csv": as_csv([list(BOOK), list(BOOK.values())]).encode(),
    "formula.csv": as_csv(with_(isbn='="80-86056-31-7"')).encode(),
    "apostrophe.csv": as_csv(with_(isbn="'80-86056-31-7")).encode(),
    "labels.csv": as_csv({LABELS[key]: value for key, value in BOOK.items()}).encode(),
    "labels.json": json.dumps({LABELS[key].upper(): value for key, value in BOOK.items()}).encode(),
    "utf16.json": json.dumps(BOOK).encode("utf-16"),
    "utf16le.json": json.dumps(BOOK).encode("utf-16-le"),
    "null.json": json.dumps(with_(cena=None, anotace=None)).encode(),
    "unknown.json": json.dumps(with_(autori=["A"], x={"y": 1}, z=True, q=1e308 * 10)).encode(),
    "empty.yaml": (as_yaml() + "cena:\nformat: ~\nanotace: null\n").encode(),
    "list.yaml": (as_yaml() + "autori:\n  - A\n  - [B]\n? [a, b]\n: c\n").encode(),
    "documents.yaml": f"---\n{as_yaml()}...\n---\n".encode(),
    "short.yml": as_yaml().encode(),
    "anchor.yaml": (as_yaml() + "a: &a [x]\nb: [*a, *a]\n").encode(),
    "declared.xml": ('<?xml version="1.0" encoding="windows-1250"?>' + as_xml()).encode("cp1250"),
    "latin2.xml": ("<?xml version='1.0' encoding='ISO-8859-2'?>" + as_xml()).encode("iso8859-2"),
    "utf16.xml": ('<?xml version="1.0" encoding="utf-16"?>' + as_xml()).encode("utf-16"),
    "namespace.xml": as_xml(attributes=' xmlns="http://x.cz/ns"').encode(),
    "prefix.xml": as_xml(item="m:item", root="m:root", attributes=' xmlns:m="http://x"').encode(),
    "unbound.xml": as_xml(item="m:item", root="m:root").encode(),
    "empty.xml": as_xml(with_(cena="", format=" ")).encode(),
    "weak.json": json.dumps({**BOOK, "Datum narození autora": "1970", "Můj nazev": "x"}).encode(),
    "twice.csv": (as_csv() + "isbn;80-86056-31-7\r\n").encode(),
}


@pytest.mark.parametrize("name", SAME)
def test_all_of_these_are_the_same_book(name):
    book = parse_meta(name, SAME[name])
    assert book.ISBN == "80-86056-31-7"
    assert book.vazba == "brož."
    assert book.nazev == "Žluťoučký kůň; díl 1"
    assert book.nakladatelVydavatel == "Garda, s. r. o."
    assert book.datumVydani == "09/2012"
    assert book.podnazev == 'Tzv. "Zen"'
    assert book.cena is None
    assert "80-86056-31-7" in as_text(name, SAME[name])


@pytest.mark.parametrize("char", ["\n", "\r\n", "\x0b", "\x85", "\u2028", "\x1c"])
def test_a_cell_may_hold_what_other_programs_take_for_a_line_end(char):
    value = f"první{char}druhý"
    assert parse_meta("a.csv", as_csv(with_(podnazev=value)).encode()).podnazev == value


@pytest.mark.parametrize(
    "isbn",
    [
        "80–86056–31–7",
        "80\u201186056\u201131\u20117",
        "ISBN 80-86056-31-7",
        "80-86056-31-7\u00a0",
        "80 86056 31 7",
    ],
)
def test_an_isbn_as_it_is_printed(isbn):
    assert parse_meta("a.json", json.dumps(with_(isbn=isbn))).ISBN == "80-86056-31-7"


@pytest.mark.parametrize("value", [8086056317, 9788086056319, 9788086056319.0])
def test_an_isbn_that_became_a_number(value):
    assert str(int(value)) == parse_meta("a.json", json.dumps(with_(isbn=value))).ISBN


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", as_csv() + "isbn;80-251-0225-4\n", "'isbn' has two values: '80-86.*' and '80-25"),
        ("a.json", json.dumps(BOOK)[:-1] + ', "isbn": "80-251-0225-4"}', "'isbn' has two values"),
        ("a.yaml", as_yaml() + "isbn: 80-251-0225-4\n", "'isbn' has two values"),
        ("a.json", json.dumps({**BOOK, "Název knihy": "jiný"}), "'nazev' and 'Název knihy' .* two"),
        ("a.json", json.dumps({**BOOK, "Název ISBN": "x"}), "it means isbn and nazev"),
        ("a.json", json.dumps({**BOOK, "Formát ISBN": "x"}), "it means isbn and format"),
        ("a.json", json.dumps(with_(nazev="")), "'nazev' has no value"),
        ("a.json", json.dumps(with_(nazev=None)), "'nazev' has no value"),
        ("a.json", json.dumps(with_(nazev=" \u00a0")), "'nazev' has no value"),
        ("a.csv", as_csv(with_(nazev="")), "'nazev' has no value"),
        ("a.yaml", as_yaml().replace('"Brno"', "~"), "'misto' has no value"),
        ("a.xml", as_xml(with_(misto=" ")), "'misto' has no value"),
        ("a.json", json.dumps(with_(cena=True)), "invalid type of keyword 'cena'"),
        ("a.json", json.dumps(with_(isbn="9,78809E+12")), "ISBN '9,78809E.12' is not valid!"),
        ("a.json", json.dumps(with_(isbn="80-86056-31-7 (brož.)")), "is not valid!"),
        ("a.json", json.dumps(BOOK, ensure_ascii=False).encode("cp1250"), "It is not UTF-8"),
        (
            "a.xml",
            "<?xml version='1.0' encoding='unknown'?><root/>č".encode("cp1250"),
            "unknown en",
        ),
        ("a.xml", "<?xml version='1.0' encoding='hex'?><root/>č".encode("cp1250"), "not UTF-8"),
        ("a.yaml", "---\na: b\n---\nc: d\n", "2 documents"),
        ("a.yaml", "x" * 300_000, "longer than"),
        ("a.csv", "a;b\n" * 20_000, "more than 10000 rows"),
        ("a.json", json.dumps(list(range(20_000))), "more than 10000 keys"),
        ("a.json", json.dumps(with_(nazev="x" * 10_001)), "longer than 10000 characters"),
    ],
)
def test_what_is_not_clear_is_refused_with_a_reason(name, data, words):
    with pytest.raises(MetaParsingException, match=words):
        parse_meta(name, data)


def test_the_date_of_somebodys_birth_is_no_date_of_a_book():
    book = {key: value for key, value in BOOK.items() if key != "datum"}
    with pytest.raises(MetaParsingException, match="Keyword 'datum'"):
        parse_meta("a.json", json.dumps({**book, "Datum narození autora": "1970"}))


# --- time -------------------------------------------------------------------------------------

_SIZE = 1 << 20
SLOW = {
    "keys.yaml": "".join(f"a{number}: b\n" for number in range(100_000)),
    "flow.yaml": "[" + "a," * (_SIZE // 2) + "]",
    "smallflow.yaml": "[" + "a," * 60_000 + "]",
    "indicators.yaml": "- " * 60_000,
    "questions.yaml": "? " * 60_000,
    "brackets.yaml": "[" * 250_000,
    "braces.yaml": "{a: " * 60_000,
    "indents.yaml": "".join(" " * number + "a:\n" for number in range(700)),
    "openquotes.csv": '"a;' * (_SIZE // 3),
    "openquotelines.csv": ('"a;' + "b" * 100 + "\n") * 9_000,
    "quotes.csv": '"' * _SIZE,
    "cells.csv": ";" * _SIZE,
    "rows.csv": "a;b\n" * (_SIZE // 4),
    "items.xml": "<root>" + "<item key='a'>b</item>" * 45_000 + "</root>",
    "nested.xml": "<root>" + "<item key='a'>" * 70_000,
    "array.json": "[" + "1," * (_SIZE // 2) + "1]",
}


@pytest.mark.parametrize("name", SLOW)
def test_a_megabyte_costs_no_more_than_a_second(name):
    """In the monitor one thread reads the metadata of all users."""
    import time

    started = time.thread_time()
    with pytest.raises(MetaParsingException):
        parse_meta(name, SLOW[name][:_SIZE])
    assert time.thread_time() - started < 1.5
