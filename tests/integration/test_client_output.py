"""``AMQPClient.receive()``: the output queue is shared, and nothing in it gets lost."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest

from edeposit.amqp.client import AMQPClient, UnreadableError
from edeposit.amqp.errors import AMQPError, CallTimeoutError, ClosedError
from edeposit.amqp.serializers import SerializationError, UnknownClassError
from edeposit.amqp.testing import wait_for

from .clients import CLASSES, Echo, configure

FOREIGN = b'{"__nt_name": "Foreign", "x": "\xc5\x99"}'


@pytest.fixture
def configured(monkeypatch, rabbit, vhost, tmp_path):
    configure(monkeypatch, rabbit, vhost, tmp_path)


@pytest.fixture
def client(service, configured):
    with AMQPClient("antivirus", glob=CLASSES, timeout=10) as client:
        yield client


def put(service, *bodies, **headers):
    for number, body in enumerate(bodies):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        properties = pika.BasicProperties(headers={"UUID": f"u{number}", **headers})
        service.channel.basic_publish("", "plone", body, properties)


def all_values(client):
    values = []
    while True:
        try:
            values.append(client.receive(1).value)
        except CallTimeoutError:
            return values


def test_only_what_is_asked_for_is_taken(client, service):
    put(service, *range(20))
    assert client.receive().value == 0
    wait_for(lambda: service.count("plone") == 19, what="the rest is left to others")
    assert [client.receive().value for _ in range(19)] == list(range(1, 20))
    assert service.count("plone") == 0


def test_a_message_that_comes_after_the_timeout_stays_in_the_queue(client, service):
    for _ in range(3):
        with pytest.raises(CallTimeoutError, match="plone"):
            client.receive(0.1)
    put(service, 1)
    wait_for(lambda: service.count("plone") == 1, what="the message is in the queue")
    assert service.channel.queue_declare("plone", passive=True).method.consumer_count == 0
    assert client.receive().value == 1


@pytest.mark.parametrize("body", [FOREIGN, b"{", b"\xff\x00", b"", b'{"__nt_name": "Echo"}'])
def test_what_cannot_be_read_stays_in_the_queue_and_is_handed_over_raw(client, service, body):
    put(service, body, 2, special="s")
    with pytest.raises(UnreadableError, match="returned to the queue 'plone'") as caught:
        client.receive()
    assert isinstance(caught.value, (AMQPError, SerializationError))
    assert isinstance(caught.value.__cause__, SerializationError)
    assert (caught.value.raw, caught.value.uuid) == (body, "u0")
    assert caught.value.headers["special"] == "s"
    wait_for(lambda: service.count("plone") == 2, what="both are in the queue")
    # It is reported once; what comes after it can be received.
    assert client.receive().value == 2
    with pytest.raises(CallTimeoutError):
        client.receive(0.3)
    client.close()
    wait_for(lambda: service.count("plone") == 1, what="it is in the queue for others")
    assert service.get()[2] == body


def test_another_client_that_knows_the_class_reads_it(client, service):
    put(service, {"__nt_name": "Echo", "value": 1})
    with AMQPClient("antivirus", glob=[], timeout=10) as ignorant:
        with pytest.raises(UnreadableError) as caught:
            ignorant.receive()
    assert isinstance(caught.value.__cause__, UnknownClassError)
    assert client.receive().value == Echo(1)


def test_an_exception_is_always_readable(client, service):
    put(service, b"\xff text", exception="text", exception_name="KeyError", traceback=7)
    answer = client.receive()
    assert (answer.error.name, answer.error.message) == ("KeyError", "text")


@pytest.mark.parametrize("uuid", [7, None, {"a": [1]}, "x" * 5000, b"\xff"])
def test_uuids_of_any_type_come_back(client, service, uuid):
    put(service, 1, UUID=uuid)
    assert client.receive().uuid == uuid


def test_a_missing_queue_disturbs_no_call(daemon, service, configured):
    service.channel.queue_delete("plone")
    with AMQPClient("antivirus", glob=CLASSES, timeout=10) as client:
        with pytest.raises(CallTimeoutError, match="no queue 'plone'"):
            client.receive(0.5)
        assert [client.call(Echo(n), 3) for n in range(10)] == [Echo(n) for n in range(10)]
        service.declare()
        put(service, 1)
        assert client.receive().value == 1


def test_a_queue_that_appears_while_waiting_is_read(client, service):
    service.channel.queue_delete("plone")
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(client.receive, 30)
        wait_for(lambda: client._output and client._output.trouble, what="the queue is missed")
        service.declare()
        put(service, 1)
        assert receiving.result(30).value == 1


def test_a_queue_deleted_while_waiting_is_missed_and_found_again(client, service):
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(client.receive, 30)
        wait_for(
            lambda: service.channel.queue_declare("plone", passive=True).method.consumer_count,
            what="it consumes",
        )
        service.channel.queue_delete("plone")
        service.declare()
        put(service, 1)
        assert receiving.result(30).value == 1


def test_a_lost_connection_doubles_nothing(service, rabbit, vhost, proxy, monkeypatch, tmp_path):
    configure(monkeypatch, rabbit, vhost, tmp_path, RABBITMQ_PORT=str(proxy.port))
    with AMQPClient("antivirus", glob=CLASSES, timeout=20) as client:
        put(service, *range(20))
        first = [client.receive().value for _ in range(5)]
        proxy.cut()
        assert first + all_values(client) == list(range(20))


def test_many_threads_share_the_queue(client, service):
    put(service, *range(200))
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: client.receive().value, range(200)))
    assert sorted(values) == list(range(200))
    assert service.count("plone") == 0


def test_close_ends_a_receive_and_gives_back_what_it_holds(client, service):
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(client.receive, 30)
        wait_for(
            lambda: service.channel.queue_declare("plone", passive=True).method.consumer_count,
            what="it consumes",
        )
        client.close()
        with pytest.raises(ClosedError):
            receiving.result(5)
    assert not [t for t in threading.enumerate() if t.name.startswith("amqp-client")]
