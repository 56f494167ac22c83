"""Settings modules: one annotated table, a JSON file and the environment on top of it.

A module declares its settings once, as a table of ``Setting`` rows; file reader, checks and
documentation all come from it. Values are loaded at the first access, so importing a settings
module reads nothing. A failed reload keeps the running values.

Nothing is silently ignored: an unknown key is a warning that names the nearest right one, a wrong
type or value a ``SettingsError`` that names file, key, value and what would be right. Values of
settings that hold secrets are never named.
"""

import difflib
import json
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

logger = logging.getLogger(__name__)

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True,
             "false": False, "0": False, "no": False, "off": False}  # fmt: skip


class SettingsError(ValueError):
    """A configuration file or environment variable is wrong; the text is one line."""


class Setting(NamedTuple):
    """One setting.

    Attributes:
        name: of the constant, the JSON key and the environment variable.
        default: its value and, by its type, the type of all its values.
        text: what it means, with its unit, for people.
        check: returns None if a value is right, else what would be right.
        secret: its value must not appear in messages; its file must not be readable by others.
    """

    name: str
    default: Any
    text: str
    check: Callable[[Any], str | None] | None = None
    secret: bool = False


_T = TypeVar("_T")


def declare(
    default: _T,
    text: str,
    check: Callable[[Any], str | None] | None = None,
    *,
    secret: bool = False,
) -> _T:
    """Declare a setting as a constant of its module: ``NAME = declare(default, text)``.

    For type checkers the constant has the type of its default, and it will: ``declared`` takes the
    declarations away, so that the module's ``__getattr__`` answers for their names.
    """
    return cast(_T, Setting("", default, text, check, secret))


def declared(module: dict[str, Any]) -> tuple[Setting, ...]:
    """Take the declarations out of a module's ``globals()``; returns the table of them."""
    names = [name for name, value in module.items() if isinstance(value, Setting)]
    return tuple(module.pop(name)._replace(name=name) for name in names)


def between(low: float, high: float) -> Callable[[Any], str | None]:
    """A check for numbers in a range, both ends included."""

    def check(value: Any) -> str | None:
        return None if low <= value <= high else f"a number from {low:g} to {high:g}"

    return check


def one_of(*allowed: str) -> Callable[[Any], str | None]:
    """A check for a choice of words."""

    def check(value: Any) -> str | None:
        return None if value in allowed else f"one of {', '.join(allowed)}"

    return check


class Configuration:
    """The loaded values of one settings module.

    Args:
        table: the settings.
        path: the file below ``$HOME`` and, if there is none, below ``/etc``: ``/edeposit/x.json``.
        override_variable: environment variable with the path of a file that is read instead.
        prefix: put before a setting's name to make its environment variable.
    """

    def __init__(
        self, table: Iterable[Setting], path: str, override_variable: str = "", prefix: str = ""
    ) -> None:
        self._table = {setting.name: setting for setting in table}
        self._path = path
        self._override_variable = override_variable
        self._prefix = prefix
        self._lock = threading.RLock()
        self._values: dict[str, Any] | None = None
        self.problems: list[str] = []

    @property
    def table(self) -> dict[str, Setting]:
        """Name to declaration."""
        return self._table

    def get(self, name: str) -> Any:
        """The value of a setting, loading the configuration if that has not been done.

        Raises:
            SettingsError: the configuration is wrong.
            KeyError: there is no such setting.
        """
        values = self._values
        if values is None:
            with self._lock:
                if self._values is None:
                    self.reload()
                values = self._values
        assert values is not None
        return values[name]

    def reload(self) -> None:
        """Read file and environment again; on failure the values stay as they are.

        Raises:
            SettingsError: the configuration is wrong.
        """
        with self._lock:
            problems: list[str] = []
            values = {name: setting.default for name, setting in self._table.items()}
            file = self.find_file()
            if file is not None:
                values.update(self._read_file(file, problems))
            values.update(self._read_environment())
            self._values, self.problems = values, problems
        for problem in problems:
            logger.warning("%s", problem)

    def substitute(self, new_values: Mapping[str, Any]) -> None:
        """Replace values in this process, checked like those of a file.

        Raises:
            SettingsError: a value is wrong.
        """
        with self._lock:
            self.get(next(iter(self._table)))
            problems: list[str] = []
            checked = self._checked(new_values, "substitute_globals", problems)
            self._values = {**(self._values or {}), **checked}
            self.problems = self.problems + problems
        for problem in problems:
            logger.warning("%s", problem)

    def names(self) -> list[str]:
        """Names of all settings."""
        return list(self._table)

    def module_getattr(
        self, module: str, derived: Mapping[str, Callable[[], Any]] | None = None
    ) -> Callable[[str], Any]:
        """A module's ``__getattr__`` (PEP 562), by which its settings are its attributes.

        Args:
            module: its name.
            derived: settings that, when they are empty, follow from others.
        """

        def get(name: str) -> Any:
            if name not in self._table:
                raise AttributeError(f"module {module!r} has no attribute {name!r}")
            value = self.get(name)
            return derived[name]() if not value and derived and name in derived else value

        return get

    def describe(self) -> list[tuple[str, str, Any, str]]:
        """Rows of name, type, default and text, for documentation."""
        return [(s.name, type(s.default).__name__, s.default, s.text) for s in self._table.values()]

    def find_file(self) -> Path | None:
        """The configuration file that counts, None if there is none.

        Raises:
            SettingsError: the file named by the override variable does not exist.
        """
        named = os.environ.get(self._override_variable) if self._override_variable else None
        if named:
            if not Path(named).is_file():
                raise SettingsError(f"{self._override_variable}: there is no file {named!r}")
            return Path(named)
        home = os.environ.get("HOME")
        for base in (home, "/etc"):
            if base and (path := Path(base + self._path)).is_file():
                return path
        return None

    # --- reading ----------------------------------------------------------------------------

    def _read_file(self, path: Path, problems: list[str]) -> dict[str, Any]:
        try:
            text = path.read_text("utf-8")
            mode = path.stat().st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: cannot be read: {error}") from error
        if not text.strip():
            return {}
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise SettingsError(
                f"{path}: line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
            ) from error
        except RecursionError as error:
            raise SettingsError(f"{path}: not JSON of settings: nested too deeply") from error
        if not isinstance(data, dict):
            raise SettingsError(f"{path}: must hold a JSON object of names and values")
        secrets = [name for name in data if name in self._table and self._table[name].secret]
        if secrets and mode & (stat.S_IRGRP | stat.S_IROTH):
            problems.append(
                f"{path}: holds {', '.join(secrets)} and can be read by others: chmod 600 {path}"
            )
        return self._checked(data, str(path), problems)

    def _checked(self, data: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
        values = {}
        for name, value in data.items():
            setting = self._table.get(name)
            if setting is None:
                near = difflib.get_close_matches(str(name), self._table, 1, 0.6)
                hint = f": did you mean {near[0]}?" if near else ""
                problems.append(f"{where}: unknown setting {name!r} is ignored{hint}")
            else:
                values[name] = _convert(setting, value, where)
        return values

    def _read_environment(self) -> dict[str, Any]:
        values = {}
        for name, setting in self._table.items():
            variable = self._prefix + name
            text = os.environ.get(variable)
            if text is not None:
                values[name] = _parse(setting, text, f"environment variable {variable}")
        return values


def _parse(setting: Setting, text: str, where: str) -> Any:
    """An environment variable's text as a value of the setting's type."""
    kind = type(setting.default)
    try:
        if kind is bool:
            return _convert(setting, _BOOLEANS[text.strip().lower()], where)
        if kind is list:
            return _convert(setting, [word.strip() for word in text.split(",") if word.strip()],
                            where)  # fmt: skip
        if kind in (int, float):
            return _convert(setting, kind(text.strip()), where)
    except (KeyError, ValueError) as error:
        if isinstance(error, SettingsError):
            raise
        raise _wrong(setting, text, where, _expected(kind)) from error
    return _convert(setting, text, where)


def _convert(setting: Setting, value: Any, where: str) -> Any:
    kind = type(setting.default)
    if kind is float and type(value) is int:
        value = float(value)
    elif kind is str and type(value) is int and setting.default.isdigit():
        value = str(value)  # RABBITMQ_PORT has always been a string of digits
    if type(value) is not kind or (
        kind is list and not all(isinstance(item, str) for item in value)
    ):
        raise _wrong(setting, value, where, _expected(kind))
    expected = setting.check(value) if setting.check is not None else None
    if expected is not None:
        raise _wrong(setting, value, where, expected)
    return value


def _expected(kind: type) -> str:
    return {
        bool: "true or false", int: "a whole number", float: "a number", str: "a text",
        list: "a list of texts",
    }[kind]  # fmt: skip


def _wrong(setting: Setting, value: Any, where: str, expected: str) -> SettingsError:
    shown = "the given value" if setting.secret else repr(value)[:100]
    return SettingsError(f"{where}: {setting.name}: {shown} is not {expected}")
