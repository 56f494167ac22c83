"""What can be wrong with a message's JSON, one class each."""

from collections.abc import Iterable


class SerializationError(ValueError):
    """Base of the errors of this package."""


class NotJSONError(SerializationError):
    """The text is not JSON in UTF-8."""


class UnknownClassError(SerializationError):
    """``__nt_name`` names no namedtuple class that the receiver offers.

    Attributes:
        name: the name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown class {name[:200]!r}")
        self.name = name


class BadClassNameError(SerializationError):
    """``__nt_name`` is not a string."""


class _FieldError(SerializationError):
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


class NestingTooDeepError(SerializationError):
    """The data is nested more deeply than ``MAX_DEPTH``."""


class UnserializableError(SerializationError):
    """A value has no JSON form.

    Attributes:
        type_name: of the value.
        path: where it stands, such as ``result.items[3]``; empty for the whole.
    """

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
