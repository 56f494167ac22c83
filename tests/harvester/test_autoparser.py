"""What is learned from examples: the specification's example, missing and ambiguous data, teams,
layouts that change, hostile input."""

import json

import pytest

from edeposit.amqp.harvester.autoparser import AutoparserError, Example, Wanted, learn
from edeposit.amqp.harvester.autoparser.examples import read_configuration
from edeposit.amqp.harvester.autoparser.places import Index
from edeposit.amqp.harvester.autoparser.selectors import selectors_to
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.source.rules import Rule


def example(html, link="page.html", url="", **wanted):
    made = {}
    for name, value in wanted.items():
        if isinstance(value, Wanted):
            made[name] = value
        else:
            values = tuple(value) if isinstance(value, list) else (value,) if value else ()
            made[name] = Wanted(name, values, several=isinstance(value, list))
    return Example(Page(html, url=url), link, made)


def learned_rule(*examples, name="x"):
    (item,) = [item for item in learn(examples) if item.name == name]
    return Rule.parse(item.rule_data())


def found(rule, html, url=""):
    return rule.first(Page(html, url=url))


def test_example_of_the_specification(request):
    folder = request.path.parent / "data" / "autoparser"
    first, second = learn(read_configuration(folder / "example.yaml"))
    assert (first.name, first.required) == ("first", True)
    assert first.notfoundmsg == "Can't find variable '$name'."
    # The second has an id, which beats everything else here.
    assert second.rule_data() == "#mycontent"
    for item, values in (
        (first, ("i wan't this", "something wanted")),
        (second, ("and this", "another wanted thing")),
    ):
        assert item.ranked
        for number, value in enumerate(values, 1):
            page = Page((folder / f"page{number}.html").read_bytes())
            for trial in item.ranked:
                assert trial.rule.first(page) == value


def test_one_page_gives_many_ways_and_each_works_there(request):
    folder = request.path.parent / "data" / "autoparser"
    item = learn(read_configuration(folder / "example.yaml")[:1])[0]
    page = Page((folder / "page1.html").read_bytes())
    assert len(item.ranked) >= 6
    assert all(trial.rule.first(page) == "i wan't this" for trial in item.ranked)


def kinds_of(html, path):
    page = Page(html)
    return {item.kind for item in selectors_to(page.tree.find(path), Index(page))}


def test_an_only_child_has_no_neighbours():
    assert "neighbour" not in kinds_of("<div><p><b>x</b></p></div>", ".//b")


def test_an_empty_element_is_a_neighbour():
    assert "neighbour" in kinds_of("<div><p><i></i><b>x</b></p></div>", ".//b")


def test_the_root_has_no_ancestors_to_lean_on():
    assert kinds_of("<p>x</p>", "body") <= {"tag", "neighbour", "position"}


def test_value_that_is_missing_is_named_with_the_nearest_texts():
    with pytest.raises(AutoparserError) as caught:
        learn([example("<h1>Kniha kamenů</h1><p>jiné</p>", "a.html", x="Kniha kamenu")])
    assert "Can't locate variable 'x' with content 'Kniha kamenu'!" in str(caught.value)
    assert "a.html" in str(caught.value)
    assert "'Kniha kamenů'" in str(caught.value)
    assert isinstance(caught.value, UserWarning)


def test_the_users_own_message_is_used():
    wanted = Wanted("x", ("y",), notfoundmsg="No $name here.")
    with pytest.raises(AutoparserError, match=r"^No x here\."):
        learn([example("<p>z</p>", x=wanted)])


AMBIGUOUS = "<table><tr><td>5</td><td>199 Kč</td></tr><tr><td>6</td><td>199 Kč</td></tr></table>"


def test_ambiguous_value_in_one_example_is_an_error():
    with pytest.raises(AutoparserError, match="Ambiguous content '199 Kč'"):
        learn([example(AMBIGUOUS, x="199 Kč")])


def test_a_second_example_decides():
    other = AMBIGUOUS.replace("199", "300", 1)
    rule = learned_rule(example(AMBIGUOUS, x="199 Kč"), example(other, x="199 Kč"))
    assert found(rule, AMBIGUOUS.replace("199", "1", 1).replace("199", "2")) == "2 Kč"


def test_the_tag_name_narrows_down():
    html = "<div>Kniha</div><h2>Kniha</h2><p>Kniha</p>"
    rule = learned_rule(example(html, x=Wanted("x", ("Kniha",), tagname="h2")))
    assert found(rule, html.replace("<h2>Kniha", "<h2>Jiná")) == "Jiná"
    with pytest.raises(AutoparserError, match="Can't locate"):
        learn([example(html, x=Wanted("x", ("Kniha",), tagname="h3"))])


def test_variable_missing_in_the_first_example():
    items = learn(
        [
            example("<h1>A</h1><p class=other>p</p>", title="A"),
            example("<h1>B</h1><p class=isbn>80-1</p>", title="B", isbn="80-1"),
            example(
                "<h1>C</h1><p class=isbn>80-2</p>",
                title="C",
                isbn=Wanted("isbn", ("80-2",), required=True),
            ),
        ]
    )
    isbn = items[1]
    assert (isbn.name, isbn.required, isbn.examples, isbn.held_back) == ("isbn", True, 2, 2)
    assert (
        found(Rule.parse(isbn.rule_data()), "<p class=other>q</p><p class=isbn>80-3</p>") == "80-3"
    )


def test_page_that_is_said_to_lack_the_value_rules_expressions_out():
    rule = learned_rule(
        example("<div><b>Cena</b><i class=a>1</i></div>", x="1"),
        example("<div><b>Cena</b><i class=a>2</i></div>", x="2"),
        example("<div><b>Sleva</b><i class=a>3</i></div>", x=""),
    )
    assert found(rule, "<div><b>Sleva</b><i class=a>4</i></div>") is None
    assert found(rule, "<div><b>Cena</b><i class=a>5</i></div>") == "5"


def test_pages_without_expectations_count_too():
    html = "<div class=detail><span class=cena>{}</span></div>{}"
    examples = [
        example(html.format("1 Kč", ""), x="1 Kč"),
        example(html.format("2 Kč", ""), x="2 Kč"),
    ]
    crowded = example(html.format("3 Kč", "<div class=box><span class=cena>9 Kč</span></div>"))
    plain, tried = learn(examples)[0], learn([*examples, crowded])[0]
    assert not plain.chosen.crowded
    assert plain.rule_data() == "span.cena"
    assert not tried.chosen.crowded
    assert Rule.parse(tried.rule_data()).find(crowded.page) == ["3 Kč"]


def test_no_expression_for_all_examples_is_a_readable_error():
    with pytest.raises(AutoparserError, match=r"No rule finds variable 'x' .*undecided: .\.html"):
        learn(
            [
                example("<div><p>7</p>x<p>8</p></div>", "a.html", x="7"),
                example("<ul><li>1</li><li>2<li><em>5</em></ul><p>8</p>", "b.html", x="2"),
            ]
        )


def test_labels_in_two_forms_share_the_work():
    row = "<table><tr><th>{}:</th><td>{}</td></tr><tr><th>Rok:</th><td>{}</td></tr></table>"
    item = learn(
        [
            example(row.format("Autor", "A", "1"), x="A"),
            example(row.format("Autoři", "B, C", "2"), x="B, C"),
            example("<table></table>", y="", x=""),
        ][:2]
    )[0]
    rule = Rule.parse(item.rule_data())
    swapped = "<table><tr><th>Rok:</th><td>3</td></tr><tr><th>{}:</th><td>D</td></tr></table>"
    assert found(rule, swapped.format("Autor")) == found(rule, swapped.format("Autoři")) == "D"
    assert found(rule, swapped.format("Vazba")) is None
    assert any("share" in note for note in item.notes)


def test_no_rule_looks_for_a_pages_own_content():
    html = "<div><h2>{}</h2><h5>{}</h5></div>"
    items = learn(
        [
            example(html.format("Kniha včel", "A B"), title="Kniha včel", x="A B"),
            example(html.format("Konec deště", "C D"), title="Konec deště", x="C D"),
        ]
    )
    for item in items:
        for trial in item.ranked:
            assert not any(
                text in json.dumps(trial.candidate.rule, ensure_ascii=False)
                for text in ("včel", "deště", "A B", "C D")
            )


def test_machine_data_beats_layout_and_names_the_book():
    html = """<title>{t}</title><meta property="og:site_name" content="{t}"><h1>{t}</h1>
    <script type="application/ld+json">[{{"@type": "WebSite", "name": "{t}"}},
    {{"@type": "Book", "name": "{t}", "offers": {{"price": "{p}"}}}}]</script><b>{p}</b>"""
    examples = [
        example(html.format(t="A", p="1,5"), x="A", price="1,5"),
        example(html.format(t="B", p="2"), x="B", price="2"),
    ]
    name, price = learn(examples)
    assert name.chosen.candidate.rule == {"jsonld": "name"}
    assert price.chosen.candidate.rule == {"jsonld": "offers.price"}
    assert name.fallbacks


def test_fallbacks_of_an_optional_value_stay_silent_where_it_is_missing():
    row = "<dl class=d><dt>Autor</dt><dd>{}</dd><dt>Vazba</dt><dd>{}</dd></dl>"
    rule = learned_rule(example(row.format("A", "B"), x="B"), example(row.format("C", "D"), x="D"))
    assert found(rule, "<dl class=d><dt>Autor</dt><dd>E</dd></dl>") is None


@pytest.mark.parametrize(
    ("texts", "unseen", "value"),
    [
        (["ISBN: 80-1, 120 stran", "ISBN: 80-22, 9 stran"], "ISBN: 80-333, 77 stran", "80-333"),
        (["Cena: 1 Kč (skladem)", "Cena: 22 Kč (není)"], "Cena: 1 500 Kč (brzy)", "1 500 Kč"),
        (
            ["<b>ISBN:</b> 80-1<br>Rok: 1", "<b>ISBN:</b> 80-2<br>Rok: 2"],
            "<b>ISBN:</b> 80-3<br>Rok: 7",
            "80-3",
        ),
        (["ISBN<br>80-1", "ISBN<br>80-2"], "Něco<br>ISBN<br>80-3", "80-3"),
        (["120 stran, A5", "96 stran, A4"], "7 stran, B5", "7"),
    ],
)
def test_values_inside_texts(texts, unseen, value):
    wanted = {
        "80-1": "80-1",
        "80-22": "80-22",
        "1 Kč": "1 Kč",
        "22 Kč": "22 Kč",
        "80-2": "80-2",
        "120": "120",
        "96": "96",
    }
    examples = []
    for text in texts:
        x = max((item for item in wanted if item in text), key=len)
        examples.append(example(f"<h1>T</h1><p>jiné</p><p>{text}</p>", x=x))
    rule = learned_rule(*examples)
    assert found(rule, f"<h1>T</h1><div class=ad>reklama</div><p>jiné</p><p>{unseen}</p>") == value


def test_attributes_and_links():
    html = "<a class=menu href='/'>Domů</a><p><a class=pdf href='{}'>Ukázka</a></p>"
    base = "http://a.cz/x/"
    rule = learned_rule(
        example(html.format("../u/1.pdf"), url=base, x="http://a.cz/u/1.pdf"),
        example(html.format("../u/2.pdf"), url=base, x="http://a.cz/u/2.pdf"),
    )
    assert found(rule, html.format("../u/3.pdf"), base) == "http://a.cz/u/3.pdf"


def test_markup_as_the_first_generation_wanted_it():
    page = "<p><span class=cena><b>360&nbsp;Kč</b> &amp; víc</span></p>"
    rule = learned_rule(example(page, x="<b>360&nbsp;Kč</b> &amp; víc"))
    assert found(rule, page.replace("360", "9")) == "9 Kč & víc"


def test_wanted_markup_is_sanitized():
    page = "<div class=popis>Text <b>tučně</b><script>alert(1)</script></div>"
    wanted = Wanted("x", ("Text <b>tučně</b>",), html=True)
    rule = learned_rule(example(page, x=wanted))
    assert found(rule, page.replace("tučně", "jinak")) == "Text <b>jinak</b>"


def test_pinning_by_rule_and_by_number():
    html = "<h1 id=t>{0}</h1><p class=title>{0}</p>"
    pinned = Wanted("x", ("A",), pin=Rule.parse("p.title"))
    item = learn([example(html.format("A"), x=pinned), example(html.format("B"), x="B")])[0]
    assert item.chosen.candidate.rule == {"css": "p.title"}
    examples = [example(html.format("A"), x="A"), example(html.format("B"), x="B")]
    number = [trial.candidate.rule for trial in learn(examples)[0].ranked].index({"css": "h1"}) + 1
    assert learn(examples, pins={"x": number})[0].chosen.candidate.rule == {"css": "h1"}
    with pytest.raises(AutoparserError, match="no number 99"):
        learn(examples, pins={"x": 99})
    with pytest.raises(AutoparserError, match="no variable 'y'"):
        learn(examples, pins={"y": 1})
    with pytest.raises(AutoparserError, match=r"finds 'B' in page\.html, which is not"):
        learn(
            [
                example(html.format("B"), x=Wanted("x", ("B ",), pin=Rule.parse("h1"))),
                example("<h1>B</h1><p>C</p>", x="C"),
            ]
        )


def test_nothing_to_learn_is_said():
    with pytest.raises(AutoparserError, match="no variables"):
        learn([example("<p>x</p>")])
    with pytest.raises(AutoparserError, match="No example has a value"):
        learn([example("<p>x</p>", x="")])


@pytest.mark.parametrize(
    "html",
    [
        "<p>x</p>" * 20_000 + "<p id=wanted>hledané</p>",
        "<div>" * 5_000 + "hledané",
        "<p " + " ".join(f"a{i}=hledané" for i in range(5_000)) + ">hledané</p>",
        f"<p class='{' '.join(f'c{i}' for i in range(5_000))}'>hledané</p>",
        "<table>" + "<tr><td>a<td>b<td>hledané" * 3_000,
        "<p>" + "hledané, " * 20_000 + "</p><h1>hledané</h1>",
        '<script type="application/ld+json">'
        + json.dumps(
            [{"@type": "Book", "name": "hledané", f"k{i}": "hledané"} for i in range(3000)]
        )
        + "</script>",
        "<p class=\"a'b\\\" title='&quot;]'>hledané</p>",
    ],
    ids=["many", "deep", "attributes", "classes", "rows", "repeated", "jsonld", "quotes"],
)
@pytest.mark.timeout(60)
def test_hostile_pages_end_in_a_rule_or_a_clear_error(html):
    examples = [example(html, x="hledané"), example(html, x="hledané")]
    try:
        (item,) = learn(examples)
    except AutoparserError:
        return
    assert Rule.parse(item.rule_data()).first(examples[0].page) == "hledané"
