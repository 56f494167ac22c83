"""A private RabbitMQ node: own name, ports, data and cookie; never a system one.

It is Debian's ``rabbitmq-server`` (3.10 or later), run by this user in a temporary directory and
listening on 127.0.0.1 only.
"""

import base64
import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edeposit.amqp.testing import _process
from edeposit.amqp.testing._proxy import Proxy
from edeposit.amqp.testing._tls import make_certificates
from edeposit.amqp.testing._waiting import wait_for

# The wrapper in /usr/sbin changes to the user rabbitmq and to the system's directories.
_PROGRAMS = "/usr/lib/rabbitmq/bin"
_MARKER = "EDEPOSIT_NODE"

# Names a Debian root (as debootstrap makes it) whose RabbitMQ is started instead of this machine's:
# for tests with other versions. The mounts end with the command; needs root.
_ROOT_VARIABLE = "EDEPOSIT_RABBITMQ_ROOT"
_IN_ROOT = """
mount --make-rprivate /
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
mount --bind /tmp "$0/tmp"
touch "$0/etc/hosts"
mount --bind /etc/hosts "$0/etc/hosts"
exec chroot "$0" "$@"
"""


class RabbitNode:
    """A private broker; a context manager.

    Args:
        extra_config: lines for ``rabbitmq.conf``, such as ``["max_message_size = 1000"]``.
        tls: also listen with TLS, on one port for each kind of certificate, see ``tls_ports``.

    Attributes:
        host, port: of the plain AMQP listener.
        management_port: of the management HTTP API.
        user, password: ``guest``, ``guest``.
        ca_file: certificate of the authority, with ``tls``.
        tls_ports: ``good``, ``expired`` and ``wrong-host``: ports of TLS listeners, with ``tls``.
    """

    host = "127.0.0.1"
    user = "guest"
    password = "guest"

    def __init__(self, extra_config: Sequence[str] = (), tls: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="edeposit-mq-"))
        ports = _process.free_ports(4)
        self.port, self.management_port, self._dist_port, self._epmd_port = ports
        self._extra_config = list(extra_config)
        self._tls = tls
        self.ca_file: Path | None = None
        self.tls_ports: dict[str, int] = {}
        self._name = f"edeposit-{self.port}@localhost"
        self._process: subprocess.Popen[bytes] | None = None
        self._proxies: list[Proxy] = []

    def __enter__(self) -> "RabbitNode":
        try:
            self._write_configuration()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # --- life -------------------------------------------------------------------------------

    def start(self, timeout: float = 60.0) -> None:
        """Start the node (again, on the same ports and data) and wait until it serves.

        Raises:
            AssertionError: it did not come up in time; the text shows its log's end.
        """
        process = _process.spawn(
            _program("rabbitmq-server"), self.directory / "out.log", self._environment()
        )
        self._process = process

        def serves() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"RabbitMQ did not start:\n{self._log_tail()}")
            return self._answers()

        try:
            wait_for(serves, timeout, "RabbitMQ serves")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._log_tail()}") from error

    def kill(self) -> None:
        """SIGKILL: the node dies as in a power failure; ``start()`` brings it back."""
        if self._process is not None:
            _process.kill_group(self._process, signal.SIGKILL)
            self._process = None
        _process.kill_marked(self._marker())

    def stop(self) -> None:
        """End the node with all its processes and delete its directory."""
        self.kill()
        while self._proxies:
            self._proxies.pop().close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def stop_app(self) -> None:
        """The broker goes down in order: connections are closed with 320 CONNECTION_FORCED."""
        self.ctl("stop_app")

    def start_app(self) -> None:
        """The broker comes back after ``stop_app()``."""
        self.ctl("start_app")
        wait_for(self._answers, 30, "RabbitMQ serves again")

    # --- administration ---------------------------------------------------------------------

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``; returns its output.

        Raises:
            subprocess.CalledProcessError: it failed; ``stderr`` says why.
        """
        result = subprocess.run(
            [*_program("rabbitmqctl"), *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )
        return result.stdout

    def programs(self) -> str:
        """The directory of this node's ``rabbitmqctl``, for a PATH."""
        if _ROOT_VARIABLE not in os.environ:
            return _PROGRAMS
        script = self.directory / "bin" / "rabbitmqctl"
        script.parent.mkdir(exist_ok=True)
        command = shlex.join(_program("rabbitmqctl"))
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8")
        script.chmod(0o755)
        return str(script.parent)

    def add_vhost(self, name: str) -> None:
        """Create a virtual host that ``guest`` may use (a few milliseconds, by HTTP)."""
        quoted = urllib.parse.quote(name, safe="")
        self._api_ok("PUT", f"/api/vhosts/{quoted}", {})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._api_ok("PUT", f"/api/permissions/{quoted}/{self.user}", everything)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all that is in it."""
        self._api_ok("DELETE", f"/api/vhosts/{urllib.parse.quote(name, safe='')}")

    def env(self) -> dict[str, str]:
        """Settings of edeposit.amqp that lead to this node, for child processes."""
        return {
            "RABBITMQ_HOST": self.host,
            "RABBITMQ_PORT": str(self.port),
            "RABBITMQ_USER_NAME": self.user,
            "RABBITMQ_USER_PASSWORD": self.password,
            "RABBITMQ_MANAGEMENT_URL": f"http://{self.host}:{self.management_port}",
        }

    # --- inside -----------------------------------------------------------------------------

    def _marker(self) -> str:
        return f"{_MARKER}={self.directory}"

    def _write_configuration(self) -> None:
        lines = [
            f"listeners.tcp.1 = {self.host}:{self.port}",
            f"management.tcp.ip = {self.host}",
            f"management.tcp.port = {self.management_port}",
            # Nobody reads the graphs; sampling costs CPU that tests and benchmarks want.
            "management_agent.disable_metrics_collector = true",
            "log.console = false",
            "log.file.level = warning",
            # /tmp of a small machine must not raise the disk alarm.
            "disk_free_limit.absolute = 50MB",
            *self._extra_config,
        ]
        advanced = "[]."
        if self._tls:
            advanced = self._tls_configuration()
        (self.directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n", "utf-8")
        (self.directory / "advanced.config").write_text(advanced + "\n", "utf-8")
        (self.directory / "enabled_plugins").write_text("[rabbitmq_management].\n", "utf-8")

    def _tls_configuration(self) -> str:
        """The good certificate is RabbitMQ's own; the bad ones are shown by TLS proxies before it.

        RabbitMQ has one set of TLS options for all its listeners.
        """
        certificates = make_certificates(self.directory / "tls")
        self.ca_file = certificates.ca_file
        (tls_port,) = _process.free_ports(1)
        self.tls_ports["good"] = tls_port
        for kind, files in certificates.servers.items():
            if kind != "good":
                proxy = Proxy(self.host, self.port, certificate=files)
                self._proxies.append(proxy)
                self.tls_ports[kind] = proxy.port
        certificate, key = certificates.servers["good"]
        return (
            f'[{{rabbit, [{{ssl_listeners, [{{"{self.host}", {tls_port}}}]}},'
            f' {{ssl_options, [{{cacertfile, "{self.ca_file}"}}, {{certfile, "{certificate}"}},'
            f' {{keyfile, "{key}"}}, {{verify, verify_none}}]}}]}}].'
        )

    def _environment(self) -> dict[str, str]:
        directory = str(self.directory)
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("RABBITMQ_", "ERL_", "ERLANG"))
        }
        return {
            **inherited,
            _MARKER: directory,
            "HOME": directory,
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": self.host,
            "ERL_CRASH_DUMP": f"{directory}/erl_crash.dump",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{directory}/advanced.config",
            "RABBITMQ_CONF_ENV_FILE": f"{directory}/rabbitmq-env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{directory}/data",
            "RABBITMQ_LOG_BASE": f"{directory}/log",
            "RABBITMQ_PID_FILE": f"{directory}/pid",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none"
            ),
            "RABBITMQ_CTL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def _answers(self) -> bool:
        """Does the broker greet (AMQP 0-9-1: connection.start), and the management API serve?"""
        with contextlib.suppress(OSError):
            with socket.create_connection((self.host, self.port), timeout=2) as sock:
                sock.sendall(b"AMQP\x00\x00\x09\x01")
                if not sock.recv(1):
                    return False
            return self._api("GET", "/api/overview")[0] == 200
        return False

    def _api(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.management_port, timeout=10)
        credentials = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def _api_ok(self, method: str, path: str, body: Any = None) -> None:
        status, text = self._api(method, path, body)
        if not 200 <= status < 300:
            raise AssertionError(f"{method} {path}: {status} {text.decode('utf-8', 'replace')}")

    def _log_tail(self) -> str:
        parts = []
        for path in (self.directory / "out.log", *(self.directory / "log").glob("*.log")):
            with contextlib.suppress(OSError):
                parts.append(path.read_text("utf-8", "replace")[-2000:])
        return "\n".join(parts)


def _program(name: str) -> list[str]:
    root = os.environ.get(_ROOT_VARIABLE)
    command = [f"{_PROGRAMS}/{name}"]
    return ["unshare", "--mount", "sh", "-eu", "-c", _IN_ROOT, root, *command] if root else command
