"""From examples to rules: the choice among the candidates.

A candidate counts when it is right in *every* example that has the variable. Among those the cost
decides (:mod:`.selectors`), so data for machines wins over labels, labels over classes, and
positions come last. Where no candidate fits all examples, several that are never wrong may share
the work. Examples are also held back one by one: the rule that would have been chosen without an
example is tried on it, which says how much the choice can be trusted.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rapidfuzz import fuzz

from edeposit.amqp.harvester.autoparser.candidates import (
    Candidate,
    candidates_for,
    content_pattern,
    locate,
)
from edeposit.amqp.harvester.autoparser.examples import AutoparserError, Example
from edeposit.amqp.harvester.autoparser.places import (
    Index,
    distinct,
    not_found,
    without_markup,
)
from edeposit.amqp.harvester.autoparser.selectors import COSTS
from edeposit.amqp.harvester.autoparser.trials import RIGHT, Trial, run_trial
from edeposit.amqp.harvester.source.rules import Rule

logger = logging.getLogger(__name__)

# Enough to choose from; the candidates after them cost more anyway.
ENOUGH = 12
# A bound for pages that repeat a value everywhere.
MOST_TRIALS = 4000
# For one variable; then what has been found must do.
MOST_SECONDS = 20.0
MOST_FALLBACKS = 2
# In per cent: from here on two labels are taken for forms of one word.
_ALIKE = 60
# What may speak for an optional value: a position would find its neighbour when it is missing.
_SAFE = ("jsonld", "itemprop", "meta", "id", "label", "class", "text")


@dataclass
class Learned:
    """How one variable is found.

    Attributes:
        name: of the variable.
        chosen: the first rule.
        fallbacks: asked in turn when it finds nothing.
        ranked: all rules that are right in all examples, best first.
        required: whether each page must have it.
        notfoundmsg: the user's own message.
        several: whether it is a list.
        examples: how many examples have it.
        held_back: how many of them a rule learned from the others alone gets right; None when
            there are no others.
        notes: what the user should know.
    """

    name: str
    chosen: Trial
    fallbacks: list[Trial]
    ranked: list[Trial]
    required: bool
    notfoundmsg: str
    several: bool
    examples: int
    held_back: int | None
    notes: list[str] = field(default_factory=list)

    def rule_data(self) -> dict[str, Any] | str:
        """The rule with its fallbacks, as a source file has it."""
        data = dict(self.chosen.candidate.rule)
        others = [Rule.parse(trial.candidate.rule).to_dict() for trial in self.fallbacks]
        if others:
            data["fallback"] = others[0] if len(others) == 1 else others
        return Rule.parse(data).to_dict()


def learn(
    examples: Sequence[Example],
    *,
    pins: Mapping[str, int] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Learned]:
    """Learns a rule for every variable of the examples.

    Args:
        examples: pages with wanted values; those without any only try the rules.
        pins: by variable the number (from 1) of the rule in the ranking to be taken.
        progress: called with the name of each variable before it is learned.

    Raises:
        AutoparserError: a value is not in its page, is ambiguous, or no rule fits all examples.
    """
    having = [example for example in examples if example.wanted]
    if not having:
        raise AutoparserError("No example says what is to be found: there are no variables.")
    names = list(dict.fromkeys(name for example in having for name in example.wanted))
    for name in pins or {}:
        if name not in names:
            raise AutoparserError(f"There is no variable '{name}'; known are {', '.join(names)}.")
    indexes = [Index(example.page) for example in having]
    having = [
        replace(
            example,
            wanted={name: without_markup(index, wanted) for name, wanted in example.wanted.items()},
        )
        for index, example in zip(indexes, having, strict=True)
    ]
    # The examples with variables first: a wrong candidate is out before the other pages are asked.
    ordered = having + [example for example in examples if not example.wanted]
    learned = []
    for name in names:
        if progress is not None:
            progress(name)
        learned.append(_learn_one(name, ordered, indexes, (pins or {}).get(name)))
    return learned


def _learn_one(
    name: str, examples: list[Example], indexes: list[Index], pin: int | None
) -> Learned:
    wanted = {
        number: example.wanted[name]
        for number, example in enumerate(examples)
        if name in example.wanted
    }
    first = next(iter(wanted.values()))
    required = any(item.required for item in wanted.values())
    notes: list[str] = []
    with_values = [number for number, item in wanted.items() if item.values]
    if not with_values:
        raise AutoparserError(f"No example has a value for the variable '{name}'.")
    pinned = next((item.pin for item in wanted.values() if item.pin is not None), None)
    origins: dict[str, set[int]] = {}
    found: dict[str, Candidate] = {}
    several_places = 0
    for number in with_values:
        item, index = wanted[number], indexes[number]
        places = locate(index, item)
        for text, value_places in zip(item.texts, places, strict=True):
            if not value_places and pinned is None:
                raise not_found(index, item, text, examples[number].link)
        several_places = max(several_places, *(distinct(of_value) for of_value in places))
        content = content_pattern(examples[number].wanted.values())
        for candidate in candidates_for(index, places, item):
            if content is not None and any(map(content.search, candidate.words())):
                continue
            key = candidate.key
            origins.setdefault(key, set()).add(number)
            if key not in found or candidate.cost < found[key].cost:
                found[key] = candidate
    trials = _run(name, found, origins, examples, pinned)
    survivors = sorted((trial for trial in trials if trial.right), key=_rank)
    team, undecided = _team(trials, with_values)
    if not undecided and _by_heart(team, len(with_values)):
        undecided = {number for number in with_values if team[0].outcomes.get(number) != RIGHT}
    fallbacks: list[Trial] = []
    if pinned is not None:
        chosen = _pinned_rule(name, pinned, trials[0], examples)
    elif pin is not None:
        chosen = _pinned_number(name, survivors, pin)
    elif survivors and (undecided or survivors[0].cost <= _team_cost(team)):
        chosen = survivors[0]
    elif not undecided:
        chosen, *fallbacks = team
        notes.append("no single good rule fits all examples; these share them")
    else:
        links = ", ".join(examples[number].link for number in sorted(undecided))
        raise AutoparserError(
            f"No rule finds variable '{name}' in all examples: the values are there, but in "
            f"places that have nothing in common (undecided: {links})."
        )
    if len(with_values) == 1:
        if several_places > 1 and chosen.candidate.kind not in _SAFE[:5] and pinned is None:
            raise AutoparserError(
                f"Ambiguous content '{first.values[0][:200]}' of variable '{name}': "
                f"{several_places} elements of {examples[with_values[0]].link} have it, and there "
                f"is no second example to decide; add one, or a tagname."
            )
        notes.append("one example only: nothing could be held back")
    if not fallbacks:
        fallbacks = _fallbacks(chosen, survivors, required)
    if chosen.uncalled:
        notes.append("finds something in an example without this variable, too")
    if chosen.crowded and not first.several:
        notes.append("takes the first of several hits")
    return Learned(
        name,
        chosen,
        fallbacks,
        survivors or [chosen, *fallbacks],
        required,
        next((item.notfoundmsg for item in wanted.values() if item.notfoundmsg), ""),
        first.several,
        len(with_values),
        _held_back(trials, with_values) if len(with_values) > 1 else None,
        notes,
    )


def _rank(trial: Trial) -> tuple[int, int, str]:
    key = trial.candidate.key
    return trial.cost, len(key), key


def _run(
    name: str,
    found: dict[str, Candidate],
    origins: dict[str, set[int]],
    examples: list[Example],
    pinned: Rule | None,
) -> list[Trial]:
    """The trials, cheapest candidates first, until there are enough right ones."""
    trials = []
    if pinned is not None:
        data = pinned.to_dict()
        rule = {"css": data} if isinstance(data, str) else data
        trials.append(run_trial(Candidate(rule, "pinned", 0), frozenset(), examples, name))
    right = 0
    deadline = time.monotonic() + MOST_SECONDS
    ordered = sorted(found.values(), key=lambda item: (item.cost, len(item.key), item.key))
    for candidate in ordered[:MOST_TRIALS]:
        trial = run_trial(candidate, frozenset(origins[candidate.key]), examples, name)
        trials.append(trial)
        # Those that speak uncalled do not count: a dearer one may be silent.
        right += trial.right and not trial.uncalled
        if right >= ENOUGH or time.monotonic() > deadline:
            break
    logger.debug("%s: %d candidates, %d tried, %d right", name, len(found), len(trials), right)
    return trials


def _pinned_rule(name: str, pinned: Rule, trial: Trial, examples: list[Example]) -> Trial:
    for number, result in trial.outcomes.items():
        if result != RIGHT:
            value = pinned.first(examples[number].page)
            raise AutoparserError(
                f"The pinned rule of '{name}' finds {str(value)[:200]!r} in "
                f"{examples[number].link}, which is not what is wanted."
            )
    return trial


def _pinned_number(name: str, survivors: list[Trial], pin: int) -> Trial:
    if not 1 <= pin <= len(survivors):
        raise AutoparserError(f"Variable '{name}' has {len(survivors)} rules, no number {pin}.")
    return survivors[pin - 1]


def _team(trials: list[Trial], with_values: list[int]) -> tuple[list[Trial], set[int]]:
    """Rules that are never wrong and together are right in all examples: labels that differ
    ("Autor", "Autoři"), two layouts; and the examples that none of them can do."""
    missing = set(with_values)
    team: list[Trial] = []
    harmless = sorted((trial for trial in trials if trial.harmless), key=_rank)
    while missing and harmless:
        best = max(harmless, key=partial(_usefulness, missing=frozenset(missing)))
        if not _gain(best, missing):
            break
        team.append(best)
        missing = {number for number in missing if best.outcomes.get(number) != RIGHT}
    return team, missing


def _team_cost(team: list[Trial]) -> int:
    """A team is as robust as its weakest member, and each member is one more thing to break."""
    return max(trial.cost for trial in team) + 5 * (len(team) - 1)


def _by_heart(team: list[Trial], examples: int) -> bool:
    """Whether the rules, one for each example, say nothing about other pages.

    They do when they are forms of one label ("Autor" and "Autoři") or robust by themselves.
    """
    if len(team) < max(examples, 2):
        return False
    first, *others = [" ".join(trial.candidate.words()) for trial in team]
    alike = bool(first) and all(fuzz.ratio(first, words) >= _ALIKE for words in others)
    named = all(trial.cost < COSTS["tag"] for trial in team if not trial.candidate.words())
    return not (alike or (named and not first)) or bool(re.search(r"\d", first))


def _usefulness(trial: Trial, missing: frozenset[int]) -> tuple[bool, int, int]:
    # Cheap rules with a smaller share beat dear ones that do more.
    gain = _gain(trial, missing)
    return bool(gain) and trial.cost < COSTS["attribute"], gain, -trial.cost


def _gain(trial: Trial, missing: Set[int]) -> int:
    return sum(1 for number in missing if trial.outcomes.get(number) == RIGHT)


def _fallbacks(chosen: Trial, survivors: list[Trial], required: bool) -> list[Trial]:
    """The best rules of other kinds; where the value may be missing, only such as stay silent."""
    taken: list[Trial] = []
    kinds = {chosen.candidate.kind}
    for trial in survivors:
        kind = trial.candidate.kind
        if trial is chosen or kind in kinds or trial.uncalled:
            continue
        if not required and (kind not in _SAFE or trial.crowded or trial.cost >= COSTS["chain"]):
            continue
        kinds.add(kind)
        taken.append(trial)
        if len(taken) == MOST_FALLBACKS:
            break
    return taken


def _held_back(trials: list[Trial], with_values: list[int]) -> int:
    """How many examples are right by the rule that the other examples would have chosen."""
    right = 0
    for held in with_values:
        others = set(with_values) - {held}
        known = [
            trial
            for trial in trials
            if trial.origins & others
            and all(trial.outcomes.get(number) == RIGHT for number in others)
        ]
        if known:
            right += min(known, key=_rank).outcomes.get(held) == RIGHT
    return right
