"""The adapter's grip on pika: what it overrides exists, and bytes may be cut anywhere."""

import inspect

import pika
import pika.frame
import pika.spec
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp.engine import frames
from edeposit.amqp.engine.fastconnection import FastConnection


class Events:
    """Records what the watched channel reports."""

    def __init__(self):
        self.seen = []

    def on_deliver(self, method, properties, body, error):
        self.seen.append(("deliver", method.delivery_tag, method.routing_key, body, error))

    def on_return(self, method, properties, body):
        self.seen.append(("return", method.reply_code, body))

    def on_confirm(self, delivery_tag, multiple, positive):
        self.seen.append(("confirm", delivery_tag, multiple, positive))

    def on_batch_end(self):
        pass


class Unconnected(FastConnection):
    """The parsing part alone, fed by hand."""

    def __init__(self, events):
        self._frame_buffer = b""
        self.bytes_received = self.frames_received = 0
        self.others, self.errors = [], []
        self._watched, self._events, self._on_error = 1, events, self.errors.append

    def _process_frame(self, frame_value):
        self.others.append(frame_value)


def deliver(tag, body, properties=None, key="k", room=20):
    method = pika.spec.Basic.Deliver("consumer", tag, False, "exchange", key)
    data = pika.frame.Method(1, method).marshal()
    header = pika.frame.Header(1, len(body), properties or pika.BasicProperties())
    data += header.marshal()
    for start in range(0, len(body), room):
        data += pika.frame.Body(1, body[start : start + room]).marshal()
    return data


def returned(body):
    method = pika.spec.Basic.Return(312, "NO_ROUTE", "exchange", "k")
    data = pika.frame.Method(1, method).marshal()
    data += pika.frame.Header(1, len(body), pika.BasicProperties()).marshal()
    return data + pika.frame.Body(1, body).marshal()


def test_what_is_overridden_exists_in_this_pika():
    connection = pika.SelectConnection
    assert list(inspect.signature(connection._on_data_available).parameters) == ["self", "data_in"]
    for name in ("_process_frame", "_adapter_emit_data", "_terminate_stream"):
        assert callable(getattr(connection, name))
    transport = pika.adapters.utils.io_services_utils._AsyncTransportBase
    assert transport._MAX_RECV_BYTES
    assert transport._MAX_CONSUME_BYTES


@given(st.data())
def test_frames_may_be_cut_anywhere(data):
    body = bytes(range(70))
    stream = (
        deliver(1, b"")
        + pika.frame.Heartbeat().marshal()
        + deliver(2, body)
        + frames.ack_frame(1, 7, True)
        + returned(b"back")
        + frames.nack_frame(1, 8, requeue=False)
        + pika.frame.Method(0, pika.spec.Connection.Blocked("low")).marshal()
        + deliver(3, b"x", key="ř")
    )
    events = Events()
    connection = Unconnected(events)
    while stream:
        size = data.draw(st.integers(1, 120))
        connection._on_data_available(stream[:size])
        stream = stream[size:]
    assert events.seen == [
        ("deliver", 1, "k", b"", None),
        ("deliver", 2, "k", body, None),
        ("confirm", 7, True, True),
        ("return", 312, b"back"),
        ("confirm", 8, False, False),
        ("deliver", 3, "ř", b"x", None),
    ]
    assert [type(frame).__name__ for frame in connection.others] == ["Heartbeat", "Method"]
    assert connection._frame_buffer == b""


def test_properties_that_cannot_be_decoded_are_delivered_with_the_error():
    data = deliver(1, b"body", pika.BasicProperties(headers={"a": True}))
    events = Events()
    Unconnected(events)._on_data_available(data.replace(b"\x01at\x01", b"\x01aZ\x01"))
    kind, tag, _, body, error = events.seen[0]
    assert (kind, tag, body) == ("deliver", 1, b"body")
    assert error is not None


def test_another_channels_frames_go_pikas_way():
    events = Events()
    connection = Unconnected(events)
    connection._on_data_available(pika.frame.Method(2, pika.spec.Basic.Ack(1)).marshal())
    assert events.seen == []
    assert len(connection.others) == 1
