"""``SenderDaemon``: what it sends arrives, whatever happens to broker and binding; it ends well."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pika
import pytest

from edeposit.amqp.testing import RabbitNode, wait_for

SENDER = Path(__file__).parents[1] / "daemons" / "sender.py"
CLOCK = Path(__file__).parents[2] / "docs" / "examples" / "clock.py"


@pytest.fixture
def start(rabbit, vhost, tmp_path):
    """Start the sender in the foreground; it is killed at the end."""
    processes = []

    def start(what="count", node=rabbit):
        environment = {
            **os.environ,
            **node.env(),
            "SENDER_VHOST": vhost,
            "SENDER_WHAT": what,
            "PID_DIR": str(tmp_path / "run"),
            "LOG_TARGET": str(tmp_path / "sender.log"),
            "HOME": str(tmp_path),
        }
        process = subprocess.Popen(
            [sys.executable, str(SENDER), "run"], env=environment, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def state(tmp_path):
    file = tmp_path / "run" / "sender.status"
    try:
        return json.loads(file.read_text("utf-8"))["state"]
    except (FileNotFoundError, ValueError):
        return None


def test_messages_are_persistent_and_carry_their_uuid(service, start):
    start()
    _, properties, body = service.get()
    assert body == b"0"
    assert properties.headers["UUID"] == "u-0"
    assert (properties.delivery_mode, properties.content_type) == (2, "application/json")


def test_nothing_is_missing_after_broker_and_binding_were_away(service, start, rabbit, tmp_path):
    start()
    seen = {service.get()[1].headers["UUID"]}
    service.channel.queue_unbind("plone", "echo", "result")
    log = tmp_path / "sender.log"
    wait_for(lambda: "is not sent" in log.read_text("utf-8"), what="the daemon tells it")
    service.channel.queue_bind("plone", "echo", "result")
    rabbit.stop_app()
    wait_for(lambda: state(tmp_path) == "reconnecting", what="the daemon notices")
    rabbit.start_app()
    service.reconnect()
    expected = {f"u-{n}" for n in range(200)}
    wait_for(
        lambda: seen.add(service.get(timeout=20)[1].headers["UUID"]) or expected <= seen,
        30,
        "all numbers",
    )


def test_sigterm_ends_it_within_a_second_or_two(service, start, tmp_path):
    process = start()
    service.get()
    assert state(tmp_path) == "connected"
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    assert state(tmp_path) == "drained"


def test_sigterm_while_it_waits_for_a_binding(service, start, tmp_path):
    service.channel.queue_unbind("plone", "echo", "result")
    process = start()
    log = tmp_path / "sender.log"
    wait_for(lambda: log.exists() and "is not sent" in log.read_text("utf-8"), what="it is told")
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0


def test_work_that_returns_ends_the_daemon_when_all_is_confirmed(service, start):
    process = start("return")
    assert process.wait(10) == 0
    assert service.get()[2] == b'"only"'


@pytest.mark.parametrize("what", ["fail", "unserializable"])
def test_work_that_fails_ends_the_daemon_with_an_error(service, start, tmp_path, what):
    assert start(what).wait(10) == 1
    assert "the work has failed" in (tmp_path / "sender.log").read_text("utf-8")


def test_a_message_that_is_too_large_is_told_with_the_limit(vhost, start):
    with RabbitNode(["max_message_size = 1000000"]) as node:
        node.add_vhost(vhost)
        connection = pika.BlockingConnection(
            pika.ConnectionParameters(port=node.port, virtual_host=vhost)
        )
        channel = connection.channel()
        channel.exchange_declare("echo", "topic", durable=True)
        channel.queue_declare("plone", durable=True)
        channel.queue_bind("plone", "echo", "result")
        start("large", node)
        message = wait_for(
            lambda: (found := channel.basic_get("plone", auto_ack=True))[0] and found, 20, "answer"
        )
        assert message[2] == b'"1000000"'
        assert message[1].headers["UUID"] == "u-small"
        connection.close()


def test_a_missing_exchange_is_said_at_start(rabbit, vhost, start):
    process = start()
    assert process.wait(10) == 1
    assert "no exchange 'echo'" in process.stderr.read()


def test_the_example_of_the_manual(rabbit, tmp_path):
    rabbit.add_vhost("clock")
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(port=rabbit.port, virtual_host="clock")
    )
    channel = connection.channel()
    channel.exchange_declare("clock", "topic", durable=True)
    channel.queue_declare("clock", durable=True)
    channel.queue_bind("clock", "clock", "result")
    environment = {
        **os.environ,
        **rabbit.env(),
        "PID_DIR": str(tmp_path / "run"),
        "LOG_TARGET": str(tmp_path / "log"),
        "HOME": str(tmp_path),
    }

    def run(action):
        return subprocess.run(
            [sys.executable, str(CLOCK), action],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    try:
        assert run("start").returncode == 0
        wait_for(lambda: channel.basic_get("clock", auto_ack=True)[0], 20, "the time")
        status = run("status").stdout
        assert "connected" in status
        assert "exchange clock, sent " in status
    finally:
        assert run("stop").returncode == 0
        connection.close()
        rabbit.delete_vhost("clock")
