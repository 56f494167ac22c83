"""The broker's copies of a message: each job runs once at a daemon, each sender gets its answer."""

import contextlib
import json
import os
import time

import pika
import pytest

from edeposit.amqp.testing import RabbitNode, wait_for

from .conftest import EchoDaemon, Service

LONG = os.environ.get("EDEPOSIT_LONG_TESTS") == "1"


def sleep(seconds):
    return {"__nt_name": "Do", "what": "sleep", "argument": seconds}


def jobs(daemon, what="sleep"):
    return [run for run in daemon.runs() if what in run]


def kill_queue(service, queue="daemon"):
    """The queue's process crashes; RabbitMQ starts it again and cancels its consumers."""
    service.rabbit.ctl(
        "eval",
        f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{service.vhost}">>, queue,'
        f' <<"{queue}">>)), exit(amqqueue:get_pid(Q), kill).',
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"reply_to": "alice"}, {"reply_to": "bob"}),
        ({"key": "alice.request"}, {"key": "bob.request"}),
        ({"reply_to": "alice", "correlation_id": "1"}, {"reply_to": "bob", "correlation_id": "1"}),
    ],
    ids=["reply_to", "key", "correlation_id"],
)
def test_equal_requests_of_two_senders_are_two_jobs(service, make_daemon, proxy, first, second):
    for name in ("alice", "bob"):
        service.channel.queue_declare(name)
        service.channel.queue_bind("daemon", "echo", f"{name}.request")
        service.channel.queue_bind(name, "echo", f"{name}.result")
    daemon = make_daemon(port=proxy.port, ECHO_CONCURRENCY="2").start()
    for address in (first, second):
        service.send(sleep(2), headers={"UUID": "1"}, **address)
    wait_for(lambda: len(jobs(daemon)) == 2, what="both jobs run")
    proxy.cut()
    assert service.get("alice", timeout=20)[1].headers["UUID"] == "1"
    assert service.get("bob", timeout=20)[1].headers["UUID"] == "1"
    assert service.nothing_left()
    assert len(jobs(daemon)) == 2


def test_equal_requests_of_one_sender_are_all_answered(service, make_daemon, proxy):
    daemon = make_daemon(port=proxy.port, ECHO_CONCURRENCY="3", ECHO_PREFETCH="3").start()
    for _ in range(3):
        service.send(sleep(2), headers={"UUID": "1"})
    wait_for(lambda: len(jobs(daemon)) == 3, what="all jobs run")
    proxy.cut()
    for _ in range(3):
        assert service.answer(timeout=20)[0] == "1"
    assert service.nothing_left()
    assert len(jobs(daemon)) == 3


def test_a_job_answers_at_once_and_its_copy_is_not_run_wherever_it_was(service, make_daemon, proxy):
    daemon = make_daemon(port=proxy.port).start()
    number = service.send(sleep(3))
    wait_for(lambda: jobs(daemon), what="the job runs")
    # Somebody else takes the copy and keeps it.
    other = pika.BlockingConnection(service.parameters())
    channel = other.channel()
    copies = []
    channel.basic_consume("daemon", lambda *copy: copies.append(copy))
    proxy.cut()
    wait_for(lambda: other.process_data_events(0.05) or copies, what="the copy is elsewhere")
    assert service.answer(timeout=20)[0] == number
    assert service.has_messages()
    channel.basic_cancel(copies[0][1].consumer_tag)
    channel.basic_nack(copies[0][1].delivery_tag, requeue=True)
    assert service.nothing_left()
    assert len(jobs(daemon)) == 1
    assert service.count("plone") == 0
    assert "answered job" in daemon.log()
    other.close()


def test_a_crash_of_the_queue_lets_the_job_run_once(service, daemon):
    number = service.send(sleep(3))
    behind = service.send({"__nt_name": "Echo", "value": 1})
    wait_for(lambda: jobs(daemon), what="the job runs")
    kill_queue(service)
    counts = service.collect([number, behind], timeout=20)
    assert counts == {number: 1, behind: 1}
    assert service.is_still_answering()
    assert service.nothing_left()
    assert len(jobs(daemon)) == 1
    assert "next attempt" not in daemon.log()  # the channel stayed


def test_a_quorum_queue_that_is_declared_again_at_once_is_consumed(rabbit, vhost, make_daemon):
    service = Service(rabbit, vhost, "quorum")
    daemon = make_daemon(ECHO_IDLE_MOST="2").start()
    assert service.is_still_answering()
    service.channel.queue_delete("daemon")
    service.declare()  # the broker tells the consumer nothing
    number = service.send({"__nt_name": "Echo", "value": 1})
    assert service.answer(timeout=30)[0] == number
    assert service.is_still_answering()
    assert daemon.process.poll() is None
    service.close()


@contextlib.contextmanager
def impatient_service(queue_type, milliseconds, tick=1000):
    """A broker with a short ack limit (ms); it looks every ``tick`` ms, None: once a minute."""
    with RabbitNode([f"consumer_timeout = {milliseconds}"]) as node:
        if tick is not None:
            node.ctl("eval", f"application:set_env(rabbit, channel_tick_interval, {tick}).")
        node.add_vhost("ack")
        service = Service(node, "ack", queue_type)
        try:
            if queue_type == "classic" and service.version >= (4, 3):
                pytest.skip("classic queues have no ack limit since RabbitMQ 4.3")
            yield service
        finally:
            service.close()


def ack_limit_was_met(service, daemon):
    """RabbitMQ 4.3 cancels the consumer, earlier ones close the channel."""
    text = "cancelled the consumer" if service.version >= (4, 3) else "ack-timeout"
    return text in daemon.log()


both_queue_types = pytest.mark.parametrize("queue_type", ["classic", "quorum"])


@both_queue_types
@pytest.mark.parametrize(
    ("limit", "tick", "seconds"),
    [(1000, 1000, 8), pytest.param(10_000, None, 130, marks=pytest.mark.timeout(300))],
    ids=["fast", "real"],
)
def test_a_job_longer_than_the_ack_limit_runs_once(tmp_path, queue_type, limit, tick, seconds):
    if tick is None and not LONG:
        seconds = 75
    with impatient_service(queue_type, limit, tick) as service:
        daemon = EchoDaemon(service.rabbit, "ack", tmp_path).start()
        try:
            number = service.send(sleep(seconds))
            behind = service.send({"__nt_name": "Echo", "value": 1})
            counts = service.collect([number, behind], timeout=seconds + 30)
            assert counts == {number: 1, behind: 1}
            assert service.nothing_left()
            assert len(jobs(daemon)) == 1
            assert ack_limit_was_met(service, daemon)
            assert service.is_still_answering()
        finally:
            daemon.kill()


@both_queue_types
def test_jobs_that_are_overdue_one_after_the_other_run_once(tmp_path, queue_type):
    """RabbitMQ 4.3 cancels the same consumer for each of them, and returns only what is overdue."""
    with impatient_service(queue_type, 2000) as service:
        daemon = EchoDaemon(
            service.rabbit, "ack", tmp_path, ECHO_CONCURRENCY="4", ECHO_PREFETCH="8"
        ).start()
        try:
            numbers = []
            for count, seconds in enumerate((7, 6, 2.5), 1):
                numbers.append(service.send(sleep(seconds)))
                wait_for(lambda n=count: len(jobs(daemon)) == n, what="the job runs")
                service.connection.sleep(0.7)  # so that each has a limit of its own
            numbers += [service.send({"__nt_name": "Echo", "value": n}) for n in range(20)]
            assert service.collect(numbers, timeout=30) == dict.fromkeys(numbers, 1)
            assert service.nothing_left()
            assert len(jobs(daemon)) == 3
            assert ack_limit_was_met(service, daemon)
            assert service.is_still_answering()
            assert service.channel.queue_declare("daemon", passive=True).method.consumer_count == 1
        finally:
            daemon.kill()


@both_queue_types
def test_two_daemons_and_a_job_longer_than_the_ack_limit(tmp_path, queue_type):
    """A second run is possible, an unanswered request is not, and it ends."""
    with impatient_service(queue_type, 1000) as service:
        daemons = [EchoDaemon(service.rabbit, "ack", tmp_path, name=name).start() for name in "ab"]
        try:
            number = service.send(sleep(6))
            assert service.answer(timeout=20)[0] == number
            assert service.nothing_left()
            assert 1 <= sum(len(jobs(daemon)) for daemon in daemons) <= 2
        finally:
            for daemon in daemons:
                daemon.kill()


def test_prefetched_bodies_of_lost_channels_are_freed(service, make_daemon, proxy):
    daemon = make_daemon(port=proxy.port, ECHO_PREFETCH="20").start()
    service.send(sleep(60))
    for _ in range(19):
        service.send(json.dumps("x" * 1_000_000))
    status = f"/proc/{daemon.process.pid}/statm"

    def megabytes():
        with open(status, encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def held():
        rows = service.rabbit.ctl(
            "-q",
            "list_queues",
            "-p",
            service.vhost,
            "name",
            "messages_unacknowledged",
            "--no-table-headers",
        )
        return dict(row.split("\t") for row in rows.splitlines())["daemon"] == "20"

    wait_for(held, what="all are prefetched")
    before = megabytes()
    for losses in range(1, 5):
        proxy.cut()
        wait_for(
            lambda n=losses: daemon.log().count("next attempt") >= n, what="the loss is noticed"
        )
        wait_for(lambda: daemon.state() == "consuming" and held(), timeout=30, what="all again")
    assert megabytes() - before < 35


def test_a_request_that_kills_its_process_is_answered_with_an_exception(service, make_daemon):
    daemon = make_daemon(ECHO_PREFETCH="5")
    deadly = service.send({"__nt_name": "Do", "what": "abort", "argument": None})
    others = [service.send({"__nt_name": "Echo", "value": n}) for n in range(4)]
    deaths = 0
    while True:
        daemon.start(ready=False)
        wait_for(
            lambda: daemon.process.poll() is not None or service.count("plone") >= 5,
            timeout=20,
            what="it dies, or all are answered",
        )
        if daemon.process.poll() is None:
            break
        deaths += 1
        assert deaths < 10
    assert deaths == 3
    answers = dict(service.answer() for _ in range(5))
    assert answers[deadly][0] == "DeadlyRequestError"
    assert set(answers) == {deadly, *others}
    assert service.get("daemon.undeliverable")[1].headers["UUID"] == deadly
    assert service.nothing_left()


def test_a_job_that_is_stopped_is_not_taken_for_deadly(service, make_daemon):
    daemon = make_daemon(STOP_TIMEOUT="0.1")
    number = service.send(sleep(30))
    for run in range(1, 5):
        daemon.start()
        wait_for(lambda run=run: len(jobs(daemon)) == run, what="the job runs")
        daemon.stop()
    assert service.count("plone") == 0
    assert service.get("daemon")[1].headers["UUID"] == number


def test_a_dead_handler_thread_is_replaced_and_told(service, daemon):
    service.send({"__nt_name": "Do", "what": "kill-thread", "argument": None})
    service.answer()
    time.sleep(0.4)  # until the exception is set; nothing shows it
    assert service.is_still_answering()
    assert service.is_still_answering()
    wait_for(lambda: daemon.status().get("handlers_replaced") == 1, what="status tells it")
    assert "has died and is replaced" in daemon.log()
    assert service.nothing_left()


def test_what_is_sent_outside_a_handler_survives_its_connection(service, make_daemon, proxy):
    daemon = make_daemon(port=proxy.port, ECHO_SEND_WHEN=str(service.vhost)).start()
    proxy.stall("up")
    daemon.signal(10)  # SIGUSR1: the test daemon sends a message from its own thread
    wait_for(lambda: "sent outside" in daemon.log(), what="sendMessage has returned")
    proxy.resume()
    proxy.cut()
    assert service.get(timeout=20)[2] == b"important"
