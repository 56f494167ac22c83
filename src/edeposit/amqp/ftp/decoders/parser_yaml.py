"""YAML: a mapping, a flat sequence of keys and values, or a sequence of pairs.

Every scalar stays the text it is (``yaml.BaseLoader``): with YAML's own types an ISBN without
hyphens would be a number, ``no`` a truth value and ``2012-09-01`` a date. That loader builds
nothing but texts, lists and mappings, so no tag of a document can run code.
"""

import yaml

from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException
from edeposit.amqp.ftp.decoders.validator import check_structure


class _PlainLoader(yaml.BaseLoader):
    """Refuses aliases: metadata need none, and a few of them can stand for a billion nodes."""

    def compose_node(self, parent, index):  # type: ignore[no-untyped-def]
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


def decode(data: str) -> dict[str, object]:
    """Read pairs from YAML.

    Raises:
        MetaParsingException: it is not YAML, not of one of the three shapes, or a value is empty.
    """
    try:
        decoded = yaml.load(data, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MetaParsingException(f"Can't parse your YAML data: {error}") from error
    pairs = check_structure(decoded)
    for key, value in pairs.items():
        if value == "":
            raise MetaParsingException(f"Can't parse your YAML data: '{key}' has no value")
    return pairs
