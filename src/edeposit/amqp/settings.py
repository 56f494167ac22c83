"""The settings of edeposit.amqp: every constant with its default, and the user's values on top.

The file is the one named by ``EDEPOSIT_AMQP_CONFIG``, else ``$HOME/edeposit/amqp.json``, else
``/etc/edeposit/amqp.json``: a JSON object. Environment variables of the same names come on top.
Values are module attributes (``settings.RABBITMQ_HOST``), loaded at the first access.

A service has six constants, ``RABBITMQ_<SERVICE>_`` and ``VIRTUALHOST``, ``EXCHANGE``,
``INPUT_QUEUE``, ``OUTPUT_QUEUE``, ``INPUT_KEY``, ``OUTPUT_KEY``. Services of others, found
through the entry point group ``edeposit.amqp.services``, get theirs by the same rule.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from edeposit.amqp._account import account_settings
from edeposit.amqp._configuration import (
    Configuration,
    Setting,
    SettingsError,
    between,
    declare,
    declared,
    one_of,
)

__all__ = [
    "SETTINGS_PATH",
    "SettingsError",
    "add_service",
    "check",
    "describe",
    "get_all_constants",
    "get_amqp_settings",
    "problems",
    "reload",
    "substitute_globals",
]

SETTINGS_PATH = "/edeposit/amqp.json"
_ENTRY_POINT_GROUP = "edeposit.amqp.services"

# name: (virtual host, exchange, input queue); the rest is the same for all.
_SERVICES = {
    "ALEPH": ("aleph", "search", "daemon"),
    "CALIBRE": ("calibre", "convert", "daemon"),
    "FTP": ("ftp", "ftp", "daemon"),
    "ANTIVIRUS": ("antivirus", "antivirus", "daemon"),
    "HARVESTER": ("harvester", "harvester", "daemon"),
    "LTP": ("ltp", "ltp", "daemon"),
    "PDFGEN": ("pdfgen", "pdfgen", "daemon"),
    "DOWNER": ("downloader", "downloader", "daemon"),
    "STORAGE": ("storage", "export", "daemon"),
    "MX2MODS": ("marcxml2mods", "export", "daemon"),
    "ALEPH_LINK_EXPORT": ("aleph", "update-links", "updater"),
}
# Names that people know these by, besides those of their constants.
_ALIASES = {"downloader": "downer", "marcxml2mods": "mx2mods"}

_PARTS = {
    "VIRTUALHOST": "virtual host",
    "EXCHANGE": "exchange",
    "INPUT_QUEUE": "queue of requests",
    "OUTPUT_QUEUE": "queue of answers",
    "INPUT_KEY": "routing key of requests",
    "OUTPUT_KEY": "routing key of answers",
}


def _host(value: str) -> str:
    """``[::1]`` is how URLs write the IPv6 address ``::1``."""
    host = value.strip()
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _some_host(value: str) -> str | None:
    right = value and not re.search(r"[\s/\[\]@]", value)
    return None if right else "a host name or address, without a port"


def _port(value: str) -> str | None:
    right = value.isascii() and value.isdigit() and 1 <= int(value[:6]) <= 65535
    return None if right else "a port from 1 to 65535"


def _log_level(value: str) -> str:
    level = value.strip().upper()
    return {"WARN": "WARNING", "FATAL": "ERROR", "CRITICAL": "ERROR"}.get(level, level)


def _log_target(value: str) -> str | None:
    right = value in ("", "syslog", "stderr") or value.startswith("/")
    return None if right else "empty, 'syslog', 'stderr' or an absolute path"


# --- the declarations; ``declared`` makes the table of them, and they become values of it --------

RABBITMQ_HOST = declare("127.0.0.1", "host name or address of the broker", _some_host, clean=_host)
RABBITMQ_PORT = declare("5672", "its port, as text", _port, clean=str.strip)
RABBITMQ_USER_NAME = declare("guest", "account; guest is refused for other hosts")
RABBITMQ_USER_PASSWORD = declare("guest", "its password", secret=True)
RABBITMQ_USER_PASSWORD_FILE = declare(
    "", "file that holds the password alone, such as a systemd credential; empty: none"
)
RABBITMQ_URL = declare(
    "",
    "amqp://user:password@host:port or amqps://...; replaces host, port, account and RABBITMQ_SSL",
    secret=True,
)
RABBITMQ_ALLOW_GUEST = declare(False, "let the account guest/guest go over the network")
RABBITMQ_CONNECT_TIMEOUT = declare(10.0, "seconds for one attempt to connect", between(0.1, 600))
RABBITMQ_HEARTBEAT = declare(60, "seconds between signs of life, 0 for none", between(0, 3600))
RABBITMQ_SSL = declare(False, "connect with TLS; certificates are always verified")
RABBITMQ_SSL_CA = declare("", "file with the accepted authorities; empty: the system's")
RABBITMQ_SSL_CERT = declare("", "file with our own certificate, if the broker wants one")
RABBITMQ_SSL_KEY = declare("", "file with its key, unencrypted; empty: in RABBITMQ_SSL_CERT")
RABBITMQ_SSL_SERVER_NAME = declare("", "name in the broker's certificate; empty: the host")
RABBITMQ_MANAGEMENT_URL = declare(
    "", "management API, such as http://127.0.0.1:15672; empty: the host's port 15672"
)
RABBITMQ_CONCURRENCY = declare(1, "handler threads; with 1 the order is kept", between(1, 1000))
RABBITMQ_PREFETCH = declare(
    0, "messages sent ahead; 0: as many as the work allows", between(0, 65535)
)
RABBITMQ_CONFIRM_TIMEOUT = declare(
    30.0, "seconds until an unconfirmed message ends the connection", between(0.1, 3600)
)
RABBITMQ_MAX_MESSAGE_SIZE = declare(
    0, "bytes the broker accepts; 0: learned from its first refusal", between(0, 2**40)
)
RABBITMQ_SEND_TRACEBACKS = declare(True, "send tracebacks to callers")
START_TIMEOUT = declare(
    0.0, "seconds that start goes on trying to reach the broker; 0: one attempt", between(0, 86400)
)
STOP_TIMEOUT = declare(30.0, "seconds that running requests get at stop", between(0, 86400))
LOG_TARGET = declare(
    "",
    "absolute path, 'syslog' or 'stderr'; empty: <name>.log in /var/log/edeposit for root, else in"
    " ~/.local/state/edeposit",
    _log_target,
)
LOG_LEVEL = declare(
    "INFO",
    "DEBUG, INFO, WARNING or ERROR",
    one_of("DEBUG", "INFO", "WARNING", "ERROR"),
    clean=_log_level,
)
PID_DIR = declare(
    "",
    "directory of pid and status files; empty: /run/edeposit for root, else"
    " $XDG_RUNTIME_DIR/edeposit or ~/.local/state/edeposit",
)

_COMMON = declared(globals())


def _service_settings(name: str, vhost: str, exchange: str, queue: str) -> Iterator[Setting]:
    prefix = f"RABBITMQ_{name}_"
    service = name.lower()
    values = (vhost, exchange, queue, "plone", "request", "result")
    for part, value in zip(_PARTS, values, strict=True):
        yield Setting(prefix + part, value, f"{service}: {_PARTS[part]}")
    common = "0: the common value"
    yield Setting(
        prefix + "CONCURRENCY", 0, f"{service}: handler threads; {common}", between(0, 1000)
    )
    yield Setting(
        prefix + "PREFETCH", 0, f"{service}: messages sent ahead; {common}", between(0, 65535)
    )


def _table() -> list[Setting]:
    table = list(_COMMON)
    services = dict(_SERVICES)
    for point in entry_points(group=_ENTRY_POINT_GROUP):
        plain = point.name.lower()
        services.setdefault(point.name.upper(), (plain, plain, "daemon"))
    for name, (vhost, exchange, queue) in services.items():
        table += _service_settings(name, vhost, exchange, queue)
    # Never used by any generation, but part of the old configuration.
    table.append(Setting("RABBITMQ_ALEPH_EXCEPTION_KEY", "exception", "aleph: not used"))
    return table


_loaded: Configuration | None = None


def _configuration() -> Configuration:
    global _loaded
    if _loaded is None:
        _loaded = Configuration(
            _table(), SETTINGS_PATH, "EDEPOSIT_AMQP_CONFIG", derive=account_settings
        )
    return _loaded


def __getattr__(name: str) -> Any:
    if name.isupper():
        configuration = _configuration()
        if name in configuration.table:
            return configuration.get(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *get_all_constants()]


def reload() -> None:
    """Read file and environment again; on failure the running values stay.

    Raises:
        SettingsError: the configuration is wrong.
    """
    _configuration().reload()


def add_service(name: str) -> None:
    """Declare the settings of a service that is not packaged; again, nothing happens.

    Args:
        name: of the service; also the default of virtual host and exchange.
    """
    _configuration().extend(_service_settings(name.upper(), name, name, "daemon"))


def check() -> None:
    """Make sure that every setting is right; daemons do so before they start.

    Raises:
        SettingsError: one is not.
    """
    _configuration().check()


def substitute_globals(config_dict: Mapping[str, Any]) -> None:
    """Replace settings in this process.

    Args:
        config_dict: names to values; unknown names are reported in ``problems()``.

    Raises:
        SettingsError: a value is wrong.
    """
    _configuration().substitute(config_dict)


def get_all_constants() -> list[str]:
    """Names of all settings."""
    return list(_configuration().table)


def describe() -> list[tuple[str, str, Any, str]]:
    """Rows of name, type, default and meaning, for documentation and help."""
    return _configuration().describe()


def problems() -> list[str]:
    """What was wrong with the configuration but could be ignored, one line each."""
    return list(_configuration().problems)


def get_amqp_settings() -> dict[str, dict[str, Any]]:
    """Virtual host, exchange, queues and keys of each service, from the current values.

    Returns:
        Service name to a dict of ``vhost``, ``exchange``, ``queues`` (queue to routing key),
        ``in_key``, ``out_key``, and ``in_queue``, ``out_queue``, ``bindings`` (list of queue and
        key, which loses nothing when both queues have one name).

    Raises:
        SettingsError: the configuration is wrong.
    """
    configuration = _configuration()
    result: dict[str, dict[str, Any]] = {}
    for constant in configuration.table:
        if not constant.endswith("_VIRTUALHOST"):
            continue
        name = constant.removeprefix("RABBITMQ_").removesuffix("_VIRTUALHOST")
        vhost, exchange, in_queue, out_queue, in_key, out_key = (
            configuration.get(f"RABBITMQ_{name}_{part}") for part in _PARTS
        )
        result[name.lower()] = {
            "vhost": vhost,
            "exchange": exchange,
            "queues": {in_queue: in_key, out_queue: out_key},
            "in_key": in_key,
            "out_key": out_key,
            "in_queue": in_queue,
            "out_queue": out_queue,
            "bindings": [(in_queue, in_key), (out_queue, out_key)],
        }
    for alias, name in _ALIASES.items():
        result.setdefault(alias, result[name])
    return result


class _SettingsModule(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Otherwise the name would count for some readers, the configured value for others.
        if name.isupper() and name in _configuration().table:
            substitute_globals({name: value})
        else:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _SettingsModule
