"""What was found how, for people: tables on the terminal, never on standard output."""

from collections.abc import Sequence

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edeposit.amqp.harvester.autoparser.examples import Example
from edeposit.amqp.harvester.autoparser.learning import Learned
from edeposit.amqp.harvester.autoparser.trials import Trial
from edeposit.amqp.harvester.rules import Rule


def in_words(rule: object) -> str:
    """A rule on one line, as it could stand in a source file."""
    text = yaml.safe_dump(rule, default_flow_style=True, allow_unicode=True, sort_keys=False,
                          width=10_000)  # fmt: skip
    return text.removesuffix("...\n").strip()


def print_report(console: Console, learned: Sequence[Learned]) -> None:
    """One line per variable: the kind of rule, the rule, its examples, the fallbacks, notes."""
    table = Table("variable", "found by", "rule", "examples", "held back", "fallbacks", "notes")
    for item in learned:
        held = "-" if item.held_back is None else f"{item.held_back} of {item.examples}"
        table.add_row(
            escape(item.name),
            item.chosen.candidate.kind,
            _line(item.chosen),
            f"{item.examples}",
            held,
            ", ".join(trial.candidate.kind for trial in item.fallbacks) or "-",
            "; ".join(item.notes),
        )
    console.print(table)


def print_candidates(console: Console, learned: Sequence[Learned]) -> None:
    """All rules that are right in every example, numbered as ``--pin`` takes them."""
    for item in learned:
        table = Table("no.", "found by", "cost", "made from", "rule", title=escape(item.name))
        for number, trial in enumerate(item.ranked, 1):
            chosen = "*" if trial is item.chosen else "+" if trial in item.fallbacks else ""
            table.add_row(
                f"{number}{chosen}",
                trial.candidate.kind,
                str(trial.cost),
                f"{len(trial.origins)} of {item.examples}",
                _line(trial),
            )
        console.print(table)
    console.print("* chosen, + fallback. Another one: --pin NAME=NUMBER")


def print_check(console: Console, learned: Sequence[Learned], pages: Sequence[Example]) -> bool:
    """What the rules find in further pages; False when a required value is missing somewhere."""
    table = Table("page", *(escape(item.name) for item in learned))
    complete = True
    for page in pages:
        cells = []
        for item in learned:
            values = Rule.parse(item.rule_data()).find(page.page)
            values = values if item.several else values[:1]
            complete &= bool(values) or not item.required
            missing = "[red]missing[/red]" if item.required else "-"
            cells.append(escape(" | ".join(values)[:120]) if values else missing)
        table.add_row(escape(page.link), *cells)
    console.print(table)
    return complete


def _line(trial: Trial) -> str:
    return escape(in_words(trial.rule.to_dict()))
