"""What a lost or refused connection means, in one line a person can act on.

pika reports a failed connection as nested exceptions whose texts are made for developers. Here
they become a ``Diagnosis``: a stable code, one sentence that says what to repair, and whether the
trouble can pass by itself.

RabbitMQ uses one reply code for many causes (530 alone for seven) and tells them apart in its text
only: ``_CONNECTION_CLOSED`` and ``_CHANNEL_CLOSED`` hold these texts, as RabbitMQ 3.10 to 4.3 words
them in ``rabbit_reader.erl``, ``rabbit_channel.erl`` and ``rabbit_access_control.erl``.
"""

import re
import socket
import ssl
from collections.abc import Iterable, Iterator
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
    ConnectionOpenAborted,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from edeposit.amqp.errors import AMQPError

# RabbitMQ states its limit only in this text (rabbit_channel.erl); there is no field for it.
_TOO_LARGE = re.compile(r"message size (\d+) .*larger than (?:configured )?max size (\d+)")

# Of a close before the connection was open pika keeps no more than the exception's ``repr``.
_CLOSE_REPR = re.compile(r"\((\d{3})\) (['\"])(.*)\2", re.DOTALL)

# Alerts by which a TLS server says that it wants, or does not accept, a client certificate.
_CERTIFICATE_ALERT = re.compile(
    r"ALERT_(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE"
    r"|CERTIFICATE_(?:REVOKED|EXPIRED|UNKNOWN)|UNKNOWN_CA|ACCESS_DENIED)"
)


class Diagnosis(NamedTuple):
    """Why there is no working connection.

    Attributes:
        code: stable short name, for status output and log searches.
        text: one sentence for people.
        transient: False if only a person can repair it; then it is retried slowly.
        reply_code: with which the broker has closed channel or connection; 0 if it has not.
    """

    code: str
    text: str
    transient: bool
    reply_code: int = 0

    def __str__(self) -> str:
        return f"{self.text} [{self.code}]"


# (reply code, what its text contains, our code); the first that fits counts.
_CONNECTION_CLOSED = (
    (530, r"connection limit .*reached", "connection-limit"),
    (530, r"reached the (maximum|negotiated)", "channel-limit"),
    (530, r"vhost .*not found", "no-vhost"),
    (530, r"is down", "vhost-down"),
    (530, r"refused for user", "no-permission"),
    (541, r"vhost .*is down", "vhost-down"),
    (403, r"", "access-refused"),
    (320, r"", "broker-stopped"),
)
_CHANNEL_CLOSED = (
    (404, r"is down|inaccessible|process is stopped|timeout", "queue-down"),
    (404, r"", "no-schema"),
    (403, r"in exclusive use", "exclusive-consumer"),
    (403, r"refused for user", "no-permission"),
    (403, r"", "not-allowed"),
    (405, r"", "queue-locked"),
    (406, r"acknowledgement .*timed out", "ack-timeout"),
)
_TEXTS = {
    "connection-limit": "RabbitMQ at {where} takes no more connections: {reply}",
    "channel-limit": "RabbitMQ at {where} takes no more channels: {reply}",
    "no-vhost": "RabbitMQ at {where} has no virtual host {vhost!r}: create it with {tool}",
    "vhost-down": "virtual host {vhost!r} of RabbitMQ at {where} is down: {reply}",
    "no-permission": "user {user!r} lacks a permission in virtual host {vhost!r} of RabbitMQ at"
    " {where}, see rabbitmqctl set_permissions: {reply}",
    "access-refused": "RabbitMQ at {where} refuses user {user!r}: check name and password"
    " ({reply})",
    "broker-stopped": "RabbitMQ at {where} closed the connection: {reply}",
    "queue-down": "a queue in virtual host {vhost!r} cannot be used now: {reply}",
    "no-schema": "missing in virtual host {vhost!r}: {reply}: create it with {tool}",
    "exclusive-consumer": "another consumer uses the queue in virtual host {vhost!r} exclusively:"
    " {reply}",
    "not-allowed": "RabbitMQ at {where} does not allow this in virtual host {vhost!r}: {reply}",
    "queue-locked": "another connection holds the queue in virtual host {vhost!r} exclusively:"
    " {reply}",
    "ack-timeout": "a request was handled longer than RabbitMQ waits for its ack: {reply}",
}
# What does not pass by itself.
_LASTING = {"no-vhost", "no-permission", "access-refused", "no-schema", "not-allowed"}
_TOOL = "edeposit_amqp_tool.py --create"


def diagnose(error: BaseException, parameters: pika.ConnectionParameters) -> Diagnosis:
    """Translate what pika reported into a ``Diagnosis``. Never contains the password."""
    return _diagnose(error, parameters)._replace(reply_code=reply_code(error))


def reply_code(error: BaseException) -> int:
    """The broker's reply code if it has closed the channel or the connection, else 0."""
    for cause in _causes(error):
        if isinstance(cause, (ChannelClosedByBroker, ConnectionClosedByBroker)):
            return int(cause.reply_code)
    return 0


def _diagnose(error: BaseException, parameters: pika.ConnectionParameters) -> Diagnosis:
    where = f"{parameters.host}:{parameters.port}"
    causes = list(_causes(error))
    if isinstance(error, AMQPError):
        return Diagnosis("given-up", f"connection to {where} is given up: {error}", True)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _of_tls(cause, where)
    for cause in causes:
        found = _of_broker(cause, parameters, where)
        if found is not None:
            return found
    for cause in causes:
        found = _of_network(cause, parameters, where)
        if found is not None:
            return found
    kind = "lost" if isinstance(error, AMQPConnectionError) else "error"
    reason = " ".join(str(error).split()) or type(error).__name__
    return Diagnosis(kind, f"connection to {where} failed: {reason}", True)


def too_large(error: BaseException) -> tuple[int, int] | None:
    """(size, limit) in bytes if the broker closed the channel over a too large message."""
    for cause in _causes(error):
        if isinstance(cause, ChannelClosed) and cause.reply_code == 406:
            match = _TOO_LARGE.search(cause.reply_text)
            if match:
                return int(match[1]), int(match[2])
    return None


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


def _of_broker(
    error: BaseException, parameters: pika.ConnectionParameters, where: str
) -> Diagnosis | None:
    """What the broker has said, if it has said anything."""
    if isinstance(error, ConnectionClosed):
        return _by_rule(_CONNECTION_CLOSED, "amqp", error.reply_code, error.reply_text, parameters)
    if isinstance(error, ChannelClosed):
        if too_large(error) is not None:
            return Diagnosis("too-large", " ".join(error.reply_text.split()), True)
        return _by_rule(_CHANNEL_CLOSED, "channel", error.reply_code, error.reply_text, parameters)
    if isinstance(error, (ProbableAuthenticationError, ProbableAccessDeniedError)):
        match = _CLOSE_REPR.search(str(error))
        if match is not None:
            return _by_rule(_CONNECTION_CLOSED, "amqp", int(match[1]), match[3], parameters)
    if isinstance(error, (AuthenticationError, ProbableAuthenticationError)):
        user = _user(parameters)
        return Diagnosis(
            "access-refused",
            f"RabbitMQ at {where} refuses user {user!r}: check name and password",
            False,
        )
    if isinstance(error, ProbableAccessDeniedError):
        return Diagnosis(
            "refused",
            f"RabbitMQ at {where} ended the connection when virtual host"
            f" {parameters.virtual_host!r} was opened, without a reason",
            True,
        )
    return None


def _by_rule(
    rules: Iterable[tuple[int, str, str]],
    kind: str,
    reply_code: int,
    reply_text: str,
    parameters: pika.ConnectionParameters,
) -> Diagnosis:
    reply = " ".join(reply_text.split())
    where = f"{parameters.host}:{parameters.port}"
    for code, pattern, name in rules:
        if code == reply_code and re.search(pattern, reply):
            vhost, user = parameters.virtual_host, _user(parameters)
            text = _TEXTS[name].format(where=where, vhost=vhost, user=user, reply=reply, tool=_TOOL)
            return Diagnosis(name, text, name not in _LASTING)
    what = "connection" if kind == "amqp" else "channel"
    text = f"RabbitMQ at {where} closed the {what}: {reply}"
    return Diagnosis(f"{kind}-{reply_code}", text, True)


def _of_network(
    error: BaseException, parameters: pika.ConnectionParameters, where: str
) -> Diagnosis | None:
    """What happened below AMQP."""
    if isinstance(error, IncompatibleProtocolError):
        return _ended_before_the_greeting(error, parameters, where)
    if isinstance(error, AMQPHeartbeatTimeout):
        return Diagnosis("heartbeat", f"no sign of life from {where} (missed heartbeats)", True)
    # pika aborts an opening by itself only when its time is over.
    if isinstance(
        error, (workflow.AMQPConnectorStackTimeout, ConnectionOpenAborted, socket.timeout)
    ):
        return Diagnosis("timeout", f"no answer from {where} in time", True)
    if isinstance(error, socket.gaierror):
        return Diagnosis("unknown-host", f"host name {parameters.host!r} cannot be resolved", True)
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return Diagnosis("unreachable", f"can't connect to RabbitMQ at {where}: {reason}", True)
    return None


def _ended_before_the_greeting(
    error: BaseException, parameters: pika.ConnectionParameters, where: str
) -> Diagnosis:
    """pika calls any connection that ends before the broker's greeting a wrong protocol."""
    if parameters.ssl_options is not None:
        alert = _CERTIFICATE_ALERT.search(str(error))
        if alert is not None:
            return _certificate_wanted(alert[1], where)
        hint = "is the broker up, does it want a client certificate (RABBITMQ_SSL_CERT)?"
    else:
        hint = "is the broker up, is it the right port, is TLS needed (RABBITMQ_SSL)?"
    text = f"{where} closed the connection before it spoke AMQP: {hint}"
    return Diagnosis("not-amqp", text, True)


def _of_tls(error: ssl.SSLError, where: str) -> Diagnosis:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        text = f"the certificate of {where} is not accepted: {reason}"
        return Diagnosis("certificate", text, False)
    reason = getattr(error, "reason", None) or ""
    alert = _CERTIFICATE_ALERT.search(reason)
    if alert is not None:
        return _certificate_wanted(alert[1], where)
    if isinstance(error, ssl.SSLEOFError) or "WRONG_VERSION" in reason:
        return Diagnosis("not-tls", f"{where} does not speak TLS: is it the plain port?", False)
    return Diagnosis("tls", f"TLS with {where} failed: {reason or error}", False)


def _certificate_wanted(alert: str, where: str) -> Diagnosis:
    reason = alert.lower().replace("_", " ")
    text = (
        f"{where} wants a client certificate that it accepts: check RABBITMQ_SSL_CERT and"
        f" RABBITMQ_SSL_KEY (TLS alert: {reason})"
    )
    return Diagnosis("client-certificate", text, False)


def _user(parameters: pika.ConnectionParameters) -> str:
    return getattr(parameters.credentials, "username", "?")
