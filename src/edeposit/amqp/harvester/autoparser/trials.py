"""Runs candidates on the examples: which are right where, and which find what is not wanted."""

from dataclasses import dataclass, field
from typing import Any

from edeposit.amqp.harvester.autoparser.candidates import Candidate
from edeposit.amqp.harvester.autoparser.examples import Example, Wanted, comparable
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.source.rules import Rule

RIGHT, NOTHING, WRONG = "right", "nothing", "wrong"


@dataclass
class Trial:
    """One candidate and how it did.

    Attributes:
        candidate: the rule as data, its kind and first cost.
        rule: compiled.
        origins: the numbers of the examples that it was made from.
        outcomes: ``RIGHT``, ``NOTHING`` or ``WRONG`` by the number of the example.
        cost: the candidate's, more for several hits and for hits where nothing is wanted.
        uncalled: whether it finds something in a page that lacks the variable.
        crowded: whether it hits several elements where one is wanted.
    """

    candidate: Candidate
    rule: Rule
    origins: frozenset[int]
    outcomes: dict[int, str] = field(default_factory=dict)
    cost: int = 0
    uncalled: bool = False
    crowded: bool = False

    @property
    def right(self) -> bool:
        """Right in every example with the variable."""
        return all(outcome == RIGHT for outcome in self.outcomes.values())

    @property
    def harmless(self) -> bool:
        """Never wrong, and silent where nothing is."""
        return not self.uncalled and WRONG not in self.outcomes.values()


def run_trial(
    candidate: Candidate, origins: frozenset[int], examples: list[Example], name: str
) -> Trial:
    """Runs a candidate on all pages.

    Args:
        candidate: to be tried.
        origins: the examples that it was made from.
        examples: with and without the variable.
        name: of the variable.
    """
    trial = Trial(candidate, Rule.parse(candidate.rule), origins)
    having = sum(1 for example in examples if name in example.wanted)
    silent = bare = 0
    for number, example in enumerate(examples):
        wanted = example.wanted.get(name)
        if wanted is not None:
            trial.outcomes[number], crowded = outcome(trial.rule, example.page, wanted)
            trial.crowded |= crowded
            if list(trial.outcomes.values()).count(WRONG) > 1:
                # Wrong once may be the example that is held back; wrong twice is out.
                break
            continue
        hits = trial.rule.hits(example.page)
        if example.wanted:
            trial.uncalled |= bool(hits)
        else:
            # A page that only tries the rules: one hit is best, none may be missing data.
            bare += 1
            silent += not hits
            trial.crowded |= len(hits) > 1
    trial.cost = (
        candidate.cost
        + 10 * trial.crowded
        + 30 * trial.uncalled
        + (12 * silent // bare if bare else 0)
        - 3 * (len(origins) == having > 1)
    )
    return trial


def outcome(rule: Rule, page: Page, wanted: Wanted) -> tuple[str, bool]:
    """How a rule alone (without fallbacks) does in an example, and whether it hits too much."""
    hits = rule.hits(page)
    if not wanted.values:
        return (WRONG if hits else RIGHT), False
    if not hits:
        return NOTHING, False
    values = [comparable(value, wanted.html) for _, value in hits]
    if wanted.several:
        return (RIGHT if values == wanted.texts else WRONG), False
    first = hits[0][0]
    if wanted.tagname and not _is_named(first, wanted.tagname):
        return WRONG, False
    return (RIGHT if values[0] == wanted.texts[0] else WRONG), len(hits) > 1


def _is_named(place: Any, tagname: str) -> bool:
    return not isinstance(place, str) and str(place.tag).lower() == tagname
