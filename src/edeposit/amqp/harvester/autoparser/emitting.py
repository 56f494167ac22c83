"""Writes what was learned: a source file of the harvester, or a Python module that needs only lxml.

In the module nothing of the user's or of a page's text becomes code: names are checked identifiers,
everything else goes through ``repr``, and the result is compiled before it is written. The module
carries the text of our own small modules, so it finds what the harvester finds.
"""

import ast
import inspect
import keyword
import pprint
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import yaml

from edeposit.amqp.harvester.autoparser import standalone
from edeposit.amqp.harvester.autoparser.examples import AutoparserError, Example
from edeposit.amqp.harvester.autoparser.learning import Learned
from edeposit.amqp.harvester.page import jsonld, labels, text
from edeposit.amqp.harvester.source import FIELDS
from edeposit.amqp.harvester.source.css import css_to_xpath

_NAMES = {name.lower(): name for name in FIELDS} | {"author": "authors"}
_COMMENT = """\
# Written by edeposit_autoparser.py. The fields are those of a book's own page. Fill in where the
# books are listed: start (list pages), item (one book on them), follow (the link to its page).
"""


# A source needs a start; a name that resolves nowhere (RFC 2606) cannot be asked by mistake.
_NO_START = "http://fill.in.invalid/"


def field_name(variable: str) -> str | None:
    """The field of a publication that a variable means, in any case; or None."""
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
            {
                "file": saved[example.link],
                "url": example.page.url,
                "expect": _expected(learned, example, fields),
            }
            for example in examples
            if example.wanted
        ]
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
        names = [
            text
            for example in examples
            if item.name in example.wanted
            for text in example.wanted[item.name].texts
        ]
        at = next((at for at in (";", ",") if any(at in text for text in names)), "")
        if at:
            rule = {"css": data} if isinstance(data, str) else data
            return {**rule, "split_names": at}
    return data


_HEAD = '''\
"""Finds values in the pages of one site. Written by edeposit_autoparser.py; needs only lxml.

``parse(html)`` gives all values of a page; ``test_parsers()`` tries the examples.
"""
'''

_TAIL = '''

def parse(html: bytes | str, url: str = "") -> dict[str, Any]:
    """All values of a page by name; ``url`` is what its links are relative to.

    Raises:
        UserWarning: a required value is missing.
    """
    dom = parse_page(html, url)
    return {{
{calls}
    }}


def test_parsers(paths: "list[str] | None" = None) -> None:
    """Compares the examples with what is found in them.

    Args:
        paths: of the examples' pages, in the order of ``EXAMPLES``; without them the files are
            looked for in the directory of this module.
    """
    from pathlib import Path

    folder = Path(__file__).resolve().parent
    for number, (name, url, expected) in enumerate(EXAMPLES):
        path = Path(paths[number]) if paths else folder / name
        found = parse(path.read_bytes(), url)
        for variable, value in expected.items():
            if found[variable] != value:
                raise AssertionError(
                    f"{{path}}: {{variable}} is {{found[variable]!r:.200}}, not {{value!r:.200}}"
                )


if __name__ == "__main__":
    test_parsers()
'''


def emit_python(
    learned: Sequence[Learned], examples: Sequence[Example], saved: dict[str, str] | None = None
) -> str:
    """The text of the module.

    Args:
        learned: the rules.
        examples: go into the module's own test.
        saved: file names of the examples by link, where they were saved.

    Raises:
        AutoparserError: a name is no identifier.
    """
    is_xml = any(example.page.is_xml for example in examples)
    parts = [_HEAD, _imports(), *(_body(module) for module in _MODULES), "\n"]
    calls = []
    for item in learned:
        if not item.name.isidentifier() or keyword.iskeyword(item.name):
            raise AutoparserError(f"{item.name[:80]!r} is no name that Python allows.")
        rules = [_portable(rule.candidate.rule, is_xml) for rule in (item.chosen, *item.fallbacks)]
        parts.append(_getter(item, rules))
        calls.append(f'        "{item.name}": get_{item.name}(dom),')
    parts.append(
        f"\nEXAMPLES: list[Any] = {_shown(_expectations(learned, examples, saved or {}))}\n"
    )
    parts.append(_TAIL.format(calls="\n".join(calls)))
    module = "".join(parts)
    compile(module, "<autoparser>", "exec", dont_inherit=True)
    return module


_MODULES = (text, labels, jsonld, standalone)


def _getter(item: Learned, rules: list[dict[str, Any]]) -> str:
    constant = f"FIND_{item.name.upper()}"
    kind = "list[str]" if item.several else "str | None"
    message = item.notfoundmsg.replace("$name", item.name)
    lines = [
        f"\n{constant}: list[dict[str, Any]] = {_shown(rules)}\n\n",
        f'\ndef get_{item.name}(dom: Any) -> "{kind}":\n',
        f"    found = find_values(dom, {constant})\n",
    ]
    if item.required:
        text_shown = message or f"The page has no {item.name}."
        lines.append(f"    if not found:\n        raise UserWarning({text_shown!r})\n")
    lines.append(
        "    return found\n" if item.several else "    return found[0] if found else None\n"
    )
    return "".join(lines)


def _portable(rule: dict[str, Any], is_xml: bool) -> dict[str, Any]:
    """The rule without CSS, for which lxml needs another library, and without markup."""
    portable = {key: value for key, value in rule.items() if key not in ("css", "html", "remove")}
    if "css" in rule:
        return {"xpath": css_to_xpath(rule["css"], is_xml), **portable}
    return portable


def _expectations(
    learned: Sequence[Learned], examples: Sequence[Example], saved: dict[str, str]
) -> list[Any]:
    known = {item.name: item for item in learned}
    expectations = []
    for example in examples:
        wanted = {
            name: item.texts if known[name].several else (item.texts[0] if item.texts else None)
            for name, item in example.wanted.items()
            if not item.html
        }
        if wanted:
            name = saved.get(example.link, example.link)
            expectations.append((name, example.page.url, wanted))
    return expectations


def _shown(data: Any) -> str:
    return pprint.pformat(data, width=96, sort_dicts=False)


def _imports() -> str:
    lines: set[str] = set()
    for module in _MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            ours = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edeposit")
            if isinstance(node, ast.Import | ast.ImportFrom) and not ours:
                lines.add(ast.unparse(node))
    return "\n" + "\n".join(sorted(lines)) + "\n"


def _body(module: ModuleType) -> str:
    """The text of a module without its docstring and imports."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    for number, node in enumerate(ast.parse(source).body):
        docstring = number == 0 and isinstance(node, ast.Expr)
        if docstring or isinstance(node, ast.Import | ast.ImportFrom):
            for line in range(node.lineno - 1, (node.end_lineno or node.lineno)):
                lines[line] = ""
    return "\n\n" + "\n".join(lines).strip() + "\n"
