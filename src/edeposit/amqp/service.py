"""The daemons of the services, and the one ``main()`` that all daemon scripts call.

Which services there are, and their packages and classes, is known by ``registry``.

A service's package may also define ``on_start()``, called in the daemon process before it connects,
``on_exit()``, called at its end, also when current work is abandoned, and a module ``settings``
with ``reload()``, called at SIGHUP.

A service may have a second daemon that sends unasked through the same exchange (the FTP monitor):
its script calls ``sender_main()``.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from pika.spec import Basic, BasicProperties

from edeposit.amqp import registry, settings
from edeposit.amqp.amqpdaemon import AMQPDaemon, getConParams
from edeposit.amqp.broker import check as checks
from edeposit.amqp.broker import schema
from edeposit.amqp.contract import PING_HEADER, UUID_HEADER
from edeposit.amqp.daemonwrapper import DaemonRunnerWrapper
from edeposit.amqp.errors import AMQPError, StartError
from edeposit.amqp.process.commands import Parser
from edeposit.amqp.process.control import EXIT_INTERRUPTED, EXIT_OK, complain
from edeposit.amqp.registry import BUILT_IN, ENTRY_POINT_GROUP, class_table, load, services
from edeposit.amqp.senderdaemon import SenderDaemon, Work

_MORE = {
    "create": "make virtual host, exchange and queues, where they are missing",
    "check": "does the daemon answer? For Nagios and the like: exits with 0 or 2",
}


class ServiceDaemon(AMQPDaemon, wraps_body=True):
    """The daemon of one service, configured by its name.

    Args:
        name: of the service.

    Raises:
        StartError: the service cannot be loaded, or the connection settings are unusable.
        SettingsError: a setting is wrong.
    """

    def __init__(self, name: str) -> None:
        self.service_name = name
        self.service = load(name)
        self._config = config = service_settings(name)
        _reload_settings_of(name)
        super().__init__(
            getConParams(config["vhost"]),
            config["in_queue"],
            config["exchange"],
            config["out_key"],
            self.service.reactToAMQPMessage,
            class_table(name),
            name=name,
            concurrency=_own_setting(name, "CONCURRENCY"),
            prefetch=_own_setting(name, "PREFETCH"),
        )

    def body(self) -> None:
        """Consume until a signal ends it. Not to be overridden.

        Raises:
            StartError: as of ``PikaDaemon``; the hint is for this program.
        """
        try:
            super().body()
        except StartError as error:
            raise StartError(_with_own_hint(str(error))) from error

    def onStart(self) -> None:
        """Let the service look at its surroundings, and log what it found."""
        on_start = getattr(self.service, "on_start", None)
        if on_start is not None:
            on_start()

    def onMessageReceived(
        self, method_frame: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> bool:
        """Answer a check here, everything else by the service's function."""
        headers = properties.headers or {}
        if headers.get(PING_HEADER) is not True or not properties.reply_to:
            return super().onMessageReceived(method_frame, properties, body)
        answer = BasicProperties(
            content_type=self.content_type,
            delivery_mode=1,
            correlation_id=properties.correlation_id,
            headers={UUID_HEADER: headers.get(UUID_HEADER), PING_HEADER: True},
        )
        self.sendMessage("", properties.reply_to, b'"alive"', answer)
        return True

    def onExit(self) -> None:
        """Let the service end what it has started."""
        try:
            on_exit = getattr(self.service, "on_exit", None)
            if on_exit is not None:
                on_exit()
        finally:
            super().onExit()

    def onReload(self) -> None:
        """Take over changed settings; connection and prefetch apply at the next reconnect."""
        self.connection_param = getConParams(self._config["vhost"])
        self.prefetch = _own_setting(self.service_name, "PREFETCH")
        _reload_settings_of(self.service_name)
        super().onReload()


class ServiceSender(SenderDaemon, wraps_body=True):
    """A daemon that sends unasked, through the exchange and with the output key of a service.

    Args:
        name: of the daemon: of its pid file, log and status.
        service: whose exchange it is.
        make_work: called in the daemon process before it connects; checks the surroundings and
            returns what the daemon does. What it raises is what ``start`` prints.

    Raises:
        StartError: the connection settings are unusable.
        SettingsError: a setting is wrong.
    """

    def __init__(self, name: str, service: str, make_work: Callable[[], Work]) -> None:
        load(service)  # before the fork, so that a missing extra is said in one line
        self.service_name = service
        self._make_work = make_work
        self._config = config = service_settings(service)
        super().__init__(
            getConParams(config["vhost"]), config["exchange"], config["out_key"], name=name
        )

    def onStart(self) -> None:
        """Prepare the work."""
        self.work = self._make_work()

    def onReload(self) -> None:
        """Take over changed settings; those of the connection apply at the next reconnect."""
        self.connection_param = getConParams(self._config["vhost"])
        _reload_settings_of(self.service_name)
        super().onReload()


def _with_own_hint(text: str) -> str:
    """The tool knows packaged services only; this program can create its own schema."""
    program = os.path.basename(sys.argv[0])
    return text.replace("edeposit_amqp_tool.py --create", f"'{program} create'")


def _reload_settings_of(name: str) -> None:
    module = sys.modules.get(f"{services()[name]}.settings")
    reload = getattr(module, "reload", None)
    if reload is not None:
        reload()


def service_settings(name: str) -> dict[str, Any]:
    """Virtual host, exchange, queues and keys of a service.

    Raises:
        StartError: the settings know no such service.
    """
    try:
        return settings.get_amqp_settings()[name]
    except KeyError as error:
        raise StartError(f"there are no settings for a service {name!r}") from error


def _own_setting(name: str, what: str) -> int | None:
    """A service's own value of a common setting; None if it has none."""
    return getattr(settings, f"RABBITMQ_{name.upper()}_{what}", 0) or None


def run(
    react_fn: Callable[..., Any],
    classes: Mapping[str, Any] | Iterable[type],
    *,
    name: str,
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """The whole program of a service that is not packaged; ends with its exit code.

    Args:
        react_fn: what answers the requests; see ``AMQPDaemon``.
        classes: the namedtuple classes that requests may build, or a dict such as ``globals()``.
        name: of the service, see ``registry.add``.
        argv: arguments without the program's name; default ``sys.argv[1:]``.
    """
    try:
        registry.add(react_fn, classes, name=name)
    except StartError as error:
        sys.exit(complain(name, str(error)))
    sys.exit(main(name, argv))


def main(name: str, argv: Sequence[str] | None = None) -> int:
    """The command line of a service's daemon script.

    Args:
        name: of the service.
        argv: arguments without the program's name; default ``sys.argv[1:]``.

    Returns:
        The exit code.
    """
    parser = Parser(f"Daemon of the service {name!r} behind RabbitMQ.", more=_MORE)
    parser.add_argument(
        "-t", "--timeout", type=_seconds, default=10.0, help="seconds for check (default: 10)"
    )
    args = parser.parse_args(argv)
    if args.action == "check":
        found = checks.check(name, args.timeout)
        print(_with_own_hint(found.as_json() if args.json else found.as_text()))
        return found.code
    return run_action(name, lambda: ServiceDaemon(name), parser, args)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 86400:
        raise ValueError("not a time to wait")
    return seconds


def sender_main(
    name: str,
    service: str,
    make_work: Callable[[argparse.Namespace], Work],
    *,
    parser: Parser,
    argv: Sequence[str] | None = None,
) -> int:
    """The command line of a daemon script that sends unasked.

    Args:
        name: of the daemon.
        service: whose exchange it is.
        make_work: as of ``ServiceSender``, but called with the parsed arguments.
        parser: from ``command_line``, with the script's own options added.
        argv: arguments without the program's name; default ``sys.argv[1:]``.

    Returns:
        The exit code.
    """
    args = parser.parse_args(argv)
    return run_action(
        name, lambda: ServiceSender(name, service, lambda: make_work(args)), parser, args
    )


def command_line(description: str, *, may_lack_action: bool = False) -> Parser:
    """A parser of the arguments that all daemon scripts have.

    Args:
        description: what the script is for.
        may_lack_action: the script can do something else as well.
    """
    return Parser(description, may_lack_action=may_lack_action)


def run_action(
    name: str,
    make_daemon: Callable[[], DaemonRunnerWrapper],
    parser: Parser,
    args: argparse.Namespace,
) -> int:
    """Do what the arguments say with a daemon; errors become a line on stderr.

    Args:
        name: of the daemon.
        make_daemon: makes it; only called when it is to be started.
        parser: from ``command_line``.
        args: what it has parsed.

    Returns:
        The exit code.
    """
    parser.check_action(args.action)
    # Problems of the settings are part of what the actions print.
    logging.getLogger("edeposit").addHandler(logging.NullHandler())
    try:
        if args.action == "create":
            created = schema.create(name)
            print(created.as_json() if args.json else created.as_text())
            return EXIT_OK
        # These need the pid file only: they must work although a setting or a package is broken.
        needs_daemon = args.action not in ("stop", "status", "reload")
        daemon = make_daemon() if needs_daemon else DaemonRunnerWrapper(name)
        return daemon.do(args.action, foreground=args.foreground, now=args.now, json=args.json)
    except (AMQPError, settings.SettingsError) as error:
        return complain(parser.prog, str(error))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "ServiceDaemon",
    "ServiceSender",
    "class_table",
    "command_line",
    "load",
    "main",
    "run",
    "run_action",
    "sender_main",
    "service_settings",
    "services",
]
