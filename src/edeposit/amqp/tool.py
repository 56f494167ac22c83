"""The command line of ``edeposit_amqp_tool.py``: set up, inspect and try out the services.

The 2015 options keep their names, texts and output. Results go to stdout, everything else to
stderr; a mistake or a failure is one line there, never a traceback. Functions without an
underscore are also for scripts.

Exit codes:

    0    done (``--call``: answered; ``--dry-run``: the schema is complete; ``--status``: served)
    1    failed, or the time is over (``--call``: the service answered with an exception)
    2    wrong usage
    130  interrupted (Ctrl-C)
    141  the reader of our output went away (``| head``)
"""

import argparse
import difflib
import io
import json
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pika

from edeposit.amqp import __version__
from edeposit.amqp.broker import messages, schema
from edeposit.amqp.broker.sessions import connect, within
from edeposit.amqp.errors import AMQPError, CallTimeoutError
from edeposit.amqp.programs.actions import (
    ACTIONS,
    ALL,
    FAILED,
    OK,
    UsageError,
    complain,
    note,
    print_messages,
)
from edeposit.amqp.programs.scaffold import write_module
from edeposit.amqp.serializers import SerializationError
from edeposit.amqp.settings import SettingsError

logger = logging.getLogger(__name__)

USAGE, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

_EPILOG = """\
examples:
  set up all services, or look first what is missing:
    %(prog)s --host all --create
    %(prog)s --host antivirus --create --dry-run
  is everything running? how long are the queues?
    %(prog)s --status
  ask a service:
    %(prog)s --host antivirus --call 'ScanFile("hello.txt", "aGVsbG8=")'
    %(prog)s --host antivirus --call request.json --json --timeout 300
  put a request and print what comes into the output queue within 10 seconds:
    %(prog)s --host antivirus --put request.json --get --timeout 10
  begin a module of your own:
    %(prog)s --new shouting
  what could not be answered or delivered:
    %(prog)s --host antivirus --parked list
    %(prog)s --host antivirus --parked retry all

exit codes:
  0 done   1 failed, time over, or answered with an exception   2 wrong usage
"""


# --- for scripts ----------------------------------------------------------------------------


def get_list_of_hosts() -> list[str]:
    """Names of all services in the settings."""
    return schema.hosts()


def create_blocking_connection(host: str) -> pika.BlockingConnection:
    """Connect to a service's virtual host; the caller has to close the connection.

    Args:
        host: one of ``get_list_of_hosts()``.

    Raises:
        AMQPError: no such host, no broker, no virtual host, no permission.
    """
    return connect(host)


def create_schema(host: str) -> None:
    """Declare the schema of a service, and print what was declared.

    Args:
        host: one of ``get_list_of_hosts()``.

    Raises:
        CannotCreateError: the virtual host is missing and cannot be created from here.
        AMQPError: no connection, or no permission.
    """
    print(schema.create(host).as_text())


def send_message(
    host: str,
    data: str | bytes,
    timeout: float | None = None,
    properties: pika.BasicProperties | None = None,
) -> str | None:
    """Put a request into a service's input queue.

    Args:
        host: one of ``get_list_of_hosts()``.
        data: the request in JSON.
        timeout: seconds; None or negative is no limit.
        properties: default: those of a request, with a new UUID.

    Returns:
        The request's UUID, once the broker has confirmed it.

    Raises:
        CallTimeoutError: not confirmed in time; it may have been sent.
        AMQPError: no connection, or the broker does not take it.
    """
    sent = within(timeout, messages.send, host, data, properties)
    return (sent.headers or {}).get("UUID")


def receive(host: str, timeout: float | None = None) -> None:
    """Print the messages of a service's output queue as they come, and take them off it.

    Args:
        host: one of ``get_list_of_hosts()``.
        timeout: seconds in total; None or negative: no limit.

    Raises:
        CallTimeoutError: the time is over, whether messages have come or not.
        AMQPError: no connection, or no queue.
    """
    print_messages(messages.receive(host, timeout))


# --- the program ----------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """The program ``edeposit_amqp_tool.py``.

    Args:
        argv: arguments without the program's name; default ``sys.argv[1:]``.

    Returns:
        The exit code.
    """
    args = _parser().parse_args(argv)
    if sys.stdout is None:  # closed by the caller: --get would throw messages away
        note("There is no standard output to write to.")
        return FAILED
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    _configure_logging(args.verbose)
    try:
        code = _run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_stdout()
        return BROKEN_PIPE
    except CallTimeoutError:
        note("Timeouted!")
    except UsageError as error:
        note(str(error))
        return USAGE
    except (AMQPError, SettingsError, SerializationError) as error:
        logger.debug("failed", exc_info=True)
        complain(error, args.host)
    except OSError as error:  # such as a full disk behind stdout
        _give_up_stdout()
        note(str(error))
    return FAILED


def _run(args: argparse.Namespace) -> int:
    if args.list:
        hosts = get_list_of_hosts()
        print(json.dumps(hosts) if args.json else "\n".join(hosts))
        return OK
    if args.new is not None:
        files = write_module(args.new, Path.cwd())
        print(*(path.relative_to(Path.cwd()) for path in files), sep="\n")
        return OK
    wanted = [name for name in ACTIONS if getattr(args, name) not in (None, False)]
    for name in wanted:
        if args.host is None and name != "status":
            raise UsageError(f"--host is required parameter to --{name}")
        if args.host == ALL and ACTIONS[name].verb is not None:
            raise UsageError(f"Can't {ACTIONS[name].verb} all hosts!")
    if args.dry_run and (not wanted or set(wanted) - {"create", "purge"}):
        raise UsageError("--dry-run goes with --create or --purge only")
    if not wanted:
        options = ", ".join(f"--{name}" for name in ACTIONS)
        raise UsageError(f"nothing to do: say --list or one of {options}; see --help")
    if args.host not in (None, ALL) and args.host not in get_list_of_hosts():
        near = difflib.get_close_matches(args.host, get_list_of_hosts(), 1)
        hint = f"did you mean {near[0]!r}?" if near else "see --list."
        raise UsageError(f"Unknown host {args.host!r}: {hint}")
    for name in wanted:
        code = ACTIONS[name].run(args)
        if code != OK:
            return code
    return OK


def _give_up_stdout() -> None:
    """What is still buffered cannot be written: Python must not try again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _configure_logging(verbose: bool) -> None:
    """Our warnings are for people; pika's are for developers, and repeat our errors."""
    logging.basicConfig(format="%(message)s", level=logging.DEBUG if verbose else logging.WARNING)
    if not verbose:
        logging.getLogger("pika").setLevel(logging.CRITICAL + 1)


def _seconds(text: str) -> float:
    seconds = float(text)
    if math.isnan(seconds):
        raise ValueError("not a number")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Set up, inspect and try out the services of edeposit.amqp at RabbitMQ.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"%(prog)s {__version__}")
    add("-l", "--list", action="store_true", help="print the names of all hosts (services)")
    add("-s", "--host", metavar="NAME", help="which host to work with: one of --list, or 'all'")
    add(
        "-c",
        "--create",
        action="store_true",
        help="create virtual host, exchange, queues and bindings, where they are missing",
    )
    add("--new", metavar="NAME", help="write a new module of this name: function, daemon, tests")
    add("-p", "--put", metavar="FILE", help="send a request, JSON from a file or - (stdin)")
    add(
        "-g",
        "--get",
        action="store_true",
        help="print the messages of the output queue as they come, and take them off it",
    )
    add(
        "-t",
        "--timeout",
        metavar="N",
        type=_seconds,
        help="seconds for each action, then exit 1; -1: no limit (default: -1, --call: 60)",
    )
    add(
        "--call",
        metavar="FILE|-|EXPRESSION",
        help="send a request and print its answer; JSON from a file or stdin, or an expression"
        ' such as \'ScanFile("a.txt", "")\'',
    )
    add(
        "--status",
        action="store_true",
        help="queues (ready, unacked, consumers, parked) and daemons (on this machine)",
    )
    add(
        "--peek",
        action="store_true",
        help="as --get, for what is there now, but leave it there (marked as redelivered)",
    )
    add(
        "--purge",
        metavar="QUEUE",
        nargs="*",
        help="delete all messages of the given queues (default: input and output); asks first",
    )
    add(
        "--parked",
        metavar=("ACTION", "ID"),
        nargs="+",
        help="list, show [ID...], retry ID...|all, drop ID...|all: what could not be answered or"
        " delivered",
    )
    add("--dry-run", action="store_true", help="only say what --create or --purge would do")
    add("--yes", action="store_true", help="do not ask before something is deleted")
    add("--json", action="store_true", help="output for programs: one line of JSON per item")
    add("--no-check", action="store_true", help="do not check that a request is JSON")
    add("-v", "--verbose", action="store_true", help="log what happens, and where errors come from")
    return parser
