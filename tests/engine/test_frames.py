"""Our encoder against pika's: the same bytes for the same message."""

import datetime
import decimal

import pika.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import Basic, BasicProperties

from edeposit.amqp.engine import frames
from edeposit.amqp.errors import UnencodableError

short = st.text(max_size=60)
leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.text(max_size=50)
    | st.binary(max_size=20)
)
table_value = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3)
)
properties = st.builds(
    BasicProperties,
    content_type=st.none() | short,
    content_encoding=st.none() | short,
    headers=st.none() | st.dictionaries(short, table_value, max_size=4),
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | short,
    reply_to=st.none() | short,
    expiration=st.none() | short,
    message_id=st.none() | short,
    timestamp=st.none() | st.integers(0, 2**40),
    type=st.none() | short,
    user_id=st.none() | short,
    app_id=st.none() | short,
    cluster_id=st.none() | short,
)


def pika_frames(channel, exchange, key, mandatory, props, body, room):
    method = Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory)
    result = pika.frame.Method(channel, method).marshal()
    result += pika.frame.Header(channel, len(body), props).marshal()
    for start in range(0, len(body), room):
        result += pika.frame.Body(channel, body[start : start + room]).marshal()
    return result


@given(properties, st.binary(max_size=300), short, short, st.booleans())
def test_a_message_is_encoded_as_pika_encodes_it(props, body, exchange, key, mandatory):
    expected = pika_frames(3, exchange, key, mandatory, props, body, 65536 - 8)
    ours = frames.publish_frames(3, exchange, key, mandatory, props, body, 65536)
    assert b"".join(ours) == expected


@given(st.integers(0, 700_000))
def test_a_large_body_is_cut_as_pika_cuts_it(size):
    props, body = BasicProperties(delivery_mode=2), bytes(size)
    chunks = frames.publish_frames(1, "e", "k", True, props, body, 131072)
    assert b"".join(chunks) == pika_frames(1, "e", "k", True, props, body, 131072 - 8)
    # Chunks stay small enough for one socket write to take most of one.
    assert max(map(len, chunks)) < 512 * 1024


@given(st.sampled_from([4096, 131072]), st.integers(1, 3), st.integers(-2, 2))
def test_a_body_at_the_edge_of_its_frames_is_cut_as_pika_cuts_it(frame_max, count, off):
    props, body = BasicProperties(), bytes(count * (frame_max - 8) + off)
    chunks = frames.publish_frames(1, "", "k", False, props, body, frame_max)
    assert b"".join(chunks) == pika_frames(1, "", "k", False, props, body, frame_max - 8)


@given(st.integers(-2, 2))
def test_headers_at_the_edge_of_a_frame_fit_or_are_refused(off):
    empty = frames.header_frame_size(BasicProperties(headers={"x": ""}))
    props = BasicProperties(headers={"x": "y" * (4096 - empty + off)})
    if off > 0:
        with pytest.raises(UnencodableError, match="one frame holds 4096"):
            frames.publish_frames(1, "", "k", True, props, b"", 4096)
    else:
        encoded = b"".join(frames.publish_frames(1, "", "k", True, props, b"", 4096))
        assert encoded == pika_frames(1, "", "k", True, props, b"", 4096 - 8)


def test_rare_header_types_are_encoded_as_pika_encodes_them():
    headers = {
        "d": decimal.Decimal("1.5"),
        "t": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    }
    props = BasicProperties(headers=headers)
    assert frames.encode_properties(props) == b"".join(props.encode())


@pytest.mark.parametrize(
    "props",
    [
        BasicProperties(correlation_id="x" * 256),
        BasicProperties(headers={"x" * 256: 1}),
        BasicProperties(headers={"x": object()}),
        BasicProperties(headers={"x": 2**64}),
        BasicProperties(type="x" * 256),
        BasicProperties(headers={"x": "y" * 4096}),
        BasicProperties(headers=[("x", 1)]),
        BasicProperties(headers={1: 1}),
        BasicProperties(correlation_id=5),
        BasicProperties(reply_to="\ud800"),
        BasicProperties(content_type=["text"]),
        BasicProperties(delivery_mode="persistent"),
        BasicProperties(delivery_mode=256),
        BasicProperties(priority="high"),
        BasicProperties(priority=-1),
        BasicProperties(timestamp=1.5),
        BasicProperties(timestamp=datetime.datetime(2026, 1, 1)),
        BasicProperties(expiration=60),
        "no properties",
    ],
)
def test_what_amqp_cannot_carry_is_refused(props):
    with pytest.raises(UnencodableError):
        frames.publish_frames(1, "", "k", True, props, b"", 4096)


@pytest.mark.parametrize(
    ("exchange", "key", "body"),
    [
        (1, "k", b""),
        ([], "k", b""),
        ("", None, b""),
        ("", "\ud800", b""),
        ("", "k", "text"),
        ("", "k", None),
        ("", "k", 5),
    ],
)
def test_what_is_no_address_or_body_is_refused(exchange, key, body):
    with pytest.raises(UnencodableError):
        frames.publish_frames(1, exchange, key, True, BasicProperties(), body, 4096)


def test_a_routing_key_longer_than_255_bytes_is_refused():
    with pytest.raises(UnencodableError, match="routing_key"):
        frames.publish_frames(1, "", "ř" * 128, True, BasicProperties(), b"", 4096)


@pytest.mark.parametrize("multiple", [True, False])
def test_acks_are_encoded_as_pika_encodes_them(multiple):
    expected = pika.frame.Method(5, Basic.Ack(77, multiple)).marshal()
    assert frames.ack_frame(5, 77, multiple) == expected
    expected = pika.frame.Method(5, Basic.Nack(77, multiple=False, requeue=True)).marshal()
    assert frames.nack_frame(5, 77, requeue=True) == expected


@given(properties)
def test_the_header_frames_size_is_what_it_needs(props):
    assert frames.header_frame_size(props) == len(pika.frame.Header(1, 0, props).marshal())
