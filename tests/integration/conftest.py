"""What the integration tests share: a schema in a fresh virtual host, and daemons as processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pika
import pytest

from edeposit.amqp.testing import wait_for

ECHO = Path(__file__).parent.parent / "daemons" / "echo.py"


class Service:
    """The echo service's exchange and queues, and a plain pika connection to them."""

    def __init__(self, rabbit, vhost, queue_type="classic"):
        self.rabbit = rabbit
        self.vhost = vhost
        self.arguments = {} if queue_type == "classic" else {"x-queue-type": queue_type}
        self.reconnect()
        self.declare()

    def parameters(self, port=None):
        return pika.ConnectionParameters(
            self.rabbit.host, port or self.rabbit.port, self.vhost, heartbeat=0
        )

    @property
    def version(self):
        """The broker's version, such as (4, 3)."""
        text = self.connection._impl.server_properties["version"]
        return tuple(int(part) for part in text.split(".")[:2])

    def reconnect(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                self.connection = pika.BlockingConnection(self.parameters())
                break
            except pika.exceptions.AMQPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def declare(self, parking=True):
        self.channel.exchange_declare("echo", "topic", durable=True)
        for queue, key in (("daemon", "request"), ("plone", "result")):
            self.channel.queue_declare(queue, durable=True, arguments=self.arguments)
            self.channel.queue_bind(queue, "echo", key)
        if parking:
            self.channel.queue_declare("daemon.undeliverable", durable=True)

    def restrict(self, write, configure="^$"):
        """Make a user that may do only so much; returns the settings of a daemon that is it."""
        name = f"low-{uuid.uuid4().hex[:8]}"
        self.rabbit.ctl("add_user", name, "pw")
        self.rabbit.ctl(
            "set_permissions", "-p", self.vhost, name, configure, write, "^(daemon|echo)$"
        )
        return {"RABBITMQ_USER_NAME": name, "RABBITMQ_USER_PASSWORD": "pw"}

    def send(self, body, *, key="request", headers=True, exchange="echo", **properties):
        """Publish a request; returns its UUID. ``headers=True`` makes the usual ones."""
        number = str(uuid.uuid4())
        if headers is True:
            headers = {"UUID": number}
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        self.channel.basic_publish(
            exchange,
            key,
            body,
            pika.BasicProperties(
                content_type="application/json", delivery_mode=2, headers=headers, **properties
            ),
            mandatory=True,
        )
        return number

    def send_many(self, bodies):
        """Publish quickly, in one transaction; when this returns the broker has all on disk."""
        channel = self.connection.channel()
        channel.tx_select()
        numbers = []
        for body in bodies:
            number = str(uuid.uuid4())
            channel.basic_publish(
                "echo",
                "request",
                json.dumps(body),
                pika.BasicProperties(delivery_mode=2, headers={"UUID": number}),
            )
            numbers.append(number)
        channel.tx_commit()
        channel.close()
        return numbers

    def count(self, queue):
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def get(self, queue="plone", timeout=10):
        """Take the next message from a queue: (method, properties, body)."""
        deadline = time.monotonic() + timeout
        while True:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if method is not None:
                return method, properties, body
            assert time.monotonic() < deadline, f"no message in {queue} within {timeout} s"
            self.connection.sleep(0.01)

    def answer(self, timeout=10):
        """The next answer as (UUID, value or (exception name, text))."""
        _, properties, body = self.get(timeout=timeout)
        headers = properties.headers
        if "exception" in headers:
            return headers["UUID"], (headers["exception_name"], headers["exception"])
        return headers["UUID"], json.loads(body)

    def collect(self, expected, timeout=60):
        """Take answers until all expected UUIDs have come; returns UUID -> how often.

        Survives broker restarts; extra answers (duplicates) that come within the collecting are
        counted.
        """
        missing = set(expected)
        counts = {}
        deadline = time.monotonic() + timeout
        while missing:
            assert time.monotonic() < deadline, f"{len(missing)} of {len(expected)} are missing"
            try:
                # Acked only after counting, so that a connection lost in between hides nothing.
                method, properties, _ = self.channel.basic_get("plone")
                if method is None:
                    self.connection.sleep(0.02)
                    continue
                number = properties.headers["UUID"]
                self.channel.basic_ack(method.delivery_tag)
            except (pika.exceptions.AMQPError, pika.exceptions.ChannelClosed):
                self.reconnect()
                continue
            counts[number] = counts.get(number, 0) + 1
            missing.discard(number)
        return counts

    def is_still_answering(self):
        """The daemon answers an ordinary request."""
        number = self.send({"__nt_name": "Echo", "value": "alive?"})
        while True:
            got, value = self.answer()
            if got == number:
                assert value == {"__nt_name": "Echo", "value": "alive?"}
                return True

    def nothing_left(self):
        """Every delivery was acked: the queue is empty, and no daemon holds any of it."""
        wait_for(lambda: not self.has_messages(), what="requests are left")
        return True

    def has_messages(self):
        rows = self.rabbit.ctl(
            "-q", "list_queues", "-p", self.vhost, "name", "messages", "--no-table-headers"
        )
        return dict(line.split("\t") for line in rows.splitlines() if line)["daemon"] != "0"

    def close(self):
        with contextlib.suppress(pika.exceptions.AMQPError):
            self.connection.close()


class EchoDaemon:
    """``tests/daemons/echo.py`` as a foreground process of its own."""

    def __init__(self, rabbit, vhost, tmp_path, name="echo", port=None, **environment):
        self.directory = tmp_path
        self.name = name
        self.log_path = tmp_path / f"{name}.err"
        self.runs_path = tmp_path / f"{name}.runs"
        self.environment = {
            **os.environ,
            **rabbit.env(),
            "ECHO_VHOST": vhost,
            "ECHO_NAME": name,
            "ECHO_RUNS": str(self.runs_path),
            "PID_DIR": str(tmp_path / "run"),
            "LOG_LEVEL": "DEBUG",
            "HOME": str(tmp_path),
            **environment,
        }
        if port is not None:
            self.environment["RABBITMQ_PORT"] = str(port)
        self.process = None

    def start(self, ready=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ECHO), "run"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if ready:
            before = self.process
            wait_for(
                lambda: before.poll() is not None or self.state() == "consuming",
                timeout=20,
                what="daemon is not consuming",
            )
            assert before.poll() is None, self.log()
        return self

    def status(self):
        try:
            text = (self.directory / "run" / f"{self.name}.status").read_text("utf-8")
            status = json.loads(text)
        except (FileNotFoundError, ValueError):
            return {}
        return status if self.process and status.get("pid") == self.process.pid else {}

    def state(self):
        return self.status().get("state")

    def log(self):
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def runs(self):
        """One line for each time that the handler was run."""
        return self.runs_path.read_text("utf-8").splitlines() if self.runs_path.exists() else []

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def stop(self, timeout=20):
        """SIGTERM, wait; returns the exit code."""
        self.signal()
        return self.process.wait(timeout)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(params=["classic"])
def queue_type(request):
    return request.param


@pytest.fixture
def service(rabbit, vhost, queue_type):
    service = Service(rabbit, vhost, queue_type)
    yield service
    service.close()


@pytest.fixture
def make_daemon(rabbit, vhost, tmp_path):
    """Make (not start) echo daemons; whatever still runs is killed afterwards."""
    daemons = []

    def make(**options):
        daemon = EchoDaemon(rabbit, vhost, tmp_path, **options)
        daemons.append(daemon)
        return daemon

    yield make
    for daemon in daemons:
        daemon.kill()


@pytest.fixture
def daemon(service, make_daemon):
    """A running echo daemon."""
    return make_daemon().start()
