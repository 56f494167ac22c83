"""Import paths of the first generation."""

import importlib
import subprocess
import sys

import lxml.html
import pytest

import edeposit.amqp.harvester
from bookshops import all_shops
from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import HarvestFailedError
from edeposit.amqp.harvester.filters import dup_filter
from edeposit.amqp.harvester.scrappers import utils
from edeposit.amqp.harvester.structures import Author, Publication


@pytest.fixture
def site(serve):
    shops = all_shops(3)
    site = serve({shop.host: shop.pages for shop in shops})
    settings.substitute_globals({"HARVESTER_SOURCES": [shop.source for shop in shops]})
    site.shops = {shop.source: shop for shop in shops}
    return site


def book(**changes):
    made = Publication("T", [Author("A")], "1 Kč", "P")
    for name, value in changes.items():
        setattr(made if name in made._fields else made.optionals, name, value)
    return made


@pytest.mark.parametrize("name", ["ben_cz", "grada_cz", "cpress_cz", "zonerpress_cz"])
def test_each_source_by_its_old_path(site, name):
    module = importlib.import_module(f"edeposit.amqp.harvester.scrappers.{name}")
    expected = [book.to_namedtuple() for book in site.shops[name].expected]
    assert [book.to_namedtuple() for book in module.get_publications()] == expected
    assert module.self_test() is True
    site.hosts[site.shops[name].host] = {}
    with pytest.raises(HarvestFailedError, match="404"):
        module.get_publications()


def test_good_books_pass():
    books = [book(), book(authors=[], ISBN="80-86056-31-7", URL="https://x/y")]
    assert utils.self_test_idiom(lambda: books) is True


@pytest.mark.parametrize(
    ("books", "message"),
    [
        ([], "no books"),
        ([book(title="")], "title is missing"),
        ([book(), book(price=None)], "price is missing"),
        ([book(publisher="")], "publisher is missing"),
        ([book(authors=None)], "authors is missing"),
        ([book(ISBN="80-86056")], "ISBN is missing or wrong"),
        ([book(URL="ftp://x")], "URL is missing or wrong"),
        ([book(URL="http:x")], "URL is missing or wrong"),
    ],
)
def test_bad_books_do_not(books, message):
    with pytest.raises(AssertionError, match=message):
        utils.self_test_idiom(lambda: books)


def test_pages_become_text():
    page = '<meta charset="windows-1250">Řeřicha'
    assert utils.handle_encodnig(page.encode("cp1250")) == page
    assert utils.handle_encodnig(page) == page


class Element:
    """An element as pydhtmlparser has it."""

    def __init__(self, name, content="", childs=(), **params):
        self.name, self.content, self.childs, self.params = name, content, childs, params

    def getTagName(self):
        return self.name

    def getContent(self):
        return self.content

    def isTag(self):
        return bool(self.name)


LXML = lxml.html.fromstring(
    '<table><tr><th>EAN:</th><td> 978 <b>0</b> &amp; </td></tr><tr><td class="x">1</td></tr>'
)
ROW, OTHER = LXML.iter("tr")
OLD_ROW = Element("tr", "", [Element("th", "EAN:"), Element("td", " 978 <b>0</b> &amp; ")])
OLD_OTHER = Element("tr", "", [Element("td", "1", (), **{"class": "x"})])


@pytest.mark.parametrize(("row", "other"), [(ROW, OTHER), (OLD_ROW, OLD_OTHER)])
def test_the_old_helpers_work_on_elements_of_both_kinds(row, other):
    children = list(getattr(row, "childs", row))
    (cell,) = getattr(other, "childs", other)
    assert utils.get_first_content(children[1:]) == "978 <b>0</b> &amp;"
    assert utils.get_first_content(el_list=children[1:], strip=False) == " 978 <b>0</b> &amp; "
    assert utils.get_first_content([], alt="none") == "none"
    assert utils.get_first_content(None) is None
    assert utils.has_param("class")(cell)
    assert not utils.has_param("class")(children[0])
    assert utils.content_matchs("EAN:")(children[0])
    assert utils.content_matchs("ean:", content_transformer=str.lower)(children[0])
    assert not utils.content_matchs("EAN")(children[0])
    assert utils.must_contain("th", "EAN:", "td")(row)
    assert not utils.must_contain("th", "ISBN:", "td")(row)
    assert not utils.must_contain("th", "EAN:", "p")(row)
    assert not utils.must_contain("td", "1", "td")(other)


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("../xex", "http://www.grada.cz/xex"),
        ("/xex", "http://www.grada.cz/xex"),
        ("xex?a=1", "http://www.grada.cz/xex?a=1"),
        ("//other.cz/x", "http://other.cz/x"),
        ("http://xerexe.com", "http://xerexe.com"),
        ("", None),
        (None, None),
        ("javascript:alert(1)", None),
        ("mailto:a@b.cz", None),
        ("http://[x", None),
    ],
)
def test_links_become_absolute(link, url):
    assert utils.normalize_url(base_url="http://www.grada.cz", rel_url=link) == url


def test_what_an_absolute_url_is():
    assert utils.is_absolute_url("https://a.cz/")
    assert not utils.is_absolute_url("../a:b")
    assert utils.is_absolute_url("ftp://a.cz/", protocol="ftp")
    assert not utils.is_absolute_url("ftp://a.cz/")


def test_every_way_to_import_an_old_source_works():
    code = """if True:
        import edeposit.amqp.harvester.scrappers.ben_cz
        from edeposit.amqp.harvester.scrappers import grada_cz, cpress_cz
        from edeposit.amqp.harvester.scrappers.zonerpress_cz import get_publications, self_test
        from edeposit.amqp.harvester import scrappers
        assert scrappers.grada_cz is grada_cz
        """
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the package ----------------------------------------------------------------------------


def test_all_publications_are_filtered_and_not_marked(site):
    first = edeposit.amqp.harvester.get_all_publications()
    objects = edeposit.amqp.harvester.get_all_publications(return_namedtuples=False)
    assert {b.title for b in objects} == {b.title for b in first}
    assert all(isinstance(b, Publication) for b in objects)
    dup_filter.mark_seen(objects[:1])
    assert len(edeposit.amqp.harvester.get_all_publications()) == len(first) - 1


def test_one_source_that_fails_costs_only_its_own_books(site):
    site.hosts["www.grada.cz"] = {}
    books = edeposit.amqp.harvester.get_all_publications()
    others = [shop for name, shop in site.shops.items() if name != "grada_cz"]
    assert {b.title for b in books} == {b.title for shop in others for b in shop.expected}
    site.hosts.clear()
    with pytest.raises(HarvestFailedError, match="every source has failed") as caught:
        edeposit.amqp.harvester.get_all_publications()
    assert {text.partition(":")[0] for text in caught.value.errors} == set(site.shops)


def test_the_self_test_lists_every_problem(site):
    assert edeposit.amqp.harvester.self_test() is None
    for host in ("www.grada.cz", "shop.ben.cz"):
        site.hosts[host] = {}
    with pytest.raises(HarvestFailedError) as caught:
        edeposit.amqp.harvester.self_test()
    assert {text.partition(",")[0] for text in caught.value.errors} == {"grada_cz", "ben_cz"}


def test_other_requests_are_refused():
    with pytest.raises(ValueError, match="Unknown type of request"):
        edeposit.amqp.harvester.reactToAMQPMessage(("x",), None)


def test_the_core_imports_nothing_of_the_harvester():
    code = (
        "import sys, edeposit.amqp.service, edeposit.amqp.tool, edeposit.amqp.programs.harvest;"
        "print([m for m in sys.modules if m.startswith('edeposit.amqp.harvester.')"
        " or m in ('lxml', 'rapidfuzz', 'httpx2')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
