"""The cataloguers' punctuation, and ISBNs as they stand in catalogue records."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edeposit.amqp.aleph.cleaning import (
    clean_date,
    clean_isbns,
    clean_issn,
    hairs,
    split_isbn,
)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Computer Press,", "Computer Press"),
        ("[fórum pro literární vědu] /", "fórum pro literární vědu"),
        ("[Brno", "Brno"),
        ("Brno]", "Brno"),
        ("Brno (", "Brno"),
        (") Brno", "Brno"),
        ("vydavatel (Praha)", "vydavatel (Praha)"),
        ("(a) b", "(a) b"),
        ("[Praha] v noci /", "[Praha] v noci"),
        ("[1. vyd.]", "1. vyd."),
        (" : ;, ", ""),
        ("((x))", "x"),
        ("[(x]", "x"),
        ("Česká nedělní postila =", "Česká nedělní postila"),
        ("= Postilla de tempore", "Postilla de tempore"),
        ("21 cm +", "21 cm"),
        ("+ 1 CD-ROM", "1 CD-ROM"),
        ("Programování v C++ /", "Programování v C++"),
        ("+", "+"),
        ("", ""),
    ],
)
def test_hairs(text, cleaned):
    assert hairs(text) == cleaned


@settings(deadline=None)
@given(st.text("()[]<> ab:,-=+", max_size=60))
def test_hairs_end_and_change_nothing_twice(text):
    assert hairs(hairs(text)) == hairs(text)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("[2014?]-", "2014"),
        ("2015-", "2015-"),
        ("c2004", "2004"),
        ("[200-?]", "200-"),
        ("2004, c2003", "2004 2003"),
        ("leden 2015", "2015"),
        ("[mezi 1920 a 1929?]", "1920 1929"),
    ],
)
def test_dates(text, cleaned):
    assert clean_date(text) == cleaned


@pytest.mark.parametrize(
    ("text", "number", "rest"),
    [
        (" 80-251-0225-4 (brož.) :", "80-251-0225-4", "brož."),
        ("80-251-0225-4 (sv. 1 : váz.) :", "80-251-0225-4", "váz."),
        ("80-251-0225-4:", "80-251-0225-4", ""),
        ("80-251-0225-4;", "80-251-0225-4", ""),
        ("80-251-0225-4(váz.)", "80-251-0225-4", "váz."),
        ("978-80-246-2557-7\u00a0(brož.) :", "978-80-246-2557-7", "brož."),
        ("978 80 246 2557 7 (brož.)", "978-80-246-2557-7", "brož."),
        ("978\u201380\u2013246\u20132557\u20137", "978-80-246-2557-7", ""),
        ("ISBN 80-251-0225-4 (váz.)", "80-251-0225-4", "váz."),
        ("ISBN-10: 80-251-0225-4", "80-251-0225-4", ""),
        ("ISBN-13: 978-80-246-2557-7", "978-80-246-2557-7", ""),
        ("0-8044-2957-x", "0-8044-2957-X", ""),
        ("80-251-0225-5 (brož.)", "80-251-0225-5", "brož."),
        ("80-1 (x)", "80-1", "x"),
        ("80-85892-15 : Kčs 5", "80-85892-15", "Kčs 5"),
        ("(váz.)", "", "váz."),
        ("brož.", "", "brož."),
        ("ISBN", "", ""),
        ("", "", ""),
        ("979-0-2601-0748-9 (brož.)", "", "brož."),
        ("9790260107489", "", ""),
        ("ISMN 979-0-2601-0748-9 (brož.)", "", "brož."),
        ("M-2601-0748-9 (váz.)", "", "váz."),
    ],
)
def test_an_isbn_and_what_follows_it(text, number, rest):
    assert split_isbn(text) == (number, rest)


def test_isbns_are_listed_once_however_they_are_written():
    fields = ["80-251-0225-4", "8025102254 (brož.)", "(váz.)", "80-7169-860-1", "80-251-0225-4"]
    assert clean_isbns(fields) == ["80-251-0225-4", "80-7169-860-1"]


def test_issns():
    assert clean_issn("1210-0668 (Print)") == "1210-0668"
    assert clean_issn("ISSN 1210\u20130668;") == "1210-0668"
    assert clean_issn("1210-066 (x)") == "1210-066"


@pytest.mark.parametrize("function", [hairs, split_isbn, clean_issn, clean_date])
@pytest.mark.parametrize(
    "piece", ["(", ")", "()", ")(", "([<", "+ ", "=", "1", "1-", "9", "- ", "x "]
)
def test_time_grows_with_the_length(function, piece):
    def seconds(size):
        text = piece * (size // len(piece))
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            function(text)
            best = min(best, time.process_time() - started)
        return best

    # Quadratic work would take 16 times as long.
    assert seconds(80_000) < 9 * seconds(20_000) + 0.002
