"""The structure that all formats come down to: a dict of texts and numbers."""

from typing import Any

from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException

_PLAIN = (str, int, float)


def check_structure(data: Any) -> dict[str, Any]:
    """Make a dict of decoded data, and check its keys and values.

    Args:
        data: a dict, a list of pairs, or a flat list of keys and values.

    Raises:
        MetaParsingException: it is something else, or a key or value is no text and no number.
    """
    if not isinstance(data, dict):
        data = _as_dict(data)
    for key, value in data.items():
        if type(key) not in _PLAIN or type(value) not in _PLAIN:
            raise MetaParsingException(
                f"Can't decode the meta file - invalid type of keyword '{str(key)[:200]}'!"
            )
    return data


def _as_dict(data: Any) -> dict[Any, Any]:
    if not isinstance(data, (list, tuple)):
        raise MetaParsingException("Can't decode provided metadata - unknown structure.")
    if data and all(isinstance(item, (list, tuple)) and len(item) == 2 for item in data):
        pairs = list(data)
    else:
        pairs = list(zip(data[::2], data[1::2], strict=False))
    try:
        return dict(pairs)
    except TypeError as error:  # a key that is a list or a dict
        raise MetaParsingException(
            "Metadata format has invalid strucure (dict is expected)."
        ) from error
