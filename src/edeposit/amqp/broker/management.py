"""What AMQP cannot do: virtual hosts, lists of bindings, counts of unacked messages.

Two ways lead there, with the same few methods: the broker's management API (HTTP), and
``rabbitmqctl`` for root on the broker's machine. What must stay true: neither is used before it has
shown that it speaks for the broker that the AMQP settings reach (a machine may have several), and
nobody gets the password before that.
"""

import base64
import contextlib
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

from edeposit.amqp import settings
from edeposit.amqp.broker.administrator import (
    AdministrationError,
    Administrator,
    Binding,
    CannotCreateError,
    refuse_known,
)
from edeposit.amqp.broker.listeners import listening_users
from edeposit.amqp.broker.rabbitmqctl import Rabbitmqctl

_HTTP_TIMEOUT = 10.0
# A derived URL may lead into a firewall that answers nothing at all.
_PROBE_TIMEOUT = 3.0
_MANAGEMENT_PORT, _MANAGEMENT_TLS_PORT = 15672, 15671


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
            return
        # A configured URL may lead through anything; a derived one has to be of our broker, and
        # must show it before it gets the password.
        if not (settings.RABBITMQ_SSL or _belongs_to_the_broker()):
            raise AdministrationError(
                f"{self._url}: not asked, as anybody could listen there (set"
                " RABBITMQ_MANAGEMENT_URL if it is the broker's management API)"
            )
        self._request("GET", "health", "checks", "port-listener", settings.RABBITMQ_PORT)

    def create_vhost(self, vhost: str, user: str) -> None:
        if vhost in (row["name"] for row in self._request("GET", "vhosts")):
            rows = self._request("GET", "vhosts", vhost, "permissions")
            refuse_known(vhost, user, [row["user"] for row in rows])
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


def _derived_url() -> str:
    host = settings.RABBITMQ_HOST
    host = f"[{host}]" if ":" in host else host
    if settings.RABBITMQ_SSL:
        return f"https://{host}:{_MANAGEMENT_TLS_PORT}"
    return f"http://{host}:{_MANAGEMENT_PORT}"


def _belongs_to_the_broker() -> bool:
    """Does the user who listens on the AMQP port, and so gets the password anyway, also listen on
    the management port? Only this machine's kernel can tell."""
    host = settings.RABBITMQ_HOST
    users = listening_users(host, _MANAGEMENT_PORT)
    return bool(users) and users <= listening_users(host, int(settings.RABBITMQ_PORT))
