"""What AMQP cannot do: virtual hosts, lists of bindings, counts of unacked messages.

Two ways lead there, with the same few methods: the broker's management API (HTTP), and
``rabbitmqctl`` for root on the broker's machine. What must stay true: neither is used before it has
shown that it speaks for the broker that the AMQP settings reach; a machine may have several.
"""

import base64
import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from edeposit.amqp import settings
from edeposit.amqp.errors import AMQPError

# rabbitmqctl starts an Erlang machine: a loaded computer needs a while for it (s).
_CTL_TIMEOUT = 60.0
_HTTP_TIMEOUT = 10.0
# A guessed URL may lead into a firewall that answers nothing at all.
_PROBE_TIMEOUT = 3.0
_MANAGEMENT_PORT, _MANAGEMENT_TLS_PORT = 15672, 15671
# Debian's rabbitmqctl passes its arguments through a shell: only what no shell can misread.
_PLAIN_NAME = re.compile(r"[\w.@:/+=][\w.@:/+=-]*", re.ASCII)

Binding = tuple[str, str, str]  # exchange, queue, routing key


class AdministrationError(AMQPError):
    """One way of administration cannot be used, or refuses; the text says why."""


class CannotCreateError(AMQPError):
    """A virtual host cannot be created from here.

    Attributes:
        vhost: its name.
        commands: what to run on the broker's machine instead, as root.
    """

    def __init__(self, vhost: str, reasons: list[str]) -> None:
        super().__init__(f"Can't create virtual host {vhost!r} from here: {'; '.join(reasons)}.")
        self.vhost = vhost
        user = shlex.quote(settings.RABBITMQ_USER_NAME)
        name = shlex.quote(vhost)
        self.commands = [
            f"rabbitmqctl add_vhost {name}",
            f'rabbitmqctl set_permissions -p {name} {user} ".*" ".*" ".*"',
        ]


class Administrator(Protocol):
    """One way to administrate the broker; every method raises ``AdministrationError``."""

    name: str

    def create_vhost(self, vhost: str, user: str) -> None:
        """Create a virtual host, and give a user who has no permissions in it all of them."""

    def bindings(self, vhost: str) -> set[Binding]:
        """All bindings of queues to exchanges in a virtual host."""

    def unacked(self, vhost: str) -> dict[str, int]:
        """Messages delivered but not acked, by queue; a queue without a known count is left out."""


class Management:
    """The HTTP API of RabbitMQ's management plugin, as the ``RABBITMQ_*`` user.

    Raises:
        AdministrationError: it cannot be reached, or belongs to another broker.
    """

    name = "management API"

    def __init__(self) -> None:
        configured = settings.RABBITMQ_MANAGEMENT_URL
        self._url = (configured or _derived_url()).rstrip("/")
        self._timeout = _HTTP_TIMEOUT if configured else _PROBE_TIMEOUT
        if urlsplit(self._url).scheme not in ("http", "https"):
            raise AdministrationError(f"RABBITMQ_MANAGEMENT_URL {configured!r} is not http(s)")
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self._url.startswith("https:"):
            try:
                context = ssl.create_default_context(cafile=settings.RABBITMQ_SSL_CA or None)
            except OSError as error:
                raise AdministrationError(f"RABBITMQ_SSL_CA: {error}") from error
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)
        if configured:
            self._request("GET", "whoami")
        else:
            # A configured URL may lead through anything; a derived one has to be of our broker.
            self._request("GET", "health", "checks", "port-listener", settings.RABBITMQ_PORT)

    def create_vhost(self, vhost: str, user: str) -> None:
        if vhost in (row["name"] for row in self._request("GET", "vhosts")):
            rows = self._request("GET", "vhosts", vhost, "permissions")
            _refuse_known(vhost, user, [row["user"] for row in rows])
        else:
            self._request("PUT", "vhosts", vhost)
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._request("PUT", "permissions", vhost, user, body=everything)

    def bindings(self, vhost: str) -> set[Binding]:
        return {
            (row["source"], row["destination"], row["routing_key"])
            for row in self._request("GET", "bindings", vhost)
            if row["destination_type"] == "queue"
        }

    def unacked(self, vhost: str) -> dict[str, int]:
        return {
            row["name"]: row["messages_unacknowledged"]
            for row in self._request("GET", "queues", vhost)
            if "messages_unacknowledged" in row
        }

    def _request(self, method: str, *path: str, body: Any = None) -> Any:
        url = "/".join([self._url, "api", *(quote(part, safe="") for part in path)])
        data = None if body is None and method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(url, data, method=method)
        request.add_header("Content-Type", "application/json")
        account = f"{settings.RABBITMQ_USER_NAME}:{settings.RABBITMQ_USER_PASSWORD}"
        # Unredirected: a redirection elsewhere must not get the password.
        request.add_unredirected_header(
            "Authorization", "Basic " + base64.b64encode(account.encode()).decode()
        )
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                text = response.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            if "port-listener" in path and error.code in (404, 503):
                raise AdministrationError(
                    f"{self._url} does not belong to the broker on port {settings.RABBITMQ_PORT}"
                ) from error
            raise AdministrationError(f"{url}: {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            reason = getattr(error.reason, "strerror", None) or error.reason
            raise AdministrationError(f"{self._url}: {reason}") from error
        except (OSError, HTTPException, ValueError) as error:
            # Cut off, or not JSON: something else may live there.
            raise AdministrationError(f"{self._url}: {error}") from error


class Rabbitmqctl:
    """``rabbitmqctl``, for root on the broker's machine.

    Raises:
        AdministrationError: it cannot be used, or talks to another node.
    """

    name = "rabbitmqctl"

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise AdministrationError("rabbitmqctl is only for root")
        if not _is_local(settings.RABBITMQ_HOST):
            raise AdministrationError(f"rabbitmqctl: {settings.RABBITMQ_HOST} is not this machine")
        command = shutil.which("rabbitmqctl")
        if command is None:
            raise AdministrationError("rabbitmqctl is not installed here")
        self._command = command
        status = self._json("status")
        if not _serves_our_port(status.get("listeners", [])):
            raise AdministrationError(
                f"rabbitmqctl talks to another broker than the one on port {settings.RABBITMQ_PORT}"
            )

    def create_vhost(self, vhost: str, user: str) -> None:
        if not (_PLAIN_NAME.fullmatch(vhost) and _PLAIN_NAME.fullmatch(user)):
            raise AdministrationError("rabbitmqctl: unusual characters in a name")
        if vhost in (row["name"] for row in self._json("list_vhosts", "name")):
            rows = self._json("list_permissions", "-p", vhost)
            _refuse_known(vhost, user, [row["user"] for row in rows])
        else:
            self._run("add_vhost", vhost)
        self._run("set_permissions", "-p", vhost, user, ".*", ".*", ".*")

    def bindings(self, vhost: str) -> set[Binding]:
        columns = ("source_name", "destination_name", "destination_kind", "routing_key")
        return {
            (row["source_name"], row["destination_name"], row["routing_key"])
            for row in self._json("list_bindings", "-p", vhost, *columns)
            if row["destination_kind"] == "queue"
        }

    def unacked(self, vhost: str) -> dict[str, int]:
        rows = self._json("list_queues", "-p", vhost, "name", "messages_unacknowledged")
        return {row["name"]: int(row["messages_unacknowledged"]) for row in rows}

    def _json(self, *arguments: str) -> Any:
        try:
            return json.loads(self._run(*arguments, "--formatter", "json"))
        except ValueError as error:
            raise AdministrationError(f"rabbitmqctl {arguments[0]}: {error}") from error

    def _run(self, *arguments: str) -> str:
        try:
            process = subprocess.run(
                [self._command, "-q", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_CTL_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AdministrationError(f"rabbitmqctl: {error}") from error
        if process.returncode:
            lines = (process.stderr or process.stdout).strip().splitlines() or ["failed"]
            raise AdministrationError(f"rabbitmqctl {arguments[0]}: {lines[0]}")
        return process.stdout


class Administration:
    """All usable ways, tried in turn; each is looked for when it is first needed.

    Attributes:
        reasons: why others cannot, as far as they were tried.
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self._found: list[Administrator] = []
        self._untried: list[Callable[[], Administrator]] = [Management, Rabbitmqctl]

    def __iter__(self) -> Iterator[Administrator]:
        yield from self._found
        while self._untried:
            try:
                way = self._untried.pop(0)()
            except AdministrationError as error:
                self.reasons.append(str(error))
            else:
                self._found.append(way)
                yield way

    def bindings(self, vhost: str) -> set[Binding] | None:
        """All bindings in a virtual host; None if nobody can tell."""
        for way in self:
            with contextlib.suppress(AdministrationError):
                return way.bindings(vhost)
        return None

    def unacked(self, vhost: str, queues: Iterable[str]) -> dict[str, int]:
        """Messages delivered but not acked, of those queues for which somebody can tell."""
        found: dict[str, int] = {}
        for way in self:
            with contextlib.suppress(AdministrationError):
                found = {**way.unacked(vhost), **found}
            if all(queue in found for queue in queues):
                break
        return found

    def create_vhost(self, vhost: str) -> str:
        """Create a virtual host for the user of the settings, in whichever way works.

        Returns:
            The name of the way.

        Raises:
            CannotCreateError: no way works; it has the commands to run instead.
        """
        refusals = []
        for way in self:
            try:
                way.create_vhost(vhost, settings.RABBITMQ_USER_NAME)
            except AdministrationError as error:
                refusals.append(str(error))
            else:
                return way.name
        raise CannotCreateError(vhost, self.reasons + refusals)


def _refuse_known(vhost: str, user: str, users: list[str]) -> None:
    """Permissions that somebody has set on purpose are never widened."""
    if user in users:
        raise AdministrationError(
            f"virtual host {vhost!r} exists, and user {user!r} has permissions in it: the broker"
            " refuses the connection for another reason"
        )


def _derived_url() -> str:
    host = settings.RABBITMQ_HOST
    host = f"[{host}]" if ":" in host else host
    if settings.RABBITMQ_SSL:
        return f"https://{host}:{_MANAGEMENT_TLS_PORT}"
    return f"http://{host}:{_MANAGEMENT_PORT}"


def _serves_our_port(listeners: list[dict[str, Any]]) -> bool:
    """Is the AMQP port of the settings among a broker's listeners?"""
    return any(
        str(row.get("protocol", "")).startswith("amqp")
        and row.get("port") == int(settings.RABBITMQ_PORT)
        for row in listeners
    )


def _is_local(host: str) -> bool:
    """Does a host name mean this machine? Only an own address can be bound."""
    try:
        addresses = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, protocol, _name, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
            return True
        except OSError:
            continue
    return False
