"""The daemons of the services, and the one ``main()`` that all daemon scripts call.

Which services there are, and their packages and classes, is known by ``registry``.

A service's package may also define ``on_start()``, called in the daemon process before it connects,
``on_exit()``, called at its end, also when work at hand is abandoned, and a module ``settings``
with ``reload()``, called at SIGHUP.

A service may have a second daemon that sends unasked through the same exchange (the FTP monitor):
its script calls ``sender_main()``.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from edeposit.amqp import settings
from edeposit.amqp.amqpdaemon import AMQPDaemon, getConParams
from edeposit.amqp.daemonwrapper import DaemonRunnerWrapper
from edeposit.amqp.errors import AMQPError, StartError
from edeposit.amqp.process.control import EXIT_FAILURE
from edeposit.amqp.registry import BUILT_IN, ENTRY_POINT_GROUP, class_table, load, services
from edeposit.amqp.senderdaemon import SenderDaemon, Work

_EPILOG = """\
examples:
  {program} start              start in the background; returns when it consumes
  {program} start --foreground stay in the foreground (systemd, containers)
  {program} status --json      what it is doing, for programs
  {program} stop               finish what is at hand, then leave

exit codes:
  0 done, or running (status)       1 failed; not started; dead but pid file left (status)
  2 wrong usage                     3 not running (status)       4 not permitted, or unknown
"""


class ServiceDaemon(AMQPDaemon):
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

    def onStart(self) -> None:
        """Let the service look at its surroundings, and log what it found."""
        on_start = getattr(self.service, "on_start", None)
        if on_start is not None:
            on_start()

    def onExit(self) -> None:
        """Let the service end what it has started."""
        on_exit = getattr(self.service, "on_exit", None)
        if on_exit is not None:
            on_exit()
        super().onExit()

    def onReload(self) -> None:
        """Take over changed settings; connection and prefetch apply at the next reconnect."""
        self.connection_param = getConParams(self._config["vhost"])
        self.prefetch = _own_setting(self.service_name, "PREFETCH")
        _reload_settings_of(self.service_name)
        super().onReload()


class ServiceSender(SenderDaemon):
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


def main(name: str, argv: Sequence[str] | None = None) -> int:
    """The command line of a service's daemon script.

    Args:
        name: of the service.
        argv: arguments without the program's name; default ``sys.argv[1:]``.

    Returns:
        The exit code.
    """
    parser = command_line(f"Daemon of the service {name!r} behind RabbitMQ.")
    return run_action(name, lambda: ServiceDaemon(name), parser, parser.parse_args(argv))


def sender_main(
    name: str,
    service: str,
    make_work: Callable[[argparse.Namespace], Work],
    *,
    parser: argparse.ArgumentParser,
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


def command_line(description: str, *, may_lack_action: bool = False) -> argparse.ArgumentParser:
    """A parser of the arguments that all daemon scripts have.

    Args:
        description: what the script is for.
        may_lack_action: the script can do something else as well.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.epilog = _EPILOG.format(program=parser.prog)
    parser.add_argument(
        "action", choices=("start", "stop", "restart", "status", "reload"),
        nargs="?" if may_lack_action else None,
    )  # fmt: skip
    parser.add_argument(
        "-f", "--foreground", action="store_true", help="stay in the foreground (start, restart)"
    )
    parser.add_argument("--json", action="store_true", help="status for programs")
    return parser


def run_action(
    name: str,
    make_daemon: Callable[[], DaemonRunnerWrapper],
    parser: argparse.ArgumentParser,
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
    try:
        return _run_action(name, make_daemon, args)
    except (AMQPError, settings.SettingsError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_FAILURE


def _run_action(
    name: str, make_daemon: Callable[[], DaemonRunnerWrapper], args: argparse.Namespace
) -> int:
    if args.action in ("stop", "status", "reload"):
        # These need the pid file only: they must work although a setting or a package is broken.
        process = DaemonRunnerWrapper(name)
        if args.action == "status":
            return process.status(as_json=args.json)
        return process.stop() if args.action == "stop" else process.reload()
    daemon = make_daemon()
    if not args.foreground:
        return daemon.restart() if args.action == "restart" else daemon.start()
    if args.action == "restart" and daemon.isRunning():
        code = daemon.stop()
        if code:
            return code
    return daemon.foreground()


__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "ServiceDaemon",
    "ServiceSender",
    "class_table",
    "command_line",
    "load",
    "main",
    "run_action",
    "sender_main",
    "service_settings",
    "services",
]
