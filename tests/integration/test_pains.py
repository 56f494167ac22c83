"""The pains of spec/robustness.md that need a broker, each with the test named there.

Counts and times are shortened; ``EDEPOSIT_LONG_TESTS=1`` runs the long forms.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pika
import pytest

from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import AMQPError, UnroutableError
from edeposit.amqp.testing import Proxy, RabbitNode, wait_for

from .conftest import ECHO as SCRIPT
from .conftest import EchoDaemon, Service

LONG = os.environ.get("EDEPOSIT_LONG_TESTS") == "1"
ECHO = {"__nt_name": "Echo", "value": 1}


def echoes(count):
    return [{"__nt_name": "Echo", "value": n} for n in range(count)]


def do(what, argument=None):
    return {"__nt_name": "Do", "what": what, "argument": argument}


def test_p1_a_handler_that_holds_the_gil_is_run_to_its_end_and_answered_once(service, make_daemon):
    daemon = make_daemon(RABBITMQ_HEARTBEAT="2").start()
    number = service.send(do("hold-gil", 28))
    assert service.answer(timeout=120)[0] == number
    assert service.is_still_answering()
    assert service.nothing_left()
    assert service.count("plone") == 0
    assert len([line for line in daemon.runs() if "hold-gil" in line]) == 1


def test_p2_a_redelivered_copy_takes_over_the_running_job(service, make_daemon, proxy):
    daemon = make_daemon(port=proxy.port).start()
    number = service.send(do("sleep", 3))
    wait_for(lambda: daemon.runs(), what="the job runs")
    proxy.cut()
    assert service.answer(timeout=20)[0] == number
    assert service.is_still_answering()
    assert len([line for line in daemon.runs() if "sleep" in line]) == 1
    assert service.count("plone") == 0
    assert service.nothing_left()


def test_p3_reconnects_through_many_broker_restarts(service, make_daemon, rabbit):
    daemon = make_daemon(ECHO_PREFETCH="50").start()
    numbers = []
    for _ in range(20 if LONG else 2):
        numbers += service.send_many(echoes(300))
        rabbit.stop_app()
        rabbit.start_app()
        service.reconnect()
    service.collect(numbers)
    assert daemon.process.poll() is None


def test_p3_delays_grow_and_differ_between_two_daemons(service, make_daemon, proxy):
    daemons = [make_daemon(name=name, port=proxy.port).start() for name in ("one", "two")]
    proxy.refuse()
    proxy.cut()

    def delays(daemon):
        return [float(d) for d in re.findall(r"next attempt in ([\d.]+) s", daemon.log())]

    wait_for(lambda: all(len(delays(d)) >= 4 for d in daemons), timeout=30, what="four attempts")
    first, second = (delays(d)[:4] for d in daemons)
    assert first[3] > first[0]
    assert second[3] > second[0]
    assert first != second
    assert daemons[0].state() == "reconnecting"
    proxy.accept()
    assert service.is_still_answering()
    wait_for(lambda: daemons[0].state() == "consuming", timeout=30, what="consuming again")


def test_p4_a_deleted_queue_is_consumed_again_when_it_is_back(service, daemon):
    service.channel.queue_delete("daemon")
    wait_for(lambda: daemon.state() == "cancelled", what="the daemon notices")
    service.declare()
    started = time.monotonic()
    assert service.is_still_answering()
    assert time.monotonic() - started < 10
    assert daemon.process.poll() is None


def test_p4_a_job_at_hand_survives_the_deletion_of_its_queue(service, daemon):
    number = service.send(do("sleep", 1.5))
    wait_for(lambda: daemon.runs(), what="the job runs")
    service.channel.queue_delete("daemon")
    assert service.answer()[0] == number


def test_p5_a_broker_killed_at_random_loses_nothing(tmp_path):
    with RabbitNode() as node:
        node.add_vhost("p5")
        service = Service(node, "p5")
        daemon = EchoDaemon(node, "p5", tmp_path, ECHO_PREFETCH="50").start()
        try:
            numbers = []
            for _ in range(100 if LONG else 2):
                numbers += service.send_many(echoes(500))
                time.sleep(random.uniform(0.01, 0.1))  # any moment will do
                node.kill()
                node.start()
                service.reconnect()
            service.collect(numbers, timeout=120)
        finally:
            daemon.kill()
            service.close()


def test_p6_a_confirm_that_never_comes_ends_the_connection_not_the_request(
    service, make_daemon, proxy
):
    daemon = make_daemon(port=proxy.port, RABBITMQ_CONFIRM_TIMEOUT="2").start()
    number = service.send(do("sleep", 1))
    wait_for(lambda: daemon.runs(), what="the job runs")
    proxy.stall("down")  # the broker's bytes are swallowed
    wait_for(lambda: "no confirm" in daemon.log(), timeout=15, what="the daemon gives up")
    proxy.resume()
    proxy.cut()
    counts = service.collect([number], timeout=30)
    assert counts[number] >= 1
    assert service.is_still_answering()


def test_p7_unroutable_replies_are_parked_where_nobody_has_declared_a_parking_queue(
    service, daemon
):
    service.channel.queue_delete("daemon.undeliverable")
    service.channel.queue_unbind("plone", "echo", "result")
    numbers = [service.send(ECHO) for _ in range(5)]
    wait_for(lambda: "is declared" in daemon.log(), what="the parking queue is declared")
    parked = {service.get("daemon.undeliverable")[1].headers["UUID"] for _ in numbers}
    assert parked == set(numbers)
    service.channel.queue_bind("plone", "echo", "result")
    assert service.is_still_answering()
    assert service.nothing_left()


def test_p7_unroutable_replies_that_cannot_be_parked_cost_nobody_else(service, make_daemon):
    service.channel.queue_delete("daemon.undeliverable")
    service.channel.queue_bind("daemon", "echo", "gone.request")
    daemon = make_daemon(**service.restrict("^(echo|amq\\.default)$")).start()
    numbers = {service.send(ECHO, key="gone.request") for _ in range(7)}
    for _ in range(10):
        assert service.is_still_answering()
    wait_for(lambda: daemon.status().get("stuck") == 7, what="status tells how many are stuck")
    assert "next attempt" not in daemon.log()
    service.channel.queue_declare("late", durable=True)
    service.channel.queue_bind("late", "echo", "gone.result")
    assert {service.get("late", timeout=70)[1].headers["UUID"] for _ in numbers} == numbers
    assert service.nothing_left()
    wait_for(lambda: "stuck" not in daemon.status(), what="nothing is stuck any more")
    assert len([run for run in daemon.runs() if "alive" not in run]) == 7


def test_p7_a_full_reply_queue_is_waited_for(service, make_daemon):
    service.channel.queue_declare(
        "full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    service.channel.basic_publish("", "full", "filler")
    daemon = make_daemon(**service.restrict("^(echo|amq\\.default)$")).start()
    number = service.send(ECHO, reply_to="full")
    wait_for(lambda: "undeliverable" in daemon.log(), what="the broker refuses")
    assert service.is_still_answering()
    assert service.get("full")[2] == b"filler"
    assert service.get("full")[1].headers["UUID"] == number
    assert service.nothing_left()


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_p10_a_missing_reply_exchange_makes_no_hot_loop(service, daemon):
    service.channel.exchange_delete("echo")
    # Only the default exchange reaches the queue now.
    service.channel.basic_publish(
        "", "daemon", json.dumps(ECHO), pika.BasicProperties(headers={"UUID": "u-10"})
    )
    wait_for(lambda: daemon.state() == "reconnecting", what="the daemon notices")
    before = cpu_seconds(daemon.process.pid)
    time.sleep(4)  # the measured interval
    assert cpu_seconds(daemon.process.pid) - before < 0.05 * 4
    service.declare()
    assert service.answer(timeout=40) == ("u-10", ECHO)
    assert len(daemon.runs()) == 1
    assert service.nothing_left()


def test_p11_two_daemons_share_a_full_queue(service, make_daemon):
    # Started first: one daemon alone would have emptied the queue before the other is there.
    daemons = [make_daemon(name=name).start() for name in ("one", "two")]
    numbers = service.send_many(echoes(10_000 if LONG else 1000))
    counts = service.collect(numbers, timeout=120)
    assert set(counts.values()) == {1}
    shares = [len(d.runs()) for d in daemons]
    assert min(shares) > sum(shares) / 5, shares


@pytest.mark.parametrize("frame_max", [4096, 8192])
def test_p21_exception_headers_fit_a_small_frame(tmp_path, frame_max):
    with RabbitNode(extra_config=[f"frame_max = {frame_max}"]) as node:
        version = tuple(int(part) for part in node.ctl("version").split(".")[:2])
        if frame_max < 8192 and version >= (4, 1):
            pytest.skip("RabbitMQ 4.1 and later take no connection with frames below 8 KiB")
        node.add_vhost("p21")
        service = Service(node, "p21")
        daemon = EchoDaemon(node, "p21", tmp_path).start()
        try:
            for text in ("x" * 1_000_000, "ř" * 500_001, "a" + "😀" * 250_000):
                number = service.send(do("raise", text))
                _, properties, body = service.get()
                assert properties.headers["UUID"] == number
                assert "characters cut" in properties.headers["exception"]
                assert properties.headers["traceback"]
                assert len(body) > 100_000
            assert "next attempt" not in daemon.log()
        finally:
            daemon.kill()
            service.close()


def test_p20_a_reply_larger_than_the_broker_takes_is_answered_with_an_exception(tmp_path):
    with RabbitNode(extra_config=["max_message_size = 100000"]) as node:
        node.add_vhost("p20")
        service = Service(node, "p20")
        daemon = EchoDaemon(node, "p20", tmp_path).start()
        try:
            for _ in range(2):  # the second time the limit is known beforehand
                number = service.send(do("big", 200_000))
                got, (name, text) = service.answer(timeout=20)
                assert (got, name) == (number, "MessageTooLargeError")
                assert "100000" in text
            assert service.is_still_answering()
            assert len([run for run in daemon.runs() if "big" in run]) == 2
            assert service.nothing_left()
        finally:
            daemon.kill()
            service.close()


def client_settings(monkeypatch, rabbit, vhost, tmp_path):
    from edeposit.amqp import settings

    for name, value in {
        **rabbit.env(),
        "RABBITMQ_ANTIVIRUS_VIRTUALHOST": vhost,
        "RABBITMQ_ANTIVIRUS_EXCHANGE": "echo",
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    settings.reload()


@pytest.fixture
def client(service, daemon, rabbit, vhost, monkeypatch, tmp_path):
    client_settings(monkeypatch, rabbit, vhost, tmp_path)
    with AMQPClient("antivirus", glob={}) as client:
        yield client


def queue_names(service):
    text = service.rabbit.ctl("-q", "list_queues", "-p", service.vhost, "name")
    return text.split()


def test_p22_many_calls_leave_no_queue_behind(service, client):
    before = queue_names(service)
    for number in range(10_000 if LONG else 1000):
        assert client.call(number) == number
    assert queue_names(service) == before
    client.close()
    assert client.reply_queue not in queue_names(service)


def test_p22_an_unroutable_request_fails_at_once(service, client):
    service.channel.queue_unbind("daemon", "echo", "request")
    with pytest.raises(UnroutableError):
        client.call(1, timeout=10)


def test_p23_blocked_by_an_alarm(tmp_path):
    with RabbitNode() as node:
        node.add_vhost("p23")
        service = Service(node, "p23")
        daemon = EchoDaemon(node, "p23", tmp_path, STOP_TIMEOUT="2").start()
        second = EchoDaemon(node, "p23", tmp_path, name="second", STOP_TIMEOUT="2").start()
        try:
            numbers = service.send_many([do("sleep", 0.3)] * 12)
            wait_for(lambda: daemon.runs() and second.runs(), what="both work")
            node.ctl("set_vm_memory_high_watermark", "0.000001")
            wait_for(lambda: daemon.state() == "blocked", timeout=15, what="blocked in status")
            started = time.monotonic()
            second.stop(timeout=15)
            assert time.monotonic() - started < 2 + 5
            node.ctl("set_vm_memory_high_watermark", "0.6")
            wait_for(lambda: daemon.state() == "consuming", timeout=15, what="goes on")
            service.reconnect()
            service.collect(numbers)
        finally:
            daemon.kill()
            second.kill()
            service.close()


def start_and_fail(rabbit, vhost, tmp_path, **environment):
    """``start`` a daemon that cannot work; returns (exit code, stderr, seconds)."""
    daemon = EchoDaemon(rabbit, vhost, tmp_path, **environment)
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "start"],
        env=daemon.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return result.returncode, result.stderr.strip(), time.monotonic() - started


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RABBITMQ_USER_PASSWORD": "wrong"}, "access-refused"),
        ({"ECHO_VHOST": "no-such-vhost"}, "no-vhost"),
        ({"ECHO_QUEUE": "no-such-queue"}, "no-schema"),
        ({"RABBITMQ_PORT": "1"}, "unreachable"),
        ({"RABBITMQ_HOST": "no-such-host.invalid", "RABBITMQ_USER_NAME": "x"}, "unknown-host"),
        ({"LOG_TARGET": "/proc/no/such/place.log"}, "/proc/no/such/place.log"),
    ],
)
def test_p16_start_says_why_it_cannot(service, rabbit, vhost, tmp_path, environment, says):
    code, error, seconds = start_and_fail(rabbit, vhost, tmp_path, **environment)
    assert code == 1
    assert says in error
    assert len(error.splitlines()) == 1
    assert "Traceback" not in error
    assert seconds < 5


def test_p16_a_missing_schema_is_named(rabbit, vhost, tmp_path):
    code, error, _ = start_and_fail(rabbit, vhost, tmp_path)
    assert code == 1
    assert "no-schema" in error
    assert "edeposit_amqp_tool.py --create" in error


def test_p26_four_tls_mistakes_four_messages(tmp_path):
    with RabbitNode(tls=True) as node:
        node.add_vhost("p26")
        service = Service(node, "p26")
        tls = {"RABBITMQ_SSL": "true", "RABBITMQ_SSL_CA": str(node.ca_file)}
        errors = {}
        for name, environment in {
            "expired": {**tls, "RABBITMQ_PORT": str(node.tls_ports["expired"])},
            "wrong host": {**tls, "RABBITMQ_PORT": str(node.tls_ports["wrong-host"])},
            "unknown CA": {
                **tls,
                "RABBITMQ_PORT": str(node.tls_ports["good"]),
                "RABBITMQ_SSL_CA": "",
            },
            "plain port": {**tls, "RABBITMQ_PORT": str(node.port)},
        }.items():
            code, error, _ = start_and_fail(node, "p26", tmp_path, **environment)
            assert code == 1, name
            assert len(error.splitlines()) == 1
            errors[name] = error
        assert "expired" in errors["expired"]
        assert "mismatch" in errors["wrong host"] or "not match" in errors["wrong host"]
        assert "issuer" in errors["unknown CA"] or "self-signed" in errors["unknown CA"]
        assert "plain port" in errors["plain port"]
        good = {**tls, "RABBITMQ_PORT": str(node.tls_ports["good"])}
        daemon = EchoDaemon(node, "p26", tmp_path, **good).start()
        try:
            assert service.is_still_answering()
        finally:
            daemon.kill()
            service.close()


def test_p26_guest_is_not_used_over_the_network(rabbit, vhost, tmp_path):
    code, error, _ = start_and_fail(rabbit, vhost, tmp_path, RABBITMQ_HOST="192.0.2.1")
    assert code == 1
    assert "guest" in error


def test_p30_a_daemon_started_with_a_c_locale_speaks_utf8(service, make_daemon):
    daemon = make_daemon(
        LANG="C", LC_ALL="C", TZ="Pacific/Chatham", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    ).start()
    number = service.send(do("raise", "žluťoučký kůň"))
    assert service.answer() == (number, ("ValueError", "žluťoučký kůň"))
    wait_for(lambda: "žluťoučký kůň" in daemon.log(), what="the line is written")


def test_p12_many_signals_at_once(service, daemon):
    for _ in range(2000):
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGUSR1)
    assert service.is_still_answering()
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log()


def test_first_connection_needs_a_reachable_broker(monkeypatch, rabbit, vhost, tmp_path):
    client_settings(monkeypatch, rabbit, vhost, tmp_path)
    with Proxy(rabbit.host, rabbit.port) as gone:
        gone.refuse()
        monkeypatch.setenv("RABBITMQ_PORT", str(gone.port))
        from edeposit.amqp import settings

        settings.reload()
        with pytest.raises(AMQPError, match=r"127\.0\.0\.1"):
            AMQPClient("antivirus", glob={}).connect()
