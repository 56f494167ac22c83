"""Whole harvests from local sites in the layouts of the four sources, sound and broken."""

import textwrap
import threading
import time
import tracemalloc

import pytest

import bookshops
from edeposit.amqp.harvester import crawl, settings
from edeposit.amqp.harvester.exceptions import DefinitionError, HarvesterError
from edeposit.amqp.harvester.selftest import check_sources
from edeposit.amqp.harvester.source import load_source
from edeposit.amqp.harvester.structures import Publication

from .test_fetcher import drip, endless, gzip_bomb, never

NAMES = ["ben_cz", "cpress_cz", "grada_cz", "zonerpress_cz"]


def tuples(publications):
    return [publication.to_namedtuple() for publication in publications]


def run(*names, **options):
    return {result.name: result for result in crawl.harvest(names or None, **options)}


@pytest.fixture
def shops(serve):
    shops = {shop.source: shop for shop in bookshops.all_shops(20)}
    shops["site"] = serve({shop.host: shop.pages for shop in shops.values()})
    return shops


# --- the sources that ship ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_every_book_is_right(shops, name):
    result = run(name)[name]
    assert result.errors == []
    assert tuples(result.publications) == tuples(shops[name].expected)


def test_all_sources_at_once_ask_for_nothing_twice(shops):
    results = run(*NAMES)
    assert sorted(results) == NAMES
    asked = [(seen.host, seen.path) for seen in shops["site"].requests]
    assert len(asked) == len(set(asked))
    assert "/pripravujeme" not in shops["site"].paths("shop.ben.cz")


def test_legacy_sources_are_off_unless_named(shops):
    assert run() == {}
    settings.substitute_globals({"HARVESTER_SOURCES": ["grada_cz"]})
    assert list(run()) == ["grada_cz"]
    settings.substitute_globals({"HARVESTER_SOURCES": ["grada"]})
    with pytest.raises(DefinitionError, match=r"there is no source 'grada' \(there are: ben_cz"):
        run()


def test_stored_samples_find_every_field():
    checks = list(check_sources(NAMES, live=False))
    assert [check for check in checks if not check.ok] == []
    assert {check.source for check in checks} == set(NAMES)
    assert len(checks) > 25


# --- broken books and pages ---------------------------------------------------------------------


def test_with_a_tenth_broken_the_rest_arrives_and_the_tenth_is_reported(shops):
    ben, cpress, grada = (shops[name] for name in ("ben_cz", "cpress_cz", "grada_cz"))
    pages = shops["site"].hosts
    pages[ben.host]["/kniha3"] = (500, {}, b"")
    pages[ben.host]["/kniha11"] = b"<html><body>nothing here</body></html>"
    del pages[cpress.host]["/kniha0/"]
    pages[cpress.host]["/kniha19/"] = (302, {"Location": "http://evil.example/"}, b"")
    path = "/novinky/?start=0&krok=100"
    broken = pages[grada.host][path]
    for number in (4, 9):
        broken = broken.replace(f'<h2><a href="/kniha{number}/">'.encode(), b"<h2><!--").replace(
            f"díl &lt;{number}&gt;</span>".encode(), b"--></span>"
        )
    pages[grada.host][path] = broken
    results = run(*NAMES)
    for name, lost in (("ben_cz", (3, 11)), ("cpress_cz", (0, 19)), ("grada_cz", (4, 9))):
        kept = [book for n, book in enumerate(shops[name].expected) if n not in lost]
        assert tuples(results[name].publications) == tuples(kept)
        assert len(results[name].errors) == 2
        assert all(isinstance(error, HarvesterError) for error in results[name].errors)
    assert len(results["zonerpress_cz"].publications) == 20
    texts = " ".join(map(str, results["ben_cz"].errors))
    assert "http://shop.ben.cz/kniha3" in texts
    assert "required field 'title' is not found (http://shop.ben.cz/kniha11)" in texts


def test_one_dead_site_does_not_hold_up_the_others(shops):
    shops["site"].hosts["shop.ben.cz"] = {}
    shops["site"].hosts["www.cpress.cz"] = {"/novinky/": b"<html>a new layout</html>"}
    results = run(*NAMES)
    assert results["ben_cz"].publications == []
    assert "status 404" in str(results["ben_cz"].errors[0])
    assert "no book is found on the list (http://www.cpress.cz/novinky/)" in str(
        results["cpress_cz"].errors[0]
    )
    assert len(results["grada_cz"].publications) == 20


def test_a_changed_layout_shows_in_the_self_test(shops):
    pages = shops["site"].hosts["www.grada.cz"]
    path = "/novinky/?start=0&krok=100"
    pages[path] = pages[path].replace(b"price-overflow", b"renamed")
    checks = {check.field: check for check in check_sources(["grada_cz"]) if check.where == "live"}
    assert not checks["ISBN"].ok
    assert checks["ISBN"].found == "in 0 of 20"
    assert checks["title"].ok
    assert checks["(source)"].ok


# --- hostile pages ------------------------------------------------------------------------------


def page_of_links(*links):
    return (
        "<html>"
        + "".join(f'<div class="b"><a href="{link}">x</a></div>' for link in links)
        + "</html>"
    ).encode()


@pytest.fixture
def source(tmp_path):
    """Write a source file; returns its name."""
    directory = tmp_path / "sources"
    directory.mkdir()
    settings.substitute_globals({"HARVESTER_SOURCES_DIR": str(directory)})

    def write(text, name="mine"):
        settings.substitute_globals({"HARVESTER_SOURCES_DIR": str(directory)})
        (directory / f"{name}.yaml").write_text(textwrap.dedent(text), "utf-8")
        return name

    return write


MINE = """\
    name: mine
    start: ["http://mine.example/"]
    item: "div.b"
    follow: "a::attr(href)"
    fields: {title: h1, description: {css: .d, html: true}, ISBN: {label: ISBN, clean: isbn}}
"""


def test_a_fifth_source_needs_no_python(serve, source):
    serve(
        {
            "mine.example": {
                "/": page_of_links("/1"),
                "/1": "<h1>Žába</h1><table><tr><td>ISBN</td><td>80-86056-31-7</td></tr>".encode(),
            }
        }
    )
    (book,) = run(source(MINE))["mine"].publications
    assert (book.title, book.optionals.ISBN) == ("Žába", "80-86056-31-7")
    assert book.optionals.URL == "http://mine.example/1"


def test_links_lead_only_to_pages_of_the_source(serve, source):
    site = serve(
        {
            "mine.example": {
                "/": page_of_links(
                    "javascript:alert(1)",
                    "file:///etc/passwd",
                    "//evil.example/x",
                    "http://evil.example/",
                    "mailto:a@b",
                    "data:text/html,x",
                    "http://[",
                    "",
                    "../../../ok",
                    "/ok",
                ),
                "/ok": b"<h1>fine</h1>",
            },
            "evil.example": {"/": b"<h1>evil</h1>", "/x": b"<h1>evil</h1>"},
        }
    )
    result = run(source(MINE))["mine"]
    assert [book.title for book in result.publications] == ["fine"]
    assert site.paths("evil.example") == []
    assert len(result.errors) == 8


def test_scripts_stay_outside(serve, source):
    body = (
        '<h1>A <script>alert(1)</script>&lt;b&gt; <img src=x onerror="alert(1)"> title</h1>'
        '<div class="d"><p onclick="x()">fine</p><script>alert(1)</script>'
        '<a href="javascript:alert(1)">link</a><style>p{}</style></div>'
    )
    serve({"mine.example": {"/": page_of_links("/1"), "/1": body.encode()}})
    (book,) = run(source(MINE))["mine"].publications
    assert book.title == "A <b> title"
    assert "<p>fine</p>" in book.optionals.description
    for evil in ("script", "alert", "onclick", "style", "javascript"):
        assert evil not in book.optionals.description


def test_a_hostile_site_costs_the_others_nothing(serve, source):
    """Endless bodies, bombs, circles and silence beside four sound sources, in little memory."""
    shops = bookshops.all_shops(10)
    evil = {
        "/": page_of_links(*(f"/{n}" for n in range(1, 7))),
        "/1": endless,
        "/2": gzip_bomb,
        "/3": (302, {"Location": "/3"}, b""),
        "/4": never,
        "/5": drip,
        "/6": b"<h1>fine</h1>",
    }
    serve({"mine.example": evil, **{shop.host: shop.pages for shop in shops}})
    name = source(MINE)
    settings.substitute_globals(
        {"HARVESTER_PAGE_TIMEOUT": 2.0, "HARVESTER_TIMEOUT": 2.0, "HARVESTER_MAX_BYTES": 2_000_000}
    )
    tracemalloc.start()
    started = time.monotonic()
    results = run(name, *(shop.source for shop in shops))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - started < 30
    assert peak < 100 * 2**20
    for shop in shops:
        assert tuples(results[shop.source].publications) == tuples(shop.expected)
    assert [book.title for book in results[name].publications] == ["fine"]
    assert len(results[name].errors) == 5


@pytest.mark.parametrize(
    ("charset", "header", "meta"),
    [
        ("iso-8859-2", True, False),
        ("windows-1250", True, False),
        ("iso-8859-2", False, True),
        ("windows-1250", False, True),
        ("utf-8", False, False),
        ("utf-16", False, False),
    ],
)
def test_charsets(serve, source, charset, header, meta):
    tag = f'<meta charset="{charset}">' if meta else ""
    body = f"<html><head>{tag}</head><body><h1>Příliš žluťoučký kůň</h1></body></html>"
    kind = f"text/html; charset={charset}" if header else "text/html"
    answer = (200, {"Content-Type": kind}, body.encode(charset))
    serve({"mine.example": {"/": page_of_links("/1"), "/1": answer}})
    (book,) = run(source(MINE))["mine"].publications
    assert book.title == "Příliš žluťoučký kůň"


@pytest.mark.parametrize("charset", ["utf-8", "nonsense", "utf-7", "iso-2022-jp"])
def test_a_wrong_charset_never_ends_a_harvest(serve, source, charset):
    answer = (
        200,
        {"Content-Type": f"text/html; charset={charset}"},
        "<h1>Příliš</h1>".encode("iso-8859-2"),
    )
    serve({"mine.example": {"/": page_of_links("/1"), "/1": answer}})
    result = run(source(MINE))["mine"]
    assert len(result.publications) == 1


BROKEN = [
    b"",
    b"\0" * 1000,
    b"<" * 10_000,
    b"<h1>" * 50_000,
    b"<h1>x",
    b"<h1 <p <div>>>x</h1>",
    b"<!DOCTYPE html [<!ENTITY a 'b'>]><h1>&a;</h1>",
    b"\xff\xfe\x00",
    b"<html><h1>" + b"a" * 10**6,
    b"<table>" * 3000 + b"<h1>deep</h1>",
    b"%PDF-1.4 \xff\xd8",
    b"<h1>" + b"&lt;" * 100_000,
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_broken_markup_is_a_book_or_an_error(serve, source, number):
    serve(
        {
            "mine.example": {
                "/": page_of_links("/1", "/2"),
                "/1": BROKEN[number],
                "/2": b"<h1>fine</h1>",
            }
        }
    )
    started = time.monotonic()
    result = run(source(MINE))["mine"]
    assert result.publications[-1].title == "fine"
    assert len(result.publications) + len(result.errors) == 2
    assert all(len(book.title) <= 20_000 for book in result.publications)
    assert time.monotonic() - started < 20


def test_paging_is_bounded_whatever_a_page_claims(serve, source):
    pages = {f"/?p={n}": page_of_links(f"/b{n}") for n in range(2, 10)}
    pages["/"] = page_of_links("/b1") + b'<a class="p" href="?p=999999999">last</a>'
    pages |= {f"/b{n}": f"<h1>book {n}</h1>".encode() for n in range(1, 10)}
    site = serve({"mine.example": pages})
    text = MINE + '    paginate: {pages: {css: "a.p::attr(href)", after: "p="}, url: "?p={page}"}\n'
    settings.substitute_globals({"HARVESTER_MAX_PAGES": 5})
    name = source(text)
    settings.substitute_globals({"HARVESTER_MAX_PAGES": 5})
    result = run(name)["mine"]
    assert [book.title for book in result.publications] == [f"book {n}" for n in range(1, 6)]
    assert len([path for path in site.paths("mine.example") if "p=" in path]) == 4


def test_next_links_are_followed_but_not_in_circles(serve, source):
    pages = {
        f"/{n or ''}": page_of_links(f"/b{n}")
        + f'<a rel="next" href="/{(n + 1) % 3 or ""}">'.encode()
        for n in range(3)
    }
    pages |= {f"/b{n}": f"<h1>book {n}</h1>".encode() for n in range(3)}
    serve({"mine.example": pages})
    result = run(source(MINE + '    paginate: {next: "a[rel=next]::attr(href)"}\n'))["mine"]
    assert [book.title for book in result.publications] == ["book 0", "book 1", "book 2"]


def test_a_harvest_can_be_ended(serve, source):
    stop = threading.Event()

    def slow(handler):
        stop.set()
        time.sleep(0.2)
        handler.send_response(404)
        handler.end_headers()

    links = [f"/{n}" for n in range(1, 500)]
    serve({"mine.example": {"/": page_of_links(*links), **dict.fromkeys(links, slow)}})
    started = time.monotonic()
    result = run(source(MINE), stop=stop)["mine"]
    assert result.publications == []
    assert len(result.errors) == 499
    assert time.monotonic() - started < 10


def test_progress_is_told(shops):
    told = []
    run("cpress_cz", progress=lambda *news: told.append(news))
    assert told[-1][0] == "cpress_cz"
    assert max(done for _, done, _ in told) == 20


# --- source files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("start: []", "start: must be the addresses"),
        ("start: [file:///etc]", "start: must be http"),
        ("itm: x", "unknown key 'itm': did you mean 'item'?"),
        ("item: 'div['", "item: CSS"),
        ("fields: {titel: h1}", "fields: unknown key 'titel': did you mean 'title'?"),
        ("fields: {ISBN: h1}", "at least a title"),
        ("fields: {title: {css: a, clean: isbm}}", "no cleaner"),
        ("required: [foo]", "'foo' is none"),
        ("enabled: 1", "enabled: must be true or false"),
        ("delay: x", "delay: must be a number"),
        ("paginate: {}", "either pages and url, or next"),
        ("paginate: {pages: a, url: x}", r"with \{page\} in it"),
        ("fields: [", "not YAML"),
        ("fields: {title: {css: a, each: b}}", "only authors have that"),
        ("fields: {title: {css: a, from: x}}", "item or detail"),
        ("samples: [1]", "file, url and expect"),
        ("name: ''", "name: must be a text"),
        ("fields: {title: !!python/name:os.system x}", "not YAML"),
    ],
)
def test_mistakes_in_a_source_file_are_named(source, tmp_path, change, words):
    key = change.partition(":")[0]
    kept = [line for line in textwrap.dedent(MINE).splitlines() if not line.startswith(f"{key}:")]
    name = source("\n".join([*kept, change]))
    with pytest.raises(DefinitionError, match=words) as caught:
        load_source(tmp_path / "sources" / f"{name}.yaml")
    assert "mine.yaml" in str(caught.value)
    result = run(name)["mine"]
    assert isinstance(result.errors[0], DefinitionError)


def test_a_scrapper_function_stays_possible(monkeypatch):
    class Point:
        name = "odd_cz"

        def load(self):
            return lambda: [Publication("title", "author", "1 Kč", "odd")]

    monkeypatch.setattr(crawl, "entry_points", lambda group: [Point()])
    assert "odd_cz" in crawl.source_names()
    assert run("odd_cz")["odd_cz"].publications[0].publisher == "odd"
    monkeypatch.setattr(Point, "load", lambda self: lambda: 1 / 0)
    assert "ZeroDivisionError" in str(run("odd_cz")["odd_cz"].errors[0])
    assert "there is no source 'other'" in str(run("other")["other"].errors[0])


# --- numbers of pages -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["9" * 5000, "0" * 5000, "٣" * 20, "²", "1e9", "-3", "9" * 13])
def test_an_odd_number_of_a_page_costs_that_link_only(serve, tmp_path, number):
    (tmp_path / "s").mkdir()
    settings.substitute_globals({"HARVESTER_SOURCES_DIR": str(tmp_path / "s")})
    (tmp_path / "s" / "shop.yaml").write_text(
        'start: ["http://shop.example/"]\nitem: div.b\nfields: {title: h2}\n'
        'paginate: {pages: "a.page", url: "?p={page}"}\n'
    )
    first = f'<a class="page">{number}</a><a class="page">2</a><div class="b"><h2>A</h2></div>'
    site = serve(
        {"shop.example": {"/": first.encode(), "/?p=2": b'<div class="b"><h2>B</h2></div>'}}
    )
    settings.substitute_globals({"HARVESTER_SOURCES_DIR": str(tmp_path / "s")})
    result = run("shop")["shop"]
    assert [book.title for book in result.publications] == ["A", "B"]
    assert result.errors == []
    assert site.paths("shop.example") == ["/", "/?p=2"]


def test_an_unforeseen_error_in_a_list_page_costs_that_page_only(serve, tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "shop.yaml").write_text(
        'start: ["http://shop.example/"]\nitem: div.b\nfields: {title: h2}\n'
        'paginate: {pages: "a", url: "?p={page}"}\n'
    )
    pages = {f"/?p={n}": f'<div class="b"><h2>{n}</h2></div>'.encode() for n in (2, 3, 4)}
    serve({"shop.example": {"/": b'<a>4</a><div class="b"><h2>1</h2></div>', **pages}})
    settings.substitute_globals({"HARVESTER_SOURCES_DIR": str(tmp_path / "s")})
    sound = crawl.Page

    def broken(content, url, charset):
        if url.endswith("3"):
            raise RuntimeError("unforeseen")
        return sound(content, url, charset)

    monkeypatch.setattr(crawl, "Page", broken)
    result = run("shop")["shop"]
    assert [book.title for book in result.publications] == ["1", "2", "4"]
    assert [str(error) for error in result.errors] == ["RuntimeError: unforeseen"]


@pytest.mark.parametrize("link", ["http://shop.example/" + "x" * 10**6, "http://" + "y" * 10**6])
def test_the_text_of_an_error_is_bounded(serve, tmp_path, link):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "shop.yaml").write_text(
        'start: ["http://shop.example/"]\nitem: div\nfollow: "a::attr(href)"\nfields: {title: h1}\n'
    )
    serve({"shop.example": {"/": f'<div><a href="{link}">x</a></div>'.encode()}})
    settings.substitute_globals({"HARVESTER_SOURCES_DIR": str(tmp_path / "s")})
    (error,) = run("shop")["shop"].errors
    assert len(str(error)) < 2000
