"""Import paths of the first generation."""

import importlib
import subprocess
import sys

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
        " or m in ('lxml', 'rapidfuzz', 'httpx')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
