"""The services by name: their packages and their message classes. Needs no daemon.

A service is a package with a function ``reactToAMQPMessage`` and namedtuple classes. Those that
ship with edeposit.amqp are listed in ``BUILT_IN``; others are found through the entry point group
``edeposit.amqp.services`` and get daemon, client, tool and schema the same way. A service's
package is imported late, by name, only when its daemon or its classes are needed. One that is not
packaged is added at run time, with ``add()``.
"""

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from edeposit.amqp import settings
from edeposit.amqp.errors import StartError

ENTRY_POINT_GROUP = "edeposit.amqp.services"

BUILT_IN = {
    "aleph": "edeposit.amqp.aleph",
    "antivirus": "edeposit.amqp.antivirus",
    "calibre": "edeposit.amqp.calibre",
    "ftp": "edeposit.amqp.ftp",
    "harvester": "edeposit.amqp.harvester",
}

# Daemons that send unasked through a service's exchange; see ``service.sender_main``.
FURTHER_DAEMONS = {"ftp": ("ftp_monitor",), "harvester": ("harvester_periodic",)}

_CLASS_MODULES = ("structures", "datastructures")

# It becomes part of file names and, in capitals, of environment variables.
_NAME = re.compile(r"[a-z][a-z0-9_]*")

_added: dict[str, ModuleType] = {}


def add(
    react_fn: Callable[..., Any], classes: Mapping[str, Any] | Iterable[type], *, name: str
) -> None:
    """Make a service known that is not packaged; it gets settings like the others.

    Args:
        react_fn: what answers its requests; see ``AMQPDaemon``.
        classes: the namedtuple classes that its messages may build: a list, or a dict such as
            ``globals()``.
        name: of the service; virtual host and exchange have it too, unless the settings
            ``RABBITMQ_<NAME>_VIRTUALHOST`` and ``RABBITMQ_<NAME>_EXCHANGE`` say otherwise.

    Raises:
        StartError: the name is none, or belongs to another service.
    """
    if not _NAME.fullmatch(name):
        raise StartError(f"{name!r} is no name of a service: use a-z, 0-9 and _, a letter first")
    if name in services() and name not in _added:
        raise StartError(f"there is a service {name!r} already: {services()[name]}")
    module = ModuleType(name)
    if not isinstance(classes, Mapping):
        classes = {value.__name__: value for value in classes}
    for attribute, value in classes.items():
        if _is_namedtuple(value):
            setattr(module, attribute, value)
    module.reactToAMQPMessage = react_fn  # type: ignore[attr-defined]
    _added[name] = module
    settings.add_service(name)


def services() -> dict[str, str]:
    """Names of all known services with the packages that they are in."""
    found = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**found, **BUILT_IN, **{name: name for name in _added}}


def load(name: str) -> ModuleType:
    """Import a service's package.

    Raises:
        StartError: there is no such service, its package cannot be imported, or it has no
            ``reactToAMQPMessage``.
    """
    if name in _added:
        return _added[name]
    try:
        package = services()[name]
    except KeyError as error:
        known = ", ".join(sorted(services()))
        raise StartError(f"unknown service {name!r} (there are: {known})") from error
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise StartError(
            f"service {name!r} cannot be imported ({error}): install it with its extra '{name}'"
            " (make install does)"
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
        if _is_namedtuple(value)
    }


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields")
