"""Rules that could find a value, made from the places where an example has it.

Everything cheap enough is offered; trying is :mod:`.trials`' job.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from edeposit.amqp.harvester.autoparser.anchors import Anchors, anchors_for
from edeposit.amqp.harvester.autoparser.examples import Wanted
from edeposit.amqp.harvester.autoparser.places import Index, Place, places_of
from edeposit.amqp.harvester.autoparser.selectors import COSTS, Selector, selectors_to
from edeposit.amqp.harvester.structured import StructuredData, is_bookish, types_of
from edeposit.amqp.harvester.text import collapse

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
    # A word before the value decides alone, whichever of the plain elements it stands in.
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
