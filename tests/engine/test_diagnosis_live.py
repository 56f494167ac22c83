"""Each trouble with a real broker has its own code, for daemons and for the tool alike."""

import socket
import ssl

import pika
import pytest

from edeposit.amqp.engine import diagnosis
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.testing import Proxy
from edeposit.amqp.testing._tls import make_certificates


class GivesUp:
    """An owner that takes the first failure for the end."""

    failure = None

    def on_channel(self, channel):
        channel.queue_declare("x", passive=True, callback=lambda _frame: None)

    def on_retry(self, failure, delay):
        self.failure = failure
        return False

    def __getattr__(self, name):
        return lambda *arguments: None


def failures(parameters):
    """What a daemon's connection and a blocking one are told."""
    owner = GivesUp()
    BrokerConnection(parameters, owner).run()
    try:
        pika.BlockingConnection(parameters).channel().queue_declare("x", passive=True)
    except Exception as error:
        return [owner.failure, diagnosis.diagnose(error, parameters)]
    raise AssertionError("it works")


@pytest.fixture
def parameters(rabbit, vhost):
    return pika.ConnectionParameters(
        rabbit.host, rabbit.port, vhost, socket_timeout=10, stack_timeout=10
    )


@pytest.fixture
def user(rabbit, parameters, vhost):
    """An account without permissions."""
    name = f"user-{vhost}"
    rabbit.ctl("add_user", name, "pw")
    parameters.credentials = pika.PlainCredentials(name, "pw")
    yield name
    rabbit.ctl("delete_user", name)


def assert_code(found, code, *, transient, says, never=("create it", "name and password")):
    for failure in found:
        assert (failure.code, failure.transient) == (code, transient), failure
        assert says in failure.text
        assert not any(word in failure.text for word in never)
        assert "\n" not in str(failure)


def test_no_virtual_host(parameters):
    parameters.virtual_host = "missing"
    assert_code(failures(parameters), "no-vhost", transient=False, says="create it", never=())


def test_no_permission_in_the_virtual_host(parameters, user):
    found = failures(parameters)
    assert_code(found, "no-permission", transient=False, says="lacks a permission")


def test_a_wrong_password(parameters):
    parameters.credentials = pika.PlainCredentials("guest", "secret")
    found = failures(parameters)
    assert_code(found, "access-refused", transient=False, says="check name and password", never=())
    assert all("secret" not in failure.text for failure in found)


def test_a_connection_limit_of_the_virtual_host(parameters, rabbit, vhost):
    rabbit.ctl("set_vhost_limits", "-p", vhost, '{"max-connections": 0}')
    found = failures(parameters)
    assert_code(found, "connection-limit", transient=True, says="takes no more connections")


def test_a_connection_limit_of_the_user(parameters, rabbit, vhost, user):
    rabbit.ctl("set_permissions", "-p", vhost, user, ".*", ".*", ".*")
    rabbit.ctl("set_user_limits", user, '{"max-connections": 0}')
    found = failures(parameters)
    assert_code(found, "connection-limit", transient=True, says="takes no more connections")


def test_a_channel_limit_of_the_user(parameters, rabbit, vhost, user):
    rabbit.ctl("set_permissions", "-p", vhost, user, ".*", ".*", ".*")
    rabbit.ctl("set_user_limits", user, '{"max-channels": 0}')
    found = failures(parameters)
    assert_code(found, "channel-limit", transient=True, says="takes no more channels")


def test_a_missing_queue(parameters):
    assert_code(failures(parameters), "no-schema", transient=False, says="no queue", never=())


def test_a_queue_that_another_connection_holds(parameters):
    holder = pika.BlockingConnection(parameters)
    holder.channel().queue_declare("x", exclusive=True)
    assert_code(failures(parameters), "queue-locked", transient=True, says="another connection")
    holder.close()


def test_a_queue_with_an_exclusive_consumer(parameters):
    holder = pika.BlockingConnection(parameters)
    channel = holder.channel()
    channel.queue_declare("x")
    channel.basic_consume("x", lambda *_: None, exclusive=True)
    other = pika.BlockingConnection(parameters)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        other.channel().basic_consume("x", lambda *_: None)
    found = [diagnosis.diagnose(caught.value, parameters)]
    assert_code(found, "exclusive-consumer", transient=True, says="another consumer")
    other.close()
    holder.close()


def test_a_silent_port(parameters):
    with socket.create_server(("127.0.0.1", 0)) as server:
        parameters.port = server.getsockname()[1]
        parameters.stack_timeout = 0.3
        found = failures(parameters)
    assert_code(found, "timeout", transient=True, says="no answer")
    assert all("Error" not in failure.text for failure in found)  # of pika's reprs


def assert_certificate_wanted(found, version):
    for failure in found:
        assert "RABBITMQ_SSL_CERT" in failure.text
        assert "TLS needed" not in failure.text
        # With TLS 1.3 the client is done first; a reset may then overtake the server's alert.
        codes = {"client-certificate"} | (
            {"not-amqp"} if version > ssl.TLSVersion.TLSv1_2 else set()
        )
        assert failure.code in codes


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_is_wanted(parameters, rabbit, tmp_path, version):
    certificates = make_certificates(tmp_path)
    good = certificates.servers["good"]
    context = ssl.create_default_context(cafile=certificates.ca_file)
    with Proxy(
        rabbit.host, rabbit.port, good, client_ca=certificates.ca_file, tls_version=version
    ) as proxy:
        parameters.port = proxy.port
        parameters.ssl_options = pika.SSLOptions(context, "127.0.0.1")
        assert_certificate_wanted(failures(parameters), version)
        stranger = make_certificates(tmp_path / "stranger").servers["good"]
        context.load_cert_chain(*stranger)
        assert_certificate_wanted(failures(parameters), version)


def test_plain_text_to_a_tls_port(parameters, rabbit, tmp_path):
    good = make_certificates(tmp_path).servers["good"]
    with Proxy(rabbit.host, rabbit.port, good) as proxy:
        parameters.port = proxy.port
        assert_code(failures(parameters), "not-amqp", transient=True, says="is TLS needed")
