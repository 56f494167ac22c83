"""The piece of a text that a rule wants: between two anchors, one part of several, the last line.

Depends on nothing but :mod:`.text`, so that parsers which the autoparser writes can carry it along.
"""

import re
from collections.abc import Mapping
from typing import Any

from edeposit.amqp.harvester.text import LINE_END, collapse


class Cut:
    """The modifiers ``after``, ``before``, ``last_line`` and ``split`` of a rule, in this order."""

    def __init__(self, rule: Mapping[str, Any]) -> None:
        self._after = anchor_pattern(rule["after"]) if "after" in rule else None
        self._before = anchor_pattern(rule["before"]) if "before" in rule else None
        self._last_line = bool(rule.get("last_line"))
        split = rule.get("split")
        self._split = (split["at"], split.get("index", 0)) if split else None

    def __call__(self, text: str) -> str:
        """The piece, collapsed; empty when ``after`` or the part is not there.

        Args:
            text: with line ends.
        """
        # A block begins with the end of the line before it.
        text = text.lstrip()
        if self._after is not None:
            found = self._after.search(text)
            if found is None:
                return ""
            text = text[found.end() :]
        if self._before is not None and (found := self._before.search(text)):
            text = text[: found.start()]
        if self._last_line:
            # Here a line feed of the source counts: some pages print prices that way.
            lines = text.replace(LINE_END, "\n").split("\n")
            text = next((line for line in reversed(lines) if line.strip()), "")
        if self._split is not None:
            at, index = self._split
            parts = lines_of(text) if at == "\n" else collapse(text).split(at)
            text = parts[index] if -len(parts) <= index < len(parts) else ""
        return collapse(text)


def lines_of(text: str) -> list[str]:
    """The lines that hold something, collapsed."""
    return [line for part in text.split(LINE_END) if (line := collapse(part))]


def anchor_pattern(anchor: str) -> re.Pattern[str]:
    """Matches a text whatever the white space in it; a lone line feed means the end of the line."""
    if anchor == "\n":
        return re.compile(LINE_END)
    words = [re.escape(word) for word in anchor.split()]
    return re.compile(r"\s+".join(words) or r"\s+")
