"""Checks of a rule as it is written, before anything is compiled: names, types, one locator."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from edeposit.amqp.harvester.exceptions import DefinitionError
from edeposit.amqp.harvester.source.cleaning import CLEANERS

LOCATORS = ("css", "xpath", "label", "jsonld", "meta", "constant")
MODIFIERS = ("attr", "html", "remove", "index", "last_line", "after", "before", "split", "clean")
# Text is what is read anyway; ``text: true`` may say so.
KEYS = (*LOCATORS, "text", *MODIFIERS, "fallback")

_ENDING = re.compile(r"::(?:(?P<text>text)|attr\(\s*(?P<attr>[\w:.-]+)\s*\))\s*$")


def checked_rule(data: dict[str, Any], where: str) -> dict[str, Any]:
    """The rule without ``fallback``, or a DefinitionError with what would be right."""
    for key in data:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, 1)
            hint = f" Did you mean '{near[0]}'?" if near else f" Known are {', '.join(KEYS)}."
            raise DefinitionError(at(where, f"Unknown key {key!r}.{hint}"))
    locators = [key for key in LOCATORS if key in data]
    if len(locators) != 1:
        raise DefinitionError(
            at(
                where,
                f"A rule has exactly one of {', '.join(LOCATORS)}; here it has "
                f"{' and '.join(locators) or 'none'}.",
            )
        )
    if data.get("text", True) is not True:
        raise DefinitionError(at(where, "'text' can only be true; for markup say 'html: true'."))
    checked = {key: value for key, value in data.items() if key not in ("text", "fallback")}
    for key in (locators[0], "attr", "after", "before"):
        value = checked.get(key)
        if key in checked and (not isinstance(value, str) or not value):
            raise DefinitionError(at(where, f"'{key}' must be a text in quotes, not {value!r}."))
    for key in ("html", "last_line"):
        if not isinstance(checked.get(key, True), bool):
            raise DefinitionError(at(where, f"'{key}' is true or false, not {checked[key]!r}."))
    if not _is_index(checked.get("index", 0)):
        raise DefinitionError(
            at(
                where,
                f"'index' is a whole number (0 the first, -1 the last), not {checked['index']!r}.",
            )
        )
    _check_lists(checked, where)
    if "css" in checked and (ending := _ENDING.search(checked["css"])):
        if ending["attr"]:
            if "attr" in checked:
                raise DefinitionError(at(where, "Both '::attr(…)' and 'attr' say what to read."))
            checked["attr"] = ending["attr"]
        checked["css"] = checked["css"][: ending.start()].strip() or ":scope"
    return checked


def _check_lists(checked: dict[str, Any], where: str) -> None:
    split = checked.get("split", {"at": "/"})
    if (
        not isinstance(split, Mapping)
        or not set(split) <= {"at", "index"}
        or not isinstance(split.get("at"), str)
        or not split["at"]
        or not _is_index(split.get("index", 0))
    ):
        raise DefinitionError(at(where, f"'split' is like {{at: \"/\", index: 0}}, not {split!r}."))
    for name in listed(checked.get("clean", [])):
        if not isinstance(name, str) or name not in CLEANERS:
            raise DefinitionError(
                at(where, f"There is no cleaner {name!r}. Known are {', '.join(CLEANERS)}.")
            )
    for selector in listed(checked.get("remove", [])):
        if not isinstance(selector, str):
            raise DefinitionError(at(where, f"'remove' lists CSS selectors, not {selector!r}."))


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def at(where: str, message: str) -> str:
    return f"{where}: {message}" if where else message
