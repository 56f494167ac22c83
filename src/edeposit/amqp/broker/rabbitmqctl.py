"""``rabbitmqctl``, for root on the broker's machine.

What must stay true: no argument can be misread by a shell (Debian's ``/usr/sbin/rabbitmqctl``
builds a command line of them), and nothing is started that stays behind.
"""

import json
import os
import re
import shutil
import socket
import subprocess
from typing import Any

from edeposit.amqp import settings
from edeposit.amqp.broker.administrator import AdministrationError, Binding, refuse_known

# rabbitmqctl starts an Erlang machine: a loaded computer needs a while for it (s).
_TIMEOUT = 60.0
_PLAIN = re.compile(r"(?!-)[\w.@:/+=-]+|\.\*|-p|--formatter", re.ASCII)
_EPMD_PORT = 4369


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
        if not _epmd_runs():
            # rabbitmqctl would start an epmd that listens on all addresses and keeps running.
            raise AdministrationError("rabbitmqctl: no RabbitMQ node runs here (there is no epmd)")
        self._command = command
        status = self._json("status")
        if not _serves_our_port(status.get("listeners", [])):
            raise AdministrationError(
                f"rabbitmqctl talks to another broker than the one on port {settings.RABBITMQ_PORT}"
            )

    def create_vhost(self, vhost: str, user: str) -> None:
        if vhost in (row["name"] for row in self._json("list_vhosts", "name")):
            rows = self._json("list_permissions", "-p", vhost)
            refuse_known(vhost, user, [row["user"] for row in rows])
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
        if not all(_PLAIN.fullmatch(argument) for argument in arguments):
            raise AdministrationError("rabbitmqctl: unusual characters in a name")
        try:
            process = subprocess.run(
                [self._command, "-q", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AdministrationError(f"rabbitmqctl: {error}") from error
        if process.returncode:
            lines = (process.stderr or process.stdout).strip().splitlines() or ["failed"]
            raise AdministrationError(f"rabbitmqctl {arguments[0]}: {lines[0]}")
        return process.stdout


def _epmd_runs() -> bool:
    """Does Erlang's port mapper listen? Every RabbitMQ node has started or found one."""
    port = os.environ.get("ERL_EPMD_PORT", "")
    try:
        address = ("127.0.0.1", int(port) if port.isdecimal() else _EPMD_PORT)
        with socket.create_connection(address, timeout=3):
            return True
    except OSError:
        return False


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
