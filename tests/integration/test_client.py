"""``AMQPClient`` against a real broker and a real daemon."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edeposit.amqp import settings
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.contract import ACCEPT_ENCODING_HEADER
from edeposit.amqp.errors import (
    AMQPError,
    CallTimeoutError,
    ClosedError,
    MessageTooLargeError,
    RemoteError,
)
from edeposit.amqp.serializers import UnknownClassError, UnserializableError
from edeposit.amqp.testing import RabbitNode, wait_for

from .clients import CLASSES, Do, Echo, configure
from .conftest import EchoDaemon, Service


@pytest.fixture
def configured(monkeypatch, rabbit, vhost, tmp_path):
    configure(monkeypatch, rabbit, vhost, tmp_path)


@pytest.fixture
def client(service, daemon, configured):
    with AMQPClient("antivirus", glob=CLASSES) as client:
        yield client


def test_a_namedtuple_comes_back(client):
    assert client.call(Echo({"a": [1, "ř"]})) == Echo({"a": [1, "ř"]})


def test_json_may_be_sent_as_it_is(client):
    assert client.call(b'{"__nt_name": "Echo", "value": 1}') == Echo(1)


def test_a_remote_exception_carries_name_message_and_traceback(client):
    with pytest.raises(RemoteError) as caught:
        client.call(Do("raise", "žluťoučký"))
    error = caught.value
    assert (error.name, error.message) == ("ValueError", "žluťoučký")
    assert error.traceback.endswith("ValueError: žluťoučký")
    assert str(error) == "ValueError: žluťoučký"


def test_progress_is_reported_in_order_in_the_calling_thread(client):
    seen = []

    def on_progress(value):
        seen.append((value, threading.current_thread()))

    assert client.call(Do("progress", 3), on_progress=on_progress) == Do("progress", 3)
    assert seen == [(Echo(n), threading.current_thread()) for n in range(3)]
    assert client.call(Do("progress", 3)) == Do("progress", 3)


def test_many_threads_get_their_own_answers(client):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: client.call(Echo(n)), range(1000)))
    assert answers == [Echo(n) for n in range(1000)]


def test_a_timeout_says_so_and_its_late_answer_reaches_nobody(client):
    started = time.monotonic()
    with pytest.raises(CallTimeoutError, match="may still be run"):
        client.call(Do("sleep", 1), timeout=0.3)
    assert time.monotonic() - started < 0.8
    assert client.call(Echo("next"), timeout=10) == Echo("next")


def test_a_request_that_cannot_be_written_is_refused_before_it_is_sent(client):
    with pytest.raises(UnserializableError):
        client.call(Echo({1, 2}))


def test_an_answer_of_an_unknown_class_is_an_error(service, daemon, configured):
    with AMQPClient("antivirus", glob=[]) as client, pytest.raises(UnknownClassError):
        client.call(Echo(1))


def test_send_and_receive_use_the_output_queue(client, service):
    number = client.send(Do("progress", 1))
    first, last = client.receive(10), client.receive(10)
    assert (first.uuid, first.value, first.is_progress) == (number, Echo(0), True)
    assert (last.uuid, last.result(), last.is_progress) == (number, Do("progress", 1), False)
    number = client.send(Do("raise", "no"))
    answer = client.receive(10)
    assert (answer.uuid, answer.error.name) == (number, "ValueError")
    with pytest.raises(RemoteError):
        answer.result()
    with pytest.raises(CallTimeoutError):
        client.receive(0.2)
    assert service.count("plone") == 0


def test_ask_gives_the_whole_answer(client):
    answer = client.ask(Echo(1), headers={"traceparent": "00-1-2-3"})
    assert (answer.value, answer.error, answer.is_progress) == (Echo(1), None, False)
    assert answer.headers["traceparent"] == "00-1-2-3"
    assert answer.headers["UUID"] == answer.uuid
    assert client.ask(Do("raise", "no")).error.name == "ValueError"


def test_a_compressed_answer_is_read(client):
    text = "x" * 100_000
    answer = client.ask(Echo(text), headers={ACCEPT_ENCODING_HEADER: "gzip"})
    assert answer.value == Echo(text)


def test_receive_says_that_the_output_queue_is_missing(client, service):
    service.channel.queue_delete("plone")
    with pytest.raises(CallTimeoutError, match="no queue 'plone'"):
        client.receive(1)


def test_a_prefix_is_put_before_the_key(service, daemon, configured):
    service.channel.queue_bind("daemon", "echo", "me.request")
    with AMQPClient("antivirus", glob=CLASSES, key_prefix="me") as client:
        assert client.call(Echo(1)) == Echo(1)


def test_calls_in_flight_survive_a_broker_restart(client, rabbit, daemon):
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.call, Do("sleep", 0.3), 60) for _ in range(8)]
        wait_for(lambda: daemon.runs(), what="the first call is handled")
        rabbit.stop_app()
        rabbit.start_app()
        assert [call.result(60) for call in calls] == [Do("sleep", 0.3)] * 8
    assert client.call(Echo("after")) == Echo("after")


def test_calls_in_flight_survive_a_cut_connection(service, daemon, configured, proxy, monkeypatch):
    monkeypatch.setenv("RABBITMQ_PORT", str(proxy.port))
    settings.reload()
    with (
        AMQPClient("antivirus", glob=CLASSES) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        call = pool.submit(client.call, Do("sleep", 1), 30)
        wait_for(lambda: daemon.runs(), what="the call is handled")
        # Unconfirmed it would be sent again, and be run twice.
        wait_for(lambda: not len(client._link.publisher), what="the broker has confirmed")
        proxy.cut()
        assert call.result(30) == Do("sleep", 1)
    assert len(daemon.runs()) == 1


def test_close_ends_what_is_in_flight(service, daemon, configured):
    client = AMQPClient("antivirus", glob=CLASSES)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.call, Do("sleep", 20), 30)
        wait_for(lambda: daemon.runs(), what="the call is handled")
        client.close()
        with pytest.raises(ClosedError):
            call.result(5)
    client.close()
    with pytest.raises(ClosedError):
        client.call(Echo(1))


def test_an_unknown_service_is_named(configured):
    with pytest.raises(AMQPError, match="'nothing'"):
        AMQPClient("nothing")


def test_a_request_larger_than_the_broker_takes_is_an_error(tmp_path, monkeypatch):
    with RabbitNode(extra_config=["max_message_size = 100000"]) as node:
        node.add_vhost("big")
        service = Service(node, "big")
        daemon = EchoDaemon(node, "big", tmp_path).start()
        configure(monkeypatch, node, "big", tmp_path)
        try:
            with AMQPClient("antivirus", glob=CLASSES) as client:
                for _ in range(2):  # learned from the broker, then known
                    with pytest.raises(MessageTooLargeError) as caught:
                        client.call(Echo("x" * 200_000))
                    assert caught.value.limit == 100_000
                assert client.call(Echo(1)) == Echo(1)
        finally:
            daemon.kill()
            service.close()


def test_a_blocked_broker_does_not_hang_a_call(tmp_path, monkeypatch):
    with RabbitNode() as node:
        node.add_vhost("blocked")
        service = Service(node, "blocked")
        daemon = EchoDaemon(node, "blocked", tmp_path, STOP_TIMEOUT="1").start()
        configure(monkeypatch, node, "blocked", tmp_path)
        try:
            client = AMQPClient("antivirus", glob=CLASSES)
            assert client.call(Echo(1)) == Echo(1)
            node.ctl("set_vm_memory_high_watermark", "0.000001")
            for _ in range(2):
                with pytest.raises(CallTimeoutError):
                    client.call(Echo(2), timeout=1)
            node.ctl("set_vm_memory_high_watermark", "0.6")
            assert client.call(Echo(3), timeout=20) == Echo(3)
            client.close()
        finally:
            daemon.kill()
            service.close()
