"""The services by name, and the one ``main()`` that all daemon scripts call.

A service is a package with a function ``reactToAMQPMessage`` and namedtuple classes. Those that
ship with edeposit.amqp stand in ``BUILT_IN``; others are found through the entry point group
``edeposit.amqp.services`` and get daemon, client, tool and schema the same way. A service's
package is imported late, by name, only when its daemon or its classes are asked for.

A package may also define ``on_start()``, called in the daemon process before it connects, and a
module ``settings`` with ``reload()``, called at SIGHUP.
"""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from edeposit.amqp import settings
from edeposit.amqp.amqpdaemon import AMQPDaemon, getConParams
from edeposit.amqp.control import EXIT_FAILURE
from edeposit.amqp.daemonwrapper import DaemonRunnerWrapper
from edeposit.amqp.errors import AMQPError, StartError

ENTRY_POINT_GROUP = "edeposit.amqp.services"

BUILT_IN = {
    "aleph": "edeposit.amqp.aleph",
    "antivirus": "edeposit.amqp.antivirus",
}

_CLASS_MODULES = ("structures", "datastructures")

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


def services() -> dict[str, str]:
    """Names of all known services with the packages that they are in."""
    found = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**found, **BUILT_IN}


def load(name: str) -> ModuleType:
    """Import a service's package.

    Raises:
        StartError: there is no such service, its package cannot be imported, or it has no
            ``reactToAMQPMessage``.
    """
    try:
        package = services()[name]
    except KeyError as error:
        known = ", ".join(sorted(services()))
        raise StartError(f"unknown service {name!r} (there are: {known})") from error
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise StartError(
            f"service {name!r} cannot be imported ({error}): is edeposit.amqp[{name}] installed?"
        ) from error
    if not callable(getattr(module, "reactToAMQPMessage", None)):
        raise StartError(f"service {name!r}: package {package} has no reactToAMQPMessage")
    return module


def class_table(name: str) -> dict[str, type]:
    """The namedtuple classes that messages of a service may build, by name.

    Raises:
        StartError: as ``load``.
    """
    package = load(name)
    modules = [package]
    if hasattr(package, "__path__"):  # a single module has no submodules
        for submodule in _CLASS_MODULES:
            qualified = f"{package.__name__}.{submodule}"
            if importlib.util.find_spec(qualified) is not None:
                modules.append(importlib.import_module(qualified))
    return {
        attribute: value
        for module in modules
        for attribute, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields")
    }


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

    def onReload(self) -> None:
        """Take over changed settings; connection and prefetch apply at the next reconnect."""
        self.connection_param = getConParams(self._config["vhost"])
        self.prefetch = _own_setting(self.service_name, "PREFETCH")
        service_settings_module = sys.modules.get(f"{self.service.__name__}.settings")
        reload = getattr(service_settings_module, "reload", None)
        if reload is not None:
            reload()
        super().onReload()


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
    """The command line of a daemon script.

    Args:
        name: of the service.
        argv: arguments without the program's name; default ``sys.argv[1:]``.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        description=f"Daemon of the service {name!r} behind RabbitMQ.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.epilog = _EPILOG.format(program=parser.prog)
    parser.add_argument("action", choices=("start", "stop", "restart", "status", "reload"))
    parser.add_argument(
        "-f", "--foreground", action="store_true", help="stay in the foreground (start, restart)"
    )
    parser.add_argument("--json", action="store_true", help="status for programs")
    args = parser.parse_args(argv)
    try:
        return run_action(name, args.action, foreground=args.foreground, as_json=args.json)
    except (AMQPError, settings.SettingsError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_FAILURE


def run_action(name: str, action: str, *, foreground: bool = False, as_json: bool = False) -> int:
    """Do one action with a service's daemon; returns the exit code."""
    if action in ("stop", "status", "reload"):
        # These need the pid file only: they must work although a setting or a package is broken.
        process = DaemonRunnerWrapper(name)
        if action == "status":
            return process.status(as_json=as_json)
        return process.stop() if action == "stop" else process.reload()
    daemon = ServiceDaemon(name)
    if not foreground:
        return daemon.restart() if action == "restart" else daemon.start()
    if action == "restart" and daemon.isRunning():
        code = daemon.stop()
        if code:
            return code
    return daemon.foreground()
