"""The structure that all formats come down to: a dict of texts and numbers."""

import math
from collections.abc import Iterable
from typing import Any

from edeposit.amqp.ftp.decoders.keys import STRONG, meant_by
from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException

_MAX_SHOWN = 100  # characters of a key or value in an error text
_MAX_KEYS = 10_000
_MAX_VALUE = 10_000  # characters; no title and no price is longer, and messages have to be bounded


def check_structure(data: Any) -> dict[str, Any]:
    """Make a dict of decoded data, and check keys and values that mean a field.

    Keys that mean none are kept only if their value is a text or a number, and never refused. Empty
    values of optional fields are left out.

    Args:
        data: a dict, a list of pairs, or a flat list of keys and values.

    Raises:
        MetaParsingException: it is something else; the value of a field is no text and no number,
            or has no JSON form; a required field is empty; a key has two different values.
    """
    if isinstance(data, (dict, list, tuple)) and len(data) > _MAX_KEYS:
        raise MetaParsingException(f"There are more than {_MAX_KEYS} keys in your metadata!")
    pairs: dict[str, Any] = {}
    for key, value in data.items() if isinstance(data, dict) else _pairs(data):
        try:
            hash(key)
        except TypeError as error:
            raise MetaParsingException(
                "Metadata format has invalid strucure (dict is expected)."
            ) from error
        meant = meant_by(key)
        if not meant:
            if type(value) in (str, int):
                pairs[key] = value
            continue
        if value is None or (isinstance(value, str) and not value.strip()):
            required = [one for one in meant if one.is_required and one.rank(key) == STRONG]
            if required:
                raise MetaParsingException(f"Can't decode the meta file - '{key}' has no value!")
            continue
        _check_value(key, value)
        if key in pairs and pairs[key] != value:
            raise MetaParsingException(
                f"Keyword '{key}' has two values: {short(pairs[key])} and {short(value)}!"
            )
        pairs[key] = value
    return pairs


def _check_value(key: str, value: Any) -> None:
    kind = type(value)
    if kind not in (str, int, float) or (kind is float and not math.isfinite(value)):
        raise MetaParsingException(
            f"Can't decode the meta file - invalid type of keyword '{key[:_MAX_SHOWN]}'!"
        )
    if kind is str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise MetaParsingException(
                f"Can't decode the meta file - the value of '{key}' holds half a character!"
            ) from error
        if len(value) > _MAX_VALUE:
            raise MetaParsingException(
                f"Can't decode the meta file - the value of '{key}' is longer than"
                f" {_MAX_VALUE} characters!"
            )


def short(value: object) -> str:
    """A value for an error text."""
    text = str(value)
    return f"'{text[:_MAX_SHOWN]}{'...' if len(text) > _MAX_SHOWN else ''}'"


def _pairs(data: Any) -> Iterable[tuple[Any, Any]]:
    if not isinstance(data, (list, tuple)):
        raise MetaParsingException("Can't decode provided metadata - unknown structure.")
    if data and all(isinstance(item, (list, tuple)) and len(item) == 2 for item in data):
        return [(key, value) for key, value in data]
    return zip(data[::2], data[1::2], strict=False)
