"""The catalogue behind RabbitMQ: clients of 2015, the client, the tool, a server in trouble."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest

from edeposit.amqp import settings
from edeposit.amqp.aleph import AuthorQuery, ISBNQuery
from edeposit.amqp.aleph.datastructures import (
    CountRequest,
    CountResult,
    EPublication,
    ExportRequest,
    SearchRequest,
)
from edeposit.amqp.aleph.simulator import AlephSimulator
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError
from edeposit.amqp.testing import wait_for

from .programs import program


@pytest.fixture
def simulator(monkeypatch, rabbit, vhost, tmp_path):
    """A running daemon before the simulator."""
    with AlephSimulator() as simulator:
        environment = {
            **rabbit.env(),
            "RABBITMQ_ALEPH_VIRTUALHOST": vhost,
            "PID_DIR": str(tmp_path / "run"),
            "LOG_TARGET": str(tmp_path / "aleph.log"),
            "HOME": str(tmp_path),
            "ALEPH_URL": simulator.url,
            "ALEPH_EXPORT_URL": simulator.export_url,
            "ALEPH_RETRIES": "0",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings.reload()
        assert program("edeposit_amqp_tool.py", "--host", "aleph", "--create")[0] == 0
        code, _, error = program("edeposit_amqp_alephdaemon.py", "start")
        assert code == 0, error
        yield simulator
        monkeypatch.setenv("STOP_TIMEOUT", "0")
        program("edeposit_amqp_alephdaemon.py", "stop")


@pytest.fixture
def old_client(simulator, rabbit, vhost):
    """A first-generation client: sends a body, returns the answer's headers and body."""
    parameters = pika.ConnectionParameters(port=rabbit.port, virtual_host=vhost)
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()

    def call(body):
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, headers={"UUID": "u-1"}
        )
        channel.basic_publish("search", "request", json.dumps(body), properties)
        consumer = channel.consume("plone", auto_ack=True, inactivity_timeout=10)
        method, properties, answer = next(consumer)
        assert method is not None, "no answer"
        assert properties.headers["UUID"] == "u-1"
        channel.cancel()
        return properties.headers, answer.decode("utf-8")

    yield call
    connection.close()


def nt(name, **fields):
    return {"__nt_name": name, **fields}


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (
            nt("CountRequest", query=nt("AuthorQuery", author="Karel Čapek", base="nkc")),
            nt("CountResult", num_of_records=10),
        ),
        (
            nt("CountRequest", query=nt("DocumentQuery", doc_id="000000001", library="CZE01")),
            nt("CountResult", num_of_records=1),
        ),
        (
            nt("ISBNValidationRequest", ISBN="80-251-0225-4"),
            nt("ISBNValidationResult", is_valid=True),
        ),
        (
            nt("ISBNValidationRequest", ISBN=nt("ISBNQuery", ISBN="80-251-0225-5", base="nkc")),
            nt("ISBNValidationResult", is_valid=False),
        ),
        (
            nt("SearchRequest", query=nt("TitleQuery", title="there is none", base="nkc")),
            nt("SearchResult", records=[]),
        ),
    ],
)
def test_the_bodies_of_the_first_generation(old_client, request_, answer):
    assert json.loads(old_client(request_)[1]) == answer


def test_a_search_of_the_first_generation_field_for_field(old_client):
    query = nt("GenericQuery", base="nkc", phrase="krakatit", considerSimilar=False, field="wtl")
    (record,) = json.loads(old_client(nt("SearchRequest", query=query))[1])["records"]
    assert set(record) == {
        "__nt_name",
        "base",
        "library",
        "docNumber",
        "xml",
        "parsed_info",
        "semantic_info",
    }
    assert record["__nt_name"] == "AlephRecord"
    assert (record["base"], record["library"]) == ("nkc", "CZE01")
    info = record["parsed_info"]
    assert info.pop("ISBN")[0].startswith("978-80-")
    assert info.pop("id_number").startswith("nkc")
    assert info == {
        "__nt_name": "EPublication",
        "invalid_ISBN": [],
        "nazev": "Krakatit",
        "podnazev": "",
        "vazba": "brož.",
        "cena": "Kč 199,00",
        "castDil": "",
        "nazevCasti": "",
        "nakladatelVydavatel": "Aventinum",
        "datumVydani": "1924",
        "poradiVydani": "1. vyd.",
        "zpracovatelZaznamu": "ABA001",
        "format": "21 cm",
        "url": [],
        "mistoVydani": "Praha",
        "ISBNSouboruPublikaci": [],
        "autori": [nt("Author", firstName="Karel", lastName="Čapek", title="")],
        "originaly": [],
        "internal_url": [],
        "anotace": None,
    }
    assert record["semantic_info"] == nt(
        "SemanticInfo",
        hasAcquisitionFields=False,
        acquisitionFields=[],
        ISBNAgencyFields=[],
        descriptiveCatFields=[],
        descriptiveCatReviewFields=[],
        subjectCatFields=[],
        subjectCatReviewFields=[],
        isClosed=False,
        isSummaryRecord=False,
        contentOfFMT="BK",
        parsedSummaryRecordSysNumber="",
        summaryRecordSysNumber="",
    )


def test_errors_travel_by_their_names(old_client):
    query = nt("GenericQuery", base="nkc", phrase="x", considerSimilar=False, field="bad")
    headers, _ = old_client(nt("SearchRequest", query=query))
    assert headers["exception_name"] == "InvalidAlephFieldException"
    assert headers["exception"] == "Unknown field 'bad'!"
    headers, _ = old_client(nt("SearchRequest", query=7))
    assert headers["exception_name"] == "ValueError"
    headers, _ = old_client(nt("AlephExport", epublication=None))
    assert headers["exception_name"] == "KeyError"


def test_the_client_searches_exports_and_survives_the_servers_end(simulator):
    with AMQPClient("aleph") as client:
        (found,) = client.call(SearchRequest(ISBNQuery("80-251-0225-4"))).records
        assert isinstance(found.parsed_info, EPublication)
        assert client.call(CountRequest(AuthorQuery("Verne"))) == CountResult(6)
        book = found.parsed_info
        assert client.call(ExportRequest(book)).ISBN == ["80-251-0225-4"]
        assert simulator.exports[0]["P07012001_a"] == "Umění programování v UNIXu"
        with pytest.raises(RemoteError, match="InvalidExportDataException: Nazev is required!"):
            client.call(ExportRequest(book._replace(nazev="")))
        simulator.close()
        with pytest.raises(RemoteError, match="AlephUnavailableException"):
            client.call(CountRequest(AuthorQuery("Verne")))
    assert program("edeposit_amqp_alephdaemon.py", "status")[0] == 0


def test_an_export_whose_daemon_was_killed_is_not_repeated(simulator):
    with AMQPClient("aleph") as client, ThreadPoolExecutor(1) as pool:
        (found,) = client.call(SearchRequest(ISBNQuery("80-251-0225-4"))).records
        simulator.latency = 60
        call = pool.submit(client.call, ExportRequest(found.parsed_info), 60)
        wait_for(lambda: simulator.exports, 10, "the form has the book")
        status = json.loads(program("edeposit_amqp_alephdaemon.py", "status", "--json")[1])
        os.kill(status["pid"], signal.SIGKILL)
        simulator.latency = 0
        assert program("edeposit_amqp_alephdaemon.py", "start")[0] == 0
        with pytest.raises(RemoteError) as caught:
            call.result(60)
        assert caught.value.name == "ExportOutcomeUnknownException"
        assert len(simulator.exports) == 1
        assert client.call(CountRequest(AuthorQuery("Verne"))) == CountResult(6)


def test_the_tool_calls_with_an_expression(simulator):
    code, out, error = program(
        "edeposit_amqp_tool.py",
        "--host",
        "aleph",
        "--call",
        'SearchRequest(ISBNQuery("80-251-0225-4"))',
    )
    assert code == 0, error
    assert "Umění programování v UNIXu" in out
    code, _, error = program(
        "edeposit_amqp_tool.py", "--host", "aleph", "--call", "ISBNValidationRequest(7)"
    )
    assert code == 1
    assert "must be a text" in error
