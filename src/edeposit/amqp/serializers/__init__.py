"""JSON with namedtuples: the bodies of all messages.

A namedtuple is an object of its fields plus ``__nt_name``, its class name; a list or a tuple is
an array; everything else is as in JSON. This is the wire format of the first generation; the text
here is UTF-8 without escapes, and both forms are read.

What must stay true: only namedtuple classes are ever built, only those the caller offers, and
none of their code runs before the fields are checked. Whatever the input is, and whatever the
constructor of a class raises, the error is a ``SerializationError``; depth is bounded in both
directions.

A class whose fields have no JSON form (``bytes``) may define ``to_wire()``, which returns the
fields as JSON can hold them, and the class method ``from_wire(**fields)``, which builds an
instance from them.

The JSON itself is msgspec's: in the same measurements orjson was no faster for our bodies, and it
writes NaN as null and reads large integers as floats (``bench/bench_serializers.py``).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from edeposit.amqp.serializers.errors import (
    BadClassNameError,
    BadValueError,
    MissingFieldError,
    NestingTooDeepError,
    NotJSONError,
    SerializationError,
    UnexpectedFieldError,
    UnknownClassError,
    UnserializableError,
)

__all__ = [
    "MAX_DEPTH",
    "BadClassNameError",
    "BadValueError",
    "MissingFieldError",
    "NestingTooDeepError",
    "NotJSONError",
    "SerializationError",
    "UnexpectedFieldError",
    "UnknownClassError",
    "UnserializableError",
    "deserialize",
    "iiOfAny",
    "serialize",
    "serialize_bytes",
]

CLASS_KEY = "__nt_name"
# No service's structures are deeper than a dozen levels; unbounded depth exhausts the stack.
MAX_DEPTH = 100

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_INFINITY = float("inf")


def serialize(python_data: Any) -> str:
    """Write data as JSON text.

    Args:
        python_data: namedtuples, lists, tuples, dicts, str, int, float, bool and None, nested.

    Raises:
        UnserializableError: a value has no JSON form; the text says its type and place.
        NestingTooDeepError: more than ``MAX_DEPTH`` levels.
    """
    return serialize_bytes(python_data).decode("utf-8")


def serialize_bytes(python_data: Any) -> bytes:
    """As ``serialize``, but UTF-8 bytes, ready for a message's body."""
    plain = _to_plain(python_data, MAX_DEPTH)
    try:
        return _encode(plain)
    except OverflowError:
        # Integers beyond 64 bits: JSON has them, msgspec writes none.
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnserializableError("str", f"is not valid Unicode: {error.reason}") from error


def deserialize(
    json_str: str | bytes | bytearray | memoryview, glob: Mapping[str, Any] | Iterable[type]
) -> Any:
    """Read data from JSON text.

    Args:
        json_str: text, or its UTF-8 bytes.
        glob: the namedtuple classes that may be built: a dict of names, such as ``globals()``, of
            which only namedtuple classes count, or the classes themselves.

    Raises:
        NotJSONError: it is not JSON.
        UnknownClassError, BadClassNameError: a class that is not offered, or none.
        MissingFieldError, UnexpectedFieldError: the fields are not those of the class.
        BadValueError: the constructor of a class refuses the values.
        NestingTooDeepError: more than ``MAX_DEPTH`` levels.
    """
    try:
        data = _decode(json_str)
    except RecursionError as error:
        raise NestingTooDeepError(f"nested more than {MAX_DEPTH} levels deep") from error
    except (msgspec.DecodeError, UnicodeError, ValueError) as error:
        raise NotJSONError(f"not JSON: {error}") from error
    classes = glob if isinstance(glob, Mapping) else {cls.__name__: cls for cls in glob}
    return _from_plain(data, classes, MAX_DEPTH)


def iiOfAny(instance: Any, classes: Any) -> bool:
    """Is the instance's class, by its *name*, one of the classes?

    By name on purpose: the same class may have been imported by two paths.

    Args:
        classes: one class, or a list or tuple of them.
    """
    if not isinstance(classes, (list, tuple)):
        classes = (classes,)
    return type(instance).__name__ in {cls.__name__ for cls in classes}


def _to_plain(value: Any, depth: int) -> Any:
    """Replace namedtuples by dicts, and check what msgspec would accept but JSON has not."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        if value != value or value in (_INFINITY, -_INFINITY):
            raise UnserializableError("float", f"{value} is not JSON")
        return value
    if not depth:
        raise NestingTooDeepError(f"nested more than {MAX_DEPTH} levels deep")
    if kind is dict:
        return _dict_to_plain(value, depth)
    if isinstance(value, (list, tuple)):
        if hasattr(value, "_fields"):
            return _namedtuple_to_plain(value, depth)
        return _list_to_plain(value, depth)
    if isinstance(value, dict):
        return _dict_to_plain(value, depth)
    # Subclasses of the plain types, such as IntEnum, are written as the standard library does.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _to_plain(float(value), depth)
    raise UnserializableError(kind.__name__)


def _list_to_plain(value: Iterable[Any], depth: int) -> list[Any]:
    result: list[Any] = []
    try:
        for item in value:
            result.append(_to_plain(item, depth - 1))
    except UnserializableError as error:
        error.inside(len(result))
        raise
    return result


def _namedtuple_to_plain(value: Any, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    field = ""
    to_wire = getattr(value, "to_wire", None)
    try:
        for field, item in zip(value._fields, to_wire() if to_wire else value, strict=True):
            result[field] = _to_plain(item, depth - 1)
    except UnserializableError as error:
        error.inside(field)
        raise
    result[CLASS_KEY] = type(value).__name__
    return result


def _dict_to_plain(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    if CLASS_KEY in value:
        raise UnserializableError("dict", f"has the key {CLASS_KEY!r}, which marks namedtuples")
    result: dict[str, Any] = {}
    key: Any = ""
    try:
        for key, item in value.items():
            result[key if type(key) is str else _key(key)] = _to_plain(item, depth - 1)
    except UnserializableError as error:
        error.inside(key)
        raise
    return result


def _key(key: Any) -> str:
    """A dict's key as the standard library's json writes it."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, (bool, int, float)):
        return _encode(_to_plain(key, 1)).decode("ascii")
    raise UnserializableError(type(key).__name__, "cannot be the key of a JSON object")


def _from_plain(value: Any, classes: Mapping[str, Any], depth: int) -> Any:
    kind = type(value)
    if kind is dict:
        if not depth:
            raise NestingTooDeepError(f"nested more than {MAX_DEPTH} levels deep")
        if CLASS_KEY in value:
            return _build(value, classes, depth)
        return {key: _from_plain(item, classes, depth - 1) for key, item in value.items()}
    if kind is list:
        if not depth:
            raise NestingTooDeepError(f"nested more than {MAX_DEPTH} levels deep")
        return [_from_plain(item, classes, depth - 1) for item in value]
    return value


def _build(fields: dict[str, Any], classes: Mapping[str, Any], depth: int) -> Any:
    name = fields.pop(CLASS_KEY)
    if type(name) is not str:
        raise BadClassNameError(name)
    cls = classes.get(name)
    if not (isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")):
        raise UnknownClassError(name)
    expected = cls._fields
    if len(fields) != len(expected) or not all(field in fields for field in expected):
        unexpected = fields.keys() - set(expected)
        if unexpected:
            raise UnexpectedFieldError(name, unexpected)
        missing = set(expected) - fields.keys() - getattr(cls, "_field_defaults", {}).keys()
        if missing:
            raise MissingFieldError(name, missing)
    values = {field: _from_plain(item, classes, depth - 1) for field, item in fields.items()}
    try:
        return getattr(cls, "from_wire", cls)(**values)
    except Exception as error:
        raise BadValueError(name, error) from error
