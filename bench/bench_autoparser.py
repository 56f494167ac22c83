"""The autoparser on fifteen page designs: right fields on 20 unseen pages each. The three with a
star were written after the ranking of the rules was settled.

* as they are, learned from the examples that the test uses,
* the same rules on pages whose layout has changed a little (advertisements, classes, rows added),
* over 10 other draws of examples: the mean and the worst.

With ``--wrong`` also what was wrong.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "harvester"))

from designs import DESIGNS, UNTUNED, examples_of, measure

from edeposit.amqp.harvester.autoparser import AutoparserError, learn
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.source.rules import Rule

DRAWS = 10


def draws(design):
    shares = []
    for draw in range(1, DRAWS + 1):
        try:
            learned = learn(examples_of(design, draw))
        except AutoparserError:
            shares.append(0.0)
            continue
        shares.append(measure(design, learned).percent)
    return sum(shares) / len(shares), min(shares)


def table():
    rule = "=" * 30 + "  ========  ======  =======  =======  ===========  =====  ====="
    print(rule)
    print(f"{'design':30}  examples  fields  unseen   changed  other draws  worst  learn")
    print(rule)
    total = right = 0
    for design in DESIGNS + UNTUNED:
        examples = examples_of(design)
        started = time.perf_counter()
        try:
            learned = learn(examples)
        except AutoparserError as error:
            print(f"{design.name:30}  {error}")
            continue
        spent = time.perf_counter() - started
        plain, changed = measure(design, learned), measure(design, learned, changed=True)
        mean, worst = draws(design)
        print(
            f"{design.name:30}  {design.examples:<8}  {len(learned):<6}  {plain.percent:5.1f} %"
            f"  {changed.percent:5.1f} %  {mean:9.1f} %  {worst:5.1f}  {spent:.2f}"
        )
        total, right = total + plain.total, right + plain.right
        if "--wrong" in sys.argv:
            for name, got, want in plain.wrong:
                print(f"    {name}: {got!r} instead of {want!r}")
    print(rule)
    print(f"{right} of {total} fields right; per cent; learn: seconds\n")


def speed():
    """What the rules cost per page, parsing included."""
    for design in DESIGNS[:3]:
        rules = [Rule.parse(item.rule_data()) for item in learn(examples_of(design))]
        content = design.unseen(0)[0].encode()
        rounds = 500
        started = time.perf_counter()
        for _ in range(rounds):
            page = Page(content)
        parsed = time.perf_counter()
        for _ in range(rounds):
            page = Page(content)
            for rule in rules:
                rule.first(page)
        both = time.perf_counter() - parsed
        print(
            f"{design.name}: parse {(parsed - started) / rounds * 1e6:.0f} us, parse and "
            f"{len(rules)} fields {both / rounds * 1e6:.0f} us per page"
        )


if __name__ == "__main__":
    table()
    speed()
