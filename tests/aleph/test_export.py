"""The export form: its fields, what is refused before sending, and what the form says."""

import time

import pytest

from edeposit.amqp.aleph import TitleQuery, reactToAMQPMessage, settings
from edeposit.amqp.aleph.datastructures import (
    Author,
    CountRequest,
    CountResult,
    EPublication,
    ExportRequest,
    ExportResult,
    FormatEnum,
)
from edeposit.amqp.aleph.exceptions import (
    AlephException,
    ExportException,
    ExportOutcomeUnknownException,
    ExportRejectedException,
    InvalidExportDataException,
    InvalidISBNException,
)
from edeposit.amqp.aleph.export import PostData, exportEPublication

from .servers import NO_REPLY, send, server

BOOK = EPublication(
    ISBN=["80-251-0225-4"],
    invalid_ISBN=[],
    id_number="nkc1",
    nazev="Krakatit /",
    podnazev=": román",
    vazba=FormatEnum.BROZ,
    cena="199",
    castDil="1",
    nazevCasti="První",
    nakladatelVydavatel="Aventinum",
    datumVydani="10/1924",
    poradiVydani="1.",
    zpracovatelZaznamu="ABA001",
    format="20 cm",
    url="http://x.cz/",
    mistoVydani="Praha :",
    ISBNSouboruPublikaci=[],
    autori=["Karel Čapek"],
    originaly=[],
    internal_url="http://y.cz/a/",
    anotace="Dobrá kniha.",
)


def post(**changes):
    return PostData(BOOK._replace(**changes)).get_POST_data()


def test_the_form_has_its_29_fields():
    fields = post()
    assert len(fields) == 29
    assert fields == {
        "sid": "edeposit",
        "P0100LDR__": "-----nam-a22------a-4500",
        "P0200FMT__": "BK",
        "P0300BAS__a": "49",
        "P07022001_b": "elektronický zdroj",
        "P1501IST1_a": "ox",
        "P0501010__a": "80-251-0225-4",
        "P1601ISB__a": "80-251-0225-4",
        "P0502010__b": "brož.",
        "P0503010__x": "20 cm",
        "P0504010__d": "199",
        "P0601010__a": "",
        "P0602010__b": "",
        "P07012001_a": "Krakatit",
        "P07032001_e": "román",
        "P07042001_h": "1",
        "P07052001_i": "První",
        "P0801205__a": "1.",
        "P0901210__a": "Praha",
        "P0902210__c": "Aventinum",
        "P0903210__d": "10/1924",
        "P1001330__a": "Nakladatelská anotace: Dobrá kniha.",
        "P110185640u": "http://x.cz/",
        "P1301ZAK__b": "Karel Čapek",
        "P1302ZAK__c": "",
        "P1303ZAK__c": "",
        "P1401PJM__a": "",
        "P1502IST1_b": "ABA001",
        "P1801URL__u": "http://y.cz/a/",
    }


@pytest.mark.parametrize(
    ("binding", "media"),
    [
        ("mapa", ("-----nem-a22------a-4500", "MP", "30", "kartografický dokument", "ow")),
        ("CD-ROM", ("-----nam-a22------a-4500", "BK", "30", "elektronický zdroj", "ow")),
        ("DVD", ("-----nam-a22------a-4500", "BK", "30", "elektronický zdroj", "ow")),
        ("online", ("-----nam-a22------a-4500", "BK", "49", "elektronický zdroj", "ox")),
        ("váz.", ("-----nam-a22------a-4500", "BK", "49", "elektronický zdroj", "ox")),
    ],
)
def test_the_binding_chooses_the_media(binding, media):
    fields = post(vazba=binding)
    keys = ("P0100LDR__", "P0200FMT__", "P0300BAS__a", "P07022001_b", "P1501IST1_a")
    assert tuple(fields[key] for key in keys) == media


def test_five_authors_objects_and_none():
    authors = [Author("Karel", "Čapek", "dr."), "B", "C ", "D", "E"]
    fields = post(autori=authors)
    keys = ("P1301ZAK__b", "P1302ZAK__c", "P1303ZAK__c")
    assert [fields[key] for key in keys] == ["Karel Čapek", "B", "C, D, E"]
    assert len(authors) == 5
    assert post(autori=None)["P1301ZAK__b"] == ""


def test_lists_none_and_the_series():
    fields = post(
        ISBN="80-251-0225-4",
        ISBNSouboruPublikaci=["80-204-0105-9"],
        url=["http://a/", "http://b"],
        internal_url=None,
        anotace=None,
        cena=None,
    )
    assert fields["P0601010__a"] == "80-204-0105-9"
    assert fields["P0602010__b"] == "soubor : 80-204-0105-9"
    assert (fields["P110185640u"], fields["P1801URL__u"]) == ("http://a/", "")
    assert (fields["P1001330__a"], fields["P0504010__d"]) == ("", "")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nazev": ""}, "Nazev is required!"),
        ({"nazev": None}, "Nazev is required!"),
        ({"mistoVydani": " : "}, "Místo vydání is required!"),
        ({"datumVydani": ""}, "Datum vydání is required!"),
        ({"poradiVydani": ""}, "Pořadí vydání is required!"),
        ({"zpracovatelZaznamu": ""}, "Zpracovatel is required! (V)"),
        ({"vazba": ""}, "Vazba/forma is required!"),
        ({"vazba": "online", "format": ""}, "Format is required!"),
        ({"nakladatelVydavatel": ""}, "Nakladatel is required!"),
        ({"ISBN": []}, "ISBN is required!"),
        ({"ISBN": None}, "ISBN is required!"),
        ({"ISBN": ["978-3-16-148410-0"]}, "Only czech ISBN is accepted!"),
        ({"anotace": "ř" * 501}, "Annotation is too long (> 500)."),
        ({"autori": [7]}, "Bad type of author (<class 'int'>) (str is required)."),
    ],
)
def test_what_is_missing_or_wrong_is_said_and_nothing_is_sent(simulator, changes, text):
    with pytest.raises(InvalidExportDataException) as caught:
        exportEPublication(BOOK._replace(**changes))
    assert caught.value.problems == [text]
    assert isinstance(caught.value, AssertionError)
    assert simulator.exports == []


def test_all_problems_are_said_at_once():
    with pytest.raises(InvalidExportDataException) as caught:
        post(nazev=None, vazba=None, nakladatelVydavatel="", ISBN=[])
    assert str(caught.value).splitlines() == [
        "ISBN is required!",
        "Nazev is required!",
        "Vazba/forma is required!",
        "Nakladatel is required!",
    ]


def test_500_characters_pass():
    assert len(post(anotace="ř" * 500)["P1001330__a"]) == 523


@pytest.mark.parametrize("isbn", ["80-251-0225-5", "80-251-0225-4 abc", "1234567890128", "x"])
def test_a_wrong_checksum_is_said(simulator, isbn):
    for changes in ({"ISBN": [isbn]}, {"ISBNSouboruPublikaci": isbn}):
        with pytest.raises(InvalidISBNException, match="has invalid ISBN checksum!"):
            exportEPublication(BOOK._replace(**changes))
    assert simulator.exports == []


@pytest.mark.parametrize("isbn", ["978 80 251 0225 1", "978-80-251-0225-1", "8025102254"])
def test_czech_isbns_pass_in_every_form(isbn):
    assert post(ISBN=[isbn])["P0501010__a"] == isbn


@pytest.mark.parametrize(
    "isbn", ["ISBN 80-251-0225-4", "80\u2013251\u20130225\u20134", "80-251-0225-4\u200b"]
)
def test_the_form_gets_the_number_alone(isbn):
    fields = post(ISBN=[isbn], ISBNSouboruPublikaci=isbn)
    assert fields["P0501010__a"] == fields["P0601010__a"] == "80-251-0225-4"


def test_an_export_is_answered_with_the_isbn_as_it_came(simulator):
    before = tuple(BOOK)
    answer = reactToAMQPMessage(ExportRequest(BOOK), None)
    assert answer == ExportResult(["80-251-0225-4"])
    assert tuple(BOOK) == before
    assert simulator.exports[0] == post()


def test_a_rejection_raises_with_the_servers_reason(simulator):
    simulator.reject_with = "the librarian says no"
    with pytest.raises(ExportRejectedException) as caught:
        exportEPublication(BOOK)
    assert str(caught.value) == (
        "Export request was rejected by import webform: Error: the librarian says no"
    )


def answer(status=200, body=b"", **headers):
    return lambda handler, _number: send(handler, body, status, "text/html", **headers)


def test_the_info_header_is_read_in_any_case():
    with server(answer(ALEPH_Info=" ERROR: no ")), pytest.raises(ExportRejectedException):
        exportEPublication(BOOK)
    with server(answer(Aleph_Info="all right")):
        exportEPublication(BOOK)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 304, 500, 503])
def test_only_a_status_of_success_is_a_success(status):
    with server(answer(status, b"moved", Location="https://aleph.example/login")) as requests:
        with pytest.raises(ExportOutcomeUnknownException, match=f"HTTP status {status}"):
            exportEPublication(BOOK)
        assert len(requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429])
def test_a_form_that_refuses_is_an_error(status):
    with server(answer(status, b"no")) as requests:
        with pytest.raises(ExportException, match=f"HTTP status {status}"):
            exportEPublication(BOOK)
        assert len(requests) == 1


def test_a_page_is_a_success_and_nothing_is_none():
    with server(answer(200, b"import succeeded")):
        assert exportEPublication(BOOK) == "import succeeded"
    for status in (200, 202, 204):
        with server(answer(status)):
            with pytest.raises(ExportOutcomeUnknownException, match="answered: nothing"):
                exportEPublication(BOOK)


def test_the_page_must_hold_what_the_settings_expect():
    settings.substitute_globals({"EDEPOSIT_EXPORT_CONFIRMATION": "succeeded"})
    with server(answer(200, b"import succeeded")):
        exportEPublication(BOOK)
    with server(answer(200, b"<form>please log in</form>", ALEPH_Info="OK")):
        with pytest.raises(ExportOutcomeUnknownException, match="please log in"):
            exportEPublication(BOOK)


@pytest.mark.parametrize("reply", NO_REPLY, ids=lambda reply: reply.__name__)
def test_an_export_without_a_whole_answer_has_an_unknown_outcome_in_time(reply):
    with server(reply) as requests:
        started = time.monotonic()
        with pytest.raises(ExportOutcomeUnknownException, match="outcome of the export is unknown"):
            exportEPublication(BOOK)
        assert time.monotonic() - started < 4
        assert [method for method, *_ in requests] == ["POST"]


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/form", "ftp://x/form", "http://[::1/form", "x", f"http://{'a' * 70}.cz"],
)
def test_a_form_that_is_not_there_gets_nothing(url):
    settings.substitute_globals({"ALEPH_EXPORT_URL": url})
    with pytest.raises(ExportException, match="Nothing was exported"):
        exportEPublication(BOOK)


def test_a_password_in_an_address_stays_in_the_settings():
    address = "http://user:secret@127.0.0.1:1"
    settings.substitute_globals(
        {"ALEPH_URL": address, "ALEPH_EXPORT_URL": address, "ALEPH_RETRIES": 0}
    )
    for call in (lambda: exportEPublication(BOOK), TitleQuery("x").getCountResult):
        with pytest.raises((ExportException, AlephException)) as caught:
            call()
        assert "secret" not in str(caught.value)


def test_a_redelivered_export_is_not_sent_again(simulator):
    def send_back(_value):
        raise AssertionError("not called")

    send_back.redelivered = True
    with pytest.raises(ExportOutcomeUnknownException, match="Nothing was sent"):
        reactToAMQPMessage(ExportRequest(BOOK), send_back)
    assert simulator.exports == []
    assert reactToAMQPMessage(CountRequest(TitleQuery("krakatit")), send_back) == CountResult(1)
    send_back.redelivered = False
    reactToAMQPMessage(ExportRequest(BOOK), send_back)
    assert len(simulator.exports) == 1


@pytest.mark.parametrize("epub", [None, "x", {"ISBN": "80-251-0225-4"}, ["x"]])
def test_what_is_no_book_is_said_so(epub):
    with pytest.raises(InvalidExportDataException, match="EPublication is required"):
        reactToAMQPMessage(ExportRequest(epub), None)


def test_half_a_character_is_found_before_anything_is_sent(simulator):
    with pytest.raises(InvalidExportDataException, match="P07012001_a has half a character"):
        exportEPublication(BOOK._replace(nazev="\ud83d"))
    assert simulator.exports == []


def test_the_referer_goes_to_the_form_only():
    settings.substitute_globals({"EDEPOSIT_EXPORT_SIGNATURE": "sigř"})
    with server(answer(200, Set_Cookie="a=b", ALEPH_Info="OK")) as requests:
        exportEPublication(BOOK)
        headers = requests[0][2]
        assert headers["Referer"].encode("latin-1").decode("utf-8") == "sigř"
        assert headers["User-Agent"].startswith("edeposit.amqp/")
        with pytest.raises(AlephException):
            reactToAMQPMessage(CountRequest(TitleQuery("x")), None)
        assert len(requests) >= 2
        assert not {"Referer", "Cookie"} & set(requests[-1][2])
