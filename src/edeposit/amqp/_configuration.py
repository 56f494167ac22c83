"""Settings modules: one annotated table, a JSON file and the environment on top of it.

A module declares its settings once; file reader, checks and documentation all come from these
declarations. Values are loaded at the first access, so importing a settings module reads nothing.
A failed reload keeps the running values.

Nothing is silently ignored: an unknown key is a warning that names the nearest right one, a wrong
type or value a ``SettingsError`` that names file, key, value and what would be right. Values of
settings that hold secrets are never named. A wrong value only affects who asks for that setting, so
that ``stop`` finds its daemon although something else in the file is wrong; daemons call
``check()`` before they start.
"""

import difflib
import json
import logging
import os
import re
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from edeposit.amqp._setting import (
    Setting,
    SettingsError,
    between,
    convert,
    declare,
    declared,
    one_of,
    parse,
)

__all__ = ["Configuration", "Setting", "SettingsError", "between", "declare", "declared", "one_of"]

logger = logging.getLogger(__name__)

# What Kubernetes sets in every pod beside a service called "rabbitmq": not meant for us.
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://.*:\d+")


class Configuration:
    """The loaded values of one settings module.

    Args:
        table: the settings.
        path: the file below ``$HOME`` and, if there is none, below ``/etc``: ``/edeposit/x.json``.
        override_variable: environment variable with the path of a file that is read instead.
        prefix: put before a setting's name to make its environment variable.
        derive: is given all values, and returns those that follow from others and replace them;
            may raise ``SettingsError``.

    Attributes:
        problems: what was wrong but could be ignored, one line each.
    """

    def __init__(
        self,
        table: Iterable[Setting],
        path: str,
        override_variable: str = "",
        prefix: str = "",
        derive: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
    ) -> None:
        self._table = {setting.name: setting for setting in table}
        self._path = path
        self._override_variable = override_variable
        self._prefix = prefix
        self._derive = derive
        self._lock = threading.RLock()
        self._loaded: _Loaded | None = None

    @property
    def table(self) -> dict[str, Setting]:
        """Name to declaration."""
        return self._table

    @property
    def problems(self) -> list[str]:
        """What was wrong with the configuration but could be ignored, one line each."""
        return self._load().problems

    def get(self, name: str) -> Any:
        """The value of a setting, loading the configuration if that has not been done.

        Raises:
            SettingsError: this setting, or the whole file, is wrong.
            KeyError: there is no such setting.
        """
        loaded = self._loaded or self._load()
        if loaded.errors and name in loaded.errors:
            raise loaded.errors[name]
        return loaded.values[name]

    def _load(self) -> "_Loaded":
        with self._lock:
            if self._loaded is None:
                self._loaded = self._read()
                for problem in self._loaded.problems:
                    logger.warning("%s", problem)
            return self._loaded

    def reload(self) -> None:
        """Read file and environment again; on failure the values stay as they are.

        Raises:
            SettingsError: a setting is wrong.
        """
        with self._lock:
            loaded = self._read()
            for error in loaded.errors.values():
                raise error
            self._loaded = loaded
        for problem in loaded.problems:
            logger.warning("%s", problem)

    def check(self) -> None:
        """Make sure that every setting is right.

        Raises:
            SettingsError: one is not.
        """
        for error in self._load().errors.values():
            raise error

    def substitute(self, new_values: Mapping[str, Any]) -> None:
        """Replace values in this process, checked like those of a file.

        Raises:
            SettingsError: a value is wrong.
        """
        with self._lock:
            old, new = self._load(), _Loaded()
            self._check(new_values, "substitute_globals", new)
            for error in new.errors.values():
                raise error
            errors = {name: e for name, e in old.errors.items() if name not in new.values}
            problems = old.problems + new.problems
            self._loaded = _Loaded({**old.values, **new.values}, errors, problems)
        for problem in new.problems:
            logger.warning("%s", problem)

    def extend(self, table: Iterable[Setting]) -> None:
        """Declare further settings; those declared already stay."""
        with self._lock:
            new = {setting.name: setting for setting in table if setting.name not in self._table}
            self._table.update(new)
            if self._loaded is None or not new:
                return
            # The others stay: they may have been substituted.
            alone = Configuration(new.values(), self._path, self._override_variable, self._prefix)
            old, more = self._loaded, alone._read()
            self._loaded = _Loaded(
                {**old.values, **more.values}, {**old.errors, **more.errors}, old.problems
            )

    def names(self) -> list[str]:
        """Names of all settings."""
        return list(self._table)

    def module_getattr(
        self, module: str, derived: Mapping[str, Callable[[], Any]] | None = None
    ) -> Callable[[str], Any]:
        """A module's ``__getattr__`` (PEP 562), by which its settings are its attributes.

        Assigning to such an attribute substitutes the setting, checked like a file's value.

        Args:
            module: its name.
            derived: settings that, when they are empty, follow from others.
        """
        configuration = self

        class SettingsModule(ModuleType):
            def __setattr__(self, name: str, value: Any) -> None:
                if name in configuration.table:
                    configuration.substitute({name: value})
                else:
                    super().__setattr__(name, value)

        sys.modules[module].__class__ = SettingsModule

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
            SettingsError: the file named by the override variable does not exist, or its
                directory is closed to this user.
        """
        named = os.environ.get(self._override_variable) if self._override_variable else None
        if named:
            if not _is_file(Path(named)):
                raise SettingsError(f"{self._override_variable}: there is no file {named!r}")
            return Path(named)
        home = os.environ.get("HOME")
        for base in (home, "/etc"):
            if base and _is_file(path := Path(base + self._path)):
                return path
        return None

    # --- reading ----------------------------------------------------------------------------

    def _read(self) -> "_Loaded":
        loaded = _Loaded({name: setting.default for name, setting in self._table.items()})
        try:
            file = self.find_file()
            if file is not None:
                self._read_file(file, loaded)
        except SettingsError as error:
            loaded.errors = dict.fromkeys(self._table, error)
        self._read_environment(loaded)
        if self._derive is not None:
            try:
                loaded.values.update(self._derive(loaded.values))
            except SettingsError as error:
                loaded.errors[error.setting] = error
        return loaded

    def _read_file(self, path: Path, loaded: "_Loaded") -> None:
        try:
            text = path.read_text("utf-8-sig")
            mode = path.stat().st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: cannot be read: {error}") from error
        if not text.strip():
            return

        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            names = [name for name, _ in pairs]
            for name in sorted({name for name in names if names.count(name) > 1}):
                loaded.problems.append(f"{path}: {name!r} is given twice, the last one counts")
            return dict(pairs)

        try:
            data = json.loads(text, object_pairs_hook=unique)
        except json.JSONDecodeError as error:
            raise SettingsError(
                f"{path}: line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
            ) from error
        except (RecursionError, ValueError) as error:  # a number of too many digits
            raise SettingsError(f"{path}: not JSON of settings: {error}") from error
        if not isinstance(data, dict):
            raise SettingsError(f"{path}: must hold a JSON object of names and values")
        secrets = [name for name in data if name in self._table and self._table[name].secret]
        # A group may read: 640 root:edeposit is right for daemons with an account of their own.
        if secrets and mode & stat.S_IROTH:
            loaded.problems.append(
                f"{path}: holds {', '.join(secrets)} and can be read by others: chmod 600 {path}"
                " (or 640, with the daemons' group)"
            )
        self._check(data, str(path), loaded)

    def _check(self, data: Mapping[str, Any], where: str, loaded: "_Loaded") -> None:
        for name, value in data.items():
            setting = self._table.get(name)
            if setting is None:
                near = difflib.get_close_matches(str(name), self._table, 1, 0.6)
                hint = f": did you mean {near[0]}?" if near else ""
                loaded.problems.append(f"{where}: unknown setting {name!r} is ignored{hint}")
            else:
                loaded.set(convert, setting, value, where)

    def _read_environment(self, loaded: "_Loaded") -> None:
        for name, setting in self._table.items():
            variable = self._prefix + name
            text = os.environ.get(variable)
            if text is None:
                continue
            where = f"environment variable {variable}"
            if variable.endswith("_PORT") and _SERVICE_LINK.fullmatch(text):
                loaded.problems.append(
                    f"{where} is ignored: {text} comes from Kubernetes, which sets it for a"
                    " service of that name (enableServiceLinks: false in the pod stops that)"
                )
            else:
                loaded.set(parse, setting, text, where)


class _Loaded:
    """One reading of the configuration.

    Attributes:
        values: of all settings; defaults, where nothing else is configured.
        errors: settings whose configured value is wrong.
        problems: what could be ignored, one line each.
    """

    def __init__(
        self,
        values: dict[str, Any] | None = None,
        errors: dict[str, SettingsError] | None = None,
        problems: list[str] | None = None,
    ) -> None:
        self.values = values or {}
        self.errors = errors or {}
        self.problems = problems or []

    def set(
        self, read: Callable[[Setting, Any, str], Any], setting: Setting, value: Any, where: str
    ) -> None:
        """Enter a value, or why it is wrong; a later source replaces an earlier one's mistake."""
        try:
            self.values[setting.name] = read(setting, value, where)
        except SettingsError as error:
            self.errors[setting.name] = error
        else:
            self.errors.pop(setting.name, None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
