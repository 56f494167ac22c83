"""One setting: its declaration, and how a written value becomes a value of its type."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list of texts",
}


class SettingsError(ValueError):
    """A configuration file or environment variable is wrong; the text is one line.

    Attributes:
        setting: name of the setting that is wrong; empty if it is not a single one.
    """

    def __init__(self, text: str, setting: str = "") -> None:
        super().__init__(text)
        self.setting = setting


class Setting(NamedTuple):
    """One setting.

    Attributes:
        name: of the constant, the JSON key and the environment variable.
        default: its value and, by its type, the type of all its values.
        text: what it means, with its unit, for people.
        check: returns None if a value is right, else what would be right.
        secret: its value must not appear in messages; its file must not be readable by others.
        clean: makes a value as people write it one that ``check`` knows.
    """

    name: str
    default: Any
    text: str
    check: Callable[[Any], str | None] | None = None
    secret: bool = False
    clean: Callable[[Any], Any] | None = None


_T = TypeVar("_T")


def declare(
    default: _T,
    text: str,
    check: Callable[[Any], str | None] | None = None,
    *,
    secret: bool = False,
    clean: Callable[[Any], Any] | None = None,
) -> _T:
    """Declare a setting as a constant of its module: ``NAME = declare(default, text)``.

    For type checkers the constant has the type of its default, and it will: ``declared`` takes the
    declarations away, so that the module's ``__getattr__`` answers for their names.
    """
    return cast(_T, Setting("", default, text, check, secret, clean))


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


def parse(setting: Setting, text: str, where: str) -> Any:
    """An environment variable's text as a value of the setting's type.

    Raises:
        SettingsError: it cannot be one.
    """
    kind = type(setting.default)
    value: Any = text
    try:
        if kind is bool:
            value = _BOOLEANS[text.strip().lower()]
        elif kind is list:
            value = [word.strip() for word in text.split(",") if word.strip()]
        elif kind in (int, float):
            value = kind(text.strip())
    except (KeyError, ValueError) as error:
        raise _wrong(setting, text, where, _EXPECTED[kind]) from error
    return convert(setting, value, where)


def convert(setting: Setting, value: Any, where: str) -> Any:
    """A value of a JSON file, checked.

    Raises:
        SettingsError: it has a wrong type, or is out of range.
    """
    kind = type(setting.default)
    if kind is float and type(value) is int:
        value = float(value)
    elif kind is str and type(value) is int and setting.default.isdigit():
        value = str(value)  # RABBITMQ_PORT has always been a string of digits
    if type(value) is not kind or (
        kind is list and not all(isinstance(item, str) for item in value)
    ):
        raise _wrong(setting, value, where, _EXPECTED[kind])
    if setting.clean is not None:
        value = setting.clean(value)
    expected = setting.check(value) if setting.check is not None else None
    if expected is not None:
        raise _wrong(setting, value, where, expected)
    return value


def _wrong(setting: Setting, value: Any, where: str, expected: str) -> SettingsError:
    shown = "the given value" if setting.secret else repr(value)[:100]
    return SettingsError(f"{where}: {setting.name}: {shown} is not {expected}")
