"""YAML: a mapping, a flat sequence of keys and values, or a sequence of pairs.

Every scalar stays the text it is (a base loader): with YAML's own types an ISBN without hyphens
would be a number, ``no`` a truth value and ``2012-09-01`` a date. That loader builds nothing but
texts, lists and mappings, so no tag of a document can run code. An alias is a reference here, it is
never copied, so a few of them cannot stand for a billion nodes.
"""

import re
from typing import Any

import yaml

from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException
from edeposit.amqp.ftp.decoders.validator import check_structure

# libyaml, where PyYAML was built with it, is ten times as fast.
_Base: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_NULLS = {"", "~", "null", "Null", "NULL"}
_MAX_SIZE = 128 * 1024  # characters: a large record has a few kilobytes
_MAX_DEPTH = 100
_INDICATORS = re.compile(rf"^(?:[ \t]*[-?:][ \t]+){{{_MAX_DEPTH}}}", re.MULTILINE)


class _Loader(_Base):
    """Tells an empty value from a text, and sees keys that come twice."""

    def construct_scalar(self, node: yaml.ScalarNode) -> str | None:
        value: str = super().construct_scalar(node)
        return None if not node.style and value in _NULLS else value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        pairs = (
            (self.construct_object(key, deep=True), self.construct_object(value, deep=True))
            for key, value in node.value
        )
        return _Mapping(pair for pair in pairs if isinstance(pair[0], str))


class _Mapping(list[Any]):
    """The pairs of a mapping in their order."""


def decode(data: str) -> dict[str, Any]:
    """Read pairs from YAML.

    Raises:
        MetaParsingException: it is not YAML, not of one of the three shapes, or a value is empty.
    """
    if len(data) > _MAX_SIZE:
        raise MetaParsingException(
            f"Can't parse your YAML data: they are longer than {_MAX_SIZE} characters"
        )
    # The composer is recursive; a document of this depth is no metadata.
    if _is_deep(data):
        raise MetaParsingException("Can't parse your YAML data: nested too deep")
    try:
        documents = [one for one in yaml.load_all(data, Loader=_Loader) if one is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MetaParsingException(f"Can't parse your YAML data: {error}") from error
    if len(documents) != 1:
        raise MetaParsingException(f"Can't parse your YAML data: {len(documents)} documents")
    return check_structure(documents[0])


def _is_deep(data: str) -> bool:
    """Could it be nested deeper than ``_MAX_DEPTH``? Brackets in texts are counted as well."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", data):
        depth = depth + 1 if bracket in "[{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest > _MAX_DEPTH or _INDICATORS.search(data) is not None
