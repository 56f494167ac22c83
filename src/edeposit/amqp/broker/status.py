"""How the services are: their queues at the broker, their daemons on this machine."""

import contextlib
import io
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from pika.exceptions import ChannelClosedByBroker

from edeposit.amqp.broker.management import Administration
from edeposit.amqp.broker.schema import Schema, schema_of
from edeposit.amqp.broker.sessions import NoVirtualHostError, connected


class QueueStatus(NamedTuple):
    """A queue as the broker sees it.

    Attributes:
        ready: messages that wait; None: there is no such queue.
        unacked: messages delivered but not acked; None: not known without administration.
        consumers: who takes messages off it; None as ``ready``.
    """

    queue: str
    ready: int | None
    unacked: int | None
    consumers: int | None


class HostStatus(NamedTuple):
    """A service.

    Attributes:
        vhost_exists: False: missing, or not open to our user.
        queues: without the parking queue.
        parked: messages in the parking queue; None: there is no such queue.
        problem: why the virtual host cannot be used; empty: it can.
        daemon: as ``daemonwrapper`` tells: at least ``running`` (None: unknown).
        further_daemons: the same of those that send unasked, by their names.
    """

    host: str
    vhost: str
    vhost_exists: bool
    queues: list[QueueStatus]
    parked: int | None
    daemon: dict[str, Any]
    further_daemons: dict[str, dict[str, Any]]
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Does the service have all its queues?"""
        return self.vhost_exists and all(queue.ready is not None for queue in self.queues)

    @property
    def working(self) -> bool:
        """Is it complete, and does somebody consume its requests?"""
        return self.complete and bool(self.queues and self.queues[0].consumers)

    def as_text(self) -> str:
        """A line about the service, one for each further daemon of it, and one for each queue."""
        daemon = f"{self.host}: daemon {_as_text(self.daemon)}"
        further = [f"    {name}: {_as_text(told)}" for name, told in self.further_daemons.items()]
        if not self.vhost_exists:
            return "\n".join([f"{daemon}; {self.problem}", *further])
        parked = "no parking queue" if self.parked is None else f"{self.parked} parked"
        rows = [("queue", "ready", "unacked", "consumers")]
        for queue in self.queues:
            if queue.ready is None:
                rows.append((queue.queue, "missing", "-", "-"))
            else:
                unacked = "-" if queue.unacked is None else str(queue.unacked)
                rows.append((queue.queue, str(queue.ready), unacked, str(queue.consumers)))
        width = max(len(row[0]) for row in rows)
        lines = [
            f"    {name:{width}}  {ready:>8}  {unacked:>8}  {consumers:>9}"
            for name, ready, unacked, consumers in rows
        ]
        return "\n".join([f"{daemon}; {parked}", *further, *lines])

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(
            {**self._asdict(), "queues": [queue._asdict() for queue in self.queues]}, default=str
        )


def _as_text(daemon: dict[str, Any]) -> str:
    if daemon["running"] is None:
        return f"unknown ({daemon.get('problem', 'no status')})"
    if not daemon["running"]:
        return "not running"
    details = [f"pid {daemon['pid']}"] if daemon.get("pid") else []
    details += [daemon["state"]] if daemon.get("state") else []
    return f"running ({', '.join(details)})" if details else "running"


def status(
    host: str, administration: Administration, further_daemons: Iterable[str] = ()
) -> HostStatus:
    """Look at a service.

    Args:
        host: as ``get_amqp_settings()`` names it.
        administration: to learn the unacked messages.
        further_daemons: names of its daemons that send unasked.

    Raises:
        BrokerError: no connection, or no permission to look at a queue.
        AMQPError: there is no such host.
    """
    schema = schema_of(host)
    daemon = _daemon_status(host)
    further = {name: _daemon_status(name) for name in further_daemons}
    try:
        rows = _queues(schema, administration)
    except NoVirtualHostError as error:
        what = "virtual host" if error.failure.code == "no-vhost" else "permission in virtual host"
        problem = f"no {what} {schema.vhost!r}"
        return HostStatus(host, schema.vhost, False, [], None, daemon, further, problem)
    parked = rows.pop()
    return HostStatus(host, schema.vhost, True, rows, parked.ready, daemon, further)


def _queues(schema: Schema, administration: Administration) -> list[QueueStatus]:
    rows = []
    with connected(schema.host) as connection:
        unacked = administration.unacked(schema.vhost, schema.queues)
        for queue in (*schema.queues, schema.parking):
            channel = connection.channel()
            try:
                found = channel.queue_declare(queue, passive=True).method
            except ChannelClosedByBroker as error:
                if error.reply_code != 404:
                    raise
                rows.append(QueueStatus(queue, None, None, None))
                continue
            channel.close()
            rows.append(
                QueueStatus(queue, found.message_count, unacked.get(queue), found.consumer_count)
            )
    return rows


def _daemon_status(host: str) -> dict[str, Any]:
    """What the service's daemon on this machine says of itself, at least ``running``."""
    from edeposit.amqp.daemonwrapper import DaemonRunnerWrapper

    output, complaint = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(complaint):
        DaemonRunnerWrapper(host).status(as_json=True)
    try:
        told = json.loads(output.getvalue())
    except ValueError:
        return {"running": None, "problem": complaint.getvalue().strip()}
    return told if isinstance(told, dict) else {"running": None}
