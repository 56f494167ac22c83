"""One reader of ISBNs for all services."""

import random
import re
import time

import pytest

from edeposit.amqp.formats import isbn

TEN, THIRTEEN = "80-251-0225-4", "978-80-251-0225-1"


@pytest.mark.parametrize(
    "text",
    [
        TEN,
        f" {TEN}\n",
        "80 251 0225 4",
        "80\u00a0251\u00a00225\u00a04",
        "80\u202f251\u20090225 4",
        *(TEN.replace("-", dash) for dash in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"),
        "80 - 251 - 0225 - 4",
        f"ISBN {TEN}",
        f"isbn:{TEN}",
        f"ISBN\u00a0{TEN}",
        f"ISBN-10: {TEN}",
        f"ISBN 10 {TEN}",
        f"ISBN (10): {TEN}",
        f"ISBN{TEN}",
        f"e-ISBN: {TEN}",
        f"\ufeff{TEN}\u200b",
        "80-2\u00ad51-0225-4",
    ],
)
def test_people_write_one_isbn_in_many_ways(text):
    assert isbn.read(text) == TEN
    assert isbn.is_valid(text)
    assert isbn.canonical(text) == "9788025102251"
    assert isbn.find_all(f"Název (brož.) {text}, 2. vyd.") == [TEN]


def test_thirteen_digits_and_an_x():
    assert isbn.read(f"ISBN-13 {THIRTEEN}") == THIRTEEN
    assert isbn.read("ISBN-13 9788025102251") == "9788025102251"
    assert isbn.read("0-8044-2957-x") == "0-8044-2957-X"
    assert isbn.canonical("080442957X") == isbn.canonical("978-0-8044-2957-3")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "missing"),
        ("ISBN", "missing"),
        ("80-251-0225-5", "check digit"),
        ("978-80-251-0225-5", "check digit"),
        ("80-251-0225", "9 digits"),
        ("80-251-0225-44", "11 digits"),
        ("977-12-1006-680-8", "978 or 979"),
        ("979-0-2601-0748-9", "ISMN"),
        ("8X-251-0225-4", "an X"),
        ("978-80-251-0225-X", "an X"),
        (f"{TEN} (brož.)", "'(brož.)'"),
        (f"{TEN} {THIRTEEN}", "23 digits"),
        ("80.251.0225.4", "more than an ISBN"),
        ("brož.", "more than an ISBN"),
        ("８０-251-0225-4", "more than an ISBN"),
        (None, "must be a text, not NoneType"),
        (8025102254, "must be a text, not int"),
        ([TEN], "must be a text, not list"),
    ],
)
def test_a_refusal_says_why(text, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        isbn.read(text)
    with pytest.raises(ValueError):
        isbn.canonical(text)
    assert not isbn.is_valid(text)


def test_a_refusal_does_not_repeat_a_megabyte():
    with pytest.raises(ValueError) as refusal:
        isbn.read("x" * 10**6)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{TEN} (brož.) : 199 Kč", [TEN]),
        (f"{TEN}(váz.)", [TEN]),
        (f"{TEN}: {THIRTEEN};", [TEN, THIRTEEN]),
        (f"{TEN}, 8025102254, ISBN {TEN}", [TEN]),
        (f"{TEN} - 350 Kč", [TEN]),
        (f"350 {TEN} 250", [TEN]),
        ("2 978 80 251 0225 1 350 Kč", ["978-80-251-0225-1"]),
        (f"ISBN-13 {THIRTEEN} ISBN-10 {TEN}", [THIRTEEN, TEN]),
        ("EAN9788025102251", ["9788025102251"]),
        ("9788025102251-2.jpg", ["9788025102251"]),
        ("080442957X_obalka", ["080442957X"]),
        ("978-80-251-0225-\n1", [THIRTEEN]),
        (f"978 {TEN}", [TEN]),
        ("(váz.)", []),
        ("80-251-0225-5", []),
        ("979-0-2601-0748-9", []),
        ("9790260107489", []),
        ("8025102254012", []),
        ("1-80-251-0225-4", []),
        ("80-251-0225-4-7", []),
        ("602 123 4567", []),
        ("2014-10-12 10:30", []),
        ("20 x 25 cm", []),
        ("", []),
    ],
)
def test_isbns_inside_a_longer_text(text, expected):
    assert isbn.find_all(text) == expected


def test_a_wrong_check_digit_is_still_a_candidate():
    assert list(isbn.candidates("ISBN 80-251-0225-5 (brož.)")) == ["80-251-0225-5"]
    assert list(isbn.candidates("978 80 251 0225 5")) == ["978-80-251-0225-5"]
    assert list(isbn.candidates(f"8025102255, {TEN}")) == ["8025102255", TEN]
    assert list(isbn.candidates("979-0-2601-0748-9")) == []


@pytest.mark.parametrize("function", [isbn.find_all, isbn.is_valid])
@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "1-",
        "1 ",
        "-",
        " ",
        "X",
        "X-",
        "978 ",
        "978-80-",
        "ISBN ",
        "ISBN-1",
        f"{TEN}-",
        "- ",
        "\u00ad",
    ],
)
def test_time_grows_with_the_length(function, piece):
    def seconds(size):
        text = piece * (size // len(piece))
        return min(_timed(function, text) for _ in range(3))

    # Quadratic work would take 16 times as long.
    assert seconds(80_000) < 9 * seconds(20_000) + 0.002


def _timed(function, text):
    start = time.process_time()
    function(text)
    return time.process_time() - start


def test_no_text_raises_anything_but_value_error():
    letters = "0123456789Xx -–ISBN()\u00a0\ud800😀"
    draw = random.Random(7)
    for _ in range(3000):
        text = "".join(draw.choices(letters, k=draw.randrange(40)))
        for number in isbn.find_all(text):
            assert isbn.read(number) == number
        isbn.is_valid(text)
