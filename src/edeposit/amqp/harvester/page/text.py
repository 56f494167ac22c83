"""The text of an element as a reader sees it, and the piece of it that a rule wants.

Entities are decoded by the parser; no-break spaces become blanks; ``<br>`` and the borders of
blocks end a line, so that words of two cells or paragraphs never run together.

Uses only the standard library: the parsers that the autoparser writes contain a copy.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

# The end of a line as a reader sees it. Line feeds in the source are only white space.
LINE_END = "\v"

# Elements that begin and end a line.
_BREAKING_NAMES = """
address article aside blockquote body br caption center dd details div dl dt fieldset
figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol option p pre
section select summary table tbody td tfoot th thead title tr ul
"""
BREAKING = frozenset(_BREAKING_NAMES.split())
_SILENT = frozenset({"script", "style", "template"})


def collapse(text: str) -> str:
    """White space (no-break spaces included) as single blanks, none at the ends."""
    return " ".join(text.split())


def whole(text: str) -> str:
    """The text without half characters: lone surrogates, which no encoding can represent."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def raw_text(element: Any, without: Collection[Any] = ()) -> str:
    """The text with :data:`LINE_END` at each line's end, otherwise as it is in the page.

    Args:
        element: of an lxml tree.
        without: elements that are left out together with what they hold.
    """
    if not len(element):
        return element.text or "" if element.tag not in _SILENT else ""
    pieces: list[str] = []
    # Recursion is safe: without huge_tree libxml2 builds no tree deeper than 256.
    _collect(element, without, pieces)
    return "".join(pieces)


def text_of(element: Any) -> str:
    """The whole collapsed text."""
    return collapse(raw_text(element))


def _collect(element: Any, without: Collection[Any], pieces: list[str]) -> None:
    tag = element.tag
    if tag in _SILENT or element in without or not isinstance(tag, str):
        return
    breaking = tag in BREAKING
    if breaking:
        pieces.append(LINE_END)
    if text := element.text:
        pieces.append(text)
    for child in element:
        _collect(child, without, pieces)
        if tail := child.tail:
            pieces.append(tail)
    if breaking:
        pieces.append(LINE_END)


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
        # A block starts by ending the line before it.
        text = text.lstrip()
        if self._after is not None:
            found = self._after.search(text)
            if found is None:
                return ""
            text = text[found.end() :]
        if self._before is not None and (found := self._before.search(text)):
            text = text[: found.start()]
        if self._last_line:
            # Here a line feed in the source counts: some pages print prices like this.
            lines = text.replace(LINE_END, "\n").split("\n")
            text = next((line for line in reversed(lines) if line.strip()), "")
        if self._split is not None:
            at, index = self._split
            parts = lines_of(text) if at == "\n" else collapse(text).split(at)
            text = parts[index] if -len(parts) <= index < len(parts) else ""
        return collapse(text)


def lines_of(text: str) -> list[str]:
    """The lines that are not blank, collapsed."""
    return [line for part in text.split(LINE_END) if (line := collapse(part))]


def anchor_pattern(anchor: str) -> re.Pattern[str]:
    """Matches a text with any white space in it; a lone line feed means the end of the line."""
    if anchor == "\n":
        return re.compile(LINE_END)
    words = [re.escape(word) for word in anchor.split()]
    return re.compile(r"\s+".join(words) or r"\s+")


def without_default_namespace(root: Any) -> None:
    """Makes the names of an XML tree those that are printed, so that CSS and XPath match them.

    Names with a prefix keep their namespace: ``image:loc`` is not ``loc``.
    """
    for element in root.iter("{*}*"):
        if element.prefix is None:
            try:
                element.tag = element.tag.rpartition("}")[2]
            except ValueError:
                continue  # broken XML has names that are none
