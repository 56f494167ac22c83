"""Metadata in four formats: what must pass, what must fail with which words, what must not bite."""

import json
import subprocess
import sys
import time

import pytest

from edeposit.amqp.ftp.decoders import (
    MetaParsingException,
    canonical_isbn,
    is_valid_isbn,
    parse_meta,
    parser_csv,
    parser_json,
    parser_xml,
    parser_yaml,
)
from edeposit.amqp.ftp.decoders.fields import FieldParser

from .conftest import GOOD

PAIRS = list(GOOD.items())


def as_csv(left, right, delimiter=", "):
    return "".join(f"  {left}{key}{right}{delimiter}{left}{value}{right}\n" for key, value in PAIRS)


FORMATS = {
    "double.csv": as_csv('"', '"'),
    "single.csv": as_csv("'", "'"),
    "bare.csv": as_csv("", ""),
    "mixed.csv": "\n".join(
        [f"\"{k}\", '{v}'" if i % 2 else f"'{k}', \"{v}\"" for i, (k, v) in enumerate(PAIRS)]
    ),
    "semicolon.csv": as_csv('"', '"', ";"),
    "tab.csv": as_csv("", "", "\t"),
    "pipe.csv": as_csv("", "", "|"),
    "windows.csv": as_csv("", "", ";").replace("\n", "\r\n") + "\r\n\r\n",
    "bom.csv": "\ufeff" + as_csv("", "", ";"),
    "object.json": json.dumps(GOOD),
    "flat.json": json.dumps([part for pair in PAIRS for part in pair]),
    "pairs.json": json.dumps(PAIRS),
    "mapping.yaml": "".join(f"{key}: {value}\n" for key, value in PAIRS),
    "flat.yaml": "".join(f"- {part}\n" for pair in PAIRS for part in pair),
    "pairs.yaml": "".join(f"- [{key}, {value}]\n" for key, value in PAIRS),
    "strict.xml": "<?xml version='1.0' encoding='windows-1250'?><root>"
    + "".join(f'<item key="{key}"> {value}\n</item>' for key, value in PAIRS)
    + "</root>",
    "cdata.xml": "<root>"
    + "".join(f'<item key="{key}"><![CDATA[{value}]]></item>' for key, value in PAIRS)
    + "</root>",
    # As the first generation's own sample has it: a slip inside a tag.
    "lenient.xml": "<root>"
    + "".join(
        f'<item key="{key}"{": " if key == "Nakladatel" else ""}>{value}</item>'
        for key, value in PAIRS
    )
    + "</root>",
    "UPPER.XML": "<ROOT>"
    + "".join(f'<Item KEY="{key}">{value}</Item>' for key, value in PAIRS)
    + "</ROOT>",
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_book(name):
    for data in (FORMATS[name], FORMATS[name].encode("utf-8")):
        book = parse_meta(f"/home/ftp/x.y/{name}", data)
        assert book.ISBN == "80-86056-31-7"
        assert book.nazev == "Zen"
        assert book.vazba == "brož."
        assert book.mistoVydani == "Brno"
        assert book.nakladatelVydavatel == "JOTA"
        assert book.datumVydani == "září 2012"
        assert str(book.poradiVydani) == "1"
        assert book.zpracovatelZaznamu == "já"
        assert book.url is None
        assert book.anotace is None


@pytest.mark.parametrize(
    ("decode", "text"),
    [
        (parser_csv.decode, '"isbn", "a", "b"'),
        (parser_csv.decode, '"isbn", '),
        (parser_csv.decode, '"isbn"'),
        (parser_csv.decode, "a;b\nc"),
        (parser_csv.decode, "a;b\nc,d\n"),
        (parser_csv.decode, "a\0;b"),
        (parser_json.decode, '[["isbn"], "x", "y"]'),
        (parser_json.decode, "{"),
        (parser_json.decode, '{"isbn": null}'),
        (parser_json.decode, '{"isbn": true}'),
        (parser_json.decode, '{"isbn": ["b"]}'),
        (parser_json.decode, '{"cena": {}}'),
        (parser_json.decode, "7"),
        (parser_json.decode, "null"),
        (parser_json.decode, '"text"'),
        (parser_json.decode, "[" * 100_000),
        (parser_yaml.decode, "isbn: a: b"),
        (parser_yaml.decode, "isbn:"),
        (parser_yaml.decode, "isbn"),
        (parser_yaml.decode, "isbn: [b]"),
        (parser_yaml.decode, "\0"),
        (parser_yaml.decode, "[" * 100_000),
        (parser_xml.decode, "<root></root>"),
        (parser_xml.decode, "<root>"),
        (parser_xml.decode, "<root><item></item></root>"),
        (parser_xml.decode, "<root><item></root>"),
        (parser_xml.decode, ""),
        (parser_xml.decode, "<item key='a'>b</item>"),
        (parser_xml.decode, "<root><item key='a'>b</item></root><root></root>"),
        (parser_xml.decode, "x<root><item key='a'>b</item></root>"),
    ],
)
def test_what_is_no_metadata_is_refused(decode, text):
    with pytest.raises(MetaParsingException):
        decode(text)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("noname", "", r"Can't recognize type of your metadata \('noname'\)!"),
        ("a.doc", "", "Can't parse file of type 'doc'!"),
        ("a.csv", "a;b\nc\n", "Bad number of elements - line 1:\n\tc"),
        ("a.json", "{", "Can't parse your JSON data: "),
        ("a.yaml", "a: b: c", "Can't parse your YAML data: "),
        ("a.xml", "<root/>", "There are no <items> in your XML <root>!"),
        ("a.xml", "<root><item>x</item></root>", "There is no 'key' parameter in <item>."),
        ("a.xml", "<a/>", "All elements have to be inside <root>."),
        ("a.xml", "<root/><root/>", "Too many <root> elements in your XML!"),
        ("a.json", '[[["isbn"], "x"]]', r"Metadata format has invalid strucure \(dict is"),
        ("a.json", "3", "Can't decode provided metadata - unknown structure."),
        ("a.json", '{"isbn": null}', "Can't decode the meta file - 'isbn' has no value!"),
        ("a.json", '{"isbn": []}', "Can't decode the meta file - invalid type of keyword 'i"),
        ("a.json", b"\xff{}", "It is not UTF-8"),
        ("a.json", '{"isbn": "80-86056-31-7"}', r"Missing field\(s\):\n\tKeyword 'vazba' "),
        (
            "a.json",
            json.dumps({**GOOD, "ISBN knihy": "80-86056-31-8"}),
            "ISBN '80-86056-31-8' is not valid!",
        ),
        ("a.json", json.dumps({**GOOD, "ISBN knihy": 12}), "ISBN '12' is not valid!"),
    ],
)
def test_errors_say_what_is_wrong(name, data, words):
    with pytest.raises(MetaParsingException, match=words):
        parse_meta(name, data)


# --- fields -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["isbn", "ISBN knihy", "moje ISBN", " isbn "])
def test_a_keyword_is_one_of_the_words_of_a_key(key):
    parser = FieldParser()
    parser.process(key, "x")
    assert parser.fields[0].value == "x"


@pytest.mark.parametrize("key", ["isbn:", "isbnx", "i s b n", ""])
def test_other_keys_are_ignored(key):
    parser = FieldParser()
    parser.process(key, "x")
    assert parser.fields[0].value is None


def test_a_subtitle_is_no_title():
    parser = FieldParser()
    parser.process("Podnázev", "sub")
    parser.process("Název", "title")
    values = {field.epub: field.value for field in (*parser.fields, *parser.optional)}
    assert (values["nazev"], values["podnazev"]) == ("title", "sub")


def test_numbers_stay_numbers_but_for_the_isbn():
    data = {**GOOD, "ISBN knihy": 9788086056319, "Poradi vydani": 2, "cena": 1.5}
    book = parse_meta("a.json", json.dumps(data))
    assert book.ISBN == "9788086056319"
    assert (book.poradiVydani, book.cena) == (2, 1.5)


def test_yaml_keeps_every_scalar_as_text():
    text = "datum: 2012-09-01\nisbn: 9788087270998\nvazba: no\nporadi: 1_000\ncena: 9:30\n"
    assert parser_yaml.decode(text) == {
        "datum": "2012-09-01",
        "isbn": "9788087270998",
        "vazba": "no",
        "poradi": "1_000",
        "cena": "9:30",
    }


@pytest.mark.parametrize(
    ("isbn", "valid"),
    [
        ("80-86056-31-7", True),
        ("978-80-87270-99-8", True),
        ("8086056317", True),
        ("097522980x", True),
        ("978-80-87270-99-7", False),
        ("80-XXXXX-XX-0", False),
        ("80-86056-31-7 (brož.)", False),
        ("", False),
        ("X", False),
    ],
)
def test_isbn(isbn, valid):
    assert is_valid_isbn(isbn) is valid


def test_isbn_of_both_lengths_are_the_same():
    assert canonical_isbn("80-86056-31-7") == canonical_isbn("9788086056319") == "9788086056319"
    assert canonical_isbn("kniha") is None


# --- hostile --------------------------------------------------------------------------------

_MEMORY = """
import resource, sys
from edeposit.amqp.ftp.decoders import MetaParsingException, parse_meta
resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))
try:
    parse_meta(sys.argv[1], sys.stdin.buffer.read())
except MetaParsingException as error:
    print("refused", str(error)[:100].encode("ascii", "replace").decode())
"""

_LAUGHS = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10))
HOSTILE = {
    "bomb.yaml": "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)),
    "code.yaml": "isbn: !!python/object/apply:os.system ['touch /tmp/hacked']\n",
    "bomb.xml": f"<!DOCTYPE r [<!ENTITY a0 'x'>{_LAUGHS}]>"
    "<root><item key='isbn'>&a9;</item></root>",
    "file.xml": "<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
    "<root><item key='isbn'>&x;</item></root>",
    "deep.xml": "<root>" + "<item key='a'>" * 100_000,
    "deep.json": "[" * 500_000,
    "deep.yaml": "- " * 200_000,
    "long.csv": "isbn;" + '"' * 500_000,
    "quotes.csv": "'a\n" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_are_refused_in_bounded_time_and_memory(name):
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, name],
        input=HOSTILE[name].encode("utf-8"),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.startswith(b"refused"), done.stderr[-500:]
    assert b"root:" not in done.stdout
    assert time.monotonic() - started < 30
