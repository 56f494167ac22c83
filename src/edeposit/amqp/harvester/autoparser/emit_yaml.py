"""Writes what was learned as a source file of the harvester."""

from collections.abc import Sequence
from typing import Any

import yaml

from edeposit.amqp.harvester.autoparser.examples import Example
from edeposit.amqp.harvester.autoparser.learning import Learned
from edeposit.amqp.harvester.definition import FIELDS

_NAMES = {name.lower(): name for name in FIELDS} | {"author": "authors"}
_COMMENT = """\
# Written by edeposit_autoparser.py. The fields are those of a book's own page. Fill in where the
# books are listed: start (list pages), item (one book on them), follow (the link to its page).
"""


# A source needs a start; a name that resolves nowhere (RFC 2606) cannot be asked by mistake.
_NO_START = "http://fill.in.invalid/"


def field_name(variable: str) -> str | None:
    """The field of a publication that a variable stands for, in any case; or None."""
    return _NAMES.get(variable.lower())


def emit_yaml(
    learned: Sequence[Learned],
    examples: Sequence[Example],
    name: str,
    saved: dict[str, str] | None = None,
) -> str:
    """The text of the source file.

    Args:
        learned: the rules.
        examples: their URLs become the start pages until the user knows better.
        name: of the source.
        saved: paths of the examples' pages by link, relative to the source file, where they were
            saved; they become the samples of the self-test.
    """
    links = [example.page.url for example in examples if example.page.url]
    fields = {field_name(item.name) or item.name: _field(item, examples) for item in learned}
    required = [field_name(item.name) or item.name for item in learned if item.required]
    source: dict[str, Any] = {
        "name": name,
        "enabled": False,
        "start": links or [_NO_START],
        "item": "html",
        "required": required or ["title"],
        "fields": fields,
    }
    if saved:
        source["samples"] = [
            {"file": saved[example.link], "url": example.page.url,
             "expect": _expected(learned, example, fields)}
            for example in examples if example.wanted
        ]  # fmt: skip
    unknown = [item.name for item in learned if field_name(item.name) is None]
    comment = _COMMENT
    if unknown:
        comment += f"# No fields of a publication, take them out: {', '.join(unknown)}.\n"
    return comment + yaml.safe_dump(source, allow_unicode=True, sort_keys=False, width=96)


def _expected(
    learned: Sequence[Learned], example: Example, fields: dict[str, Any]
) -> dict[str, Any]:
    """The values of an example, as the self-test of the harvester compares them."""
    expected: dict[str, Any] = {}
    for item in learned:
        name, wanted = field_name(item.name), example.wanted.get(item.name)
        if name is None or wanted is None or not wanted.values or wanted.html:
            continue
        if name == "authors":
            field = fields[name]
            at = field.get("split_names") if isinstance(field, dict) else None
            names = [part for text in wanted.texts for part in (text.split(at) if at else [text])]
            expected[name] = [part.strip() for part in names]
        else:
            expected[name] = wanted.texts[0]
    return expected


def _field(item: Learned, examples: Sequence[Example]) -> dict[str, Any] | str:
    data = item.rule_data()
    if field_name(item.name) == "authors" and not item.several:
        names = [text for example in examples if item.name in example.wanted
                 for text in example.wanted[item.name].texts]  # fmt: skip
        at = next((at for at in (";", ",") if any(at in text for text in names)), "")
        if at:
            rule = {"css": data} if isinstance(data, str) else data
            return {**rule, "split_names": at}
    return data
