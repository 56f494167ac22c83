"""Exception texts: never too large for a frame, never raising themselves."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import BasicProperties

from edeposit.amqp import contract as eh
from edeposit.amqp.engine import frames

wide = st.text(st.characters(exclude_categories=["Cs"]), max_size=50).map(lambda t: t * 300)


@given(wide, wide, st.sampled_from([4096, 8192, 131072]))
def test_the_header_frame_fits(text, tb, frame_max):
    properties = BasicProperties(
        headers={"UUID": "u" * 36, "exception": text, "exception_name": "E", "traceback": tb}
    )
    eh.fit(properties, frame_max)
    assert frames.header_frame_size(properties) <= frame_max


def test_what_fits_is_left_alone():
    headers = {"UUID": "u", "exception": "text", "traceback": "trace"}
    properties = BasicProperties(headers=dict(headers))
    eh.fit(properties, 4096)
    assert properties.headers == headers


def test_the_traceback_is_cut_before_the_text_and_keeps_its_ends():
    properties = BasicProperties(
        headers={"exception": "t" * 1000, "traceback": "BEGIN" + "x" * 10_000 + "END"}
    )
    eh.fit(properties, 4096)
    assert properties.headers["exception"] == "t" * 1000
    assert properties.headers["traceback"].startswith("BEGIN")
    assert properties.headers["traceback"].endswith("END")
    assert "characters cut" in properties.headers["traceback"]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 300))
def test_a_cut_text_has_at_most_the_room_it_was_given(text, room):
    assert len(eh.cut_middle(text, room).encode("utf-8")) <= room


def test_describing_never_raises():
    class Hostile(Exception):
        def __str__(self):
            raise KeyError("nothing works")

    assert "KeyError" in eh.describe(Hostile())
    assert eh.format_traceback(Hostile())
    assert eh.describe(ValueError("\ud800")) == "\\ud800"


def test_a_message_attribute_is_the_text():
    class WithMessage(Exception):
        message = "said so"

    assert eh.describe(WithMessage("other")) == "said so"


def test_passwords_in_urls_are_blanked():
    error = ValueError("cannot reach amqp://joe:secret@host/vhost and http://x:y@z")
    assert eh.describe(error) == "cannot reach amqp://joe:***@host/vhost and http://x:***@z"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("amqp://user:pa/ss@host/v", "pa/ss"),
        ("amqp://user:p@ss@host", "ss@"),
        ("amqp://us@er:secret@host", "secret"),
        ("ftp://:pw@h", "pw"),
        ("(http://u:p%40@h), x", "p%40"),
        ("amqp://u:one@a,amqp://u:two@b", "one"),
        ("amqp://u:one@a,amqp://u:two@b", "two"),
        ("https://u:a:b@h", "a:b"),
    ],
)
def test_any_password_of_a_url_is_blanked(text, secret):
    scrubbed = eh.scrub(text)
    assert secret not in scrubbed
    assert "***" in scrubbed


@pytest.mark.parametrize("text", ["amqp://u@host:5672/v", "http://host:80/x", "a:b@c", "x :// @"])
def test_what_holds_no_password_stays(text):
    assert eh.scrub(text) == text


def test_scrubbing_is_linear():
    started = time.process_time()
    for hostile in ("a://b:" * 200_000, "://" * 300_000, ":@" * 400_000, "a:b://@ " * 100_000):
        eh.scrub(hostile)
    assert time.process_time() - started < 2


def test_a_class_name_comes_from_the_class_not_from_its_metaclass():
    class Odd(type):
        def __repr__(cls):
            raise RuntimeError

        __name__ = property(lambda cls: 1 / 0)

    class OddError(Exception, metaclass=Odd):
        pass

    headers = eh.headers_of(OddError("x"), "x", None)
    assert headers["exception_name"] == "OddError"
    assert "OddError" in headers["exception_type"]
    assert eh.format_traceback(OddError("x"))


def test_a_parked_copy_has_the_reason_and_nothing_the_broker_acts_on():
    original = BasicProperties(
        headers={"UUID": "u", "CC": ["a"], "BCC": ["b"], "x-delay": 5, "x-death": [{}], "kept": 1},
        expiration="5",
        user_id="me",
        message_id="m",
        delivery_mode=1,
    )
    parked = eh.parked_properties(original, "r" * 2000, "e", "k")
    assert abs(time.time() - parked.headers.pop("x-edeposit-parked-at")) < 60
    assert parked.headers == {
        "UUID": "u",
        "kept": 1,
        "x-edeposit-reason": "r" * 1000,
        "x-edeposit-exchange": "e",
        "x-edeposit-routing-key": "k",
    }
    assert (parked.delivery_mode, parked.expiration, parked.user_id) == (2, None, None)
    assert "CC" in original.headers
    only = eh.parked_properties(original, "r", "e", "k", True)
    assert set(only.headers) <= {
        "x-edeposit-reason",
        "x-edeposit-exchange",
        "x-edeposit-routing-key",
        "x-edeposit-parked-at",
    }


def test_a_services_headers_are_prefixed_short_and_never_our_own_names():
    said = {"engine": "x" * 1000, "progress": True, "exact": True, "url": "amqp://u:secret@host/"}
    said |= {f"more-{number}": number for number in range(100)}
    headers = eh.headers_from(said)
    assert len(headers) < 20
    assert headers["x-edeposit-engine"] == "x" * 256
    assert headers["x-edeposit-exact"] is True
    assert "x-edeposit-progress" not in headers
    assert "secret" not in headers["x-edeposit-url"]


def test_a_callers_parameters_are_its_headers_with_our_prefix():
    headers = {"x-edeposit-charset": "cp1250", "UUID": "u", "x-other": 1}
    assert eh.parameters_in(headers) == {"charset": "cp1250"}
