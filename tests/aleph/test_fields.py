"""MARC fields as real catalogues fill them: Czech libraries, LC, DNB."""

import random
import time

import pytest

from edeposit.amqp.aleph.datastructures import Author, EPeriodical, EPublication
from edeposit.amqp.aleph.datastructures.alephrecord import AlephRecord

from .marc import record


def book(*fields):
    return EPublication.from_xml(record(*fields))


# --- titles ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subfields", "title"),
    [
        (["a:Česká nedělní postila =", "b:Postilla de tempore :"], "Česká nedělní postila"),
        (["a:&lt;&lt;Der &gt;&gt;Engel schwieg /"], "Der Engel schwieg"),
        (["a:\x98Der \x9cEngel schwieg"], "Der Engel schwieg"),
        (["a:\x88Der \x89Engel schwieg"], "Der Engel schwieg"),
        (["a:1 &lt;&lt; 2"], "1 << 2"),
        (["a:Ústřední církevní\n\t\t nakladatelství"], "Ústřední církevní nakladatelství"),
        (["a:Dva\u00a0roky"], "Dva roky"),
        (["a:Válka /", "a:Mír"], "Válka / Mír"),
        (["a:A co dál?... /"], "A co dál?..."),
    ],
)
def test_titles(subfields, title):
    assert book(("245", "10", *subfields)).nazev == title


def test_a_title_in_another_language_stays_whole():
    found = book(("245", "10", "a:Česká postila =", "b:Postilla :", "c:Komenský"))
    assert (found.nazev, found.podnazev) == ("Česká postila", "Postilla")


def test_parts_of_parts_are_divided():
    found = book(("245", "10", "n:Díl 2.,", "p:Středověk :", "n:Sv. 1,", "p:Začátky /"))
    assert (found.castDil, found.nazevCasti) == ("Díl 2. Sv. 1", "Středověk. Začátky")


@pytest.mark.parametrize("text", ["21 cm +", "21 cm+", "21 cm ;", "21 cm"])
def test_dimensions(text):
    assert book(("300", "  ", "a:96 s. ;", f"c:{text}", "e:1 CD-ROM")).format == "21 cm"


# --- numbers and bindings -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "isbns", "binding"),
    [
        ([["a:978-80-246-2557-7", "q:(brož.) ;"]], ["978-80-246-2557-7"], "brož."),
        ([["a:978-80-246-2557-7", "q:(2. díl)", "q:(váz.)"]], ["978-80-246-2557-7"], "2. díl"),
        ([["a:978-80-246-2557-7\u00a0(brož.) :"]], ["978-80-246-2557-7"], "brož."),
        ([["a:ISBN 80-251-0225-4 (váz.)"]], ["80-251-0225-4"], "váz."),
        ([["a:80-251-0225-4"], ["a:8025102254 (váz.)"]], ["80-251-0225-4"], "váz."),
        ([["a:"], ["a:(váz.)"]], [], "váz."),
        ([["a:979-0-2601-0748-9 (brož.)"]], [], "brož."),
        ([["a:80-251-0225-4"], ["z:8025102254"]], [], ""),
        ([["z:(chybné)"], ["a:80-251-0225-4"]], ["80-251-0225-4"], ""),
    ],
)
def test_isbns_and_bindings(fields, isbns, binding):
    found = book(*(("020", "  ", *subfields) for subfields in fields))
    assert (found.ISBN, found.vazba) == (isbns, binding)


def test_the_only_number_may_be_in_a_local_field():
    found = book(("020", "  ", "a:(váz.)"), ("901", "  ", "i:ISBN 80-251-0225-4"))
    assert found.ISBN == ["80-251-0225-4"]


def test_numbers_of_a_periodical():
    found = EPeriodical.from_xml(
        record(
            ("022", "  ", "a:1210-0668 (Print)", "l:1210\u20130668", "z:1210-066X", "y:1210-0676"),
            ("022", "  ", "a:1210-066X"),
        )
    )
    assert found.ISSN == ["1210-0668"]
    assert found.invalid_ISSNs == ["1210-066X", "1210-0676"]
    assert found.ISSNSouboruPublikaci == ["1210-0668"]


# --- publishers -----------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["260", "264"])
@pytest.mark.parametrize("first", ["0", "2", "3", " "])
def test_a_publisher_counts_whatever_the_first_indicator_says(tag, first):
    second = " " if tag == "260" else "1"
    found = book((tag, first + second, "a:Praha :", "b:Grada,", "c:2014"))
    assert (found.mistoVydani, found.nakladatelVydavatel, found.datumVydani) == (
        "Praha",
        "Grada",
        "2014",
    )


def test_the_current_publisher_comes_first_then_the_first_one():
    found = book(
        ("260", "2 ", "b:Mezi,", "c:1990"),
        ("260", "  ", "b:První,", "c:1980"),
        ("260", "3 ", "b:Dnešní,", "c:2000"),
    )
    assert found.nakladatelVydavatel == "Dnešní, První, Mezi"
    assert found.datumVydani == "2000, 1980, 1990"


# --- persons --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "role",
    [
        [],
        ["4:aut"],
        ["4:aut."],
        ["4:AUT"],
        ["4:http://id.loc.gov/vocabulary/relators/aut"],
        ["4:https://d-nb.info/standards/elementset/gnd#author"],
        ["4:ill", "4:aut"],
        ["4:ill, aut"],
        ["4:http://id.loc.gov/vocabulary/relators/aut.html"],
        ["4:marcrel:aut"],
        ["4:aut", "e:ilustrátor"],
        ["e:autor"],
        ["e:Autor."],
        ["e:autorka"],
        ["e:author,"],
        ["e:Verfasser"],
        ["e:autor, ilustrátor"],
        ["e:překladatel", "e:autor"],
        ["e:tvůrce neznámé role"],
        ["4:", "e:aut"],
    ],
)
def test_authors(role):
    found = book(("700", "1 ", "a:Novák, Jan,", *role))
    assert found.autori == [Author("Jan", "Novák", "")]


@pytest.mark.parametrize(
    "role",
    [
        ["4:ill"],
        ["4:trl."],
        ["4:http://id.loc.gov/vocabulary/relators/edt"],
        ["4:ill", "e:autor"],
        ["e:ill."],
        ["e:il."],
        ["e:ed."],
        ["e:překladatel"],
        ["e:pr\u030cekladatel"],
        ["e:Překl."],
        ["e:editor"],
        ["e:illustrator."],
        ["e:Hrsg."],
        ["e:Übersetzer"],
        ["e:autor úvodu"],
        ["e:autor doslovu atd."],
        ["e:author of introduction, etc."],
        ["e:fotograf"],
    ],
)
def test_persons_who_did_something_else(role):
    assert book(("700", "1 ", "a:Novák, Jan,", *role)).autori == []


# --- time -----------------------------------------------------------------------------------


PLACES = ("020a", "020q", "022a", "100a", "245a", "245n", "260b", "264c", "300c", "700e", "7004")
LOCAL_PLACES = ("901i", "ISTa", "PJMa", "STZa", "998a")
PIECES = ("(", ")", "[(", "1", "1-", "80-251-0225-4", "ISBN", "=", "+", ",", "/", "&", "&lt;&lt;")


@pytest.mark.parametrize("seed", range(12))
def test_any_field_is_read_in_time_that_grows_with_its_length(seed):
    draw = random.Random(seed)
    leader = draw.choice(["-----nam-a22------a-4500", "-----nas-a22------a-4500"])
    many = draw.random() < 0.5  # many fields, or one long field
    choices = [
        (draw.choice(PLACES + LOCAL_PLACES), draw.choice(["", " "]).join(draw.choices(PIECES, k=3)))
        for _ in range(4)
    ]

    def seconds(size):
        fields = [
            (place[:3], "1 ", f"{place[3]}:{piece * (1 if many else size // len(piece))}")
            for place, piece in choices
            for _ in range(size // 50 if many else 1)
        ]
        xml = record(*fields, leader=leader)
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            AlephRecord.read("nkc", "CZE01", "1", xml)
            best = min(best, time.process_time() - started)
        return best

    # Quadratic work would take 16 times as long.
    assert seconds(40_000) < 9 * seconds(10_000) + 0.005
