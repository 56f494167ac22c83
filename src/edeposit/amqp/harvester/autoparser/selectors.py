"""Expressions that lead to an element, each with its cost: the less it depends on layout, the
cheaper.

Costs only rank; what is right is decided by running the expressions on all examples. The order of
the kinds: semantic data, unique id, label, class, neighbour, short chain, position.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from edeposit.amqp.harvester.autoparser.places import Index
from edeposit.amqp.harvester.page.labels import LONGEST
from edeposit.amqp.harvester.page.text import raw_text, text_of

COSTS = {
    "jsonld": 0,
    "itemprop": 5,
    "meta": 8,
    "id": 15,
    "label": 17,
    "text": 24,
    "class": 25,
    "tag": 30,
    "attribute": 35,
    "neighbour": 40,
    "chain": 50,
    "position": 60,
}

_NAME = re.compile(r"[A-Za-z][\w-]*", re.ASCII)
_TOKEN = re.compile(r"-?[A-Za-z_][\w-]*", re.ASCII)
# What a framework or a database has made up: long digits, hashes, css-in-js.
_GENERATED = re.compile(
    r"\d{3,}|^(?:css|sc|jss|emotion|svelte|ng)-|^_?[A-Za-z]*[-_]{1,2}[0-9a-f]{5,}$|[0-9a-f]{8,}"
)
# ASP.NET: the container prefixes change with the nesting, the control's own name does not.
_ASP = re.compile(r"^(?:ctl\d+|.*?ContentPlaceHolder\d*)_(?:.*_)?([A-Za-z]\w*)$", re.ASCII)
_NUMBERED = re.compile(r"^([A-Za-z][\w-]*?[-_])\d+$", re.ASCII)
_UNTOLD = (
    "class",
    "id",
    "href",
    "src",
    "style",
    "content",
    "title",
    "alt",
    "value",
    "datetime",
    "itemprop",
    "property",
    "srcset",
    "onclick",
)
# Layout or state, not meaning: they say nothing about what an element holds.
_STATE = re.compile(
    r"(?:active|first|last|odd|even|clearfix|row|col|hidden|visible|new|sale|action|akce)"
    r"|(?:is|has|js|col|row|u)[-_].*"
)
# A value is near the start or the end of its list, and near the sibling that says where it is.
_OLDER, _FARTHEST = 12, 50
# A tag alone says little, except these, of which a page has few.
_PLAIN_TAGS = {"h1": 0, "title": 0, "h2": 6, "h3": 8}
# In characters: shorter class names, and these, are on many elements of many kinds.
_SHORT = 4
_VAGUE = frozenset({"block", "content", "detail", "inner", "label", "title", "value", "wrapper"})


class Selector(NamedTuple):
    """A way to an element.

    Attributes:
        locator: of a rule, e.g. ``{"css": "h1"}``.
        kind: a key of :data:`COSTS`.
        cost: the lower, the more robust.
    """

    locator: dict[str, Any]
    kind: str
    cost: int


def selectors_to(element: Any, index: Index) -> Iterator[Selector]:
    """Everything that could lead to the element; nothing is tried here."""
    if not _NAME.fullmatch(str(element.tag)):
        return
    yield from _labels(element, index)
    for css, kind, cost in _all_css(element, index):
        yield Selector({"css": css}, kind, cost)


def own_css(element: Any) -> list[tuple[str, str, int]]:
    """CSS, kind and cost by what the element itself says, cheapest first."""
    tag = str(element.tag)
    found = list(_ids(element, tag))
    for key in ("itemprop", "property"):
        for value in (element.get(key) or "").split():
            if re.fullmatch(r"[\w:-]+", value):
                found.append((f"[{key}~='{value}']", "itemprop", COSTS["itemprop"]))
    tokens = [token for token in (element.get("class") or "").split() if _stable(token)]
    for token in tokens[:4]:
        # Two dashes: a variant of something (BEM), which the next page may not be.
        vague = 2 if len(token) <= _SHORT or token.lower() in _VAGUE or "--" in token else 0
        found.append((f"{tag}{_token(token)}", "class", COSTS["class"] + vague))
    if len(tokens) > 1:
        joined = "".join(map(_token, tokens[:4]))
        found.append((f"{tag}{joined}", "class", COSTS["class"] + 2))
    for name, value in element.attrib.items():
        if _told(str(name), str(value)):
            found.append((f"{tag}[{name}='{value}']", "attribute", COSTS["attribute"]))
    plain = COSTS["tag"] + _PLAIN_TAGS.get(tag, 15)
    found.append((tag, "tag", plain))
    return sorted(found, key=lambda item: item[2])


def _ids(element: Any, tag: str) -> Iterator[tuple[str, str, int]]:
    identity = element.get("id") or ""
    if not _TOKEN.fullmatch(identity):
        return
    if asp := _ASP.match(identity):
        yield f"{tag}[id$='_{asp[1]}']", "id", COSTS["id"]
        yield f"#{identity}", "id", COSTS["id"] + 4
    elif numbered := _NUMBERED.match(identity):
        yield f"{tag}[id^='{numbered[1]}']", "id", COSTS["id"] + 5
        yield f"#{identity}", "id", COSTS["id"] + 10
    elif _GENERATED.search(identity):
        yield f"#{identity}", "id", COSTS["position"]
    else:
        yield f"#{identity}", "id", COSTS["id"]


def _stable(token: str) -> bool:
    return not _GENERATED.search(token) and not _STATE.fullmatch(token) and "'" not in token


def _token(token: str) -> str:
    return f".{token}" if _TOKEN.fullmatch(token) else f"[class~='{token}']"


def _told(name: str, value: str) -> bool:
    return (
        name not in _UNTOLD
        and bool(re.fullmatch(r"[a-z][a-z-]*", name))
        and 0 < len(value) <= 30
        and not _GENERATED.search(value)
        and not re.search(r"['\"\\\n]", value)
    )


def _all_css(element: Any, index: Index) -> Iterator[tuple[str, str, int]]:
    tag, own = str(element.tag), own_css(element)
    yield from own
    own = own[:3] + ([] if len(own) <= 3 else [own[-1]])
    # Below an ancestor with a name.
    parents = [node for node in _ancestors(element) if node.tag not in ("html", "body")]
    for distance, ancestor in enumerate(parents[:5], 1):
        for outer, kind, cost in [item for item in own_css(ancestor) if item[1] != "tag"][:3]:
            for css, inner_kind, inner in own:
                weaker = max((cost, kind), (inner if inner_kind != "tag" else 28, inner_kind))
                yield f"{outer} {css}", weaker[1], weaker[0] + 2 + distance
            if distance == 1:
                yield f"{outer} > {tag}", kind, max(cost, COSTS["class"]) + 3
    yield from _neighbours(element, tag, own)
    for length in (1, 2, 3):
        if len(parents) >= length:
            steps = [*(str(node.tag) for node in reversed(parents[:length])), tag]
            yield " > ".join(steps), "chain", COSTS["chain"] + length
    yield from _positions(element, index)


def _neighbours(
    element: Any, tag: str, own: list[tuple[str, str, int]]
) -> Iterator[tuple[str, str, int]]:
    before = element.getprevious()
    if before is not None and _NAME.fullmatch(str(before.tag)):
        for css, kind, _ in own_css(before)[:3]:
            penalty = 6 if kind == "tag" and before.tag not in ("h1", "h2") else 0
            for inner in [tag] + [item[0] for item in own if item[1] == "class"][:1]:
                yield f"{css} + {inner}", "neighbour", COSTS["neighbour"] + penalty


def _positions(element: Any, index: Index) -> Iterator[tuple[str, str, int]]:
    """Paths by position: from a named ancestor, a named older sibling of one, or the root."""
    path: list[list[str]] = [[]]
    counts = [0]
    node = element
    for distance in range(8):
        tag = str(node.tag)
        if not _NAME.fullmatch(tag):
            return
        for older in islice(node.itersiblings(preceding=True), _OLDER):
            if not _NAME.fullmatch(str(older.tag)):
                continue
            for css, kind, cost in own_css(older)[:1]:
                if kind != "tag" or older.tag in ("h1", "h2", "hr"):
                    for steps, count in zip(path, counts, strict=True):
                        yield (
                            " > ".join([f"{css} ~ {tag}", *steps]),
                            "position" if count else "neighbour",
                            COSTS["position" if count else "neighbour"]
                            + 4 * count
                            + distance
                            + cost // 10
                            + 2,
                        )
        path, counts = _longer(node, path, counts)
        parent = node.getparent()
        if parent is None:
            return
        for css, kind, cost in own_css(parent)[:2]:
            if kind == "tag" and parent.tag not in ("body", "table", "ul", "ol", "dl", "main"):
                continue
            # Another list may come to have as many items.
            doubtful = 10 if index.count(css) > 1 else 0
            for steps, count in zip(path, counts, strict=True):
                yield (
                    " > ".join([css, *steps]),
                    "position",
                    COSTS["position"] + 4 * count + distance + cost // 10 + doubtful,
                )
        node = parent


def _longer(
    node: Any, path: list[list[str]], counts: list[int]
) -> tuple[list[list[str]], list[int]]:
    """The paths with a step in front: counted from the start and, if alone so far, from the end."""
    tag = str(node.tag)
    same_before = sum(1 for other in node.itersiblings(preceding=True) if other.tag == tag)
    same_after = sum(1 for other in node.itersiblings() if other.tag == tag)
    if min(same_before, same_after) > _FARTHEST:
        return [], []
    if not same_before and not same_after:
        return [[tag, *steps] for steps in path], counts
    steps_made = [f"{tag}:nth-of-type({same_before + 1})"]
    if len(path) == 1:
        steps_made.append(f"{tag}:nth-last-of-type({same_after + 1})")
    longer = [[step, *steps] for step in steps_made for steps in path]
    return longer, [count + 1 for _ in steps_made for count in counts]


def _ancestors(element: Any) -> list[Any]:
    return [node for node in element.iterancestors() if _NAME.fullmatch(str(node.tag))]


def _labels(element: Any, index: Index) -> Iterator[Selector]:
    """By the label of the element, or of a cell around it."""
    labelled = index.labelled
    tag = str(element.tag)
    for distance, node in enumerate([element, *element.iterancestors()][:4]):
        for label, anchor in labelled.get(node, ()):
            if not re.search(r"[^\W\d_]", label):
                continue
            loose = 0 if node.tag in ("td", "dd", "th") else 5
            if loose and re.search(r"\d", label):
                # "Sleva 20 %" before a block is no label of it.
                continue
            if distance == 0:
                yield Selector({"label": label}, "label", COSTS["label"] + loose)
                continue
            if anchor is None:
                continue
            text, quote = text_of(anchor), "'"
            if "'" in text:
                quote = '"'
            if quote in text or "\xa0" in raw_text(anchor):
                continue
            head = f"//{anchor.tag}[normalize-space()={quote}{text}{quote}]"
            yield Selector(
                {"xpath": f"{head}/following-sibling::{node.tag}[1]//{tag}"},
                "label",
                COSTS["label"] + loose + 3 + distance,
            )
    before = element.getprevious()
    if before is not None and element not in labelled and _NAME.fullmatch(str(before.tag)):
        text = text_of(before)
        if 2 < len(text) <= LONGEST and not re.search(r"['\d]", text):
            yield Selector(
                {
                    "xpath": f"//{before.tag}[normalize-space()='{text}']/following-sibling::*[1]"
                    f"[self::{tag}]"
                },
                "neighbour",
                COSTS["neighbour"],
            )
