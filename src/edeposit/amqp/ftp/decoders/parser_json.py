"""JSON: an object, a flat array of keys and values, or an array of pairs."""

import json

from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException
from edeposit.amqp.ftp.decoders.validator import check_structure


def decode(data: str) -> dict[str, object]:
    """Read pairs from JSON; of a key that comes twice the last one counts.

    Raises:
        MetaParsingException: it is not JSON, or not of one of the three shapes.
    """
    try:
        decoded = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MetaParsingException(f"Can't parse your JSON data: {error}") from error
    return check_structure(decoded)
