"""The autoparser on pages it has not seen, in fifteen designs; the benchmark shows more."""

import pytest

from edeposit.amqp.harvester.autoparser import learn

from .designs import DESIGNS, UNTUNED, changed_layout, examples_of, measure

# The issue asks for at least 95 % of the fields; less where the layout has changed.
RIGHT, CHANGED = 95.0, 90.0


@pytest.fixture(scope="module")
def table():
    lines = []
    yield lines
    print("\n" + "\n".join(lines))


@pytest.mark.parametrize("design", DESIGNS + UNTUNED, ids=lambda design: design.name)
def test_unseen_pages_of_a_design_are_read_right(design, table):
    learned = learn(examples_of(design))
    plain, changed = measure(design, learned), measure(design, learned, changed=True)
    table.append(
        f"{design.name:30} {design.examples} examples {len(learned):3} fields "
        f"{plain.percent:6.1f} % {changed.percent:6.1f} %"
    )
    assert plain.total == 20 * len(learned)
    assert plain.percent >= RIGHT, plain.wrong
    assert changed.percent >= CHANGED, changed.wrong


def test_the_designs_are_what_they_claim():
    assert len(DESIGNS) >= 8
    for design in DESIGNS + UNTUNED:
        assert design.examples in (2, 3)
        shown = {design.example(number)[0] for number in range(design.examples)}
        pages = [design.unseen(number) for number in range(20)]
        assert len({text for text, _ in pages} | shown) == 20 + len(shown)
        # Optional values are missing somewhere, and a changed layout is another page.
        assert any(value is None for _, truth in pages for value in truth.values())
        assert all(changed_layout(text, 1) != text for text, _ in pages)


@pytest.mark.parametrize("design", DESIGNS + UNTUNED, ids=lambda design: design.name)
def test_right_in_every_example_and_the_estimate_is_honest(design):
    examples = examples_of(design)
    for item in learn(examples):
        assert item.chosen.right or item.fallbacks
        assert 1 <= item.examples <= design.examples
        if item.examples == 1:
            assert item.held_back is None
            continue
        assert 0 <= item.held_back <= item.examples
        if item.chosen.candidate.kind in ("jsonld", "itemprop", "meta"):
            assert item.held_back == item.examples
