"""Pages as they come: charsets, broken markup, structured data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edeposit.amqp.harvester.page import MOST_CHILDREN, MOST_ELEMENTS, Page
from edeposit.amqp.harvester.page.text import text_of
from edeposit.amqp.harvester.source.rules import Rule

CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy o učebnicích, počítačích a dětských knížkách."


def page_in(charset, meta="", text=CZECH):
    return f"<html><head>{meta}<title>x</title></head><body><p>{text}</p></body></html>".encode(
        charset
    )


def words(page):
    return text_of(page.tree.find(".//p"))


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-2", "windows-1250"])
@pytest.mark.parametrize("said", ["header", "meta", "http-equiv", "nowhere"])
def test_characters_survive_wherever_the_charset_is_said(charset, said):
    meta = {
        "meta": f"<meta charset='{charset}'>",
        "http-equiv": f'<META http-equiv="Content-Type" content="text/html; charset={charset}">',
    }.get(said, "")
    page = Page(page_in(charset, meta), charset=charset if said == "header" else None)
    assert words(page) == CZECH


def test_header_wins_over_meta_and_the_mark_over_both():
    meta = "<meta charset='utf-8'>"
    assert words(Page(page_in("windows-1250", meta), charset="windows-1250")) == CZECH
    assert words(Page(b"\xef\xbb\xbf" + page_in("utf-8"), charset="windows-1250")) == CZECH


def test_a_charset_that_cannot_be_true_is_not_believed():
    assert words(Page(page_in("windows-1250", "<meta charset='utf-8'>"), charset="utf-8")) == CZECH


def test_one_broken_byte_does_not_change_the_charset():
    content = page_in("utf-8", "<meta charset='utf-8'>").replace(b"knih", b"\xffknih", 1)
    assert words(Page(content)).startswith("Příliš žluťoučký kůň")


@pytest.mark.parametrize("charset", ["text/html", "no-such", "rot13", "zlib", "", "utf-16", "\0"])
def test_unknown_charsets_count_as_none(charset):
    assert words(Page(page_in("utf-8"), charset=charset)) == CZECH


@pytest.mark.parametrize("charset", ["iso-8859-2", "windows-1250", "utf-8"])
def test_the_charset_of_a_page_in_one_long_line_is_guessed(charset):
    style = "<style>" + "p{margin:0}" * 20_000 + "</style>"
    assert words(Page(page_in(charset, style))) == CZECH


@pytest.mark.timeout(30)
def test_megabytes_of_odd_bytes_take_no_time():
    for content in (b"\x9a\xf8" * 2_000_000, b"<p>\xff" * 1_000_000, b"\x00\xfe<" * 1_000_000):
        assert Page(content, charset="utf-8").tree is not None


@pytest.mark.timeout(30)
def test_an_endless_list_is_cut_before_rules_count_it():
    page = Page("<ul>" + "<li>x</li>" * 300_000 + "</ul><p>y</p>")
    assert len(page.tree.find(".//ul")) == MOST_CHILDREN
    for rule in (
        "li:nth-of-type(3)",
        "li ~ li:nth-last-of-type(2)",
        "li + li:last-child",
        "li:first-of-type",
        "ul:only-child ~ li",
        "li:nth-child(2) + li",
    ):
        assert len(Rule.parse(rule).find(page)) <= 1


@pytest.mark.timeout(60)
def test_a_page_of_endless_lists_is_cut_too():
    page = Page(("<ul>" + "<li>x</li>" * 2000 + "</ul>") * 100 + "<p>y</p>")
    assert sum(1 for _ in page.tree.iter()) == MOST_ELEMENTS
    assert page.tree.find("body/ul/li").text == "x"
    assert len(Rule.parse("li + li").find(page)) > 40_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attribute", ["a{}=1", "a{}", "a{}='<>'", 'a{} = ">"', "/a{}"])
def test_a_tag_of_endless_attributes_is_cut(attribute):
    tag = " ".join(attribute.format(number) for number in range(200_000))
    page = Page(f"<h1 id=x>T</h1><p {tag}>a &lt; b</p><h2 class='y'>U</h2>")
    assert Rule.parse("#x").find(page) == ["T"]
    assert Rule.parse("p").find(page) == ["a < b"]
    assert Rule.parse("h2.y").find(page) == ["U"]


def test_big_pages_are_left_as_they_are():
    text = "".join(
        f"<p title='a=1 > \"{n}\"' class=x data-n={n}>a < b {n}</p>" for n in range(2900)
    )
    page = Page(text)
    assert len(text) > 100_000
    assert Rule.parse("p.x").find(page) == [f"a < b {number}" for number in range(2900)]
    assert Rule.parse("p::attr(title)").find(page)[-1] == 'a=1 > "2899"'


@given(st.binary(max_size=300), st.sampled_from([None, "utf-8", "windows-1250", "utf-7", "x"]))
def test_any_bytes_are_a_page_that_rules_can_read(content, charset):
    page = Page(content, "http://a.cz/", charset)
    for rule in (
        "p",
        {"xpath": "//*/@*"},
        {"label": "a"},
        {"jsonld": "a.b"},
        {"meta": "a"},
        {"css": "*", "html": True},
    ):
        assert all(isinstance(value, str) and value for value in Rule.parse(rule).find(page))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"\0\0",
        b"\xff\xfe",
        b"<!-- only a comment",
        b"<",
        "",
        "\ud800",
        b"<?xml",
        b"<?xml version='1.0'?>",
        b"<?xml version='1.0'?><a><b></a>",
        b"<div>" * 50_000,
        b"<a href=" * 1000,
    ],
)
def test_anything_is_a_page(content):
    page = Page(content)
    assert page.tree is not None
    assert page.structured.objects == []
    assert page.meta == {}
    assert isinstance(page.labels, dict)


def test_an_xml_page_keeps_case_and_empty_elements():
    page = Page(b"<?xml version='1.0' encoding='utf-8'?><Books><Book/><Book>x</Book></Books>")
    assert page.is_xml
    assert [len(book) for book in page.tree.iter("Book")] == [0, 0]


def test_xhtml_is_read_as_html():
    page = Page(
        "<?xml version='1.0' encoding='iso-8859-2'?><!DOCTYPE html PUBLIC 'x'>"
        "<html xmlns='http://www.w3.org/1999/xhtml'><body><p>č</p></html>"
    )
    assert words(page) == "č"


def test_entities_of_a_document_type_are_not_expanded(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("top secret")
    bomb = "".join(f"<!ENTITY e{i + 1} '{f'&e{i};' * 20}'>" for i in range(8))
    page = Page(
        f"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY f SYSTEM 'file://{secret}'>"
        f"<!ENTITY e0 'x'>{bomb}]><a><b>&f;</b><c>&e8;</c></a>"
    )
    assert "secret" not in text_of(page.tree)
    assert len(text_of(page.tree)) < 1000


def test_text_is_what_a_reader_sees():
    page = Page(
        "<body><p>360&nbsp;Kč &amp; <b>b</b>ee<!-- no -->s<br>next<script>no</script></p>"
        "<table><tr><td>a</td><td>b</td></tr></table>"
    )
    assert text_of(page.tree.find("body")) == "360 Kč & bees next a b"


def test_links_are_resolved_against_the_page_and_its_base():
    page = Page("<p>", url="http://a.cz/x/y.html")
    assert page.resolve("../z?q=1") == "http://a.cz/z?q=1"
    assert page.resolve("//b.cz/x") == "http://b.cz/x"
    for bad in ("javascript:alert(1)", "mailto:a@b.cz", "file:///etc/passwd", "http://[x", ""):
        assert page.resolve(bad) in (None, page.url)
    assert Page("<base href='/shop/'>", url="http://a.cz/x").resolve("b") == "http://a.cz/shop/b"


JSONLD = """<script type="application/ld+json">{"@context": "https://schema.org", "@graph": [
 {"@type": "Organization", "name": "Shop"},
 {"@type": ["Product", "Book"], "name": "Kniha &amp; čtenář", "author": [{"@type": "Person",
  "name": "A. B."}, {"name": "C. D."}], "offers": {"@type": "Offer", "price": 199.00}}]}
</script><script type="application/ld+json">{broken</script>
<script type="application/ld+json">//<![CDATA[
{"@type": "BreadcrumbList", "name": "crumbs", "position": 7, "open": true}
//]]></script>"""


def test_jsonld_paths():
    data = Page(JSONLD).structured
    assert data.find("name") == ["Kniha & čtenář"]
    assert data.find("offers.price") == ["199.00"]
    assert data.find("author") == data.find("author.name") == ["A. B.", "C. D."]
    assert data.find("Organization:name") == ["Shop"]
    assert data.find("BreadcrumbList:position") == ["7"]
    assert data.find("open") == ["true"]
    assert data.find("offers.nothing") == data.find("Nothing:name") == []


def test_deep_jsonld_is_skipped():
    deep = "[" * 100_000
    assert Page(f'<script type="application/ld+json">{deep}</script>').structured.objects == []


def test_meta_by_property_and_name():
    page = Page(
        "<meta property='og:title' content='T'><meta name='Author' content='A'>"
        "<meta name='author' content='B'><meta charset=utf-8>"
    )
    assert page.meta == {"og:title": ["T"], "author": ["A", "B"]}


def test_what_stands_behind_the_end_is_read():
    page = Page("<html><body><p>a</p></body></html><p>b</p></HTML ><p>c</p>")
    assert [p.text for p in page.tree.iter("p")] == ["a", "b", "c"]
