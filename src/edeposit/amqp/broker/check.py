"""Is a service alive from end to end? A request goes through its exchange and queue to its daemon,
which answers it itself; the service's function is not called.

The exit codes are those of the monitoring plugins (Nagios, Icinga):
https://www.monitoring-plugins.org/doc/guidelines.html#PLUGOUTPUT
"""

import json
import time
import uuid
from typing import NamedTuple

import pika
from pika.exceptions import UnroutableError

from edeposit.amqp.broker.sessions import connected, host_settings, within
from edeposit.amqp.contract import CONTENT_TYPE, PING_HEADER, UUID_HEADER
from edeposit.amqp.errors import AMQPError, CallTimeoutError
from edeposit.amqp.settings import SettingsError

OK, CRITICAL, UNKNOWN = 0, 2, 3
_WORDS = {OK: "OK", CRITICAL: "CRITICAL", UNKNOWN: "UNKNOWN"}

# A pseudo-queue of RabbitMQ (https://www.rabbitmq.com/docs/direct-reply-to): nothing is declared.
_REPLY_TO = "amq.rabbitmq.reply-to"
# A daemon that knows no checks answers that it knows no such class, which will do as well.
_BODY = b'{"__nt_name": "Ping"}'


class Check(NamedTuple):
    """What was found.

    Attributes:
        host: the service.
        code: OK, CRITICAL or UNKNOWN, an exit code.
        text: one line for people.
        seconds: from the request to its answer; None if there was none.
    """

    host: str
    code: int
    text: str
    seconds: float | None = None

    def as_text(self) -> str:
        """One line, with what monitoring systems draw curves of."""
        figures = "" if self.seconds is None else f"|time={self.seconds:.6f}s"
        return f"{_WORDS[self.code]}: {self.host}: {self.text}{figures}"

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps({**self._asdict(), "code": _WORDS[self.code]})


def check(host: str, timeout: float = 10.0) -> Check:
    """Ask a service's daemon whether it answers; raises nothing.

    Args:
        host: the service, as the settings name it.
        timeout: seconds for everything.
    """
    progress = ["there is no connection to the broker"]
    try:
        config = host_settings(host)
        seconds = within(timeout, _ask, host, config, timeout, progress)
    except CallTimeoutError:
        return Check(host, CRITICAL, f"after {timeout:g} s {progress[-1]}")
    except SettingsError as error:
        return Check(host, UNKNOWN, _line(error))
    except (AMQPError, OSError) as error:
        return Check(host, CRITICAL, _line(error))
    return Check(host, OK, f"answered in {seconds:.3f} s", seconds)


def _line(error: Exception) -> str:
    # A bar would begin the figures.
    return " ".join(str(error).split()).replace("|", "/")


def _ask(host: str, config: dict[str, str], timeout: float, progress: list[str]) -> float:
    """Send a request and wait for its answer; returns the seconds between the two."""
    number = str(uuid.uuid4())
    properties = pika.BasicProperties(
        content_type=CONTENT_TYPE,
        headers={UUID_HEADER: number, PING_HEADER: True},
        correlation_id=number,
        reply_to=_REPLY_TO,
        # Nobody waits for it then; requests of checks must not pile up while the daemon is down.
        expiration=str(int(timeout * 1000)),
    )
    answers: list[str | None] = []
    with connected(host) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_consume(
            _REPLY_TO,
            lambda _channel, _method, answered, _body: answers.append(answered.correlation_id),
            auto_ack=True,
        )
        started = time.monotonic()
        try:
            channel.basic_publish(config["exchange"], config["in_key"], _BODY, properties, True)
        except UnroutableError as error:
            key = f"{config['exchange']!r} with key {config['in_key']!r}"
            raise AMQPError(f"no queue is bound to exchange {key}") from error
        progress.append(_waiting(connection, config["in_queue"]))
        while number not in answers:
            connection.process_data_events(time_limit=1.0)
        return time.monotonic() - started


def _waiting(connection: pika.BlockingConnection, queue: str) -> str:
    """What there is to say if no answer comes."""
    found = connection.channel().queue_declare(queue, passive=True).method
    return (
        f"there is no answer; in queue {queue!r}: {found.message_count} requests waiting,"
        f" {found.consumer_count} consumers"
    )
