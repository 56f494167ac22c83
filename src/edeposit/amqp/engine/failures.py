"""What a lost or refused connection means, in one line a person can act on.

pika reports a failed connection as nested exceptions whose texts are made for developers. Here
they become a ``Failure``: a stable code, one sentence that says what to repair, and whether
trying again soon makes sense.
"""

import re
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

import pika
from pika.adapters.utils import connection_workflow as workflow
from pika.exceptions import (
    AMQPConnectionError,
    AMQPHeartbeatTimeout,
    AuthenticationError,
    ChannelClosed,
    ChannelClosedByBroker,
    ConnectionClosed,
    ConnectionClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from edeposit.amqp.errors import AMQPError

# RabbitMQ states its limit only in this text (rabbit_channel.erl); there is no field for it.
_TOO_LARGE = re.compile(r"message size (\d+) .*larger than (?:configured )?max size (\d+)")


class Failure(NamedTuple):
    """Why there is no working connection.

    Attributes:
        code: stable short name, for status output and log searches.
        text: one sentence for people.
        stubborn: True if only a person can repair it; it is retried, slowly.
        reply_code: with which the broker has closed channel or connection; 0 if it has not.
    """

    code: str
    text: str
    stubborn: bool
    reply_code: int = 0

    def __str__(self) -> str:
        return f"{self.text} [{self.code}]"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything pika wrapped in it, outermost first."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        current = todo.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        todo += getattr(current, "exceptions", ())
        todo.append(getattr(current, "exception", None))
        todo += [arg for arg in current.args if isinstance(arg, BaseException)]
        todo += [current.__cause__, current.__context__]


def explain(error: BaseException, parameters: pika.ConnectionParameters) -> Failure:
    """Translate what pika reported into a ``Failure``. Never contains the password."""
    return _explain(error, parameters)._replace(reply_code=reply_code(error))


def reply_code(error: BaseException) -> int:
    """The broker's reply code if it has closed the channel or the connection, else 0."""
    for cause in _causes(error):
        if isinstance(cause, (ChannelClosedByBroker, ConnectionClosedByBroker)):
            return int(cause.reply_code)
    return 0


def _explain(error: BaseException, parameters: pika.ConnectionParameters) -> Failure:
    where = f"{parameters.host}:{parameters.port}"
    causes = list(_causes(error))
    user = getattr(parameters.credentials, "username", "?")
    if isinstance(error, AMQPError):
        return Failure("given-up", f"connection to {where} is given up: {error}", False)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _explain_tls(cause, where)
    for cause in causes:
        if isinstance(cause, (AuthenticationError, ProbableAuthenticationError)):
            return Failure(
                "access-refused", f"RabbitMQ at {where} refuses user {user!r}: check name"
                " and password", True,
            )  # fmt: skip
        if isinstance(cause, ConnectionClosed):
            return _explain_close(cause, parameters, where, user)
        if isinstance(cause, ChannelClosed):
            return _explain_channel(cause, parameters)
    for cause in causes:
        if isinstance(cause, ProbableAccessDeniedError):
            return _vhost_failure(parameters, where, user)
        if isinstance(cause, IncompatibleProtocolError):
            # pika's guess for any connection that ends before the broker's greeting.
            return Failure(
                "not-amqp",
                f"{where} closed the connection before it spoke AMQP: is the broker up, is it the"
                " right port, is TLS needed (RABBITMQ_SSL)?",
                False,
            )
        if isinstance(cause, AMQPHeartbeatTimeout):
            return Failure("heartbeat", f"no sign of life from {where} (missed heartbeats)", False)
        if isinstance(cause, (workflow.AMQPConnectorStackTimeout, socket.timeout)):
            return Failure("timeout", f"no answer from {where} in time", False)
        if isinstance(cause, socket.gaierror):
            return Failure(
                "unknown-host", f"host name {parameters.host!r} cannot be resolved", False
            )
        if isinstance(cause, OSError):
            reason = cause.strerror or str(cause)
            return Failure("unreachable", f"can't connect to RabbitMQ at {where}: {reason}", False)
    kind = "lost" if isinstance(error, AMQPConnectionError) else "error"
    return Failure(kind, f"connection to {where} failed: {error!r}", False)


def _explain_tls(error: ssl.SSLError, where: str) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        return Failure("certificate", f"the certificate of {where} is not accepted: {reason}", True)
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, ssl.SSLEOFError) or "WRONG_VERSION" in reason:
        return Failure("not-tls", f"{where} does not speak TLS: is it the plain port?", True)
    return Failure("tls", f"TLS with {where} failed: {reason or error}", True)


def _explain_close(
    error: ConnectionClosed, parameters: pika.ConnectionParameters, where: str, user: str
) -> Failure:
    text = " ".join(error.reply_text.split())
    if error.reply_code == 530:
        return _vhost_failure(parameters, where, user, text)
    if error.reply_code == 403:
        return Failure("access-refused", f"RabbitMQ at {where} refuses user {user!r}: {text}", True)
    if error.reply_code == 320:
        return Failure(
            "broker-stopped", f"RabbitMQ at {where} closed the connection: {text}", False
        )
    return Failure(
        f"amqp-{error.reply_code}", f"RabbitMQ at {where} closed the connection: {text}", False
    )


def _vhost_failure(
    parameters: pika.ConnectionParameters, where: str, user: str, text: str = ""
) -> Failure:
    vhost = parameters.virtual_host
    return Failure(
        "no-vhost", f"RabbitMQ at {where} has no virtual host {vhost!r} for user {user!r}: create"
        " it with edeposit_amqp_tool.py --create" + (f" ({text})" if text else ""), True,
    )  # fmt: skip


def _explain_channel(error: ChannelClosed, parameters: pika.ConnectionParameters) -> Failure:
    text = " ".join(error.reply_text.split())
    vhost = parameters.virtual_host
    if error.reply_code == 404:
        return Failure(
            "no-schema", f"missing in virtual host {vhost!r}: {text}: is the schema created?"
            " (edeposit_amqp_tool.py --create)", True,
        )  # fmt: skip
    if error.reply_code == 403:
        return Failure("access-refused", f"no permission in virtual host {vhost!r}: {text}", True)
    if too_large(error) is not None:
        return Failure("too-large", text, False)
    return Failure(f"channel-{error.reply_code}", f"RabbitMQ closed the channel: {text}", False)


def too_large(error: BaseException) -> tuple[int, int] | None:
    """(size, limit) in bytes if the broker closed the channel over a too large message."""
    for cause in _causes(error):
        if isinstance(cause, ChannelClosed) and cause.reply_code == 406:
            match = _TOO_LARGE.search(cause.reply_text)
            if match:
                return int(match[1]), int(match[2])
    return None
