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
        self._watched, self._events = 1, events
        self.others = []

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


short = st.text(max_size=20)
properties = st.builds(
    pika.BasicProperties,
    content_type=st.none() | short,
    content_encoding=st.none() | short,
    headers=st.none()
    | st.dictionaries(short, st.none() | st.booleans() | short | st.lists(short), max_size=3),
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | short,
    reply_to=st.none() | short,
    expiration=st.none() | short,
    message_id=st.none() | short,
    timestamp=st.none() | st.integers(0, 2**33),
    type=st.none() | short,
    user_id=st.none() | short,
    app_id=st.none() | short,
    cluster_id=st.none() | short,
)
tags = st.integers(0, 2**63)
contents = st.tuples(
    st.builds(pika.spec.Basic.Deliver, short, tags, st.booleans(), short, short)
    | st.builds(pika.spec.Basic.Return, st.integers(300, 599), short, short, short)
    | st.builds(pika.spec.Basic.GetOk, tags, st.booleans(), short, short, st.integers(0, 99)),
    properties,
    st.binary(max_size=300),
    st.sampled_from([1, 20, 4088]),
)
confirms = st.builds(pika.spec.Basic.Ack, tags, st.booleans()) | st.builds(
    pika.spec.Basic.Nack, tags, st.booleans()
)


def marshalled(channel, item):
    """The frames of a method, or of a message with a body cut into frames."""
    if not isinstance(item, tuple):
        return [pika.frame.Method(channel, item).marshal()]
    method, props, body, room = item
    return [
        pika.frame.Method(channel, method).marshal(),
        pika.frame.Header(channel, len(body), props).marshal(),
        *(
            pika.frame.Body(channel, body[start : start + room]).marshal()
            for start in range(0, len(body), room)
        ),
    ]


class Everything(Events):
    """Records what the watched channel reports, with all details."""

    def on_deliver(self, method, properties, body, error):
        assert error is None
        self.seen.append((vars(method), vars(properties), body))

    def on_return(self, method, properties, body):
        self.seen.append((vars(method), vars(properties), body))

    def on_confirm(self, delivery_tag, multiple, positive):
        self.seen.append((delivery_tag, multiple, positive))


@given(st.data())
def test_any_legal_stream_arrives_whole_however_it_is_cut(data):
    """Two channels interleaved, ``get-ok``, every property; pika gets what is not reported."""
    watched = data.draw(st.lists(contents | confirms, max_size=8))
    other = data.draw(st.lists(contents, max_size=3))
    queues = [
        [frame for item in watched for frame in marshalled(1, item)],
        [frame for item in other for frame in marshalled(2, item)],
    ]
    expected, for_pika = [], len(queues[1])
    for item in watched:
        if not isinstance(item, tuple):
            positive = isinstance(item, pika.spec.Basic.Ack)
            expected.append((item.delivery_tag, item.multiple, positive))
        elif isinstance(item[0], pika.spec.Basic.GetOk):
            for_pika += len(marshalled(1, item))
        else:
            expected.append((vars(item[0]), vars(item[1]), item[2]))
    randomly = data.draw(st.randoms(use_true_random=False))
    stream = b""
    while any(queues):
        stream += randomly.choice([queue for queue in queues if queue]).pop(0)
        if randomly.random() < 0.1:
            stream += pika.frame.Heartbeat().marshal()
            for_pika += 1
    total, events = len(stream), Everything()
    connection = Unconnected(events)
    longest = data.draw(st.sampled_from([1, 9, 4000]))
    while stream:
        size = randomly.randint(1, longest)
        connection._on_data_available(stream[:size])
        stream = stream[size:]
    assert events.seen == expected
    assert len(connection.others) == for_pika
    assert connection.bytes_received == total
    assert connection._frame_buffer == b""


def test_properties_that_cannot_be_decoded_are_delivered_with_the_error():
    data = deliver(1, b"body", pika.BasicProperties(headers={"a": True}))
    events = Events()
    Unconnected(events)._on_data_available(data.replace(b"\x01at\x01", b"\x01aZ\x01"))
    kind, tag, _, body, error = events.seen[0]
    assert (kind, tag, body) == ("deliver", 1, b"body")
    assert error is not None


def test_an_odd_property_does_not_end_a_stream_that_pika_reads():
    data = deliver(1, b"body", pika.BasicProperties(headers={"a": True, "UUID": "u"}))
    connection = Unconnected(Events())
    connection._watched, connection._events = 0, None
    # pika has no such type; its size is that of a timestamp beyond the year 9999.
    far = b"\x01aT" + b"\0\0\1\0" + b"\0" * 4
    table = far + b"\x04UUIDS\0\0\0\x01u"
    start, end = data.index(b"\x01at"), data.index(b"\x04UUID") + 4 + 1 + 6
    size = len(table) - (end - start)
    header = data.index(b"\x02\0\1")  # type HEADER, channel 1
    length = int.from_bytes(data[header + 3 : header + 7], "big") + size
    changed = (
        data[: header + 3]
        + length.to_bytes(4, "big")
        + data[header + 7 : start - 4]
        + len(table).to_bytes(4, "big")
        + table
        + data[end:]
    )
    for byte in changed:
        connection._on_data_available(bytes([byte]))
    _, head, *body = connection.others
    assert head.properties.headers == {"UUID": "u"}
    assert b"".join(part.fragment for part in body) == b"body"


def test_another_channels_frames_go_pikas_way():
    events = Events()
    connection = Unconnected(events)
    connection._on_data_available(pika.frame.Method(2, pika.spec.Basic.Ack(1)).marshal())
    assert events.seen == []
    assert len(connection.others) == 1
