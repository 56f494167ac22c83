"""Books that the catalogue has: names compared, and the simulator of Aleph asked."""

import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp.aleph import settings as aleph_settings
from edeposit.amqp.aleph.simulator import AlephSimulator
from edeposit.amqp.aleph.simulator import Catalogue as Records
from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.filters import aleph_filter, dup_filter, filter_publications
from edeposit.amqp.harvester.filters.aleph_filter import (
    Catalogue,
    compare_names,
    filter_publication,
    name_to_vector,
    same_person,
    same_title,
)
from edeposit.amqp.harvester.structures import Author, Publication

ZEN = """<record><leader>-----nam-a22------a-4500</leader>
<controlfield tag="001">zen000000001</controlfield><controlfield tag="FMT">BK</controlfield>
<datafield tag="020" ind1=" " ind2=" "><subfield code="a">80-86056-31-7 (brož.) :</subfield>
</datafield><datafield tag="100" ind1="1" ind2=" "><subfield code="a">Kehoe, Brendan P.</subfield>
<subfield code="4">aut</subfield></datafield><datafield tag="245" ind1="1" ind2="0">
<subfield code="a">Zen a umění internetu /</subfield></datafield>
<datafield tag="700" ind1="1" ind2=" "><subfield code="a">Jiráček, Ondřej</subfield>
<subfield code="4">aut</subfield></datafield></record>"""
SERIAL = """<record><leader>-----nas-a22------a-4500</leader>
<controlfield tag="001">per000000001</controlfield><controlfield tag="FMT">SE</controlfield>
<datafield tag="245" ind1="1" ind2="0"><subfield code="a">Hlas lidu domova :</subfield>
</datafield></record>"""


def book(title, *authors, isbn=None):
    made = Publication(title, [Author(name) for name in authors], "1 Kč", "JOTA")
    if isbn is not None:
        made.optionals.ISBN = isbn
    return made


@pytest.fixture
def aleph(monkeypatch, tmp_path):
    for name in aleph_settings.get_all_constants():
        monkeypatch.delenv(name, raising=False)
    with AlephSimulator() as simulator:
        number = len(simulator.catalogue.entries)
        extra = Records(
            [*(e.record.xml for e in simulator.catalogue.entries.values()), ZEN, SERIAL]
        )
        assert len(extra.entries) == number + 2
        simulator.catalogue = extra
        monkeypatch.setenv("ALEPH_URL", simulator.url)
        monkeypatch.setenv("ALEPH_RETRIES", "0")
        monkeypatch.setenv("ALEPH_FILTER_PER_SECOND", "1000")
        aleph_settings.reload()
        settings.reload()
        yield simulator
    monkeypatch.undo()
    aleph_settings.reload()


# --- names ----------------------------------------------------------------------------------


def test_words_of_a_name():
    assert name_to_vector("ing. Franta Putšálek") == ["putsalek", "franta", "ing"]
    assert name_to_vector("Windows\t8,\nrychle") == ["windows", "rychle", "8"]
    assert name_to_vector("…") == []


@pytest.mark.parametrize(
    ("first", "second", "likeness"),
    [
        ("Franta Putšálek", "putsalek FRANTA", 100),
        ("Franta Putšálek", "Putšálek Pepa", 50),
        ("F. Putšálek", "ing. Franta Putšálek", 50),
        ("Franta Putšálek", "Eva Malá", 0),
        ("", "Eva Malá", 0),
        ("Windows 7", "Windows 8", 50),
        ("1984", "1984", 100),
        ("Война и мир", "ВОЙНА И МИР", 100),
    ],
)
def test_compare_names(first, second, likeness):
    assert compare_names(first, second) == compare_names(second, first) == likeness


@given(st.text(max_size=40), st.text(max_size=40))
def test_comparisons_are_symmetric(first, second):
    assert compare_names(first, second) == compare_names(second, first)
    assert same_title(first, second, 80) == same_title(second, first, 80)
    assert same_person(first, second, 50) == same_person(second, first, 50)
    assert 0 <= compare_names(first, second) <= 100


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Umění programování v UNIXu", "umeni programovani v unixu /", True),
        ("Python", "Python pro experty", False),
        ("Python", "python :", True),
        ("Windows 7", "Windows 8", False),
        ("1984", "1984", True),
        ("1984", "1985", False),
        ("Zen a umění internetu", "Zen a umění intrnetu", False),
        ("Elektřina v kostce", "Elektřina v kostce A5", True),
        ("Dějiny umění", "Dějiny umění ve střední Evropě od počátků do dneška", False),
        ("Война и мир", "Мир и война", True),
        ("", "", False),
    ],
)
def test_titles(first, second, same):
    assert same_title(first, second, 80) is same


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("Eric S. Raymond", "Raymond", True),
        ("Franta Putšálek ing.", "F. Putšálek", True),
        ("Karel Čapek", "Josef Čapek", True),  # the documented threshold is this low
        ("Karel Čapek", "K. Novák", False),
        ("Karel Čapek", "K. Č.", False),
        ("Karel Čapek", "Jan Neruda", False),
        ("Karel Čapek", "", False),
    ],
)
def test_persons(first, second, same):
    assert same_person(first, second, 50) is same


# --- the catalogue --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "cmp_authors", "is_there"),
    [
        (book("Umění programování v unixu"), False, True),
        (book("Umění programování v unixu"), True, False),
        (book("Umění programování v unixu", "Raymond"), True, True),
        (book("Umění programování v unixu", "Eva Malá"), True, False),
        (book("", isbn="80-86056-31-7"), True, False),
        (book("Zen a umění internetu", isbn="80-86056-31-7"), True, True),
        (book("Zen a umění intrnetu", isbn="80-86056-31-7"), True, False),
        (book("Quite another book", isbn="80-86056-31-7"), True, False),
        (book("Zen a umění internetu", "O. Jiráček"), True, True),
        (book("Zen a umění internetu", "O. Jiráček", isbn="978-80-7300-502-3"), True, False),
        (book("Zen a umění internetu", "O. Jiráček", isbn="podle"), True, True),
        (book("Hlas lidu domova", "Eva Malá"), False, False),
        (book("There is no such book", "Eva Malá"), True, False),
        (book("(a = b) and or not ?*%&#/", "Eva Malá"), True, False),
    ],
)
def test_known_answers(aleph, wanted, cmp_authors, is_there):
    expected = None if is_there else wanted
    assert filter_publication(wanted, cmp_authors) is expected
    assert (filter_publication(wanted.to_namedtuple(), cmp_authors) is None) is is_there


def test_the_filter_is_off_until_it_is_switched_on(aleph):
    neruda = book("Povídky malostranské", "Jan Neruda")
    assert filter_publications([neruda]) == [neruda]
    assert aleph.requests == []
    settings.substitute_globals({"USE_ALEPH_FILTER": True})
    unknown = book("Quite a new book", "Jan Neruda")
    assert filter_publications([neruda, unknown]) == [unknown]
    settings.substitute_globals({"ALEPH_FILTER_BY_AUTHOR": False})
    assert filter_publications([book("Povídky malostranské", "Jan Kdokoli")]) == []


def test_books_sent_before_are_not_asked_for(aleph):
    settings.substitute_globals({"USE_ALEPH_FILTER": True})
    dup_filter.mark_seen([book("Krakatit")])
    assert filter_publications([book("Krakatit")]) == []
    assert aleph.requests == []


def test_an_aleph_that_is_down_keeps_the_books_and_is_soon_asked_no_more(aleph, caplog):
    catalogue = Catalogue()
    raymond = book("Umění programování v unixu", "Raymond")
    assert catalogue.has(raymond)
    aleph.close()
    assert [catalogue.has(raymond) for _ in range(10)] == [False] * 10
    assert catalogue.failures_in_a_row == 3
    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert filter_publication(raymond) is raymond


def test_failures_that_pass_are_forgotten(aleph):
    catalogue = Catalogue()
    raymond = book("Umění programování v unixu", "Raymond")
    good = aleph_settings.ALEPH_URL
    for _ in range(4):
        for url, is_there in (("http://127.0.0.1:9", False), (good, True)):
            aleph_settings.substitute_globals({"ALEPH_URL": url})
            assert catalogue.has(raymond) is is_there


def test_the_end_of_a_harvest_does_not_wait_for_turns(aleph):
    settings.substitute_globals({"ALEPH_FILTER_PER_SECOND": 0.001})
    end = threading.Event()
    catalogue = Catalogue(end=end)
    assert catalogue.has(book("Umění programování v unixu", "Raymond"))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(catalogue.has(book("X"))))
    thread.start()
    end.set()
    thread.join(20)
    assert answers == [False]


def test_names_of_the_first_generation_are_there():
    assert aleph_filter.compare_names is compare_names
    assert aleph_filter.name_to_vector is name_to_vector
