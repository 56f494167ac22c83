"""What pages print, read as browsers and people do: charsets, JSON-LD, XML, numbers."""

import json
import random
import time

import pytest

from edeposit.amqp.harvester.page import Page
from edeposit.amqp.harvester.page.charset import decode
from edeposit.amqp.harvester.page.jsonld import StructuredData
from edeposit.amqp.harvester.page.text import collapse
from edeposit.amqp.harvester.source import cleaning
from edeposit.amqp.harvester.source.rules import Rule

PAGE = Page("<p>x</p>", "http://shop.example/")
CZECH = "<p>Žluťoučký kůň – příšerně „úpěl“ ďábelské ódy</p>"


def cleaned(cleaner, text):
    return getattr(cleaning, cleaner)(collapse(text), PAGE)


# --- cleaners -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("Vydáno 2014 199 Kč", "199 Kč"),
        ("ISBN 80-251-0225-4 199 Kč", "199 Kč"),
        ("9788025102251 249,- Kč", "249,- Kč"),
        ("300 stran 199 Kč", "199 Kč"),
        ("199 Kč 300 stran", "199 Kč"),
        ("sleva 20 % 159 Kč", "159 Kč"),
        ("Ušetříte 50 Kč, cena 199 Kč", "199 Kč"),
        ("doprava 79 Kč, cena 199 Kč", "199 Kč"),
        ("-50 Kč 199 Kč", "199 Kč"),
        ("Běžná cena: 250 Kč Naše cena: 199 Kč", "250 Kč"),
        ("2 ks za 199 Kč", "199 Kč"),
        ("2014 € 12,50", "€ 12,50"),
        ("199 Kč 2014", "199 Kč"),
        ("1999 Kč 199 stran", "1999 Kč"),
        ("1 299,00 Kč", "1 299,00 Kč"),
        ("1\u202f299,00\u00a0Kč", "1 299,00 Kč"),
        ("1.299,00 Kč", "1.299,00 Kč"),
        ("1,299.00 USD", "1,299.00 USD"),
        ("1'299.00 CHF", "1'299.00 CHF"),
        ("12.345.678 Kč", "12.345.678 Kč"),
        ("$1,299.00", "$1,299.00"),
        ("EUR 1.299,50", "EUR 1.299,50"),
        ("CZK199", "CZK199"),
        ("199.- Kč", "199.- Kč"),
        ("Kčs 35,–", "Kčs 35,-"),
        ("35 Kčs", "35 Kčs"),
        (",89 €", ",89 €"),
        ("199 korun", "199 korun"),
        ("12,50 euro", "12,50 euro"),
        ("Rok: 2014 Cena: 199,00", "199,00"),
        ("zdarma", ""),
        ("20 %", ""),
        ("1999", "1999"),
    ],
)
def test_the_price_is_the_best_amount(text, price):
    assert cleaned("price", text) == price


@pytest.mark.parametrize(
    ("text", "isbn"),
    [
        ("ISBN 80-251-0225-4 300 stran", "80-251-0225-4"),
        ("ISBN: 978-80-251-0225-1 2014", "978-80-251-0225-1"),
        ("tel. 777 123 456 789 ISBN 80-251-0225-4", "80-251-0225-4"),
        ("978–80–251–0225–1", "978-80-251-0225-1"),
        ("978\u201180\u2011251\u20110225\u20111", "978-80-251-0225-1"),
        ("ISBN10: 8025102254 ISBN13: 9788025102251", "9788025102251"),
        ("978-80-251-0225-1 (brož.) 978-80-251-0226-8 (pdf)", "978-80-251-0225-1"),
        ("978-80-251-0225-2", "978-80-251-0225-2"),
        ("978-80-251-0225-2 978-80-251-0225-1", "978-80-251-0225-1"),
        ("ISMN 979-0-2601-0748-9", ""),
        ("podle", ""),
    ],
)
def test_the_isbn_is_the_best_number(text, isbn):
    assert cleaned("isbn", text) == isbn


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("2014, 300 stran", "300 stran"),
        ("XII, 300 s.", "300 s."),
        ("[12], 300 s.", "300 s."),
        ("21 cm, 300", "300"),
        ("Rok vydání 2014 Počet stran: 300", "300"),
        ("Počet stran 300 Rok vydání 2014", "300"),
        ("199 Kč, 300 stránek", "300 stránek"),
        ("1 300 stran", "1 300 stran"),
        ("2014 300 stran", "300 stran"),
        ("ISBN 80-251-0225-4, 300 s.", "300 s."),
        ("96 (papírová kniha)", "96"),
        ("2014", "2014"),
        ("neuvedeno", ""),
    ],
)
def test_the_pages_are_the_best_number(text, pages):
    assert cleaned("pages", text) == pages


def test_an_ean_is_not_a_date():
    assert cleaned("ean", "20140806 9788025102251") == "9788025102251"


# --- JSON-LD --------------------------------------------------------------------------------------

BOOK = '{"@context":"http://schema.org","@type":"Book","name":"Kameny","isbn":"9788025102251"}'


@pytest.mark.parametrize(
    "script",
    [
        BOOK[:-1] + ",}",
        BOOK[:-1] + ', "author": ["A", "B", ], }',
        "\ufeff" + BOOK,
        "/* data */ " + BOOK,
        BOOK.replace("{", "{ // the book\n", 1),
        "// <![CDATA[\n" + BOOK + "\n// ]]>",
        "//<![CDATA[ " + BOOK + " //]]>",
        "/*<![CDATA[*/" + BOOK + "/*]]>*/",
        "<!--\n" + BOOK + "\n-->",
        "<![CDATA[" + BOOK + "]]>",
        BOOK + ";",
        "[[" + BOOK + "]]",
        "[[[null, " + BOOK + "]], 1]",
        '{"@graph":' + BOOK + "}",
        '{"@graph":[[' + BOOK + "]]}",
        BOOK + '{"@type":"Thing"}',
        BOOK + '\n,{"@type":"Thing"}',
        BOOK + "{broken",
        BOOK.replace("Kameny", "Kame\tny").replace("Kame\t", "Kame"),
        BOOK.replace('"isbn"', '"d": "l\\\'eau // no comment, /* nor here */ ,}", "isbn"'),
        BOOK.replace('"', "&quot;"),
        BOOK.replace(":", ": NaN, :", 0),
    ],
)
def test_json_ld_is_read_as_shops_write_it(script):
    assert StructuredData([script]).find("name") == ["Kameny"]
    assert StructuredData([script]).find("Book:isbn") == ["9788025102251"]


def test_strings_keep_what_looks_like_clutter():
    text = "http://a/ // b /* c */ ,] <!-- d"
    script = json.dumps({"@type": "Book", "name": text})[:-1] + ",}"
    assert StructuredData([script]).find("name") == [text]


def test_several_objects_are_all_read():
    assert StructuredData([BOOK + BOOK.replace("Kameny", "Řeky")]).find("name") == [
        "Kameny",
        "Řeky",
    ]


def test_references_lead_to_what_they_name():
    graph = {
        "@graph": [
            {
                "@type": "Book",
                "name": "K",
                "author": [{"@id": "#a"}, {"@type": "Person", "@id": "#b"}],
            },
            {"@type": "Person", "@id": "#a", "name": "Jan"},
            {"@type": "Person", "@id": "#b", "name": "Eva"},
        ]
    }
    data = StructuredData([json.dumps(graph)])
    assert data.find("author.name") == ["Jan", "Eva"]
    assert data.find("author") == ["Jan", "Eva"]


def test_references_cannot_multiply():
    many = [{"@id": "#a"}] * 3000
    items = [{"@type": "T", "@id": "#a", "x": many, "y": "1"}, {"@type": "Book", "x": many}]
    started = time.process_time()
    StructuredData([json.dumps(items)]).find("x.x.x.x.y")
    assert time.process_time() - started < 2


def test_half_a_character_costs_only_itself():
    page = Page(
        f'<script type="application/ld+json">{BOOK}</script>'.replace("meny", "meny \\ud83d\\u0000")
    )
    (title,) = Rule.parse({"jsonld": "name"}).find(page)
    assert title == "Kameny \ufffd"
    assert Rule.parse({"jsonld": "name"}).find(
        Page('<script type="application/ld+json">{"@type":"Book","name":"\\ud83d\\ude00"}</script>')
    ) == ["😀"]


@pytest.mark.parametrize(
    "unit",
    ['"\\"', "/*", "//", '{"a":', "[", ",]", "<!--", '{"@type":"B","a":"b"}', "\\", '"', ", "],
)
def test_hostile_json_ld_takes_linear_time(unit):
    def seconds(size):
        text = "{" + unit * (size // len(unit))
        started = time.process_time()
        StructuredData([text]).find("a.b")
        return time.process_time() - started

    small, large = min(seconds(50_000) for _ in range(3)), seconds(1_000_000)
    assert large < 60 * small + 0.2


# --- charsets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "real", "text"),
    [
        ("iso-8859-2", "cp1250", CZECH),
        ("iso-8859-1", "cp1250", CZECH),
        ("iso-8859-1", "cp1252", "<p>façade – œuvre “x”</p>"),
        ("iso-8859-15", "cp1252", "<p>façade – œuvre “x”</p>"),
        ("iso-8859-9", "cp1254", "<p>ğüş – “x”</p>"),
        ("iso-8859-7", "cp1253", "<p>αβγ – “x”</p>"),
        ("iso-8859-13", "cp1257", "<p>ąčęėįšųūž – “x”</p>"),
    ],
)
def test_c1_characters_mean_the_windows_charset(declared, real, text):
    page = f'<meta charset="{declared}">{text}'
    assert decode(page.encode(real)) == page


def test_punctuation_of_windows_leaves_the_letters_declared():
    text = "<meta charset=iso-8859-2><p>šťastný život</p>"
    assert decode(text.encode("iso8859_2") + b"\x96 \x84x\x93") == text + "– „x“"


def test_pure_iso_stays_iso():
    text = "<meta charset=iso-8859-2><p>šťastný život</p>"
    assert decode(text.encode("iso8859_2")) == text


@pytest.mark.parametrize("header", ["iso-8859-1", "windows-1250", "us-ascii", "iso-8859-2"])
def test_a_page_that_is_and_says_utf_8_is_believed_before_the_server(header):
    page = f'<meta charset="utf-8">{CZECH}'
    assert decode(page.encode(), header) == page


@pytest.mark.parametrize("charset", [None, "utf-16", "utf-16le", "utf-8"])
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_seen(codec, charset):
    assert decode(CZECH.encode(codec), charset) == CZECH


def test_any_bytes_become_text():
    random.seed(2)
    for _ in range(500):
        head = random.choice(
            [b"", b"<meta charset=iso-8859-2>", b"<meta charset=iso-8859-6>", b"\0\0"]
        )
        decode(head + random.randbytes(random.randint(0, 200)), random.choice([None, "x", "utf-8"]))


# --- XML ------------------------------------------------------------------------------------------

SITEMAP = """<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://image/">
<url><loc>http://a/1</loc><image:image><image:loc>http://a/1.png</image:loc></image:image></url>
<url><loc>http://a/2</loc></url></urlset>"""


@pytest.mark.parametrize(
    "rule",
    [
        "loc",
        "url > loc",
        "urlset url:first-child > loc, url:last-child > loc",
        {"xpath": "//url/loc"},
        {"xpath": "//*[local-name()='url']/*[local-name()='loc']"},
    ],
)
@pytest.mark.parametrize("content", [SITEMAP, SITEMAP.encode(), SITEMAP.encode("utf-16")])
def test_rules_work_in_xml_with_a_default_namespace(rule, content):
    assert Rule.parse(rule).find(Page(content)) == ["http://a/1", "http://a/2"]


def test_broken_xml_is_a_poorer_page():
    random.seed(3)
    pieces = [
        "<a:b:c>",
        "<x xmlns='y'>",
        "<D:Ś/>",
        "</a>",
        "<_1>",
        "text",
        "&",
        "<é:>",
        "xmlns:q='q'",
        "<q:z",
    ]
    for _ in range(2000):
        body = "".join(random.choices(pieces, k=random.randint(0, 12)))
        assert Page(f"<?xml version='1.0'?><a xmlns='x'>{body}").tree is not None


# --- time per byte --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit", ["1", "1 ", "1-", "1 . ", "111 ", "111.5", "9-7-8 ", "Kč 1", "1 Kč", "s.1 "]
)
@pytest.mark.parametrize("cleaner", ["isbn", "ean", "price", "pages", "number", "dash_is_none"])
def test_cleaners_take_linear_time(cleaner, unit):
    def seconds(size):
        text = unit * (size // len(unit))
        started = time.process_time()
        getattr(cleaning, cleaner)(text, PAGE)
        return time.process_time() - started

    small, large = min(seconds(5_000) for _ in range(3)), seconds(100_000)
    assert large < 60 * small + 0.2


def test_many_values_of_one_meta_take_linear_time():
    def seconds(count):
        metas = "".join(f'<meta property="og:title" content="{n}">' for n in range(2000))
        page = Page(f"<div>{metas}</div>" * (count // 2000))
        for n, element in enumerate(page.tree.iter("meta")):
            element.set("content", str(n))
        started = time.process_time()
        assert len(page.meta["og:title"]) == count
        return time.process_time() - started

    assert seconds(40_000) < 30 * min(seconds(4_000) for _ in range(3)) + 0.2
