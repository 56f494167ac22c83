"""Connection failures as one line for people."""

import socket
import ssl

import pika
import pika.exceptions as pe
import pytest
from pika.adapters.utils import connection_workflow as workflow

from edeposit.amqp.engine import diagnosis

PARAMETERS = pika.ConnectionParameters(
    "broker.example", 5672, "aleph", pika.PlainCredentials("joe", "secret")
)


def wrapped(error):
    return pe.AMQPConnectionError(workflow.AMQPConnectionWorkflowFailed([error]))


@pytest.mark.parametrize(
    ("error", "code", "transient"),
    [
        (
            wrapped(
                workflow.AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "refused"))
            ),
            "unreachable",
            True,
        ),
        (
            wrapped(workflow.AMQPConnectorSocketConnectError(socket.gaierror(-2, "unknown"))),
            "unknown-host",
            True,
        ),
        (wrapped(workflow.AMQPConnectorStackTimeout()), "timeout", True),
        (
            wrapped(workflow.AMQPConnectorAMQPHandshakeError(pe.ProbableAuthenticationError("x"))),
            "access-refused",
            False,
        ),
        (
            wrapped(workflow.AMQPConnectorAMQPHandshakeError(pe.IncompatibleProtocolError("x"))),
            "not-amqp",
            True,
        ),
        (pe.ConnectionClosedByBroker(530, "NOT_ALLOWED - vhost x not found"), "no-vhost", False),
        (pe.ConnectionClosedByBroker(320, "CONNECTION_FORCED"), "broker-stopped", True),
        (pe.ConnectionClosedByBroker(501, "FRAME_ERROR"), "amqp-501", True),
        (pe.ChannelClosedByBroker(404, "NOT_FOUND - no queue 'daemon'"), "no-schema", False),
        (pe.ChannelClosedByBroker(403, "ACCESS_REFUSED"), "not-allowed", False),
        (
            pe.ChannelClosedByBroker(406, "PRECONDITION_FAILED - unknown delivery tag"),
            "channel-406",
            True,
        ),
        (pe.StreamLostError("gone"), "lost", True),
        (pe.AMQPHeartbeatTimeout("missed"), "heartbeat", True),
        (
            wrapped(workflow.AMQPConnectorTransportSetupError(ssl.SSLError(1, "WRONG_VERSION"))),
            "tls",
            False,
        ),
        (RuntimeError("surprise"), "error", True),
    ],
)
def test_each_failure_has_a_code_and_one_line_without_the_password(error, code, transient):
    failure = diagnosis.diagnose(error, PARAMETERS)
    assert (failure.code, failure.transient) == (code, transient)
    assert "\n" not in str(failure)
    assert "secret" not in str(failure)
    assert str(failure).endswith(f"[{code}]")


def test_the_brokers_message_limit_is_read_from_its_refusal():
    error = pe.ChannelClosedByBroker(
        406, "PRECONDITION_FAILED - message size 200 is larger than configured max size 100"
    )
    assert diagnosis.too_large(error) == (200, 100)
    assert diagnosis.diagnose(error, PARAMETERS).code == "too-large"
    assert diagnosis.too_large(pe.ChannelClosedByBroker(406, "unknown delivery tag 1")) is None
