"""What each option of ``edeposit_amqp_tool.py`` does, one function each, with its output.

Results go to stdout, remarks and questions to stderr. What must stay true: nothing is deleted
without having been asked for twice (the option, and ``--yes`` or an answer).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from edeposit.amqp import registry
from edeposit.amqp.broker import messages, parking, schema
from edeposit.amqp.broker.administrator import CannotCreateError
from edeposit.amqp.broker.management import Administration
from edeposit.amqp.broker.parking import ParkedMessage
from edeposit.amqp.broker.sessions import (
    NoConnectionError,
    NoVirtualHostError,
    close,
    connect,
    deadline_of,
    within,
)
from edeposit.amqp.broker.status import status
from edeposit.amqp.errors import AMQPError, RemoteError, StartError
from edeposit.amqp.programs import expression

OK, FAILED = 0, 1
ALL = "all"
TOOL = "edeposit_amqp_tool.py"

_CALL_TIMEOUT = 60.0
_FOREVER = 1e9


def _create(args: argparse.Namespace) -> int:
    code = OK
    for host in _hosts(args):
        if args.dry_run:
            findings = within(args.timeout, schema.compare, host)
            if args.json:
                parts = [finding.as_data() for finding in findings]
                print(json.dumps({"host": host, "parts": parts}))
            else:
                print(f"{host}:", *(f"    {finding}" for finding in findings), sep="\n")
            if any(finding.state in ("missing", "differs") for finding in findings):
                code = FAILED
            continue
        try:
            created = within(args.timeout, schema.create, host)
        except CannotCreateError as error:
            complain(error, host)
            code = FAILED
            continue
        if created.vhost_by:
            note(f"Created virtual host '{created.schema.vhost}' ({created.vhost_by}).")
        print(created.as_json() if args.json else created.as_text())
        for finding in created.differing:
            note(f"{finding}. It was left as it is.")
            code = FAILED
    return code


def _purge(args: argparse.Namespace) -> int:
    known = schema.schema_of(args.host)
    queues = args.purge or list(known.queues)
    unknown = set(queues).difference((*known.queues, known.parking))
    if unknown:
        raise AMQPError(
            f"{args.host} has no queue {', '.join(sorted(unknown))}"
            f" (it has: {', '.join((*known.queues, known.parking))})"
        )
    ready = within(args.timeout, messages.counts, args.host, queues)
    what = " and ".join(f"{count} from '{queue}'" for queue, count in ready.items())
    if args.dry_run:
        print(f"Would delete messages: {what}.")
        return OK
    _confirm(args, f"Delete messages of {args.host}: {what}?")
    for queue, count in within(args.timeout, messages.purge, args.host, queues).items():
        print(f"Deleted {count} messages from queue '{queue}'.")
    return OK


def _put(args: argparse.Namespace) -> int:
    data = _read(args.put)
    if not args.no_check:
        messages.check_json(data, _name_of(args.put))
    sent = within(args.timeout, messages.send, args.host, data)
    if args.json:
        print(json.dumps({"UUID": sent.headers["UUID"]}))
    return OK


def _call(args: argparse.Namespace) -> int:
    from edeposit.amqp.client import AMQPClient
    from edeposit.amqp.registry import class_table
    from edeposit.amqp.serializers import serialize

    timeout = _CALL_TIMEOUT if args.timeout is None else args.timeout
    deadline = deadline_of(timeout) or deadline_of(_FOREVER)
    assert deadline is not None
    try:
        classes = class_table(args.host)
    except StartError as error:
        raise AMQPError(
            f"{error}: without its classes answers cannot be read, --put and --get can be used"
        ) from error
    if expression.looks_like_expression(args.call):
        request = expression.parse(args.call, classes)
    else:
        request = _read(args.call)
        if not args.no_check:
            messages.check_json(request, _name_of(args.call))
    # The client reports any trouble in one way; this tells a missing broker from the rest.
    close(within(timeout, connect, args.host))

    def show(value: Any) -> str:
        return serialize(value) if args.json else expression.render(value)

    left = max(deadline - time.monotonic(), 0)
    with AMQPClient(args.host, glob=classes, timeout=left) as client:
        try:
            answer = client.call(
                request,
                max(deadline - time.monotonic(), 0),
                on_progress=lambda value: note(f"progress: {show(value)}"),
            )
        except RemoteError as error:
            if args.json:
                print(json.dumps({"exception": vars(error)}))
            raise
    print(show(answer))
    return OK


def _get(args: argparse.Namespace) -> int:
    print_messages(messages.receive(args.host, args.timeout), args.json)
    return OK


def _peek(args: argparse.Namespace) -> int:
    within(args.timeout, print_messages, messages.peek(args.host), args.json)
    return OK


def _parked(args: argparse.Namespace) -> int:
    action, *ids = args.parked
    if action not in _PARKED:
        raise UsageError(f"--parked knows {', '.join(_PARKED)}, not {action!r}")
    find, show = _PARKED[action]
    if action in ("retry", "drop") and not ids:
        raise UsageError(f"--parked {action} needs ids (from --parked list), or 'all'")
    if action == "drop":
        _confirm(args, f"Delete parked messages of {args.host} for good: {', '.join(ids)}?")

    def print_each() -> None:
        for number, item in enumerate(find(args.host, ids)):
            if not number and action == "list" and not args.json:
                print(parking.HEADER)
            print(item.as_json() if args.json else printable(show(item)), flush=True)

    within(args.timeout, print_each)
    return OK


_PARKED: dict[
    str, tuple[Callable[..., Iterable[ParkedMessage]], Callable[[ParkedMessage], str]]
] = {
    "list": (parking.parked, ParkedMessage.as_text),
    "show": (parking.parked, lambda item: item.message.as_text()),
    "retry": (parking.retry, lambda item: f"Sent again: {item.as_text()}"),
    "drop": (parking.drop, lambda item: f"Dropped: {item.as_text()}"),
}


def _status(args: argparse.Namespace) -> int:
    administration = Administration()
    code = OK
    for host in _hosts(args):
        daemons = registry.FURTHER_DAEMONS.get(host, ())
        found = within(args.timeout, status, host, administration, daemons)
        print(found.as_json() if args.json else found.as_text())
        if not found.working:
            code = FAILED
    return code


def _hosts(args: argparse.Namespace) -> list[str]:
    """The named host; for all: the services that there are, not every name of the settings."""
    if args.host not in (None, ALL):
        return [args.host]
    known = registry.services()
    return [host for host in schema.distinct_hosts() if host in known]


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise AMQPError(f"Can't open '{name}'!") from error


def _name_of(name: str) -> str:
    return "standard input" if name == "-" else repr(name)


def print_messages(found: Iterable[messages.ReceivedMessage], as_json: bool = False) -> None:
    """Print messages as they come."""
    for message in found:
        # Flushed at once: the message is acked after this, and then exists nowhere else.
        print(message.as_json() if as_json else message.as_text(), flush=True)


def _confirm(args: argparse.Namespace, question: str) -> None:
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise AMQPError(f"{question} Nothing was done: say --yes to do it without being asked.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise AMQPError("Nothing was done.")


def note(text: str) -> None:
    """A remark beside the results, on stderr."""
    print(text, file=sys.stderr, flush=True)


def complain(error: Exception, host: str | None = None) -> None:
    """Say what went wrong and how to repair it, on stderr.

    Args:
        error: what went wrong.
        host: the service, for hints that can be run as they are.
    """
    is_missing = isinstance(error, NoVirtualHostError) and error.failure.code == "no-vhost"
    if is_missing or isinstance(error, CannotCreateError):
        note("Can't connect to virtuahost!\nMake sure, that virtualhost is created.")
    elif isinstance(error, NoConnectionError):
        note("Can't connect to RabbitMQ!")
    host = getattr(error, "host", host) or ALL
    note(printable(str(error).replace(f"{TOOL} --create", f"{TOOL} --host {host} --create")))
    if isinstance(error, CannotCreateError):
        note("Run on the broker's machine, as root, then try again:")
        note("\n".join(f"\t{command}" for command in error.commands))


def printable(text: str) -> str:
    """Texts from elsewhere must not steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


class UsageError(AMQPError):
    """The arguments make no sense together; nothing was done."""


class Action(NamedTuple):
    """What an option does.

    Attributes:
        verb: for ``Can't <verb> all hosts!``; None: it works for all.
    """

    run: Callable[[argparse.Namespace], int]
    verb: str | None


# In the order in which they run when several are given.
ACTIONS = {
    "create": Action(_create, None),
    "purge": Action(_purge, "purge"),
    "put": Action(_put, "send to"),
    "call": Action(_call, "call"),
    "get": Action(_get, "receive"),
    "peek": Action(_peek, "receive"),
    "parked": Action(_parked, "look at parked messages of"),
    "status": Action(_status, None),
}
