"""Exception texts: never too large for a frame, never raising themselves."""

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
