"""The X-Services client: against the simulator, and against servers that misbehave."""

import socket
import threading
import time

import pytest

from edeposit.amqp.aleph import (
    AuthorQuery,
    DocumentQuery,
    GenericQuery,
    ICZQuery,
    ISBNQuery,
    ISSNQuery,
    PublisherQuery,
    TitleQuery,
    aleph,
    reactToAMQPMessage,
    settings,
)
from edeposit.amqp.aleph.datastructures import CountRequest, CountResult, SearchRequest
from edeposit.amqp.aleph.exceptions import (
    AlephException,
    AlephUnavailableException,
    DocumentNotFoundException,
    InvalidAlephBaseException,
    InvalidAlephFieldException,
    LibraryNotFoundException,
)
from edeposit.amqp.aleph.http import RateLimiter
from edeposit.amqp.aleph.simulator import AlephSimulator, Catalogue

from .servers import NO_REPLY, send, server


def search(query):
    return reactToAMQPMessage(SearchRequest(query), None).records


def count(query):
    return reactToAMQPMessage(CountRequest(query), None)


# --- against the simulator ------------------------------------------------------------------


def test_search_by_isbn(simulator):
    (found,) = search(ISBNQuery("80-251-0225-4"))
    assert (found.base, found.library, found.docNumber) == ("nkc", "CZE01", "000000001")
    assert found.parsed_info.nazev == "Umění programování v UNIXu"
    assert "<doc_number>000000001</doc_number>" in found.xml


@pytest.mark.parametrize(
    ("query", "number"),
    [
        (AuthorQuery("Karel Čapek"), 10),
        (AuthorQuery("karel capek"), 10),
        (TitleQuery("KRAKATIT"), 1),
        (PublisherQuery("Aventinum"), 10),
        (ICZQuery("nkc20150003059"), 1),
        (ISBNQuery("8025102254"), 1),
        (GenericQuery("nkc", "babicka", False, "WTL"), 1),
        (DocumentQuery("000000003"), 1),
        (ISBNQuery("80-251-0225-5"), 0),
        (TitleQuery("there is no such book"), 0),
        (ISSNQuery("0000-0000"), 0),
        (DocumentQuery("999999"), 0),
    ],
)
def test_counts(simulator, query, number):
    assert count(query) == CountResult(number)


def test_records_come_in_the_order_of_the_set_at_most_thirty(simulator):
    settings.substitute_globals({"MAX_RECORDS": 7})
    found = search(PublisherQuery("Aventinum"))
    assert [r.parsed_info.datumVydani for r in found] == [
        "1920",
        "1922",
        "1924",
        "1933",
        "1934",
        "1934",
        "1936",
    ]
    result = aleph.searchInAleph("nkc", "Aventinum", False, "wpb")
    rest = aleph.downloadRecords(result, from_doc=8)
    assert len(rest) == 3
    assert "Bílá nemoc" in rest[1]


def test_search_gives_the_servers_words_as_a_dict(simulator):
    result = aleph.searchInAleph("nkc", "krakatit", False, "wtl")
    assert result["no_records"] == result["no_entries"] == 1
    assert result["base"] == "nkc"
    assert result["session-id"] == "SIMULATOR"
    assert isinstance(result["set_number"], int)
    empty = aleph.searchInAleph("nkc", "xyzzy", False, "wtl")
    assert (empty["no_entries"], empty["error"]) == (0, "empty set")
    assert aleph.downloadRecords(empty) == []
    assert aleph.getDocumentIDs(empty) == []


def test_the_three_families(simulator):
    assert len(aleph.getAuthorsBooksXML("Verne")) == 6
    ids = aleph.getAuthorsBooksIDs("Verne")
    assert len(ids) == aleph.getAuthorsBooksCount("Verne") == 6
    assert (ids[0].library, ids[0].base) == ("NKC01", "nkc")
    assert aleph.getDocumentIDs(aleph.searchInAleph("nkc", "Verne", False, "wau"), 2) == ids[:2]
    for name in ("ISBN", "ISSN", "AuthorsBooks", "PublishersBooks", "BooksTitle", "ICZBooks"):
        plural = name + "s" if name in ("ISBN", "ISSN") else name
        for function in (f"get{plural}XML", f"get{plural}IDs"):
            assert getattr(aleph, function)("xyzzy") == []
        assert getattr(aleph, f"get{name}Count")("xyzzy") == 0


def test_documents_in_both_dialects(simulator):
    assert "<leader>" in aleph.downloadMARCXML(1, "NKC01")
    assert 'id="LDR"' in aleph.downloadMARCOAI("1", "nkc")
    (found,) = search(DocumentQuery("1", "NKC01"))
    assert (found.base, found.library, found.docNumber) == (None, "NKC01", "1")
    assert aleph.getListOfBases() == ["nkc", "cze-dep", "skc"]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: aleph.searchInAleph("nkc", "x", False, "bad"),
            InvalidAlephFieldException,
            "Unknown field 'bad'!",
        ),
        (lambda: aleph.searchInAleph("nkc&op=x", "x", False, "wtl"), InvalidAlephBaseException, ""),
        (
            lambda: aleph.searchInAleph("other", "x", False, "wtl"),
            AlephException,
            "Base other does not exist",
        ),
        (lambda: aleph.searchInAleph("nkc", None, False, "wtl"), AlephException, "NoneType"),
        (
            lambda: aleph.downloadMARCXML("1", "XYZ01"),
            LibraryNotFoundException,
            "Can't download document doc_id: '1' (probably bad library: 'XYZ01')!"
            "\nMessage: Invalid library XYZ01",
        ),
        (
            lambda: aleph.downloadMARCXML("999", "NKC01"),
            DocumentNotFoundException,
            "Error reading document",
        ),
        (lambda: aleph.downloadMARCXML("1", "A&B"), LibraryNotFoundException, ""),
        (
            lambda: aleph.downloadMARCOAI("999", "nkc"),
            DocumentNotFoundException,
            "Error reading document",
        ),
        (
            lambda: aleph.downloadMARCOAI("1", "xyz"),
            InvalidAlephBaseException,
            "Invalid base\nThe base you are trying to access probably doesn't exist.",
        ),
        (
            lambda: aleph.downloadRecords({"set_number": 77, "no_records": 2, "no_entries": 2}),
            AlephException,
            "Set does not exist",
        ),
        (
            lambda: aleph.getDocumentIDs({"set_number": 77, "no_entries": 2}),
            AlephException,
            "getDocumentIDs: Set does not exist",
        ),
    ],
)
def test_errors_of_the_server_are_named(simulator, call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


def test_parameters_are_quoted(simulator):
    aleph.searchInAleph("nkc", "wau=(Milan Hejny) and ř&base=x", False, "WRD")
    assert simulator.requests[-1].startswith(
        "/X?op=find&request=WRD=wau%3D%28Milan+Hejny%29+and+%C5%99%26base%3Dx&base=nkc"
    )


def test_a_deleted_record_among_the_hits_is_left_out():
    book = '<record><datafield tag="245"><subfield code="a">Same</subfield></datafield></record>'
    deleted = book.replace("</record>", '<datafield tag="DEL"/></record>')
    with AlephSimulator(Catalogue([book, deleted, book])) as simulator:
        settings.substitute_globals({"ALEPH_URL": simulator.url})
        assert [r.docNumber for r in search(TitleQuery("same"))] == ["000000001", "000000003"]
        with pytest.raises(DocumentNotFoundException, match="was deleted"):
            search(DocumentQuery("2"))
        assert count(DocumentQuery("2")) == CountResult(0)


def test_a_default_base_is_that_of_the_moment():
    settings.substitute_globals({"ALEPH_DEFAULT_BASE": "skc", "DEFAULT_LIBRARY": "NKC01"})
    assert TitleQuery("x").base == "skc"
    assert DocumentQuery("1").library == "NKC01"


def test_no_second_sees_more_requests_than_are_allowed():
    limiter, passed = RateLimiter(), []
    lock = threading.Lock()

    def ask():
        for _ in range(4):
            limiter.wait(10.0, time.monotonic() + 60)
            with lock:
                passed.append(time.monotonic())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed.sort()
    assert len(passed) == 32
    # The eleventh comes a second after the first; threads wake up a little late, never early.
    assert all(later - first > 0.95 for first, later in zip(passed, passed[10:], strict=False))


def test_a_turn_after_the_deadline_is_not_waited_for():
    limiter = RateLimiter()
    limiter.wait(0.5, time.monotonic() + 1)
    with pytest.raises(AlephUnavailableException, match="waiting for their turn"):
        limiter.wait(0.5, time.monotonic() + 1)


# --- servers that misbehave -----------------------------------------------------------------

FIND = (
    b"<find><set_number>1</set_number><no_records>3</no_records><no_entries>3</no_entries></find>"
)


@pytest.mark.parametrize(
    "reply",
    [
        *NO_REPLY,
        lambda h, _n: send(h, b"broken", status=500),
        lambda h, _n: send(h, b"gone", status=404),
        lambda h, _n: send(h, b"<html><body>Server Error</body></html>", kind="text/html"),
        lambda h, _n: send(h, b""),
        lambda h, _n: send(h, b"no xml at all"),
        lambda h, _n: send(h, b"<!DOCTYPE x><find/>"),
        lambda h, _n: send(h, b"<find><error>Too many sets</error></find>"),
        lambda h, _n: send(h, FIND, status=302, Location="/other"),
        lambda h, _n: send(h, FIND, status=206),
        lambda h, _n: send(h, b"<find><set_number>1</set_number></find>"),
        lambda h, _n: send(h, b"<find><no_entries>many</no_entries></find>"),
    ],
    ids=range(18),
)
def test_a_misbehaving_server_is_an_aleph_exception_in_time(reply):
    with server(reply):
        started = time.monotonic()
        with pytest.raises(AlephException):
            count(TitleQuery("x"))
        assert time.monotonic() - started < 4


def test_a_reply_is_read_by_its_declared_charset():
    title = "<datafield tag='245'><subfield code='a'>Žluť</subfield></datafield>"
    record = f"<present><record>{title}</record></present>"

    def reply(handler, _number):
        if "op=find" in handler.path:
            send(handler, FIND)
        elif "set_entry=1" in handler.path:
            send(handler, record.encode("cp1250"), kind="text/xml; charset=windows-1250")
        elif "set_entry=2" in handler.path:
            send(
                handler, f'<?xml version="1.0" encoding="iso-8859-2"?>{record}'.encode("iso-8859-2")
            )
        else:
            send(handler, record.encode("utf-16"))

    with server(reply):
        assert [r.parsed_info.nazev for r in search(TitleQuery("x"))] == ["Žluť"] * 3


def test_a_flaking_server_is_asked_again():
    def flake(handler, number):
        if number == 1:
            send(handler, b"busy", status=503)
        else:
            send(handler, FIND)

    with server(flake) as requests:
        assert count(TitleQuery("x")) == CountResult(3)
        assert len(requests) == 2


def test_a_missing_page_is_not_asked_for_again():
    with server(lambda h, _n: send(h, b"gone", status=404)) as requests:
        with pytest.raises(AlephUnavailableException, match="HTTP status 404"):
            count(TitleQuery("x"))
        assert len(requests) == 1


def test_a_server_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings.substitute_globals({"ALEPH_URL": f"http://127.0.0.1:{port}", "ALEPH_RETRIES": 1})
    with pytest.raises(AlephUnavailableException, match="ConnectError") as caught:
        count(TitleQuery("x"))
    assert caught.value.url.startswith(f"http://127.0.0.1:{port}/X?op=find")


def test_one_unreadable_record_does_not_spoil_the_others():
    good = '<present><record><doc_number>{}</doc_number><datafield tag="245"/></record></present>'

    def reply(handler, _number):
        if "op=find" in handler.path:
            send(handler, FIND)
        elif "set_entry=2" in handler.path:
            send(handler, b"<present><nothing/></present>")
        else:
            send(handler, good.format("000000009").encode())

    with server(reply):
        first, second, third = search(TitleQuery("x"))
    assert first.parsed_info is not None
    assert third.docNumber == "000000009"
    assert second.parsed_info is None
    assert second.xml == "<present><nothing/></present>"
