"""The services by name: their packages and their message classes. Needs no daemon.

A service is a package with a function ``reactToAMQPMessage`` and namedtuple classes. Those that
ship with edeposit.amqp are listed in ``BUILT_IN``; others are found through the entry point group
``edeposit.amqp.services`` and get daemon, client, tool and schema the same way. A service's
package is imported late, by name, only when its daemon or its classes are needed.
"""

import importlib
import importlib.util
from importlib.metadata import entry_points
from types import ModuleType

from edeposit.amqp.errors import StartError

ENTRY_POINT_GROUP = "edeposit.amqp.services"

BUILT_IN = {
    "aleph": "edeposit.amqp.aleph",
    "antivirus": "edeposit.amqp.antivirus",
    "calibre": "edeposit.amqp.calibre",
    "ftp": "edeposit.amqp.ftp",
    "harvester": "edeposit.amqp.harvester",
}

_CLASS_MODULES = ("structures", "datastructures")


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
