"""Who is asked for what AMQP cannot do, and that nobody learns the password by listening."""

import http.server
import os
import socket
import subprocess
import threading

import pytest

from edeposit.amqp import settings
from edeposit.amqp.broker import management
from edeposit.amqp.broker.administrator import AdministrationError
from edeposit.amqp.broker.listeners import listening_users
from edeposit.amqp.broker.rabbitmqctl import Rabbitmqctl
from edeposit.amqp.testing import wait_for
from edeposit.amqp.testing._process import free_ports


@pytest.fixture(autouse=True)
def environment(rabbit, monkeypatch):
    """Settings of this test alone; ``environment(NAME="value")`` changes some."""

    def use(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        settings.reload()

    monkeypatch.delenv("EDEPOSIT_AMQP_CONFIG", raising=False)
    use(**{"HOME": str(rabbit.directory), **rabbit.env(), "RABBITMQ_MANAGEMENT_URL": ""})
    yield use
    monkeypatch.undo()
    settings.reload()


@pytest.fixture
def stranger(monkeypatch):
    """An HTTP server where the management API is supposed to be; what it was sent."""
    heard = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append((self.path, self.headers.get("Authorization")))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="RabbitMQ Management"')
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(management, "_MANAGEMENT_PORT", server.server_port)
    yield heard
    server.shutdown()
    server.server_close()


def listen_as_nobody(port):
    """A process of another user that listens on a port, and answers nothing."""
    code = (
        "import os, socket, time\n"
        "os.setuid(65534)\n"
        f"s = socket.create_server(('127.0.0.1', {port}))\n"
        "time.sleep(600)"
    )
    return subprocess.Popen(["python3", "-c", code])


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")


@needs_root
def test_another_user_on_the_management_port_gets_no_password(environment, monkeypatch):
    (port,) = free_ports(1)
    monkeypatch.setattr(management, "_MANAGEMENT_PORT", port)
    process = listen_as_nobody(port)
    try:
        wait_for(lambda: listening_users("127.0.0.1", port) == {65534}, 10)
        with pytest.raises(AdministrationError, match="RABBITMQ_MANAGEMENT_URL"):
            management.Management()
    finally:
        process.kill()
        process.wait()


def test_where_no_broker_listens_nobody_gets_the_password(environment, stranger):
    (port,) = free_ports(1)
    environment(RABBITMQ_PORT=str(port))
    with pytest.raises(AdministrationError, match="RABBITMQ_MANAGEMENT_URL"):
        management.Management()
    assert stranger == []


def test_the_broker_of_another_machine_is_not_asked_unconfigured(environment):
    environment(RABBITMQ_HOST="192.0.2.1", RABBITMQ_USER_NAME="x")
    with pytest.raises(AdministrationError, match="not asked"):
        management.Management()


def test_the_brokers_own_management_port_is_asked(environment, rabbit, monkeypatch):
    monkeypatch.setattr(management, "_MANAGEMENT_PORT", rabbit.management_port)
    assert management.Management().bindings("/") == set()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("everywhere", [True, False])
def test_the_kernel_tells_who_listens(family, everywhere):
    loopback, any_address = ("127.0.0.1", "") if family == socket.AF_INET else ("::1", "::")
    host = any_address if everywhere else loopback
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        assert listening_users(loopback, port) == {os.geteuid()}
        assert listening_users("192.0.2.1", port) == set()
    assert listening_users(loopback, port) == set()


# --- rabbitmqctl ------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path, environment, rabbit, monkeypatch):
    """A ``rabbitmqctl`` in the way of Debian's: its arguments go through a shell."""
    script = tmp_path / "rabbitmqctl"
    script.write_text(
        '#!/bin/sh\nfor arg in "$@"; do LINE="$LINE \\"$arg\\""; done\n'
        f'sh -c "echo $LINE >> {tmp_path}/ran"\n'
        'test "$2" = status || { echo "[]"; exit; }\n'
        f'echo \'{{"listeners": [{{"protocol": "amqp", "port": {rabbit.port}}}]}}\'\n'
    )
    script.chmod(0o755)
    epmd = rabbit._environment()["ERL_EPMD_PORT"]
    environment(PATH=f"{tmp_path}:{os.environ['PATH']}", ERL_EPMD_PORT=epmd)
    return tmp_path


@needs_root
@pytest.mark.parametrize(
    "name", ["$(touch {}/x)", "`touch {}/x`", "a;touch {}/x", 'a" "b', "--version", "a b", "a\nb"]
)
def test_no_name_reaches_a_shell(recorded, name):
    way = Rabbitmqctl()
    name = name.format(recorded)
    calls = [
        lambda: way.bindings(name),
        lambda: way.unacked(name),
        lambda: way.create_vhost(name, "guest"),
        lambda: way.create_vhost("plain", name),
    ]
    for call in calls:
        with pytest.raises(AdministrationError):
            call()
    assert not (recorded / "x").exists()
    assert name not in (recorded / "ran").read_text()


@needs_root
def test_no_epmd_is_started(recorded, environment):
    (port,) = free_ports(1)
    environment(ERL_EPMD_PORT=str(port))
    with pytest.raises(AdministrationError, match="no RabbitMQ node runs here"):
        Rabbitmqctl()
    assert not (recorded / "ran").exists()
