"""``AMQPClient`` against daemons of 2015, of today, and both at one queue."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError, UnroutableError

from .clients import CLASSES, Do, Echo, configure, first_generation_daemon, restricted_user
from .programs import program


@pytest.fixture
def configured(monkeypatch, rabbit, vhost, tmp_path):
    configure(monkeypatch, rabbit, vhost, tmp_path)


@pytest.fixture
def old_daemon(service, rabbit, vhost):
    with first_generation_daemon(rabbit, vhost) as process:
        yield process


def bindings(rabbit, vhost):
    """Pairs of queue and key that are bound to the exchange."""
    rows = rabbit.ctl(
        "-q", "list_bindings", "-p", vhost, "source_name", "destination_name", "routing_key"
    )
    rows = (line.split("\t") for line in rows.splitlines())
    return {(queue, key) for source, queue, key in rows if source == "echo"}


def test_a_daemon_of_2015_is_called(old_daemon, configured, service):
    with AMQPClient("antivirus", glob=CLASSES, timeout=10) as client:
        assert client.call(Echo(1)) == Echo(1)
        with pytest.raises(RemoteError) as caught:
            client.call(Do("raise", "no"))
        assert (caught.value.name, caught.value.message) == ("ValueError", "no")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: client.call(Echo(n)), range(200)))
    assert answers == [Echo(n) for n in range(200)]
    assert service.count("plone") == 0


def test_send_and_receive_work_with_a_daemon_of_2015(old_daemon, configured):
    with AMQPClient("antivirus", glob=CLASSES, timeout=10) as client:
        number = client.send(Echo(1))
        answer = client.receive()
    assert (answer.uuid, answer.value) == (number, Echo(1))


def test_answers_come_from_either_generation(old_daemon, daemon, configured):
    with AMQPClient("antivirus", glob=CLASSES, timeout=10) as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: client.call(Echo(n)), range(100)))
    assert answers == [Echo(n) for n in range(100)]
    assert 0 < len(daemon.runs()) < 100


def test_the_tool_calls_a_daemon_of_2015(old_daemon, configured, tmp_path):
    (tmp_path / "request.json").write_text('"hello"')
    code, out, err = program(
        "edeposit_amqp_tool.py",
        "--host",
        "antivirus",
        "--timeout",
        "10",
        "--json",
        "--call",
        str(tmp_path / "request.json"),
    )
    assert (code, out) == (0, '"hello"\n'), err


def test_a_prefix_of_the_users_works_with_a_daemon_of_2015(old_daemon, service, configured):
    service.channel.queue_bind("daemon", "echo", "me.request")
    with AMQPClient("antivirus", glob=CLASSES, key_prefix="me", timeout=10) as client:
        assert client.call(Echo(1)) == Echo(1)


def test_without_the_right_to_bind_reply_to_is_enough(
    daemon, rabbit, vhost, service, monkeypatch, tmp_path
):
    # It may publish to the exchange, but not bind a queue to it.
    with restricted_user(rabbit, vhost, "^edeposit", "^(edeposit.*|echo)$", "^edeposit") as user:
        account = {"RABBITMQ_USER_NAME": user, "RABBITMQ_USER_PASSWORD": user}
        configure(monkeypatch, rabbit, vhost, tmp_path, **account)
        with AMQPClient("antivirus", glob=CLASSES, timeout=5) as client:
            assert client.call(Echo(1)) == Echo(1)
            assert client.call(Echo(2)) == Echo(2)
        assert bindings(rabbit, vhost) == {("daemon", "request"), ("plone", "result")}


def test_a_daemon_of_2015_is_called_without_rights_on_its_queue(
    old_daemon, rabbit, vhost, monkeypatch, tmp_path
):
    with restricted_user(
        rabbit, vhost, "^edeposit", "^(edeposit.*|echo)$", "^(edeposit.*|echo)$"
    ) as user:
        account = {"RABBITMQ_USER_NAME": user, "RABBITMQ_USER_PASSWORD": user}
        configure(monkeypatch, rabbit, vhost, tmp_path, **account)
        with AMQPClient("antivirus", glob=CLASSES, timeout=5) as client:
            assert client.call(Echo(1)) == Echo(1)


def test_a_call_takes_the_way_of_every_other_request(daemon, service, configured):
    service.channel.queue_declare("more", durable=True)
    service.channel.queue_bind("more", "echo", "#")
    with AMQPClient("antivirus", glob=CLASSES, timeout=10) as client:
        assert client.call(Echo(1)) == Echo(1)
        assert len(daemon.runs()) == 1
        method, properties, _ = service.get("more")
        assert method.routing_key == f"{client.reply_queue}.request"
        assert "BCC" not in properties.headers
        service.channel.queue_delete("more")
        service.channel.queue_unbind("daemon", "echo", "request")
        with pytest.raises(UnroutableError, match="'request'"):
            client.call(Echo(2))
    assert len(daemon.runs()) == 1


def test_clients_leave_no_binding_behind(daemon, rabbit, vhost, configured):
    before = bindings(rabbit, vhost)
    clients = [AMQPClient("antivirus", glob=CLASSES, timeout=10) for _ in range(3)]
    for client in clients:
        assert client.call(Echo(1)) == Echo(1)
    assert len(bindings(rabbit, vhost) - before) == len(clients)
    for client in clients:
        client.close()
    assert bindings(rabbit, vhost) == before


def test_old_and_new_names_of_an_exception(daemon, configured):
    with AMQPClient("antivirus", glob=CLASSES, timeout=10) as client:
        with pytest.raises(RemoteError) as caught:
            client.call(b"{")
        assert (caught.value.name, caught.value.exception_name) == ("NotJSONError", "ValueError")
        with pytest.raises(RemoteError) as caught:
            client.call(b'{"__nt_name": "Nobody"}')
        assert caught.value.name == "UnknownClassError"
        assert caught.value.exception_name == "KeyError"


def test_the_binding_is_made_again_with_each_connection(
    old_daemon, rabbit, vhost, proxy, monkeypatch, tmp_path
):
    configure(monkeypatch, rabbit, vhost, tmp_path, RABBITMQ_PORT=str(proxy.port))
    with AMQPClient("antivirus", glob=CLASSES, timeout=20) as client:
        assert client.call(Echo(1)) == Echo(1)
        proxy.cut()
        assert client.call(Echo(2)) == Echo(2)
