"""How a value is cut out of the text around it: the words before and after it, or its number
among parts.

Anchors are what is printed around the value in one example; whether they hold is decided on the
other examples.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from edeposit.amqp.harvester.autoparser.selectors import COSTS
from edeposit.amqp.harvester.cutting import lines_of
from edeposit.amqp.harvester.text import LINE_END, collapse

_SEPARATORS = ("/", "|", ",", ";", "•", "·", "–", " - ", ":", "(")
# In characters: more of the text around is not a label but content.
_LONGEST = 40


class Anchors(NamedTuple):
    """Modifiers of a rule.

    Attributes:
        modifiers: ``after``, ``before``, ``split``, ``last_line``.
        contains: a word that the element must contain; ``before`` alone would give a whole text
            in which the word is missing.
        cost: see :mod:`.selectors`.
    """

    modifiers: dict[str, Any]
    contains: str
    cost: int


def anchors_for(raw: str, start: int, end: int) -> Iterator[Anchors]:
    """Ways to cut ``raw[start:end]`` out of ``raw``.

    Args:
        raw: text with line ends.
        start: of the value.
        end: behind it.
    """
    text, value = collapse(raw), collapse(raw[start:end])
    afters = list(_afters(raw, start))
    befores = list(_befores(raw, end))
    for after, after_cost in afters:
        for before, before_cost in befores:
            modifiers = {"after": after, "before": before}
            kept = {key: word for key, word in modifiers.items() if word}
            # A rule that only cuts the end off needs to know that it is in the right text.
            contains = before if before and not after and before != "\n" else ""
            yield Anchors(kept, contains, after_cost + before_cost)
        if after and " " not in value:
            first = {"after": after, "split": {"at": " "}}
            yield Anchors(first, "", after_cost + COSTS["text"] // 2)
    for before, before_cost in befores:
        if before and before != "\n":
            head = collapse(raw[:end])
            above = lines_of(raw[:end])
            if len(above) > 1 and above[-1] == value:
                line = {"before": before, "split": {"at": "\n", "index": -1}}
                yield Anchors(line, before, COSTS["text"] + before_cost + 6)
            for at in (" ", *_SEPARATORS):
                if at in head and head.split(at)[-1].strip() == value:
                    cut = {"before": before, "split": {"at": at, "index": -1}}
                    yield Anchors(cut, before, COSTS["text"] + before_cost + 6)
    if LINE_END not in raw.strip():
        # Across lines the number of a part says nothing.
        yield from _splits(text, value)
    elif value in (lines := lines_of(raw)):
        index = lines.index(value)
        for number in (index, index - len(lines)):
            # Dearer than any path: an empty line is none, and moves those after it.
            cost = COSTS["position"] + 30 + 2 * abs(number)
            yield Anchors({"split": {"at": "\n", "index": number}}, "", cost)
    lines = [collapse(line) for line in raw.replace("\n", LINE_END).split(LINE_END)]
    lines = [line for line in lines if line]
    if len(lines) > 1 and lines[-1] == value:
        yield Anchors({"last_line": True}, "", COSTS["class"])


def _splits(text: str, value: str) -> Iterator[Anchors]:
    for at in (*_SEPARATORS, " "):
        parts = [part.strip() for part in text.split(at)]
        if len(parts) < 2 or value not in parts:
            continue
        index = parts.index(value)
        cost = COSTS["position"] - (5 if at == " " else 20) + 3 * min(index, len(parts) - 1 - index)
        yield Anchors({"split": {"at": at, "index": index}}, "", cost)
        yield Anchors({"split": {"at": at, "index": index - len(parts)}}, "", cost + 1)


def _afters(raw: str, start: int) -> Iterator[tuple[str, int]]:
    """What to look for before the value, with its cost; the empty text: it begins the element."""
    if not raw[:start].strip():
        yield "", 0
        return
    *older, line = raw[:start].split(LINE_END)
    line = collapse(line)
    if not line:
        # The label stands on the line above.
        previous = next((collapse(text) for text in reversed(older) if text.strip()), "")
        if 1 < len(previous) <= _LONGEST and not re.search(r"\d", previous):
            yield previous, COSTS["text"] + 4
        return
    chunk = re.split(r"[,;|/•·]", line)[-1].strip()
    words = chunk.split()
    seen = set()
    # The whole label first: "stran:" is also the end of other labels.
    for number in (len(words), 3, 2, 1):
        label = " ".join(words[-number:]) if words and number else ""
        if label and label not in seen and len(label) <= _LONGEST:
            seen.add(label)
            if not re.search(r"\d", label):
                part = 0 if len(label) == len(chunk) else 2
                yield label, COSTS["text"] + part + (0 if label.endswith(":") else 8)
    if re.match(r"[^\w\s]", line[-1]):
        # The word before it may be different on each page; a sign alone is a weak anchor.
        yield line[-1], COSTS["text"] + 18


def _befores(raw: str, end: int) -> Iterator[tuple[str, int]]:
    """What ends the value; the empty text: the element's own end."""
    if not raw[end:].strip():
        yield "", 0
        return
    line, *more = raw[end:].split(LINE_END)
    line = collapse(line)
    if not line:
        if more:
            yield "\n", 2
        return
    if re.match(r"[^\w\s]", line):
        yield line[0], 5
        return
    # Up to the next sign, which may be missing elsewhere.
    words = (re.split(r"[,;|/•·()]", line)[0] or line).split()
    for number in (2, 1):
        end_word = " ".join(words[:number])
        if len(words) >= number and not re.search(r"\d", end_word) and len(end_word) <= _LONGEST:
            # A word of one or two letters is found inside others, too.
            short = 8 if len(end_word) < 3 else 0
            yield end_word, 5 - number + short
