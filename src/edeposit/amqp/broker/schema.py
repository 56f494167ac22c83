"""A service's place in the broker: virtual host, exchange, queues and bindings.

The schema is that of the first generation (2015): a durable topic exchange, durable queues without
arguments, bindings by exact keys; in addition a parking queue for what cannot be delivered. The
tool declares it, the daemons only check it. What must stay true: declaring never changes or
removes anything that exists; where something exists and differs, it is named, argument by
argument.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from edeposit.amqp import settings
from edeposit.amqp.broker.management import Administration
from edeposit.amqp.broker.sessions import NoVirtualHostError, connected, host_settings
from edeposit.amqp.contract import PARKING_SUFFIX

State = Literal["exists", "missing", "differs", "not checked"]

# RabbitMQ tells only in words what differs (rabbit_misc.erl, assert_args_equivalence).
_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for (?:queue|exchange) .*"
    r" but current is (?:the value )?(?:'(?P<have>.*?)'|none)(?: of type '(?P<type>\w+)')?$",
    re.DOTALL,
)
_INTEGERS = ("signedint", "unsignedint", "long", "short", "byte", "unsignedshort", "unsignedbyte")


class Schema(NamedTuple):
    """What a service needs.

    Attributes:
        host: the service, as ``get_amqp_settings()`` names it.
        bindings: (queue, routing key) pairs.
        parking: queue for what cannot be delivered; bound to nothing.
    """

    host: str
    vhost: str
    exchange: str
    queues: tuple[str, ...]
    bindings: tuple[tuple[str, str], ...]
    parking: str


class Difference(NamedTuple):
    """One argument of an existing exchange or queue that is not as it should be."""

    argument: str
    have: Any
    want: Any

    def __str__(self) -> str:
        have, want = ("not set" if value is None else repr(value) for value in self[1:])
        return f"{self.argument}: have {have}, want {want}"


class Finding(NamedTuple):
    """One part of a schema, compared with the broker.

    Attributes:
        kind: ``virtual host``, ``exchange``, ``queue`` or ``binding``.
        differences: why the state is ``differs``.
    """

    kind: str
    name: str
    state: State
    differences: tuple[Difference, ...] = ()

    def __str__(self) -> str:
        name = self.name if self.kind == "binding" else repr(self.name)
        details = ": " + "; ".join(map(str, self.differences)) if self.differences else ""
        return f"{self.kind} {name}: {self.state}{details}"

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        differences = [difference._asdict() for difference in self.differences]
        return {**self._asdict(), "differences": differences}


class Created(NamedTuple):
    """What ``create`` has done.

    Attributes:
        vhost_by: how a missing virtual host was created; empty if it was there.
        differing: parts that exist already and differ; they were left as they are.
    """

    schema: Schema
    vhost_by: str
    differing: list[Finding]

    def as_text(self) -> str:
        """The lines that the first generation printed, without what is not as they say."""
        _host, _vhost, exchange, queues, bindings, _parking = self.schema
        differing = {(finding.kind, finding.name) for finding in self.differing}
        lines = []
        if ("exchange", exchange) not in differing:
            lines.append(f"Created exchange '{exchange}'.")
        lines.append("Creating queues:")
        for queue in queues:
            if ("queue", queue) not in differing:
                lines.append(f"\tCreated durable queue '{queue}'.")
        lines += ["", "Routing exchanges using routing key to queues:"]
        for queue, key in bindings:
            lines.append(f"\tRouting exchange {exchange}['{key}'] -> '{queue}'.")
        return "\n".join(lines)

    def as_json(self) -> str:
        """One line of JSON."""
        host, vhost, exchange, queues, bindings, parking = self.schema
        return json.dumps(
            {
                "host": host,
                "virtual_host": vhost,
                "virtual_host_created": bool(self.vhost_by),
                "exchange": exchange,
                "queues": [*queues, parking],
                "bindings": [{"queue": queue, "routing_key": key} for queue, key in bindings],
                "differing": [finding.as_data() for finding in self.differing],
            }
        )


def schema_of(host: str) -> Schema:
    """The schema that the settings ask for.

    Raises:
        AMQPError: there is no such host.
        SettingsError: a setting is wrong.
    """
    config = host_settings(host)
    bindings = tuple((queue, key) for queue, key in config["bindings"])
    queues = tuple(dict.fromkeys(queue for queue, _key in bindings))
    parking = config["in_queue"] + PARKING_SUFFIX
    return Schema(host, config["vhost"], config["exchange"], queues, bindings, parking)


def hosts() -> list[str]:
    """The names of all services in the settings, sorted."""
    return sorted(settings.get_amqp_settings())


def distinct_hosts() -> list[str]:
    """As ``hosts``, but without further names of a service that has been named already."""
    seen: dict[int, str] = {}
    for host, config in settings.get_amqp_settings().items():
        seen.setdefault(id(config), host)  # a further name leads to the same dict
    return sorted(seen.values())


def create(host: str) -> Created:
    """Declare a service's schema, its virtual host included. May be repeated at any time.

    Raises:
        CannotCreateError: the virtual host is missing and cannot be created from here.
        BrokerError: no connection, or no permission.
        AMQPError: as ``schema_of``.
    """
    schema = schema_of(host)
    try:
        with connected(host) as connection:
            return Created(schema, "", declare(connection, schema))
    except NoVirtualHostError:
        vhost_by = Administration().create_vhost(schema.vhost)
    with connected(host) as connection:
        return Created(schema, vhost_by, declare(connection, schema))


def declare(connection: pika.BlockingConnection, schema: Schema) -> list[Finding]:
    """Declare exchange, queues and bindings.

    Returns:
        What exists already and differs.
    """
    findings = []
    for kind, name in _entities(schema):
        try:
            _declare(connection, kind, name, _wanted(kind))
        except ChannelClosedByBroker as error:
            if error.reply_code not in (405, 406):
                raise
            findings.append(_inspect(connection, kind, name))
    channel = connection.channel()
    for queue, key in schema.bindings:
        channel.queue_bind(queue, schema.exchange, key)
    channel.close()
    return findings


def compare(host: str) -> list[Finding]:
    """Compare a service's schema with the broker, without changing anything.

    Bindings cannot be listed by AMQP; without the management API or ``rabbitmqctl`` they stay
    ``not checked``.

    Raises:
        BrokerError: no connection, or no permission.
        AMQPError: as ``schema_of``.
    """
    schema = schema_of(host)
    try:
        with connected(host) as connection:
            entities = [_inspect(connection, kind, name) for kind, name in _entities(schema)]
    except NoVirtualHostError as error:
        if error.failure.code != "no-vhost":
            raise
        missing = [Finding("virtual host", schema.vhost, "missing")]
        missing += [Finding(kind, name, "missing") for kind, name in _entities(schema)]
        return missing + [Finding("binding", name, "missing") for name in _binding_names(schema)]
    return [
        Finding("virtual host", schema.vhost, "exists"),
        *entities,
        *_inspect_bindings(schema, Administration()),
    ]


def _entities(schema: Schema) -> Iterator[tuple[str, str]]:
    yield "exchange", schema.exchange
    for queue in dict.fromkeys((*schema.queues, schema.parking)):
        yield "queue", queue


def _binding_names(schema: Schema) -> list[str]:
    return [f"{schema.exchange}[{key!r}] -> {queue!r}" for queue, key in schema.bindings]


def _wanted(kind: str) -> dict[str, Any]:
    """All fixed arguments; arguments of the queue itself (``x-...``) are added beside them."""
    if kind == "exchange":
        return {"type": "topic", "durable": True, "auto_delete": False, "internal": False}
    return {"durable": True, "exclusive": False, "auto_delete": False}


def _declare(
    connection: pika.BlockingConnection, kind: str, name: str, arguments: dict[str, Any]
) -> None:
    fixed = {key: value for key, value in arguments.items() if key in _wanted(kind)}
    optional = {key: value for key, value in arguments.items() if key not in fixed}
    if kind == "exchange":
        fixed["exchange_type"] = fixed.pop("type")
        _on_channel(connection, lambda c: c.exchange_declare(name, arguments=optional, **fixed))
    else:
        _on_channel(connection, lambda c: c.queue_declare(name, arguments=optional, **fixed))


def _on_channel(
    connection: pika.BlockingConnection, work: Callable[[BlockingChannel], object]
) -> None:
    """A channel for one step: a refusal closes it."""
    channel = connection.channel()
    work(channel)
    channel.close()


def _inspect(connection: pika.BlockingConnection, kind: str, name: str) -> Finding:
    """Ask the broker about one exchange or queue, without changing it.

    RabbitMQ names one differing argument at a time, so it is asked again with that one as it is,
    until it agrees: declaring what exists as it exists does nothing.
    """
    try:
        if kind == "exchange":
            _on_channel(connection, lambda c: c.exchange_declare(name, passive=True))
        else:
            _on_channel(connection, lambda c: c.queue_declare(name, passive=True))
    except ChannelClosedByBroker as error:
        if error.reply_code == 404:
            return Finding(kind, name, "missing")
        if error.reply_code == 405:
            return Finding(kind, name, "differs", (Difference("exclusive", True, False),))
        raise
    wanted = _wanted(kind)
    arguments = dict(wanted)
    differences: list[Difference] = []
    while True:
        try:
            _declare(connection, kind, name, arguments)
            break
        except ChannelClosedByBroker as error:
            match = _INEQUIVALENT.search(error.reply_text)
            if error.reply_code != 406 or match is None:
                raise
            argument = match["argument"]
            known, have = _value(match["have"], match["type"])
            differences.append(Difference(argument, have, wanted.get(argument)))
            if not known or (argument in arguments and arguments[argument] == have):
                break  # a value that cannot be sent back: what else differs stays unknown
            arguments[argument] = have
    return Finding(kind, name, "differs" if differences else "exists", tuple(differences))


def _value(text: str | None, type_name: str | None) -> tuple[bool, Any]:
    """A value as the broker writes it in its refusal: (could be read, value)."""
    if text is None:
        return True, None
    if type_name in _INTEGERS:
        return True, int(text)
    if type_name in ("float", "double"):
        return True, float(text)
    if type_name in ("bool", None) and text in ("true", "false"):
        return True, text == "true"
    return type_name in (None, "longstr"), text


def _inspect_bindings(schema: Schema, administration: Administration) -> list[Finding]:
    existing = administration.bindings(schema.vhost)
    findings = []
    for name, (queue, key) in zip(_binding_names(schema), schema.bindings, strict=True):
        state: State = "not checked"
        if existing is not None:
            state = "exists" if (schema.exchange, queue, key) in existing else "missing"
        findings.append(Finding("binding", name, state))
    return findings
