"""Requests at a steady rate, confirmed by the broker, and everything that comes back."""

import copy
import json
import os
import random
import threading
import time
import uuid
from collections import Counter

import pika
from worker import Done, Work

from edeposit.amqp import settings
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import AMQPError, CallTimeoutError, RemoteError

_WORK = [
    (900, "echo", lambda rng: 0),
    (50, "sleep", lambda rng: rng.random() * 0.05),
    (3, "sleep", lambda rng: 1 + rng.random() * 3),
    (20, "raise", lambda rng: 0),
    (5, "exit", lambda rng: 0),
    (10, "big", lambda rng: rng.randrange(1000, 1_000_000)),
    (10, "progress", lambda rng: rng.randrange(1, 4)),
    (5, "print", lambda rng: rng.randrange(1, 2000)),
]
_BATCH = 20


class _Worker:
    """A thread with a connection of its own that outlives broker restarts."""

    def __init__(self, parameters):
        self.parameters = parameters
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping.is_set():
            try:
                connection = pika.BlockingConnection(self.parameters)
                try:
                    self.work(connection)
                finally:
                    if connection.is_open:
                        connection.close()
            except (pika.exceptions.AMQPError, OSError, AssertionError):
                self.stopping.wait(0.3)

    def stop(self):
        self.stopping.set()
        self.thread.join(30)


class Publisher(_Worker):
    """Publishes in transactions: when one is committed, the broker has its messages on disk."""

    def __init__(self, parameters, oracle, rate, seed):
        self.oracle = oracle
        self.rate = rate
        self.rng = random.Random(seed)
        self.pause = threading.Event()
        self.idle = threading.Event()
        super().__init__(parameters)

    def work(self, connection):
        channel = connection.channel()
        channel.tx_select()
        due = time.monotonic()
        while not self.stopping.is_set():
            if self.pause.is_set():
                self.idle.set()
                connection.sleep(0.05)
                due = time.monotonic()
                continue
            self.idle.clear()
            numbers = [self._publish(channel) for _ in range(_BATCH)]
            channel.tx_commit()
            self.oracle.confirm(numbers)
            due = max(due + _BATCH / self.rate, time.monotonic() - 1)
            connection.sleep(max(due - time.monotonic(), 0))

    def _publish(self, channel):
        number = str(uuid.UUID(int=self.rng.getrandbits(128)))
        (kind,) = self.rng.choices(_WORK, [row[0] for row in _WORK])
        body = {
            "__nt_name": "Work",
            "number": number,
            "what": kind[1],
            "argument": kind[2](self.rng),
        }
        channel.basic_publish(
            "chaos",
            "request",
            json.dumps(body),
            pika.BasicProperties(delivery_mode=2, headers={"UUID": number}),
        )
        return number


class Collector(_Worker):
    """Takes what comes to a queue, tells the oracle, then acks."""

    def __init__(self, parameters, oracle, queue="plone"):
        self.oracle = oracle
        self.queue = queue
        super().__init__(parameters)

    def work(self, connection):
        channel = connection.channel()
        channel.basic_qos(prefetch_count=200)
        for method, properties, _body in channel.consume(self.queue, inactivity_timeout=0.2):
            if self.stopping.is_set():
                return
            if method is None:
                continue
            headers = properties.headers or {}
            number = headers.get("UUID")
            if self.queue != "plone":
                self.oracle.was_parked(number)
            elif headers.get("x-edeposit-progress"):
                self.oracle.told_progress()
            else:
                self.oracle.answered(number)
            channel.basic_ack(method.delivery_tag)


class Caller:
    """Calls a service one request after another, as a program that uses the client does."""

    def __init__(self, parameters, port):
        self.answered = self.exceptions = self.unanswered = 0
        self.errors = Counter()
        self.parameters = copy.copy(parameters)
        self.parameters.port = port
        self.stopping = threading.Event()
        self.pause = threading.Event()
        self.idle = threading.Event()
        # The client finds exchange and keys in the settings, as for a service that ships.
        os.environ["RABBITMQ_ANTIVIRUS_EXCHANGE"] = "chaos"
        settings.reload()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with AMQPClient("antivirus", glob=[Work, Done], parameters=self.parameters) as client:
            while not self.stopping.is_set():
                if self.pause.is_set():
                    self.idle.set()
                    self.stopping.wait(0.05)
                    continue
                self.idle.clear()
                number = str(uuid.uuid4())
                try:
                    answer = client.call(Work(number, "echo", 0), timeout=60)
                except RemoteError:
                    self.exceptions += 1
                except CallTimeoutError:
                    self.unanswered += 1
                except AMQPError as error:
                    self.errors[f"{type(error).__name__}: {error}"[:100]] += 1
                    self.stopping.wait(0.2)
                else:
                    assert answer.number == number, "an answer of another call"
                    self.answered += 1
                self.stopping.wait(0.01)

    def stop(self):
        self.stopping.set()
        self.thread.join(70)
