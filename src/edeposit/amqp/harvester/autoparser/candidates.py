"""Rules that could find a value, made from the places where an example has it.

An element is reached by a selector; a part of its text is cut out by its anchors: the words before
and after it in one example, or its number among parts. Everything cheap enough is offered; trying
is :mod:`.trials`' job.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from edeposit.amqp.harvester.autoparser.examples import Wanted
from edeposit.amqp.harvester.autoparser.places import Index, Place, places_of
from edeposit.amqp.harvester.autoparser.selectors import COSTS, Selector, selectors_to
from edeposit.amqp.harvester.page.jsonld import StructuredData, is_bookish, types_of
from edeposit.amqp.harvester.page.text import LINE_END, collapse, lines_of

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
        # The label is on the line above.
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


# Attributes that carry values; others (alt, title, data-…) carry copies and state.
_TELLING = ("href", "src", "content", "datetime")
# Ways to an element times ways to cut its text: the most robust of each are enough.
_SELECTORS, _POSITIONS, _ANCHORS = 16, 8, 14


# What of a rule is printed in the page: its words must not be those of one page only.
_PRINTED = re.compile(r"""normalize-space\(\)=(?:'([^']*)'|"([^"]*)")|:contains\("([^"]*)"\)""")


class Candidate(NamedTuple):
    """A rule that is right in at least one example.

    Attributes:
        rule: as data.
        kind: a key of ``COSTS``.
        cost: the lower, the more robust it is thought to be.
    """

    rule: dict[str, Any]
    kind: str
    cost: int

    @property
    def key(self) -> str:
        """Equal for equal rules."""
        return json.dumps(self.rule, sort_keys=True)

    def words(self) -> list[str]:
        """The printed texts that the rule looks for."""
        words = [self.rule.get(key, "") for key in ("label", "after", "before")]
        for found in _PRINTED.finditer(self.rule.get("css") or self.rule.get("xpath") or ""):
            words.extend(part for part in found.groups() if part)
        return [collapse(word) for word in words if word.strip()]


def candidates_for(index: Index, places: list[list[Place]], wanted: Wanted) -> Iterator[Candidate]:
    """All candidates of one variable from one page.

    Args:
        index: of the page.
        places: of each value.
        wanted: the variable.
    """
    for value_places in places:
        for place in value_places:
            if place.rule is not None:
                yield _data_candidate(index.page.structured, *place.rule)
            elif place.attr:
                yield from _of_attribute(place, index, wanted)
            elif place.raw:
                if not wanted.several:
                    yield from _of_part(place, index)
            else:
                extra = {"html": True} if wanted.html else {}
                for selector in selectors_to(place.element, index):
                    yield Candidate({**selector.locator, **extra}, selector.kind, selector.cost)


def content_pattern(wanted: Iterable[Wanted]) -> re.Pattern[str] | None:
    """Matches a text in which there is a value of the page; no rule may look for such a one."""
    # Shorter ones could be part of a label by accident.
    values = {text for item in wanted for text in item.texts if 3 <= len(text) <= 200}
    if not values:
        return None
    return re.compile("|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in sorted(values)))


def locate(index: Index, wanted: Wanted) -> list[list[Place]]:
    """The places of each value of a variable."""
    return [places_of(index, text, wanted) for text in wanted.texts]


def _data_candidate(data: StructuredData, locator: str, path: str) -> Candidate:
    if locator == "meta":
        trusted = path.startswith(("og:", "book:", "product:", "article:")) or ":" not in path
        return Candidate({"meta": path}, "meta", COSTS["meta"] + (0 if trusted else 6))
    kind, colon, _ = path.partition(":")
    if not colon:
        return Candidate({"jsonld": path}, "jsonld", COSTS["jsonld"] + path.count("."))
    of_book = any(is_bookish(item) for item in data.objects if kind in types_of(item))
    # The name of the shop or the crumbs is right by accident only.
    cost = COSTS["jsonld"] + path.count(".") + (1 if of_book else 32)
    return Candidate({"jsonld": path}, "jsonld", cost)


def _of_attribute(place: Place, index: Index, wanted: Wanted) -> Iterator[Candidate]:
    value = place.element.get(place.attr)
    extra = {"attr": place.attr}
    if collapse(value) not in wanted.texts:
        extra["clean"] = "url"
    more = 3 if place.attr in _TELLING else 20
    for selector in selectors_to(place.element, index):
        yield Candidate({**selector.locator, **extra}, selector.kind, selector.cost + more)


def _of_part(place: Place, index: Index) -> Iterator[Candidate]:
    selectors = sorted(selectors_to(place.element, index), key=lambda item: item.cost)
    plain = [item for item in selectors if item.locator == {"css": place.element.tag}]
    ways = selectors[:_SELECTORS] + plain
    ways += [item for item in selectors if item.kind == "position"][:_POSITIONS]
    anchors = sorted(anchors_for(place.raw, *place.span), key=lambda item: item.cost)[:_ANCHORS]
    for anchor in anchors:
        for selector in {json.dumps(item.locator): item for item in ways}.values():
            yield _cut(selector, anchor)


def _cut(selector: Selector, anchor: Anchors) -> Candidate:
    locator = dict(selector.locator)
    if anchor.contains and "css" in locator and selector.kind not in ("id", "label"):
        word = anchor.contains.replace("\\", "\\\\").replace('"', '\\"')
        locator["css"] += f':contains("{word}")'
    extra = anchor.modifiers
    labelled = "after" in extra
    # The word before the value decides alone, in whichever of the plain elements it is.
    way = COSTS["class"] + 4 if labelled and selector.kind == "tag" else selector.cost
    cost = max(way, anchor.cost) + min(way, anchor.cost) // 4
    if "last_line" in extra or extra == {"before": "\n"}:
        # The first or last line of something is what happens to stand there.
        kind, cost = "position", max(cost, COSTS["position"])
    elif selector.kind in ("label", "itemprop", "id"):
        kind = selector.kind
    elif ("after" in extra or anchor.contains) and selector.kind != "position":
        kind = "text"
    else:
        # Only the number of the part says which one it is.
        kind, cost = "position", max(cost, COSTS["neighbour"])
    return Candidate({**locator, **extra}, kind, cost)
