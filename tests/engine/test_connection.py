"""A connection outlives its sockets, its broker's moods and its owner's defects."""

import logging
import resource
import socket
import struct
import threading

import pika
import pytest

from edeposit.amqp.engine.backoff import Backoff
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.engine.publisher import Outgoing
from edeposit.amqp.errors import StartError
from edeposit.amqp.testing import RabbitNode, wait_for

RESET = struct.pack("ii", 1, 0)


class Owner:
    """Uses a channel for publishing only, and notes what it is told."""

    def __init__(self):
        self.link = None
        self.failures = []
        self.usable = 0
        self.attempts = 1_000_000
        self.ticks = 0
        self.blocked = []

    def on_channel(self, channel):
        self.link.usable()

    def on_usable(self):
        self.usable += 1

    def on_deliver(self, method, properties, body, error):
        pass

    def on_batch_end(self):
        pass

    def on_cancelled(self, consumer_tag):
        pass

    def on_down(self, failure, unconfirmed):
        self.failures.append(failure)

    def on_retry(self, failure, delay):
        self.attempts -= 1
        return self.attempts > 0

    def on_blocked(self, blocked):
        self.blocked.append(blocked)

    def on_tick(self):
        self.ticks += 1


@pytest.fixture(autouse=True)
def quiet_pika():
    """pika logs each failed attempt in ten lines."""
    logging.getLogger("pika").setLevel(logging.CRITICAL + 1)
    yield
    logging.getLogger("pika").setLevel(logging.NOTSET)


@pytest.fixture
def running(monkeypatch):
    """Run a connection in a thread: ``running(parameters, owner)`` returns both, and the thread."""
    monkeypatch.setattr(Backoff, "next", lambda self, *, transient=True: 0.01)
    started = []

    def run(parameters, owner=None):
        owner = owner or Owner()
        link = owner.link = BrokerConnection(parameters, owner)
        raised = []

        def work():
            try:
                link.run()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        started.append((link, thread, raised))
        return link, owner, thread

    yield run
    for link, thread, raised in started:
        link.post(lambda _, link=link: link.stop(), None)
        thread.join(10)
        assert not thread.is_alive()
        assert raised == []


@pytest.fixture
def parameters(rabbit, vhost):
    return pika.ConnectionParameters(rabbit.host, rabbit.port, vhost)


def works(link, owner):
    """A message is confirmed."""
    before = owner.usable
    wait_for(lambda: link.is_usable, 20, f"usable (was so {before} times)")
    answers = []
    outgoing = Outgoing(
        "", "nowhere", b"x", pika.BasicProperties(), lambda _o, error: answers.append(error)
    )

    def publish(_):
        link.publish(outgoing)
        link.flush()

    link.post(publish, None)
    wait_for(lambda: answers, 10, "the broker's answer")
    return "NO_ROUTE" in str(answers[0])


@pytest.fixture
def resetting_port():
    """A port that accepts connections and resets them at once."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_peer_that_accepts_and_resets_does_not_end_it(running, resetting_port):
    parameters = pika.ConnectionParameters("127.0.0.1", resetting_port)
    _link, owner, thread = running(parameters)
    wait_for(lambda: len(owner.failures) >= 300 or not thread.is_alive(), 60, "300 attempts")
    assert thread.is_alive()
    assert {failure.code for failure in owner.failures} <= {"not-amqp", "unreachable", "lost"}


def test_getpeername_that_fails_is_one_more_failed_attempt(running, parameters, monkeypatch):
    # The kernel forgets the peer when its RST comes between connect and getpeername.
    real = socket.socket.getpeername
    left = [3]

    class Forgetful(socket.socket):
        def getpeername(self):
            if left[0]:
                left[0] -= 1
                raise OSError(107, "Transport endpoint is not connected")
            return real(self)

    monkeypatch.setattr(socket, "socket", Forgetful)
    link, owner, _thread = running(parameters)
    assert works(link, owner)
    assert {failure.code for failure in owner.failures} == {"unreachable"}


def test_no_free_descriptor_is_one_more_failed_attempt(running, parameters, proxy):
    parameters.port = proxy.port
    link, owner, _thread = running(parameters)
    wait_for(lambda: link.is_usable, 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # those of the standard streams
    try:
        proxy.cut()
        wait_for(lambda: len(owner.failures) > 3, 20, "failed attempts")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in owner.failures[-1].text
    assert works(link, owner)


@pytest.mark.parametrize("callback", ["on_channel", "on_usable", "on_down", "on_retry", "on_tick"])
def test_an_owner_that_raises_costs_the_connection_at_most(
    running, parameters, proxy, callback, caplog
):
    class Defective(Owner):
        defects = 2

    def raising(self, *arguments):
        if Defective.defects:
            Defective.defects -= 1
            raise RuntimeError(f"defect in {callback}")
        return getattr(Owner, callback)(self, *arguments)

    setattr(Defective, callback, raising)
    parameters.port = proxy.port
    link, owner, _thread = running(parameters, Defective())
    if callback in ("on_down", "on_retry"):
        for _ in range(2):
            left = Defective.defects
            wait_for(lambda: link.is_usable, 20)
            proxy.cut()
            wait_for(lambda left=left: Defective.defects < left, 20, "the defect shows")
    wait_for(lambda: Defective.defects == 0, 20, "the defect shows")
    assert works(link, owner)
    assert f"defect in {callback}" in caplog.text
    assert "Traceback" in caplog.text


def test_ticks_go_on_after_one_that_raises(running, parameters):
    class Defective(Owner):
        def on_tick(self):
            super().on_tick()
            if self.ticks == 1:
                raise RuntimeError("a defect")

    _link, owner, _thread = running(parameters, Defective())
    wait_for(lambda: owner.ticks >= 3, 10, "further ticks")


def test_a_confirm_callback_that_raises_costs_the_connection_only(running, parameters):
    link, owner, _thread = running(parameters)
    wait_for(lambda: link.is_usable, 10)

    def fail(_outgoing, _error):
        raise RuntimeError("a defect")

    outgoing = Outgoing("", "nowhere", b"x", pika.BasicProperties(), fail)
    link.post(lambda _: (link.publish(outgoing), link.flush()), None)
    wait_for(lambda: owner.failures, 10, "the connection is dropped")
    assert works(link, owner)


def test_stop_and_close_of_an_ended_connection_do_nothing(running, parameters):
    link, _owner, thread = running(parameters)
    wait_for(lambda: link.is_usable, 10)
    link.post(lambda _: link.close(), None)
    thread.join(10)
    assert not thread.is_alive()
    link.stop()
    assert not link.close()
    link.post(print, "not called")


def test_stop_before_run_lets_run_return(parameters):
    owner = Owner()
    link = owner.link = BrokerConnection(parameters, owner)
    link.stop()
    link.run()
    assert owner.usable == 0


def test_each_attempt_reads_its_parameters(running, parameters, rabbit):
    wrong = pika.ConnectionParameters(
        rabbit.host, rabbit.port, parameters.virtual_host, pika.PlainCredentials("guest", "old")
    )
    current = [wrong]
    link, owner, _thread = running(lambda: current[0])
    wait_for(lambda: owner.failures, 10)
    assert owner.failures[0].code == "access-refused"
    current[0] = parameters
    assert works(link, owner)


def test_parameters_that_cannot_be_read_now_are_read_again(running, parameters, proxy):
    parameters.port = proxy.port
    broken = []

    def read():
        if broken:
            raise StartError("TLS files of RABBITMQ_SSL_* cannot be used")
        return parameters

    link, owner, _thread = running(read)
    wait_for(lambda: link.is_usable, 10)
    broken.append(True)
    proxy.cut()
    wait_for(lambda: len(owner.failures) > 2, 10)
    assert "TLS files" in owner.failures[-1].text
    broken.clear()
    assert works(link, owner)


def test_an_owner_that_gives_up_ends_it(running, parameters):
    parameters.port = 1
    owner = Owner()
    owner.attempts = 3
    _link, owner, thread = running(parameters, owner)
    thread.join(10)
    assert not thread.is_alive()
    assert [failure.code for failure in owner.failures] == ["unreachable"] * 3


@pytest.fixture(scope="module")
def one_channel():
    with RabbitNode(["channel_max = 1"]) as node:
        yield node


def test_a_probe_without_a_second_channel_answers_yes(running, one_channel):
    parameters = pika.ConnectionParameters(one_channel.host, one_channel.port)
    link, owner, _thread = running(parameters)
    wait_for(lambda: link.is_usable, 10)
    answers = []
    link.post(lambda _: link.probe("missing", answers.append), None)
    wait_for(lambda: answers, 10)
    assert answers == [True]
    assert works(link, owner)


def test_a_probe_tells_whether_a_queue_exists(running, parameters):
    link, owner, _thread = running(parameters)
    wait_for(lambda: link.is_usable, 10)
    answers = []
    declared = []
    link.post(lambda _: link.channel.queue_declare("here", callback=declared.append), None)
    wait_for(lambda: declared, 10)
    link.post(lambda _: link.probe("here", answers.append), None)
    wait_for(lambda: len(answers) == 1, 10)
    link.post(lambda _: link.probe("not here", answers.append), None)
    wait_for(lambda: len(answers) == 2, 10)
    assert answers == [True, False]
    assert works(link, owner)
    assert owner.failures == []


@pytest.mark.parametrize("attempts", [1, 2])
def test_no_descriptor_for_the_loop_itself_is_told(parameters, attempts):
    owner = Owner()
    owner.attempts = attempts
    link = owner.link = BrokerConnection(parameters, owner)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        if attempts == 1:  # the owner gives up
            link.run()
        else:
            with pytest.raises(OSError, match="Too many open files"):
                link.run()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in owner.failures[0].text


def test_a_broker_that_does_not_confirm_loses_the_connection(running, parameters, proxy):
    parameters.port = proxy.port
    owner = Owner()
    limit = [60.0]
    link, owner, _thread = running(parameters, owner)
    link._deadline.limit = lambda: limit[0]
    wait_for(lambda: link.is_usable, 10)
    proxy.stall("down")
    outgoing = Outgoing("", "nowhere", b"x", pika.BasicProperties(), lambda *_: None)
    link.post(lambda _: (link.publish(outgoing), link.flush()), None)
    ticks = owner.ticks
    wait_for(lambda: owner.ticks > ticks + 1, 10)
    assert owner.failures == []
    limit[0] = 0.5  # as after a reload of the settings
    wait_for(lambda: owner.failures, 10)
    assert "no confirm from the broker in 0.5 s" in owner.failures[0].text
    proxy.resume()
    assert works(link, owner)
