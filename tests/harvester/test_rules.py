"""The vocabulary of the source files."""

import pytest
from cssselect import HTMLTranslator

from edeposit.amqp.harvester.exceptions import DefinitionError
from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.source.css import css_to_xpath
from edeposit.amqp.harvester.source.rules import Rule

PAGE = Page(
    """<html><head><meta property="og:title" content="OG title">
<script type="application/ld+json">{"@type": "Book", "isbn": "978-80-7300-502-3"}</script></head>
<body><div class="first item x"><h2><a href="/b/1">Kniha&nbsp;&amp; já</a></h2>
 <div class="prices">Cena:
  199&nbsp;Kč</div><p class="perex">Popis <b>knihy</b><span class="ad">Kup!</span> konec
  <script>alert(1)</script><a href="javascript:x()" onclick="y()">odkaz</a></p></div>
<div class="item"><h2><a href="/b/2">Druhá</a></h2></div>
<table><tr><th>ISBN:</th><td>80-7300-502-3</td></tr><tr><td> Počet
 stran </td><td>153 / brožovaná</td><td>x</td></tr><tr><th>A</th><th>B</th></tr>
 <tr><td>1</td><td>2</td></tr></table>
<dl><dt>Autor</dt><dd>Jan Novák</dd><dd>Eva Malá</dd><dt>Vazba</dt><dd>-</dd></dl>
<div><span>Rok:</span> <span>2014</span></div><p><b>Formát:</b> A5, <b>Jazyk:</b><br>čeština<br>
Vydání: 2.</p></body></html>""",
    url="http://x.cz/list/",
)


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("div.item h2", ["Kniha & já", "Druhá"]),
        ("div.item h2::text", ["Kniha & já", "Druhá"]),
        ("div.item h2 a::attr(href)", ["/b/1", "/b/2"]),
        ({"css": "h2 a", "attr": "href", "clean": "url"}, ["http://x.cz/b/1", "http://x.cz/b/2"]),
        ({"css": "h2", "index": -1}, ["Druhá"]),
        ({"css": "h2", "index": 5}, []),
        ({"css": ".prices", "last_line": True}, ["199 Kč"]),
        ({"css": ".prices", "text": True, "clean": "price"}, ["199 Kč"]),
        ({"css": ".prices", "after": "Cena:", "before": "Kč"}, ["199"]),
        ({"css": ".prices", "after": "Price:"}, []),
        ({"css": ".perex", "remove": [".ad"]}, ["Popis knihy konec odkaz"]),
        ({"css": ".perex b", "html": True}, ["knihy"]),
        ({"xpath": "//h2/a/@href"}, ["/b/1", "/b/2"]),
        ({"xpath": "count(//h2)"}, ["2"]),
        ({"xpath": "normalize-space(//dd)"}, ["Jan Novák"]),
        ({"label": "isbn"}, ["80-7300-502-3"]),
        ({"label": "Počet stran:", "split": {"at": "/"}}, ["153"]),
        ({"label": "počet stran", "split": {"at": "/", "index": 1}}, ["brožovaná"]),
        ({"label": "počet stran", "split": {"at": "/", "index": 2}}, []),
        ({"label": "B"}, ["2"]),
        ({"label": "autor"}, ["Jan Novák", "Eva Malá"]),
        ({"label": "vazba", "clean": ["dash_is_none"]}, []),
        ({"label": "rok"}, ["2014"]),
        ({"label": "formát"}, []),
        ({"css": "p", "after": "Formát:", "before": ","}, ["A5"]),
        ({"css": "p", "after": "Jazyk:", "before": "\n"}, []),
        ({"css": "p", "after": "Vydání:", "before": "\n"}, ["2."]),
        ({"css": "table", "before": "\n"}, ["ISBN:"]),
        ({"css": "p", "before": "2.", "split": {"at": "\n", "index": 1}}, ["čeština"]),
        ({"css": "dl", "split": {"at": "\n", "index": -2}}, ["Vazba"]),
        ({"jsonld": "isbn"}, ["978-80-7300-502-3"]),
        ({"meta": "OG:title"}, ["OG title"]),
        ({"constant": "Grada"}, ["Grada"]),
        ({"css": ".none", "fallback": "h2"}, ["Kniha & já", "Druhá"]),
        ({"css": ".none", "fallback": [".nor", {"label": "isbn"}]}, ["80-7300-502-3"]),
        ([".none", {"label": "nothing"}, {"constant": "x"}], ["x"]),
    ],
)
def test_vocabulary(rule, values):
    parsed = Rule.parse(rule)
    assert parsed.find(PAGE) == values
    assert parsed.first(PAGE) == (values[0] if values else None)
    assert Rule.parse(parsed.to_dict()).find(PAGE) == values


SIBLINGS = Page(
    "<main>"
    + "".join(f"<{tag} id={tag}{number}></{tag}>" for number, tag in enumerate("abaabbcaab"))
    + "<p><b id=b10></b></p></main>"
)


@pytest.mark.parametrize(
    "selector",
    [
        f"{tag}:nth-{last}{what}({series})"
        for tag in ("a", "b", "c")
        for last in ("", "last-")
        for what in ("child", "of-type")
        for series in ("1", "2", "4", "2n+1", "-n+2", "0")
    ]
    + [
        "a + b",
        "a + a + b",
        "b + *",
        "* + c",
        "a ~ b:nth-of-type(2)",
        "b:first-child",
        "b:last-child",
        "a:first-of-type",
        "b:last-of-type",
        "b:only-child",
        "c:only-of-type",
        "main > b:not(b:first-of-type)",
        "a + b:nth-child(2)",
        "a.x + b",
        "a + b.x",
        "a + [id$='5']",
    ],
)
def test_selectors_mean_what_cssselect_says(selector):
    theirs = HTMLTranslator().css_to_xpath(selector)
    ours = css_to_xpath(selector)
    assert SIBLINGS.tree.xpath(ours) == SIBLINGS.tree.xpath(theirs)


def test_a_scope_bounds_every_locator():
    second = Rule.parse("div.item").elements(PAGE)[1]
    for rule in ("h2", {"xpath": "//h2"}, {"xpath": ".//h2 | //h3"}):
        assert Rule.parse(rule).find(PAGE, second) == ["Druhá"]
    assert Rule.parse({"label": "isbn"}).find(PAGE, second) == []
    link = second.find(".//a")
    assert Rule.parse("::attr(href)").find(PAGE, link) == ["/b/2"]


def test_markup_is_sanitized_and_the_tree_is_left_alone():
    rule = Rule.parse({"css": ".perex", "html": True, "remove": ".ad"})
    for _ in range(2):
        (value,) = rule.find(PAGE)
        assert "<b>knihy</b> konec" in value
        assert not any(bad in value for bad in ("script", "Kup", "onclick", "javascript", "alert"))
    assert Rule.parse(".ad").find(PAGE) == ["Kup!"]
    assert Rule.parse({"jsonld": "d", "html": True}).find(
        Page('<script type="application/ld+json">{"d": "<b>x</b><img src=x onerror=y>"}</script>')
    ) == ["<b>x</b>"]


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ({"csss": "h2"}, "Did you mean 'css'"),
        ({}, "exactly one of"),
        ({"css": "a", "xpath": "//a"}, "css and xpath"),
        ({"attr": "href"}, "exactly one of"),
        ({"css": 7}, "must be a text in quotes, not 7"),
        ({"css": ""}, "must be a text"),
        ({"css": "div["}, "CSS 'div['"),
        ({"css": "a::attr(href), b::attr(src)"}, "at the end, once"),
        ({"css": "*:nth-of-type(2)"}, "CSS '*:nth-of-type(2)'"),
        ({"css": "a:nth-child(x y)"}, "CSS 'a:nth-child(x y)'"),
        ({"css": "a::before"}, "at the end, once"),
        ({"xpath": "//a["}, "XPath '//a['"),
        ({"xpath": "document('/etc/passwd')"}, "XPath"),
        ({"xpath": "re:test('a', '(a+)+')"}, "XPath"),
        ({"xpath": "$x"}, "XPath"),
        ({"css": "a", "index": "1"}, "'index' is a whole number"),
        ({"css": "a", "index": True}, "'index' is a whole number"),
        ({"css": "a", "html": "yes"}, "true or false"),
        ({"css": "a", "text": False}, "html: true"),
        ({"css": "a", "split": "/"}, "'split' is like"),
        ({"css": "a", "split": {"at": "/", "nr": 1}}, "'split' is like"),
        ({"css": "a", "clean": "isnb"}, "Known are isbn"),
        ({"css": "a", "clean": [[]]}, "Known are isbn"),
        ({"css": "a", "remove": [1]}, "CSS selectors"),
        ({"css": "a", "fallback": {"xpth": "b"}}, "title.fallback"),
        (["a", {"b": "c"}], "title[1]"),
        ([], "empty list"),
        (None, "not NoneType"),
        (5, "not int"),
    ],
)
def test_mistakes_are_named_with_their_place(rule, hint):
    with pytest.raises(DefinitionError) as caught:
        Rule.parse(rule, "grada_cz.yaml: title")
    assert str(caught.value).startswith("grada_cz.yaml: title")
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("cleaner", "text", "value"),
    [
        ("isbn", "ISBN: 978-80-7300-502-3 (brož.)", "978-80-7300-502-3"),
        ("isbn", "978 80 7300 502 3", "978-80-7300-502-3"),
        ("isbn", "80-86056-31-7", "80-86056-31-7"),
        ("isbn", "978–80–7300–502–3", "978-80-7300-502-3"),
        ("isbn", "podle", ""),
        ("isbn", "12345", ""),
        ("isbn", "EAN 9788073005024, ISBN 978-80-7300-502-3", "978-80-7300-502-3"),
        ("ean", "EAN: 9788073005023.", "9788073005023"),
        ("ean", "978-80-7300-502-3", "9788073005023"),
        ("ean", "Kč 199", ""),
        ("price", "Cena: 199 Kč s DPH", "199 Kč"),
        ("price", "1 250,00 Kč (sleva 10 %)", "1 250,00 Kč"),
        ("price", "sleva 10 %, nyní 199,- Kč", "199,- Kč"),
        ("price", "€ 12.50", "€ 12.50"),
        ("price", "199", "199"),
        ("price", "zdarma", ""),
        ("pages", "Počet stran: 153 stran", "153 stran"),
        ("pages", "192", "192"),
        ("pages", "96 (papírová kniha)", "96"),
        ("number", "z 12 stran", "12"),
        ("dash_is_none", " – ", ""),
        ("dash_is_none", "a-b", "a-b"),
        ("no_parentheses", "Novák (autor)", "Novák"),
        ("no_label", "Cena: 1:2", "1:2"),
        ("no_label", "199", "199"),
        ("url", "../a", "http://x.cz/a"),
        ("url", "javascript:x", ""),
    ],
)
def test_cleaners(cleaner, text, value):
    assert (Rule.parse({"constant": text, "clean": cleaner}).first(PAGE) or "") == value
