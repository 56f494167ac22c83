"""MARC records to structures: the expected values, the rules, and hostile XML."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edeposit.amqp.aleph.datastructures import (
    AlephRecord,
    Author,
    EPeriodical,
    EPeriodicalSemanticInfo,
    EPublication,
    SemanticInfo,
)
from edeposit.amqp.aleph.datastructures.semanticinfo import parse_summary_number
from edeposit.amqp.aleph.exceptions import DocumentNotFoundException, InvalidRecordException
from edeposit.amqp.aleph.marcxml import MarcRecord
from edeposit.amqp.aleph.simulator.server import marc21, oai_marc
from edeposit.amqp.serializers import serialize

from .marc import record

DATA = Path(__file__).parent / "data"
NAMES = ("unix_example", "echa", "periodical")
CLASSES = (EPublication, EPeriodical, SemanticInfo, EPeriodicalSemanticInfo)


def load(name):
    expected = json.loads((DATA / f"{name}.expected.json").read_text("utf-8"))
    return (DATA / f"{name}.xml").read_bytes(), expected


def plain(structure):
    return json.loads(serialize(structure))


# --- expected values ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_the_real_records_give_the_expected_values(name, cls):
    xml, expected = load(name)
    assert plain(cls.from_xml(xml)) == expected[cls.__name__]
    assert plain(cls.from_xml(xml.decode("utf-8"))) == expected[cls.__name__]


@pytest.mark.parametrize("name", NAMES)
def test_the_kind_of_record_decides_the_classes(name):
    xml, expected = load(name)
    made = AlephRecord("nkc", "CZE01", "-1", xml)
    assert type(made.parsed_info).__name__ == expected["AlephRecord"]["parsed_info"]
    assert type(made.semantic_info).__name__ == expected["AlephRecord"]["semantic_info"]
    parsed = MarcRecord(xml)
    assert parsed.leader == expected["leader"]
    assert parsed.doc_number == expected["doc_number"]
    assert parsed.is_oai == (expected["format"] == "oai_marc")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_both_dialects_of_a_record_say_the_same(name, cls):
    xml, expected = load(name)
    parsed = MarcRecord(xml)
    for dialect in (marc21, oai_marc):
        again = f"<present><record>{dialect(parsed)}</record></present>"
        if dialect is marc21:
            again = f"<ill-get-doc>{dialect(parsed)}</ill-get-doc>"
        assert plain(cls.from_xml(again)) == expected[cls.__name__]


# --- rules ----------------------------------------------------------------------------------


def test_isbns_and_their_fall_back():
    fields = [("020", "  ", "a:80-1 (x)"), ("020", "  ", "z:80-1"), ("901", "  ", "i:80-2 y")]
    book = EPublication.from_xml(record(*fields))
    assert (book.ISBN, book.invalid_ISBN) == (["80-2"], ["80-1"])


def test_binding_price_part_and_its_name():
    book = EPublication.from_xml(
        record(
            ("020", "  ", "a:80-251-0225-4 (sv. 1 : váz.) :", "c:Kč 5,00"),
            ("020", "  ", "a:8025102254", "c:Kč 7,00"),
            ("245", "10", "a:Kniha :", "n:2. díl,", "p:Zima /"),
        )
    )
    assert (book.vazba, book.cena) == ("váz.", "Kč 5,00, Kč 7,00")
    assert (book.castDil, book.nazevCasti) == ("2. díl", "Zima")


def test_the_publisher_wins_over_the_printer_and_keeps_its_order():
    fields = [
        ("264", " 3", "b:Tiskárna,"),
        ("264", " 1", "a:Praha ;", "b:Zet,", "c:2020"),
        ("264", " 1", "a:Brno :", "b:Abc,", "b:Zet"),
    ]
    book = EPublication.from_xml(record(*fields))
    assert (book.nakladatelVydavatel, book.mistoVydani) == ("Zet, Abc", "Praha, Brno")
    only_printer = EPublication.from_xml(record(fields[0]))
    assert only_printer.nakladatelVydavatel == "Tiskárna"


@pytest.mark.parametrize(
    ("tag", "indicators", "subfields", "author"),
    [
        ("100", "1 ", ["a:Raymond, Eric S.", "4:aut"], ("Eric S.", "Raymond", "")),
        ("700", "1 ", ["a:Novák, Jan,", "c:prof.,", "d:1900-"], ("Jan", "Novák", "prof.")),
        ("100", "12", ["a:Čapek Karel"], ("Karel", "Čapek", "")),
        ("100", "0 ", ["a:Jan Pavel", "b:II.,", "c:papež"], ("Jan Pavel II.", "papež", "")),
        ("100", "3 ", ["a:Rožmberkové,", "c:rod"], ("", "Rožmberkové", "rod")),
        ("700", "1 ", ["a:Překladatel, Jan", "4:trl"], None),
        ("600", "1 ", ["a:Hrdina, Jan"], None),
        ("800", "1 ", ["a:Editor, Jan"], None),
        ("100", "1 ", ["a: ,"], None),
        ("100", "1 ", ["b:nobody"], None),
    ],
)
def test_persons(tag, indicators, subfields, author):
    book = EPublication.from_xml(record((tag, indicators, *subfields)))
    assert book.autori == ([Author(*author)] if author else [])


def test_a_deleted_record_is_not_found_but_its_state_is_readable():
    deleted = record(("DEL", "  ", "a:Y"))
    for cls in (EPublication, EPeriodical):
        with pytest.raises(DocumentNotFoundException, match="Document was deleted"):
            cls.from_xml(deleted)
    assert SemanticInfo.from_xml(deleted).isClosed is False
    made = AlephRecord("nkc", "CZE01", "1", deleted)
    assert (made.parsed_info, made.xml) == (None, deleted)


def test_state_of_cataloguing():
    info = SemanticInfo.from_xml(
        record(
            ("IST", "1 ", "a:jp2 0150312", "b:kola"),
            ("IST", "1 ", "a:jr20150313", "b:a", "b:b"),
            ("IST", "1 ", "a:vp20150314"),
            ("IST", "1 ", "a:vr20150315"),
            ("IST", "1 ", "a:ii20150316", "b:c"),
            ("IST", "1 ", "a:jp1999"),
            ("HLD", "  ", "a:x"),
            ("STZ", "  ", "a:1", "b:2"),
            ("BAS", "  ", "a:90"),
            ("PJM", "  ", "a:V roce 2015 viz nkc20150003029."),
            controls={"FMT": "SE"},
        )
    )
    assert info == SemanticInfo(
        True,
        ["1", "2"],
        ["ii20150316", "c"],
        ["jp20150312", "kola"],
        ["jr20150313", "a", "b"],
        ["vp20150314"],
        ["vr20150315"],
        True,
        True,
        "SE",
        "nkc20150003029",
        "V roce 2015 viz nkc20150003029.",
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Souborný záznam viz nkc20150003029.", "nkc20150003029"),
        ("viz 978-80-87899-15-1.", "978-80-87899-15-1"),
        ("číslo 12345", "12345"),
        ("rok 12", ""),
        ("", ""),
    ],
)
def test_the_number_of_a_summary_record(text, number):
    assert parse_summary_number(text) == number


@pytest.mark.parametrize(
    ("leader", "fmt", "continuing"),
    [
        ("-----nas-a22------a-4500", None, True),
        ("-----cas-a22------a-4500", None, True),
        ("-----nim-a22------a-4500", None, False),
        ("-----nam-a22------a-4500", "SE", True),
        ("short", "SE", True),
        ("short", None, False),
        ("", None, False),
    ],
)
def test_continuing_resources(leader, fmt, continuing):
    xml = record(leader=leader, controls={"FMT": fmt} if fmt else None)
    assert MarcRecord(xml).is_continuing == continuing
    expected = EPeriodical if continuing else EPublication
    assert isinstance(AlephRecord("nkc", "CZE01", "1", xml).parsed_info, expected)


def test_given_infos_are_taken_as_they_are():
    made = AlephRecord("nkc", "CZE01", "1", "no xml at all", "info", "state")
    assert (made.parsed_info, made.semantic_info) == ("info", "state")
    assert AlephRecord("nkc", "CZE01", "1", "")[4:] == (None, None)


def test_building_a_record_does_no_work():
    xml = record(("245", "10", "a:Kniha"))
    made = AlephRecord("nkc", "CZE01", "1", xml)
    assert made[4:] == (None, None)
    assert made.parsed_info.nazev == "Kniha"
    assert isinstance(made.semantic_info, SemanticInfo)
    assert made[4:] == (None, None)
    whole = AlephRecord.read("nkc", "CZE01", "1", xml)
    assert whole[4:] == (made.parsed_info, made.semantic_info)
    assert whole.xml == xml


def test_entities_cdata_and_prefixes_are_read():
    xml = (
        '<m:record xmlns:m="http://www.loc.gov/MARC21/slim/"><m:datafield tag="245" ind1="1">'
        '<m:subfield code="a">Rock &amp; roll &lt;3<![CDATA[ & blues]]></m:subfield>'
        "</m:datafield></m:record>"
    )
    assert EPublication.from_xml(xml).nazev == "Rock & roll <3 & blues"


# --- hostile XML ----------------------------------------------------------------------------

BOMB = (
    '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1 if n else str()};" * 10}">' for n in range(12))
    + "]><record><datafield tag='245'><subfield code='a'>&a11;</subfield></datafield></record>"
)
EXTERNAL = (
    '<!DOCTYPE r [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    "<record><datafield tag='245'><subfield code='a'>&f;</subfield></datafield></record>"
)


@pytest.mark.parametrize(
    "xml",
    [
        "",
        " \n",
        "plain",
        "<a/>",
        "<find><error>x</error></find>",
        BOMB,
        EXTERNAL,
        '<?xml version="1.0"?><!DOCTYPE record><record/>',
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="no-such"?><x/>',
        "<html><body>500</body></html>",
    ],
    ids=range(11),
)
def test_what_is_no_record_is_refused(xml):
    with pytest.raises(InvalidRecordException):
        MarcRecord(xml)
    assert AlephRecord.read("nkc", "CZE01", "1", xml).parsed_info is None


def test_broken_xml_is_repaired_once_and_logged(caplog):
    xml = record(("245", "10", "a:Tom & Jerry"))
    assert EPublication.from_xml(xml).nazev.startswith("Tom")
    assert "was repaired" in caplog.text


@pytest.mark.parametrize("depth", [300, 100_000])
def test_deep_nesting_ends_quickly(depth):
    started = time.monotonic()
    for xml in ("<a>" * depth, "<record>" + "<a>" * depth + "</a>" * depth + "</record>"):
        try:
            MarcRecord(xml)
        except InvalidRecordException:
            pass
    assert time.monotonic() - started < 10


def test_100_mb_are_refused_without_being_parsed():
    code = """
import resource
from edeposit.amqp.aleph.marcxml import MarcRecord
from edeposit.amqp.aleph.exceptions import InvalidRecordException
data = b"<record>" + b"x" * 100_000_000 + b"</record>"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    MarcRecord(data)
except InvalidRecordException as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 5_000


@settings(max_examples=300, deadline=None)  # the wall clock tells of other processes
@given(st.data())
def test_any_damage_gives_a_record_or_the_documented_exception(data):
    xml = bytearray(load(data.draw(st.sampled_from(NAMES)))[0])
    for _ in range(data.draw(st.integers(0, 8))):
        position = data.draw(st.integers(0, len(xml) - 1))
        kind = data.draw(st.integers(0, 2))
        if kind == 0:
            del xml[position : position + data.draw(st.integers(1, 500))]
        elif kind == 1:
            xml[position:position] = data.draw(st.binary(max_size=20))
        else:
            xml[position] = data.draw(st.integers(0, 255))
        if not xml:
            break
    for cls in CLASSES:
        try:
            plain(cls.from_xml(bytes(xml)))
        except (InvalidRecordException, DocumentNotFoundException):
            pass
    AlephRecord.read("nkc", "CZE01", "1", bytes(xml))


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300))
def test_any_text_gives_the_documented_exception(xml):
    try:
        MarcRecord(xml)
    except InvalidRecordException:
        pass
