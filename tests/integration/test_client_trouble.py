"""``AMQPClient`` in trouble: no broker, a silent one, a missing exchange, fork, many threads."""

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest

from edeposit.amqp import settings
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import AMQPError, CallTimeoutError, PublishError, UnroutableError
from edeposit.amqp.testing import Proxy, wait_for

from .clients import CLASSES, Do, Echo, configure, restricted_user


@pytest.fixture
def configured(monkeypatch, rabbit, vhost, tmp_path):
    configure(monkeypatch, rabbit, vhost, tmp_path)


@pytest.fixture
def through_proxy(service, rabbit, vhost, proxy, monkeypatch, tmp_path):
    configure(monkeypatch, rabbit, vhost, tmp_path, RABBITMQ_PORT=str(proxy.port))
    return proxy


@pytest.fixture
def client(service, daemon, configured):
    with AMQPClient("antivirus", glob=CLASSES, timeout=10) as client:
        yield client


def io_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("amqp-client")]


def connections(rabbit, vhost):
    rows = rabbit.ctl("-q", "list_connections", "vhost", "pid", "--no-table-headers").splitlines()
    return [row for row in rows if row.startswith(vhost)]


# --- time-outs --------------------------------------------------------------------------------


@pytest.fixture(params=["never answers", "answers with silence after the handshake"])
def silent_parameters(request, rabbit, vhost):
    """Where to connect to a broker that says nothing (any more)."""
    if request.param == "never answers":
        with socket.create_server(("127.0.0.1", 0)) as hole:
            yield pika.ConnectionParameters("127.0.0.1", hole.getsockname()[1], vhost)
    else:
        with MuteProxy(rabbit.host, rabbit.port) as proxy:
            yield pika.ConnectionParameters("127.0.0.1", proxy.port, vhost, heartbeat=0)


class MuteProxy(Proxy):
    """Swallows everything that comes after the broker's connection.open-ok."""

    open_ok = bytes((0, 10, 0, 41))

    def _pump(self, source, target, direction):
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(65536):
                if direction == "up" or not self._stalled:
                    target.sendall(data)
                if direction == "down" and self.open_ok in data:
                    self.stall("down")


@pytest.mark.parametrize(
    "action",
    [
        lambda client: client.call(1, timeout=1),
        lambda client: client.send(1, timeout=1),
        lambda client: client.receive(timeout=1),
        lambda client: client.connect(timeout=1),
        lambda client: client.__enter__(),
    ],
    ids=["call", "send", "receive", "connect", "with"],
)
def test_timeouts_are_kept_while_connecting(silent_parameters, action):
    client = AMQPClient("antivirus", glob={}, parameters=silent_parameters, timeout=1)
    started = time.monotonic()
    with pytest.raises(CallTimeoutError, match=r"no connection to RabbitMQ at 127\.0") as caught:
        action(client)
    assert time.monotonic() - started < 1.7
    assert not caught.value.maybe_sent
    client.close()
    assert time.monotonic() - started < 6


def test_a_broker_that_opens_no_channel_is_given_up(rabbit, vhost, service, daemon, monkeypatch):
    monkeypatch.setenv("RABBITMQ_CONNECT_TIMEOUT", "1")
    monkeypatch.setenv("RABBITMQ_ANTIVIRUS_EXCHANGE", "echo")
    settings.reload()
    with MuteProxy(rabbit.host, rabbit.port) as proxy:
        where = pika.ConnectionParameters("127.0.0.1", proxy.port, vhost, heartbeat=0)
        client = AMQPClient("antivirus", glob=CLASSES, parameters=where)
        with pytest.raises(AMQPError):
            client.call(Echo(1), timeout=10)
        proxy.open_ok = b"never"
        proxy.resume()
        assert client.call(Echo(1), timeout=10) == Echo(1)
        client.close()


def test_endless_timeouts_are_possible(client):
    assert client.call(Echo(1), timeout=float("inf")) == Echo(1)
    with pytest.raises(CallTimeoutError):
        client.call(Echo(1), timeout=-1)


# --- no connection ----------------------------------------------------------------------------


def test_a_peer_that_resets_at_once_is_an_error_each_time(vhost):
    with Proxy("127.0.0.1", 1) as proxy:
        proxy.refuse()
        where = pika.ConnectionParameters("127.0.0.1", proxy.port, vhost)
        client = AMQPClient("antivirus", glob={}, parameters=where, timeout=5)
        for _ in range(300):
            with pytest.raises(AMQPError) as caught:
                client.call(1)
            assert not isinstance(caught.value, CallTimeoutError)
        client.close()
    wait_for(lambda: not io_threads(), what="the I/O threads end")


def test_many_threads_connect_once_and_wait_no_longer_than_they_want(through_proxy, rabbit, vhost):
    longest, stop, sent = [], threading.Event(), []
    through_proxy.refuse()
    client = AMQPClient("antivirus", glob={})

    def send_again_and_again():
        worst = 0.0
        while not stop.is_set():
            started = time.monotonic()
            try:
                sent.append(client.send(1, timeout=2))
            except AMQPError:
                pass
            worst = max(worst, time.monotonic() - started)
        longest.append(worst)

    threads = [threading.Thread(target=send_again_and_again) for _ in range(12)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        through_proxy.accept()
        count = len(sent)
        wait_for(lambda count=count: len(sent) > count + 20, what="messages are sent")
        through_proxy.refuse()
        through_proxy.cut()
    through_proxy.accept()
    count = len(sent)
    wait_for(lambda: len(sent) > count + 20, what="messages are sent")
    stop.set()
    for thread in threads:
        thread.join(5)
    assert len(longest) == len(threads)
    assert max(longest) < 4
    assert len(io_threads()) == 1
    # That of the test itself, and one of the client.
    wait_for(lambda: len(connections(rabbit, vhost)) == 2, what="no connection is orphaned")
    client.close()


def test_an_io_thread_that_ends_takes_no_caller_with_it(client, service):
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(client.call, Do("sleep", 20), 30)
        receiving = pool.submit(client.receive, 30)
        wait_for(lambda: client._requests._requests, what="the call is on its way")
        wait_for(
            lambda: service.channel.queue_declare("plone", passive=True).method.consumer_count,
            what="it consumes",
        )
        for session in (client._requests, client._output):
            session.link.post(sys.exit, 1)
        for waiting in (call, receiving):
            with pytest.raises(AMQPError, match="has ended"):
                waiting.result(5)
    number = client.send(b'"next"', timeout=10)
    assert number


def test_changed_settings_count_at_the_next_connection(
    daemon, service, rabbit, vhost, proxy, monkeypatch, tmp_path
):
    configure(monkeypatch, rabbit, vhost, tmp_path, RABBITMQ_PORT=str(proxy.port))
    with AMQPClient("antivirus", glob=CLASSES, timeout=20) as client:
        assert client.call(Echo(1)) == Echo(1)
        monkeypatch.setenv("RABBITMQ_PORT", str(rabbit.port))
        settings.reload()
        proxy.refuse()
        proxy.cut()
        assert client.call(Echo(2)) == Echo(2)


# --- requests that cannot be sent -------------------------------------------------------------


def test_a_missing_exchange_is_an_error_at_once_until_it_exists(daemon, service, configured):
    with AMQPClient("antivirus", glob=CLASSES, timeout=20) as client:
        assert client.call(Echo(1)) == Echo(1)
        service.channel.exchange_delete("echo")
        started = time.monotonic()
        for _ in range(10):
            with pytest.raises(UnroutableError, match="no exchange 'echo'"):
                client.call(Echo(2))
            with pytest.raises(UnroutableError, match="no exchange 'echo'"):
                client.send(Echo(2))
        assert time.monotonic() - started < 3
        service.declare()
        assert client.call(Echo(3)) == Echo(3)
    assert [run for run in daemon.runs() if "2" in run] == []


def test_a_missing_permission_to_publish_is_an_error_at_once(
    service, rabbit, vhost, monkeypatch, tmp_path
):
    with restricted_user(rabbit, vhost, "^edeposit", "^edeposit", ".*") as user:
        configure(
            monkeypatch,
            rabbit,
            vhost,
            tmp_path,
            RABBITMQ_USER_NAME=user,
            RABBITMQ_USER_PASSWORD=user,
        )
        with AMQPClient("antivirus", glob={}, timeout=20) as client:
            started = time.monotonic()
            for _ in range(3):
                with pytest.raises(PublishError, match="permission"):
                    client.call(1)
            assert time.monotonic() - started < 3


def test_a_refused_request_takes_no_other_call_with_it(client, service, daemon):
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.call, Do("sleep", 1), 20)
        wait_for(lambda: daemon.runs(), what="it is handled")
        service.channel.exchange_delete("echo")
        with pytest.raises(UnroutableError):
            client.call(Echo(2))
        service.declare()
        assert call.result(20) == Do("sleep", 1)


def test_a_request_that_the_broker_refuses_fails_alone(client):
    def call(number):
        # RabbitMQ closes the channel over a CC header that is no list.
        headers = {"CC": "no list"} if number % 50 == 25 else None
        try:
            return client.call(Echo(number), headers=headers).value
        except PublishError:
            return "refused"

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(call, range(100)))
    assert answers == ["refused" if n % 50 == 25 else n for n in range(100)]


def test_headers_that_fit_no_frame_are_an_error(client):
    with pytest.raises(PublishError, match="headers"):
        client.call(Echo(1), headers={"x": "y" * 200_000})
    assert client.call(Echo(2)) == Echo(2)


def test_what_was_given_up_before_it_was_sent_never_arrives(through_proxy, service):
    with AMQPClient("antivirus", glob={}, timeout=10) as client:
        client.send("first")
        through_proxy.refuse()
        through_proxy.cut()
        for action in (client.send, client.call):
            # Not the first: the loss of the connection may not have been noticed yet.
            wait_for(lambda: not client._link.is_usable, what="the loss is noticed")
            with pytest.raises(CallTimeoutError, match="was not sent and will not be") as caught:
                action("given up", timeout=0.3)
            assert not caught.value.maybe_sent
        wait_for(lambda: not client._requests._unsent, what="nothing is kept")
        through_proxy.accept()
        client.send("last", timeout=30)
    bodies = [service.get("daemon")[2] for _ in range(service.count("daemon"))]
    assert bodies == [b'"first"', b'"last"']


def test_what_may_have_been_sent_is_said_and_not_sent_again(through_proxy, service):
    with AMQPClient("antivirus", glob={}, timeout=10) as client:
        client.send("first")
        through_proxy.stall("up")
        with pytest.raises(CallTimeoutError, match="may have been sent") as caught:
            client.send("given up", timeout=0.3)
        assert caught.value.maybe_sent
        through_proxy.resume()
        through_proxy.cut()
        client.send("last", timeout=30)
    bodies = [service.get("daemon")[2] for _ in range(service.count("daemon"))]
    assert bodies == [b'"first"', b'"last"']


# --- fork and exit ----------------------------------------------------------------------------


def in_child(function):
    """What a function returns, or raises, in a forked child; waits 20 s."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            result = function()
        except BaseException as error:
            result = repr(error)
        os.write(writer, pickle.dumps(result))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        result = pickle.loads(pipe.read())
    os.waitpid(pid, 0)
    return result


def test_a_forked_child_connects_anew(client, service):
    assert client.call(Echo(0)) == Echo(0)
    parents_queue = client.reply_queue

    def work():
        with client:
            values = [client.call(Echo(n), timeout=5).value for n in range(3)]
            client.send(Echo("child"), timeout=5)
            return values, client.reply_queue

    values, childs_queue = in_child(work)
    assert values == [0, 1, 2]
    assert childs_queue != parents_queue == client.reply_queue
    # The child's close() has not taken the parent's queue away.
    assert client.call(Echo(4)) == Echo(4)
    assert client.receive().value == Echo("child")


def test_children_may_be_forked_while_others_call(client):
    stop = threading.Event()

    def call_again_and_again():
        while not stop.is_set():
            client.call(Echo("parent"))

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call_again_and_again) for _ in range(4)]
        try:
            for number in range(10):
                assert in_child(lambda n=number: client.call(Echo(n), 5).value) == number
        finally:
            stop.set()
        for call in calls:
            call.result(10)


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "del c; import gc; gc.collect()"])
def test_a_program_that_forgets_to_close_ends_at_once(daemon, configured, end):
    program = (
        "from edeposit.amqp.client import AMQPClient\n"
        "c = AMQPClient('antivirus', glob={}, timeout=8)\n"
        f"c.call(b'1')\nc.send(b'2')\nc.receive()\n{end}\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=20,
    )
    assert time.monotonic() - started < 5
    assert (done.returncode, done.stderr) == (3 if "3" in end else 0, "")


# --- what belongs to the caller ---------------------------------------------------------------


def test_the_callers_objects_are_not_changed(daemon, service, rabbit, vhost, configured):
    where = pika.ConnectionParameters(rabbit.host, rabbit.port, vhost)
    before = repr(where)
    request = {"a": [1, {"b": None}]}
    classes = (cls for cls in CLASSES)
    with AMQPClient("antivirus", glob=classes, parameters=where) as client:
        assert client.call(Echo(request)) == Echo(request)
        assert client.call(Echo(2)) == Echo(2)
    assert request == {"a": [1, {"b": None}]}
    assert repr(where) == before


def test_the_client_imports_no_daemon():
    program = (
        "import sys, edeposit.amqp.client\n"
        "print([m for m in sys.modules if m.startswith('edeposit.amqp.')"
        " and m.rpartition('.')[2] in ('service', 'pikadaemon', 'amqpdaemon', 'daemonwrapper')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_calls_leave_nothing_behind(client):
    for _ in range(50):
        client.call(Echo(1))
        with pytest.raises(CallTimeoutError):
            client.call(Do("sleep", 0.01), timeout=0)
    wait_for(lambda: client.call(Echo(2)) == Echo(2), what="calls work")
    assert not client._requests._requests
    wait_for(lambda: not client._requests._unsent, what="nothing is kept")
