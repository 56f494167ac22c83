"""Connection failures as one line for people."""

import socket
import ssl

import pika
import pika.exceptions as pe
import pytest
from pika.adapters.utils import connection_workflow as workflow

from edeposit.amqp.engine import failures

PARAMETERS = pika.ConnectionParameters(
    "broker.example", 5672, "aleph", pika.PlainCredentials("joe", "secret")
)


def wrapped(error):
    return pe.AMQPConnectionError(workflow.AMQPConnectionWorkflowFailed([error]))


@pytest.mark.parametrize(
    ("error", "code", "stubborn"),
    [
        (wrapped(workflow.AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "refused"))),
         "unreachable", False),
        (wrapped(workflow.AMQPConnectorSocketConnectError(socket.gaierror(-2, "unknown"))),
         "unknown-host", False),
        (wrapped(workflow.AMQPConnectorStackTimeout()), "timeout", False),
        (wrapped(workflow.AMQPConnectorAMQPHandshakeError(pe.ProbableAuthenticationError("x"))),
         "access-refused", True),
        (wrapped(workflow.AMQPConnectorAMQPHandshakeError(pe.IncompatibleProtocolError("x"))),
         "not-amqp", False),
        (pe.ConnectionClosedByBroker(530, "NOT_ALLOWED - vhost aleph not found"), "no-vhost", True),
        (pe.ConnectionClosedByBroker(320, "CONNECTION_FORCED"), "broker-stopped", False),
        (pe.ConnectionClosedByBroker(501, "FRAME_ERROR"), "amqp-501", False),
        (pe.ChannelClosedByBroker(404, "NOT_FOUND - no queue 'daemon'"), "no-schema", True),
        (pe.ChannelClosedByBroker(403, "ACCESS_REFUSED"), "access-refused", True),
        (pe.ChannelClosedByBroker(406, "PRECONDITION_FAILED - unknown delivery tag"),
         "channel-406", False),
        (pe.StreamLostError("gone"), "lost", False),
        (pe.AMQPHeartbeatTimeout("missed"), "heartbeat", False),
        (wrapped(workflow.AMQPConnectorTransportSetupError(ssl.SSLError(1, "WRONG_VERSION"))),
         "tls", True),
        (RuntimeError("surprise"), "error", False),
    ],
)  # fmt: skip
def test_each_failure_has_a_code_and_one_line_without_the_password(error, code, stubborn):
    failure = failures.explain(error, PARAMETERS)
    assert (failure.code, failure.stubborn) == (code, stubborn)
    assert "\n" not in str(failure)
    assert "secret" not in str(failure)
    assert str(failure).endswith(f"[{code}]")


def test_the_brokers_message_limit_is_read_from_its_refusal():
    error = pe.ChannelClosedByBroker(
        406, "PRECONDITION_FAILED - message size 200 is larger than configured max size 100"
    )
    assert failures.too_large(error) == (200, 100)
    assert failures.explain(error, PARAMETERS).code == "too-large"
    assert failures.too_large(pe.ChannelClosedByBroker(406, "unknown delivery tag 1")) is None
