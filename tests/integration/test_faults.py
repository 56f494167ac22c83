"""Faults in the middle of work: after each, every UUID is answered and none is missing.

The counts are shortened; ``EDEPOSIT_LONG_TESTS=1`` runs them as robustness.md words them.
"""

import os
import signal
import time

from edeposit.amqp.testing import wait_for

LONG = os.environ.get("EDEPOSIT_LONG_TESTS") == "1"
REQUESTS = 2000


def echoes(count):
    return [{"__nt_name": "Echo", "value": n} for n in range(count)]


def some_are_answered(service, count=100):
    wait_for(lambda: service.count("plone") >= count, timeout=30, what="first answers")


def test_kill_minus_9_in_the_middle(service, make_daemon):
    daemon = make_daemon(ECHO_PREFETCH="100").start()
    numbers = service.send_many(echoes(REQUESTS))
    some_are_answered(service)
    daemon.kill()
    daemon.start()
    counts = service.collect(numbers)
    # At most what was unacked when it died may come twice.
    assert sum(counts.values()) - len(numbers) <= 100
    assert service.nothing_left()


def test_broker_stopped_and_started_in_the_middle(service, make_daemon, rabbit):
    daemon = make_daemon(ECHO_PREFETCH="100").start()
    numbers = service.send_many(echoes(REQUESTS))
    some_are_answered(service)
    rabbit.stop_app()
    wait_for(lambda: daemon.state() == "reconnecting", what="the daemon notices")
    rabbit.start_app()
    service.reconnect()
    service.collect(numbers)
    assert daemon.process.poll() is None
    assert service.is_still_answering()


def test_connection_cut_by_a_proxy(service, make_daemon, proxy):
    daemon = make_daemon(port=proxy.port, ECHO_PREFETCH="100").start()
    numbers = service.send_many(echoes(REQUESTS))
    for answered in (100, 500, 1000):
        some_are_answered(service, answered)
        proxy.cut()
    service.collect(numbers)
    assert daemon.process.poll() is None
    assert service.nothing_left()


def test_a_handler_longer_than_three_heartbeats_runs_once(service, make_daemon):
    # P1: the I/O thread answers heartbeats while the handler works.
    daemon = make_daemon(RABBITMQ_HEARTBEAT="2").start()
    number = service.send({"__nt_name": "Do", "what": "sleep", "argument": 7})
    assert service.answer(timeout=20)[0] == number
    assert len(daemon.runs()) == 1
    assert "next attempt" not in daemon.log()
    assert service.nothing_left()


def test_sigterm_in_the_middle_drains(service, make_daemon):
    daemon = make_daemon(ECHO_PREFETCH="100").start()
    numbers = service.send_many(echoes(REQUESTS))
    some_are_answered(service)
    assert daemon.stop() == 0
    assert "drained" in daemon.log()
    left = service.count("daemon")
    answered = service.count("plone")
    # Drained: what was answered is acked, the rest waits, nothing twice.
    assert answered + left == len(numbers)
    assert left
    assert len(daemon.runs()) == answered
    daemon.start()
    counts = service.collect(numbers)
    assert set(counts.values()) == {1}


def test_sigterm_finishes_the_job_at_hand(service, make_daemon):
    daemon = make_daemon().start()
    number = service.send({"__nt_name": "Do", "what": "sleep", "argument": 1.5})
    wait_for(lambda: daemon.runs(), what="the job runs")
    assert daemon.stop() == 0
    assert service.answer()[0] == number
    assert service.nothing_left()


def test_second_sigterm_leaves_at_once_and_gives_the_job_back(service, make_daemon):
    daemon = make_daemon().start()
    number = service.send({"__nt_name": "Do", "what": "sleep", "argument": 60})
    wait_for(lambda: daemon.runs(), what="the job runs")
    daemon.signal()
    wait_for(lambda: daemon.state() == "draining", what="draining")
    started = time.monotonic()
    daemon.signal()
    daemon.process.wait(5)
    assert time.monotonic() - started < 3
    assert "unfinished" in daemon.log()
    method, properties, _ = service.get("daemon")
    assert properties.headers["UUID"] == number
    assert method.redelivered


def test_sigterm_without_a_connection_gives_the_job_back(service, make_daemon, proxy):
    daemon = make_daemon(port=proxy.port).start()
    number = service.send({"__nt_name": "Do", "what": "sleep", "argument": 30})
    wait_for(lambda: daemon.runs(), what="the job runs")
    proxy.refuse()
    proxy.cut()
    wait_for(lambda: daemon.state() == "reconnecting", what="the connection is lost")
    started = time.monotonic()
    daemon.stop()
    assert time.monotonic() - started < 5
    assert "1 requests unfinished" in daemon.log()
    _, properties, _ = service.get("daemon")
    assert properties.headers["UUID"] == number


def test_stop_timeout_abandons_a_hanging_handler(service, make_daemon):
    daemon = make_daemon(STOP_TIMEOUT="1").start()
    service.send({"__nt_name": "Do", "what": "sleep", "argument": 60})
    wait_for(lambda: daemon.runs(), what="the job runs")
    daemon.stop(timeout=10)
    assert "stop_timeout" in daemon.log()
    assert service.get("daemon")[0].redelivered


def test_sigterm_at_random_points(service, make_daemon):
    # P12: no loss, and no duplicate as long as the job fits the limit.
    rounds = 1000 if LONG else 8
    daemon = make_daemon(ECHO_PREFETCH="20").start()
    numbers = service.send_many(echoes(REQUESTS))
    for round_ in range(rounds):
        time.sleep(0.01 + 0.013 * (round_ % 7))  # a point in time, not a wait for something
        assert daemon.stop() == 0
        daemon.start()
    counts = service.collect(numbers)
    assert set(counts.values()) == {1}


def test_an_idle_daemon_stops_within_a_second(service, make_daemon):
    daemon = make_daemon().start()
    started = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - started < 1


def test_a_frozen_daemon_thaws_without_loss(service, make_daemon):
    daemon = make_daemon(RABBITMQ_HEARTBEAT="2", ECHO_PREFETCH="50").start()
    numbers = service.send_many(echoes(500))
    some_are_answered(service, 50)
    daemon.signal(signal.SIGSTOP)
    time.sleep(5)  # two heartbeats and more: the broker gives the connection up
    daemon.signal(signal.SIGCONT)
    service.collect(numbers)
    assert daemon.process.poll() is None
