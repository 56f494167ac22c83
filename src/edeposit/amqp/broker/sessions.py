"""Short work with the broker that a caller waits for: connect, do it, close, all within a limit.

For the tool and for scripts. Daemons and the client use ``engine.connection``, which never blocks.
What must stay true: nothing here waits longer than it was told to, although pika's
``BlockingConnection`` has no time limits, and every exception of pika is translated.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pika

from edeposit.amqp import settings
from edeposit.amqp.engine import diagnosis
from edeposit.amqp.engine.diagnosis import Diagnosis
from edeposit.amqp.engine.fastconnection import FastConnection
from edeposit.amqp.engine.parameters import getConParams
from edeposit.amqp.errors import AMQPError, CallTimeoutError

_T = TypeVar("_T")

# The closing handshake is a courtesy: a broker that has stopped answering gets no more time (s).
_CLOSE_TIMEOUT = 3.0

# Instead of heartbeats, which BlockingConnection answers only during its own calls: a pager or a
# slow disk behind the tool must not cost the connection. Seconds until the first probe,
# between probes, and how many may stay unanswered.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}


class BrokerError(AMQPError):
    """The broker refused something, or the connection was lost.

    Attributes:
        failure: what happened, with its stable code.
    """

    def __init__(self, failure: Diagnosis) -> None:
        super().__init__(str(failure))
        self.failure = failure


class NoConnectionError(BrokerError):
    """There is no connection to the broker to begin with."""


class NoVirtualHostError(NoConnectionError):
    """The broker is there, the virtual host is not, or not for this user.

    Attributes:
        host: the service, as ``get_amqp_settings()`` names it.
        vhost: its virtual host.
    """

    def __init__(self, failure: Diagnosis, host: str, vhost: str) -> None:
        super().__init__(failure)
        self.host = host
        self.vhost = vhost


def host_settings(host: str) -> dict[str, Any]:
    """Virtual host, exchange, queues, keys and bindings of a service.

    Raises:
        AMQPError: the settings know no such service.
        SettingsError: a setting is wrong.
    """
    try:
        return settings.get_amqp_settings()[host]
    except KeyError as error:
        raise AMQPError(f"there is no host {host!r} in the settings") from error


def connect(host: str) -> pika.BlockingConnection:
    """Connect to a service's virtual host.

    Args:
        host: the service, as ``get_amqp_settings()`` names it.

    Raises:
        NoVirtualHostError: the virtual host is missing, or closed to our user.
        NoConnectionError: no broker, wrong password, TLS trouble, no answer in time.
        AMQPError: no such host, or unusable connection settings.
    """
    vhost = host_settings(host)["vhost"]
    parameters = getConParams(vhost)
    parameters.heartbeat = 0
    parameters.tcp_options = _KEEPALIVE
    try:
        # One odd property of one message must not end the look at a queue.
        return pika.BlockingConnection(parameters, _impl_class=FastConnection)
    except (pika.exceptions.AMQPError, OSError) as error:
        failure = diagnosis.diagnose(error, parameters)
        if failure.code in ("no-vhost", "no-permission"):
            raise NoVirtualHostError(failure, host, vhost) from error
        raise NoConnectionError(failure) from error


def close(connection: pika.BlockingConnection) -> None:
    """Close politely, but wait for the broker's part only shortly; never raises."""

    def handshake() -> None:
        with contextlib.suppress(pika.exceptions.AMQPError, OSError):
            connection.close()

    # A thread, as the handshake cannot be interrupted. The caller uses the connection no more.
    thread = threading.Thread(target=handshake, name="amqp-close", daemon=True)
    thread.start()
    thread.join(_CLOSE_TIMEOUT)


@contextlib.contextmanager
def connected(host: str) -> Iterator[pika.BlockingConnection]:
    """A connection for the time of a ``with``; errors of pika come out as ours.

    Raises:
        BrokerError: the broker refused something, or the connection was lost.
        AMQPError: as ``connect``.
    """
    connection = connect(host)
    try:
        with translated(host):
            yield connection
    finally:
        close(connection)


@contextlib.contextmanager
def translated(host: str) -> Iterator[None]:
    """Turn pika's exceptions into a ``BrokerError`` that a person can act on."""
    try:
        yield
    except pika.exceptions.AMQPError as error:
        parameters = getConParams(host_settings(host)["vhost"])
        raise BrokerError(diagnosis.diagnose(error, parameters)) from error


def within(timeout: float | None, work: Callable[..., _T], *arguments: Any) -> _T:
    """Call ``work(*arguments)``, but do not wait for it longer than ``timeout``.

    Args:
        timeout: seconds; None or negative is no limit.
        work: is left alone in its thread when the time is over; what it had sent stays sent.
        arguments: of ``work``.

    Raises:
        CallTimeoutError: it has not ended in time.
    """
    deadline = deadline_of(timeout)
    if deadline is None:
        return work(*arguments)
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(*arguments))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="amqp-work", daemon=True)
    thread.start()
    thread.join(max(deadline - time.monotonic(), 0))
    if errors:
        raise errors[0]
    if not results:
        raise CallTimeoutError(f"not done within {timeout:g} s")
    return results[0]


def deadline_of(timeout: float | None) -> float | None:
    """``time.monotonic()`` at the end of a limit; None for no limit (None or negative)."""
    if timeout is None or timeout < 0:
        return None
    # Above this (31 years) locks refuse to wait.
    return time.monotonic() + min(timeout, 1e9)
