"""JSON: an object, a flat array of keys and values, or an array of pairs."""

import json
from typing import Any

from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException
from edeposit.amqp.ftp.decoders.validator import check_structure


class _Object(list[Any]):
    """The pairs of an object in their order; of a dict the first of two equal keys is gone."""


def decode(data: str) -> dict[str, Any]:
    """Read pairs from JSON.

    Raises:
        MetaParsingException: it is not JSON, not of one of the three shapes, or a value has none.
    """
    try:
        decoded = json.loads(data, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        raise MetaParsingException(f"Can't parse your JSON data: {error}") from error
    return check_structure(decoded)
