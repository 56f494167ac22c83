"""Properties of foreign messages: one that cannot be decoded is lost alone."""

import struct

import pika.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import BasicProperties

from edeposit.amqp.engine.properties import decode_properties

KNOWN = {
    "content_type": "application/json",
    "content_encoding": "gzip",
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "c",
    "reply_to": "answers",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": 2**63,
    "type": "t",
    "user_id": "u",
    "app_id": "a",
    "cluster_id": "k",
}


def short(text):
    return bytes([len(text)]) + text


def encoded(headers, **properties):
    """Property bytes with a headers table of (name, value bytes) pairs."""
    data = b"".join(BasicProperties(headers={}, **properties).encode())
    before = b"".join(
        BasicProperties(
            headers={},
            content_type=properties.get("content_type"),
            content_encoding=properties.get("content_encoding"),
        ).encode()
    )
    table = b"".join(short(name) + value for name, value in headers)
    start = len(before) - 4
    return data[:start] + struct.pack(">I", len(table)) + table + data[start + 4 :]


def table(*items):
    body = b"".join(short(name) + value for name, value in items)
    return b"F" + struct.pack(">I", len(body)) + body


WHOLE = encoded([(b"UUID", b"S\0\0\0\1u"), (b"odd", b"T" + b"\xff" * 8)], **KNOWN)
ODD = {
    "milliseconds": b"T" + struct.pack(">Q", 1764065760123 * 1000),
    "before 1970": b"T" + struct.pack(">q", -1),
    "beyond year 9999": b"T" + struct.pack(">Q", 2**40),
    "not a number": b"d" + struct.pack(">d", float("nan")),
    "infinite": b"f" + struct.pack(">f", float("inf")),
    "in a table": table((b"a", b"T" + struct.pack(">Q", 2**40)), (b"b", b"t\1")),
    "in an array": b"A" + struct.pack(">I", 9) + b"T" + struct.pack(">Q", 2**60),
}
ODD["deep"] = b"t\1"
for _ in range(2000):
    ODD["deep"] = table((b"a", ODD["deep"]))


@pytest.mark.parametrize("odd", ODD)
def test_one_odd_header_costs_nothing_else(odd):
    uuid = b"S" + struct.pack(">I", 3) + b"u-1"
    headers = [(b"first", b"I\0\0\0\1"), (b"odd", ODD[odd]), (b"UUID", uuid), (b"void", b"V")]
    properties, error = decode_properties(encoded(headers, **KNOWN))
    assert error is not None
    assert properties.headers == {"first": 1, "UUID": "u-1", "void": None}
    assert {name: getattr(properties, name) for name in KNOWN} == KNOWN


def test_a_type_of_unknown_size_costs_the_headers_behind_it():
    headers = [(b"UUID", b"S\0\0\0\1u"), (b"odd", b"?what"), (b"behind", b"t\1")]
    properties, error = decode_properties(encoded(headers, **KNOWN))
    assert error is not None
    assert properties.headers == {"UUID": "u"}
    assert properties.reply_to == "answers"


@given(st.binary(max_size=200) | st.integers(0, 300).map(lambda cut: WHOLE[:cut]))
def test_no_bytes_raise(data):
    properties, error = decode_properties(data)
    assert isinstance(properties, BasicProperties)
    assert error is None or isinstance(error, Exception)


@given(st.dictionaries(st.text(max_size=20), st.integers(-(2**31), 2**31 - 1) | st.text()))
def test_whole_properties_are_those_that_pika_decodes(headers):
    pieces = []
    pika.data.encode_table(pieces, headers)
    properties = BasicProperties(headers=headers, **KNOWN)
    decoded, error = decode_properties(b"".join(properties.encode()))
    assert error is None
    assert vars(decoded) == vars(properties)
