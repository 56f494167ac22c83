"""What can be wrong with a message's JSON, one class each.

Each class is also a subclass of the exception that the first generation raised in its place, and
names it in ``legacy_name``: its clients look for that name in the header ``exception_name``.
"""

from collections.abc import Iterable


class SerializationError(ValueError):
    """Base of the errors of this package.

    Attributes:
        legacy_name: name of the exception that the first generation (2015) raised instead.
        raw: the JSON text, set by receivers that can no longer hand it over otherwise.
    """

    legacy_name = "ValueError"
    raw: bytes | None = None


class NotJSONError(SerializationError):
    """The text is not JSON in UTF-8."""


class UnknownClassError(SerializationError, KeyError):
    """``__nt_name`` names no namedtuple class that the receiver offers.

    Attributes:
        name: the name.
    """

    legacy_name = "KeyError"
    __str__ = Exception.__str__  # that of KeyError quotes its text

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown class {name[:200]!r}")
        self.name = name


class BadClassNameError(SerializationError, KeyError, TypeError):
    """``__nt_name`` is not a string.

    Attributes:
        legacy_name: ``TypeError`` for a list or an object (unhashable), ``KeyError`` otherwise.
    """

    __str__ = Exception.__str__

    def __init__(self, name: object) -> None:
        super().__init__(f"__nt_name must be a string, not {type(name).__name__}")
        self.legacy_name = "TypeError" if isinstance(name, (list, dict)) else "KeyError"


class BadValueError(SerializationError):
    """A class refuses the values of a message; ``__cause__`` is what its constructor raised.

    Attributes:
        class_name: name of the class.
        legacy_name: class name of the cause.
    """

    def __init__(self, class_name: str, cause: Exception) -> None:
        super().__init__(_text_of(class_name, cause))
        self.class_name = class_name
        self.legacy_name = type(cause).__name__


def _text_of(class_name: str, cause: Exception) -> str:
    try:
        return str(cause) or f"{class_name}: {type(cause).__name__}"
    except Exception:  # a __str__ that fails must not hide the message's fault
        return f"{class_name}: {type(cause).__name__}"


class _FieldError(SerializationError, TypeError):
    legacy_name = "TypeError"

    def __init__(self, text: str, class_name: str, fields: Iterable[str]) -> None:
        self.class_name = class_name
        self.fields = tuple(sorted(fields))
        super().__init__(f"{class_name}: {text} {', '.join(self.fields)[:500]}")


class UnexpectedFieldError(_FieldError):
    """A message has fields that its class has not.

    Attributes:
        class_name: name of the class.
        fields: their names.
    """

    def __init__(self, class_name: str, fields: Iterable[str]) -> None:
        super().__init__("unexpected field", class_name, fields)


class MissingFieldError(_FieldError):
    """A message lacks fields without a default.

    Attributes:
        class_name: name of the class.
        fields: their names.
    """

    def __init__(self, class_name: str, fields: Iterable[str]) -> None:
        super().__init__("missing field", class_name, fields)


class NestingTooDeepError(SerializationError, RecursionError):
    """The data is nested more deeply than ``MAX_DEPTH``."""

    legacy_name = "RuntimeError"


class UnserializableError(SerializationError, TypeError):
    """A value has no JSON form.

    Attributes:
        type_name: of the value.
        path: its place, such as ``result.items[3]``; empty for the whole.
    """

    legacy_name = "UnserializableError"  # no message is at fault: nobody looks for an old name

    def __init__(self, type_name: str, why: str = "has no JSON form") -> None:
        self.type_name = type_name
        self.why = why
        self.path = ""
        super().__init__(type_name, why)

    def inside(self, key: object) -> None:
        """Note one more container around the value."""
        step = f"[{key}]" if isinstance(key, int) else f"{key}"
        dot = "." if self.path and not self.path.startswith("[") else ""
        self.path = f"{step}{dot}{self.path}"

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return f"{self.type_name}{where} {self.why}"
