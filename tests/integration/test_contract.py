"""Every row of the message contract (spec/wire.md, sections 1 and 5), against the real broker."""

import gzip
import json
import uuid
import zlib

import pika
import pytest

from edeposit.amqp.testing import wait_for

ECHO = {"__nt_name": "Echo", "value": 1}


def do(what, argument=None):
    return {"__nt_name": "Do", "what": what, "argument": argument}


def test_an_answer_is_json_with_the_same_uuid_persistent_and_unmarked(service, daemon):
    number = service.send(ECHO)
    method, properties, body = service.get()
    assert json.loads(body) == ECHO
    assert (method.exchange, method.routing_key) == ("echo", "result")
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == 2
    assert properties.headers == {"UUID": number}
    assert properties.correlation_id == number
    assert service.nothing_left()


@pytest.mark.parametrize(
    ("request_key", "answer_key"),
    [
        ("request", "result"),
        ("prefix.request", "prefix.result"),
        ("a.b.request", "a.b.result"),
        ("x.anything", "x.result"),
        (".request", ".result"),
        ("x.", "x.result"),
    ],
)
def test_the_answer_key_keeps_the_prefix(service, daemon, request_key, answer_key):
    service.channel.queue_bind("daemon", "echo", request_key)
    service.channel.queue_bind("plone", "echo", answer_key)
    service.send(ECHO, key=request_key)
    assert service.get()[0].routing_key == answer_key


def test_any_unprefixed_key_is_answered_with_the_output_key(service, daemon):
    service.channel.queue_bind("daemon", "echo", "whatever")
    service.send(ECHO, key="whatever")
    assert service.get()[0].routing_key == "result"


def test_an_exception_travels_in_headers(service, daemon):
    number = service.send(do("raise", "žluťoučký kůň"))
    method, properties, body = service.get()
    headers = properties.headers
    assert method.routing_key == "result"
    assert properties.content_type == "application/text"
    assert properties.delivery_mode == 2
    assert body.decode("utf-8") == "žluťoučký kůň"
    assert headers["exception"] == "žluťoučký kůň"
    assert headers["exception_name"] == "ValueError"
    assert headers["exception_type"] == "<class 'ValueError'>"
    assert headers["UUID"] == number
    traceback = headers["traceback"]
    assert traceback.startswith("Traceback (most recent call last)")
    assert traceback.endswith("ValueError: žluťoučký kůň")
    assert service.is_still_answering()
    assert service.nothing_left()


def test_an_exception_with_several_arguments_keeps_its_text(service, daemon):
    service.send(do("raise-two", "/no/such/file"))
    assert service.answer()[1] == (
        "FileNotFoundError",
        "[Errno 2] /no/such/file",
    )


@pytest.mark.parametrize(
    ("what", "argument", "name"),
    [
        ("exit", 3, "SystemExit"),
        ("interrupt", None, "KeyboardInterrupt"),
        ("unprintable", None, "UnprintableError"),
        ("unserializable", None, "UnserializableError"),
        ("deep", 500, "ValueError"),
        ("deep", 100_000, "RecursionError"),
    ],
)
def test_whatever_the_handler_raises_is_an_answer(service, daemon, what, argument, name):
    number = service.send(do(what, argument))
    got, (exception_name, _) = service.answer()
    assert (got, exception_name) == (number, name)
    assert service.is_still_answering()
    assert service.nothing_left()
    assert daemon.process.poll() is None


def test_a_traceback_of_300_kb_is_cut_and_marked(service, daemon):
    service.send(do("deep", 1))
    _, properties, body = service.get()
    headers = properties.headers
    assert "characters cut" in headers["traceback"]
    assert "characters cut" in headers["exception"]
    assert headers["traceback"].startswith("Traceback")
    # The body has room for what the header has not.
    assert len(body) == 300_000
    assert service.is_still_answering()


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b"nul", b"[1,", b'"' + b"x" * 1000])
def test_broken_json_is_answered(service, daemon, body):
    number = service.send(body)
    _, properties, text = service.get()
    headers = properties.headers
    assert (headers["UUID"], headers["exception_name"]) == (number, "ValueError")
    assert headers["x-edeposit-exception-name"] == "NotJSONError"
    assert text
    assert service.is_still_answering()


def test_deep_json_is_answered(service, daemon):
    number = service.send(b"[" * 100_000)
    _, properties, _ = service.get()
    assert properties.headers["UUID"] == number
    exact = properties.headers["x-edeposit-exception-name"]
    assert exact in ("NestingTooDeepError", "NotJSONError")
    assert service.is_still_answering()


@pytest.mark.parametrize(
    ("body", "name", "old_name", "says"),
    [
        ({"__nt_name": "Nobody", "x": 1}, "UnknownClassError", "KeyError", "Nobody"),
        ({"__nt_name": "AMQPDaemon"}, "UnknownClassError", "KeyError", "AMQPDaemon"),
        ({"__nt_name": "main"}, "UnknownClassError", "KeyError", "main"),
        ({"__nt_name": "Echo"}, "MissingFieldError", "TypeError", "value"),
        ({"__nt_name": "Echo", "value": 1, "x": 2}, "UnexpectedFieldError", "TypeError", "x"),
        ({"__nt_name": None}, "BadClassNameError", "KeyError", ""),
        ({"__nt_name": []}, "BadClassNameError", "TypeError", ""),
    ],
)
def test_what_is_no_request_of_the_service_is_answered(service, daemon, body, name, old_name, says):
    number = service.send(body)
    _, properties, _ = service.get()
    headers, text = properties.headers, properties.headers["exception"]
    assert headers["UUID"] == number
    # Clients of 2015 look at the first; the second says more.
    assert headers["exception_name"] == old_name
    assert headers["x-edeposit-exception-name"] == name
    assert says in text
    assert service.is_still_answering()


@pytest.mark.parametrize(
    "headers",
    [None, {}, {"UUID": ""}, {"UUID": None}],
)
def test_without_a_uuid_the_request_is_parked_with_the_reason(service, daemon, headers):
    service.send(ECHO, headers=headers)
    _, properties, body = service.get("daemon.undeliverable")
    assert json.loads(body) == ECHO
    assert properties.headers["x-edeposit-reason"] == "No UUID provided, message ignored."
    assert properties.headers["x-edeposit-routing-key"] == "request"
    assert daemon.runs() == []
    assert service.is_still_answering()
    assert service.nothing_left()


@pytest.mark.parametrize(
    "uuid",
    [7, -1, 2**40, True, 0, {"a": 1}, [1, "a"], '{"json": "ř"}', "x" * 5000, "y" * 100_000],
    ids=lambda uuid: repr(uuid)[:20],
)
def test_any_value_is_a_uuid_and_comes_back_with_its_type(service, daemon, uuid):
    for body in (ECHO, do("raise", "no")):
        service.send(body, headers={"UUID": uuid})
        _, properties, _ = service.get()
        assert properties.headers["UUID"] == uuid
        assert isinstance(properties.headers["UUID"], type(uuid))
    assert service.is_still_answering()
    assert service.nothing_left()


def test_a_uuid_too_large_for_the_answers_headers_costs_that_answer_only(service, daemon):
    service.send(ECHO, headers={"UUID": "u" * 131_000})
    _, properties, _ = service.get("daemon.undeliverable")
    assert "headers need" in properties.headers["x-edeposit-reason"]
    assert service.is_still_answering()
    assert service.nothing_left()


# What a daemon may write to that can park, but not declare the parking queue.
NO_DECLARING = "^(echo|amq\\.default)$"


def test_a_missing_parking_queue_is_declared_durable(service, daemon):
    service.channel.queue_delete("daemon.undeliverable")
    service.send(ECHO, headers=None)
    wait_for(lambda: "is declared" in daemon.log(), what="the daemon declares it")
    service.channel.queue_declare("daemon.undeliverable", durable=True)  # 406 if it were not
    _, properties, body = service.get("daemon.undeliverable")
    assert json.loads(body) == ECHO
    assert properties.headers["x-edeposit-reason"] == "No UUID provided, message ignored."
    assert service.is_still_answering()
    assert service.nothing_left()
    assert "next attempt" not in daemon.log()


def test_without_a_uuid_where_parking_is_not_allowed_the_old_answer_is_sent(service, make_daemon):
    service.channel.queue_delete("daemon.undeliverable")
    daemon = make_daemon(**service.restrict(NO_DECLARING)).start()
    service.send(ECHO, headers=None)
    _, properties, body = service.get()
    assert json.loads(body) == ECHO
    assert properties.headers["UUID"] == ""
    assert properties.headers["exception"] == "No UUID provided, message ignored."
    assert properties.headers["exception_name"] == "ValueError"
    assert properties.headers["traceback"] is None
    assert service.is_still_answering()
    assert service.nothing_left()
    assert "next attempt" not in daemon.log()


def test_without_a_uuid_but_with_an_address_the_exception_goes_there(service, daemon):
    service.channel.queue_declare("mine")
    service.send(ECHO, headers=None, reply_to="mine")
    _, properties, _ = service.get("mine")
    assert properties.headers["exception"] == "No UUID provided, message ignored."
    service.channel.queue_bind("daemon", "echo", "me.request")
    service.channel.queue_bind("mine", "echo", "me.result")
    service.send(ECHO, headers=None, key="me.request")
    method, properties, _ = service.get("mine")
    assert method.routing_key == "me.result"
    assert properties.headers["exception_name"] == "ValueError"


def test_none_is_answered_with_null(service, daemon):
    number = service.send(do("none"))
    assert service.answer() == (number, None)


@pytest.mark.parametrize("value", [0, "text", [1, [2]], {"a": {"b": None}}, 1.5, True, None])
def test_any_json_is_a_request(service, daemon, value):
    number = service.send(json.dumps(value))
    assert service.answer() == (number, value)


def test_progress_comes_before_the_answer_marked_and_in_order(service, daemon):
    number = service.send(do("progress", 5))
    marks, values = [], []
    for _ in range(6):
        _, properties, body = service.get()
        assert properties.headers["UUID"] == number
        marks.append(properties.headers.get("x-edeposit-progress"))
        values.append(json.loads(body))
    assert marks == [True] * 5 + [None]
    assert [v["value"] for v in values[:5]] == list(range(5))
    assert values[5] == do("progress", 5)


def test_progress_may_come_from_a_thread_of_the_handler(service, daemon):
    number = service.send(do("progress-thread"))
    assert service.answer() == (number, {"__nt_name": "Echo", "value": "from a thread"})
    assert service.answer()[0] == number
    assert service.nothing_left()


def test_a_handler_is_told_whether_the_request_was_delivered_before(service, make_daemon):
    daemon = make_daemon().start()
    number = service.send(do("redelivered"))
    assert service.answer() == (number, False)
    number = service.send(do("redelivered", 60))
    wait_for(lambda: len(daemon.runs()) == 2, what="it runs")
    daemon.kill()
    make_daemon(name="next").start()
    assert service.answer() == (number, True)


def test_an_exception_class_that_cannot_be_printed_is_answered(service, daemon):
    number = service.send(do("bad-metaclass"))
    _, properties, _ = service.get()
    assert properties.headers["UUID"] == number
    assert properties.headers["exception_name"] == "BadMetaclassError"
    assert "BadMetaclassError" in properties.headers["exception_type"]


def test_order_is_kept(service, daemon):
    numbers = [service.send({"__nt_name": "Echo", "value": n}) for n in range(100)]
    assert [service.answer() for _ in numbers] == [
        (number, {"__nt_name": "Echo", "value": n}) for n, number in enumerate(numbers)
    ]


def test_reply_to_and_correlation_id_are_honoured(service, daemon):
    service.channel.queue_declare("mine")
    number = service.send(ECHO, reply_to="mine", correlation_id="c-1", priority=3)
    method, properties, body = service.get("mine")
    assert (method.exchange, json.loads(body)) == ("", ECHO)
    assert properties.correlation_id == "c-1"
    assert properties.headers["UUID"] == number
    assert properties.priority == 3
    assert service.count("plone") == 0


def test_a_plain_rpc_client_needs_no_uuid_header(service, daemon):
    service.channel.queue_declare("mine")
    service.send(ECHO, headers=None, reply_to="mine", correlation_id="c-2")
    _, properties, body = service.get("mine")
    assert json.loads(body) == ECHO
    assert properties.correlation_id == "c-2"
    assert properties.headers["UUID"] == "c-2"


def test_direct_reply_to_works(service, daemon):
    connection = pika.BlockingConnection(service.parameters())
    channel = connection.channel()
    answers = []
    channel.basic_consume(
        "amq.rabbitmq.reply-to",
        lambda _c, _m, properties, body: answers.append((properties.headers["UUID"], body)),
        auto_ack=True,
    )
    number = str(uuid.uuid4())
    channel.basic_publish(
        "echo",
        "request",
        json.dumps(ECHO),
        pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", headers={"UUID": number}),
    )
    wait_for(lambda: connection.process_data_events(0.05) or answers, what="direct reply")
    assert (answers[0][0], json.loads(answers[0][1])) == (number, ECHO)
    connection.close()
    assert service.nothing_left()


def test_a_gone_direct_reply_to_requester_does_no_harm(service, daemon):
    connection = pika.BlockingConnection(service.parameters())
    channel = connection.channel()
    channel.basic_consume("amq.rabbitmq.reply-to", lambda *_: None, auto_ack=True)
    channel.basic_publish(
        "echo",
        "request",
        json.dumps(do("sleep", 0.5)),
        pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", headers={"UUID": "gone"}),
    )
    wait_for(lambda: daemon.runs(), what="the request is being handled")
    connection.close()
    assert service.is_still_answering()
    assert service.nothing_left()


def test_an_unroutable_reply_is_parked(service, daemon):
    service.channel.queue_unbind("plone", "echo", "result")
    number = service.send(ECHO)
    _, properties, body = service.get("daemon.undeliverable")
    assert json.loads(body) == ECHO
    assert properties.headers["UUID"] == number
    assert properties.headers["x-edeposit-routing-key"] == "result"
    assert "312" in properties.headers["x-edeposit-reason"]
    assert number in daemon.log()
    service.channel.queue_bind("plone", "echo", "result")
    assert service.is_still_answering()
    assert service.nothing_left()


def test_a_reply_to_a_queue_that_is_gone_is_parked(service, daemon):
    number = service.send(ECHO, reply_to="nowhere")
    _, properties, _ = service.get("daemon.undeliverable")
    assert properties.headers["UUID"] == number
    assert service.is_still_answering()


def test_replies_to_a_queue_that_is_gone_never_block(service, make_daemon):
    service.channel.queue_delete("daemon.undeliverable")
    daemon = make_daemon(**service.restrict(NO_DECLARING)).start()
    for _ in range(10):
        service.send(ECHO, reply_to="nowhere")
    assert service.is_still_answering()
    assert service.nothing_left()
    # Proven: the requester is gone, and nothing may be parked.
    assert daemon.log().count("requester is gone") == 10


@pytest.mark.parametrize("name", ["CC", "BCC"])
def test_a_parked_copy_goes_nowhere_else(service, daemon, name):
    service.channel.queue_declare("foreign")
    service.send(ECHO, headers={name: ["foreign"], "kept": "yes"})
    service.count("foreign")
    service.channel.queue_purge("foreign")  # the sender's own copy
    _, properties, _ = service.get("daemon.undeliverable")
    assert name not in properties.headers
    assert properties.headers["kept"] == "yes"
    assert service.is_still_answering()
    assert service.count("foreign") == 0
    assert service.count("daemon.undeliverable") == 0


def test_a_request_through_the_default_exchange_has_no_prefix(service, make_daemon):
    service.channel.queue_declare("library.daemon")
    make_daemon(ECHO_QUEUE="library.daemon").start()
    number = service.send(ECHO, exchange="", key="library.daemon")
    assert service.answer() == (number, ECHO)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("utf-8", bytes),
    ],
)
def test_a_compressed_request_is_served(service, daemon, encoding, pack):
    number = service.send(pack(json.dumps(ECHO).encode()), content_encoding=encoding)
    _, properties, body = service.get()
    assert (properties.headers["UUID"], json.loads(body)) == (number, ECHO)
    assert properties.content_encoding is None


@pytest.mark.parametrize("wanted", ["gzip", "br, deflate"])
def test_an_answer_is_compressed_when_asked(service, daemon, wanted):
    headers = {"UUID": "u-c", "x-edeposit-accept-encoding": wanted}
    service.send(ECHO, headers=headers)
    _, properties, body = service.get()
    assert properties.content_encoding == wanted.split()[-1]
    unpack = gzip.decompress if properties.content_encoding == "gzip" else zlib.decompress
    assert json.loads(unpack(body)) == ECHO


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"plain", "gzip"),
        (gzip.compress(b"[1]", mtime=0)[:-9], "cut off"),
        (gzip.compress(b" " * (129 * 1024 * 1024), 1), "more than"),
    ],
)
def test_a_badly_compressed_request_is_answered(service, daemon, body, says):
    number = service.send(body, content_encoding="gzip")
    got, (name, text) = service.answer(timeout=20)
    assert (got, name) == (number, "ValueError")  # CompressionError, by its old name
    assert says in text
    assert service.is_still_answering()


def test_headers_of_any_kind_do_not_stop_the_daemon(service, daemon):
    table = {"UUID": "u-1", "list": [1, "a", None, {"x": b"\xff"}], "big": "y" * 50_000}
    service.send(ECHO, headers=table)
    assert service.answer()[0] == "u-1"
    assert service.is_still_answering()


class RawProperties(pika.BasicProperties):
    """Properties whose headers hold a timestamp that no datetime can: valid for the broker."""

    def encode(self):
        table = b"\x04whenT" + (2**62).to_bytes(8, "big")
        return [(1 << 13).to_bytes(2, "big"), len(table).to_bytes(4, "big"), table]


def test_headers_that_pika_cannot_decode_do_not_stop_the_daemon(service, daemon):
    service.channel.basic_publish("echo", "request", json.dumps(ECHO), RawProperties())
    _, _, body = service.get("daemon.undeliverable")
    assert json.loads(body) == ECHO
    assert "cannot be decoded" in daemon.log()
    assert "next attempt" not in daemon.log()
    assert service.is_still_answering()


def test_old_clients_escapes_and_utf8_are_both_read(service, daemon):
    for body in (
        '{"__nt_name": "Echo", "value": "\\u0159"}',
        '{"value": "ř", "__nt_name": "Echo"}',
    ):
        number = service.send(body.encode("utf-8"))
        assert service.answer() == (number, {"__nt_name": "Echo", "value": "ř"})
