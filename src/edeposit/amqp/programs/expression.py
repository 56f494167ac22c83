"""Requests as people type them: ``SearchRequest(ISBNQuery("80-251-0225-4"))``, and back.

The text is parsed, never evaluated: calls of the service's own namedtuple classes, literals, lists,
tuples and dicts are understood, everything else is an error that names its column. ``render``
writes an answer in the same notation, broken over lines for people.
"""

import ast
import inspect
import math
import warnings
from collections.abc import Mapping
from typing import Any

from edeposit.amqp.errors import AMQPError

_UNDERSTOOD = "only class names with arguments, literals, lists and dicts are"


class ExpressionError(AMQPError, ValueError):
    """A text is not a request expression.

    Attributes:
        line: where, counted from 1.
        column: where, in characters, counted from 1.
    """

    def __init__(self, text: str, line: int, column: int) -> None:
        where = f"column {column}" if line == 1 else f"line {line}, column {column}"
        super().__init__(f"{where}: {text}")
        self.line = line
        self.column = column


def looks_like_expression(text: str) -> bool:
    """Does the text start as a constructor call does? (Otherwise it is a file's name.)"""
    name, parenthesis, _ = text.lstrip().partition("(")
    return bool(parenthesis) and name.strip().isidentifier()


def parse(text: str, classes: Mapping[str, type]) -> Any:
    """Build the value that an expression describes.

    Args:
        text: such as ``ScanFile(filename="a.txt", b64_data="")``.
        classes: namedtuple classes that it may name.

    Returns:
        The value: a namedtuple, or any data that JSON can carry.

    Raises:
        ExpressionError: the text is no expression, or uses what is not allowed.
    """
    return _Parser(text, classes).value()


class _Parser:
    def __init__(self, text: str, classes: Mapping[str, type]) -> None:
        # Python's own parser ends a line at each of these.
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        body = text.lstrip()  # the parser takes leading blanks for an indentation
        self._skipped = text[: len(text) - len(body)]
        self._lines = body.split("\n")
        self._text = body
        self._classes = classes

    def value(self) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an odd escape sequence is taken as it is
                tree = ast.parse(self._text, mode="eval")
            return self._convert(tree.body)
        except SyntaxError as error:
            raise self._error(
                error.msg, error.lineno or 1, max(error.offset or 1, 1) - 1
            ) from error
        except (RecursionError, MemoryError) as error:
            raise self._error("nested too deeply", 1, 0) from error
        except ExpressionError:
            raise
        except ValueError as error:
            raise self._error(str(error), 1, 0) from error

    def _error(self, text: str, line: int, offset: int) -> ExpressionError:
        before = self._skipped.split("\n")
        if line == 1:
            offset += len(before[-1])
        return ExpressionError(text, line + len(before) - 1, offset + 1)

    def _at(self, node: ast.expr | ast.keyword, text: str) -> ExpressionError:
        # ast counts bytes of UTF-8, people count characters.
        line = self._lines[node.lineno - 1].encode("utf-8", "surrogatepass")
        return self._error(
            text, node.lineno, len(line[: node.col_offset].decode("utf-8", "replace"))
        )

    def _convert(self, node: ast.expr) -> Any:
        match node:
            case ast.Call():
                return self._call(node)
            case ast.Constant(value=float() as number) if not math.isfinite(number):
                raise self._at(node, "the number is too large for JSON")
            case ast.Constant(value=str() as text) if not _is_unicode(text):
                raise self._at(node, "half of a surrogate pair cannot be sent as JSON")
            case ast.Constant(value=None | bool() | int() | float() | str()):
                return node.value
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=number)) if (
                isinstance(number, (int, float))
                and not isinstance(number, bool)
                and math.isfinite(number)
            ):
                return -number if isinstance(node.op, ast.USub) else number
            case ast.List():
                return [self._convert(item) for item in node.elts]
            case ast.Tuple():
                return tuple(self._convert(item) for item in node.elts)
            case ast.Dict():
                return self._dict(node)
            case ast.Constant(value=bytes()):
                raise self._at(node, "bytes cannot be sent as JSON: use text, or base64")
            case ast.Name(id="true" | "false" | "null" as name):
                python = {"true": "True", "false": "False", "null": "None"}[name]
                raise self._at(node, f"write {python} for {name}")
            case ast.Name():
                raise self._at(node, f"{node.id!r} is not understood: {_UNDERSTOOD}")
        raise self._at(node, f"{ast.unparse(node)[:40]!r} is not understood: {_UNDERSTOOD}")

    def _dict(self, node: ast.Dict) -> dict[str, Any]:
        result = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                raise self._at(key or value, "the keys of a dict have to be strings, as in JSON")
            if key.value in result:
                raise self._at(key, f"key {key.value!r} is given twice")
            self._convert(key)
            result[key.value] = self._convert(value)
        return result

    def _call(self, node: ast.Call) -> Any:
        if not isinstance(node.func, ast.Name):
            raise self._at(node.func, "a class is named without dots or calls in front")
        name = node.func.id
        cls = self._classes.get(name)
        if cls is None:
            known = ", ".join(sorted(self._classes)) or "none"
            raise self._at(node.func, f"unknown class {name!r} (there are: {known})")
        positional = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                raise self._at(argument, f"'*' is not understood: {_UNDERSTOOD}")
            positional.append(self._convert(argument))
        signature = inspect.signature(cls)
        form = f"{name}({', '.join(signature.parameters)})"
        named: dict[str, Any] = {}
        for keyword in node.keywords:
            field = keyword.arg
            if field is None:
                raise self._at(keyword, f"'**' is not understood: {_UNDERSTOOD}")
            if field not in signature.parameters:
                raise self._at(keyword, f"{form} has no field {field!r}")
            if field in named:
                raise self._at(keyword, f"field {field!r} is given twice")
            named[field] = self._convert(keyword.value)
        try:
            signature.bind(*positional, **named)
            return cls(*positional, **named)
        except Exception as error:  # whatever the class checks
            raise self._at(node.func, f"{form}: {error or type(error).__name__}") from error


def render(value: Any, width: int = 79) -> str:
    """Write a value as an expression, over several lines where one is too narrow.

    Args:
        value: an answer.
        width: columns.
    """
    try:
        return _render(value, width, 0, 0)
    except RecursionError:
        return "(nested too deeply to be shown)"


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _render(value: Any, width: int, indent: int, beside: int) -> str:
    """``beside`` columns of the first line are taken by what is written before the value."""
    flat = repr(value)
    if not isinstance(value, (tuple, list, dict)) or not value:
        return flat
    if indent + beside + len(flat) <= width:
        return flat
    if isinstance(value, dict):
        opening, closing = "{", "}"
        items = [(f"{key!r}: ", item) for key, item in value.items()]
    elif isinstance(value, list):
        opening, closing = "[", "]"
        items = [("", item) for item in value]
    elif hasattr(value, "_fields"):
        opening, closing = f"{type(value).__name__}(", ")"
        items = [(f"{field}=", getattr(value, field)) for field in value._fields]
    else:
        opening, closing = "(", ")"
        items = [("", item) for item in value]
    inner = indent + 4
    lines = [
        f"{' ' * inner}{prefix}{_render(item, width, inner, len(prefix) + 1)},"
        for prefix, item in items
    ]
    return "\n".join([opening, *lines, " " * indent + closing])
