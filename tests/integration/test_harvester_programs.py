"""The harvester as people run it: local sites, a real RabbitMQ, our programs as processes."""

import contextlib
import json
import os
import pty
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pika
import pytest

from bookshops import all_shops
from edeposit.amqp import settings
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError
from edeposit.amqp.harvester import settings as harvester_settings
from edeposit.amqp.harvester.messages import HarvestRequest, Publications, SourceHarvested
from edeposit.amqp.harvester.structures import identity_of
from edeposit.amqp.serializers import deserialize
from edeposit.amqp.service import class_table
from edeposit.amqp.testing import SiteServer, wait_for

from .programs import BIN, program

PROGRAM = "edeposit_amqp_harvester.py"
ON_REQUEST = "edeposit_amqp_harvesterd.py"
TEST_PROGRAM = "edeposit_harvester_test.py"


class Site:
    """The shops, and the queue in which their books arrive."""

    def __init__(self, server, shops, parameters, directory):
        self.server = server
        self.shops = {shop.source: shop for shop in shops}
        self.directory = directory
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()

    def has_sent(self, books, *sources):
        """Is this each book of the shops once? The same book may come from any of its shops."""
        shops = [self.shops[name] for name in sources or self.shops]
        possible = {}
        for book in (book.to_namedtuple() for shop in shops for book in shop.expected):
            possible.setdefault(identity_of(book), []).append(book)
        assert sorted(map(identity_of, books)) == sorted(possible)
        for book in books:
            assert book in possible[identity_of(book)]
        return True

    def count(self):
        return self.channel.queue_declare("plone", passive=True).method.message_count

    def take(self):
        """All messages that wait: (books, headers of exceptions, UUIDs)."""
        books, errors, uuids = [], [], []
        while True:
            method, properties, body = self.channel.basic_get("plone", auto_ack=True)
            if method is None:
                return books, errors, uuids
            assert properties.delivery_mode == 2
            uuids.append(properties.headers["UUID"])
            if "exception" in properties.headers:
                assert properties.content_type == "application/text"
                assert body.decode() == properties.headers["exception"]
                errors.append(properties.headers)
                continue
            assert properties.content_type == "application/json"
            message = deserialize(body, class_table("harvester"))
            assert isinstance(message, Publications)
            books += message.publications

    def seen(self):
        """How many books are marked."""
        with contextlib.closing(sqlite3.connect(self.directory / "harvester.sqlite")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return database.execute("SELECT count(*) FROM seen").fetchone()[0]


@pytest.fixture
def site(monkeypatch, rabbit, vhost, tmp_path):
    shops = all_shops(8)
    with SiteServer({shop.host: shop.pages for shop in shops}) as server:
        environment = {
            **rabbit.env(),
            **server.env(),
            "RABBITMQ_HARVESTER_VIRTUALHOST": vhost,
            "PID_DIR": str(tmp_path / "run"),
            "LOG_TARGET": str(tmp_path / "harvester.log"),
            "HOME": str(tmp_path),
            "DUP_FILTER_DATABASE": str(tmp_path / "harvester.sqlite"),
            "HARVESTER_CACHE": "-",
            "HARVESTER_RETRIES": "0",
            "HARVESTER_BATCH": "5",
            "HARVESTER_SOURCES": ",".join(shop.source for shop in shops),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings.reload()
        harvester_settings.reload()
        assert program("edeposit_amqp_tool.py", "--host", "harvester", "--create")[0] == 0
        parameters = pika.ConnectionParameters(port=rabbit.port, virtual_host=vhost, heartbeat=0)
        site = Site(server, shops, parameters, tmp_path)
        yield site
        site.connection.close()
        monkeypatch.setenv("STOP_TIMEOUT", "0")
        for name in (PROGRAM, ON_REQUEST):
            program(name, "stop")
    monkeypatch.undo()
    settings.reload()
    harvester_settings.reload()


# --- once -----------------------------------------------------------------------------------


def test_a_harvest_arrives_in_the_queue_and_a_second_one_sends_nothing(site):
    code, out, error = program(PROGRAM, "--harvest")
    assert (code, error) == (0, "")
    assert out.count(": 8 found, ") == 4
    books, errors, uuids = site.take()
    assert site.has_sent(books)
    assert errors == []
    assert len(books) / 5 <= len(uuids) == len(set(uuids))
    assert site.seen() == len(books)

    code, out, error = program(PROGRAM, "-r")
    assert (code, error, site.count()) == (0, "", 0)
    assert "There is nothing new" in out


def test_on_a_terminal_there_are_bars_and_tables(site):
    def on_terminal(*arguments):
        output = []
        command = [sys.executable, str(BIN / PROGRAM), *arguments]

        def read(descriptor):
            output.append(os.read(descriptor, 65536))
            return output[-1]

        status = pty.spawn(command, read, lambda _descriptor: b"")
        return os.waitstatus_to_exitcode(status), b"".join(output).decode()

    code, output = on_terminal("-r")
    assert code == 0
    assert "grada_cz: 8 found" in output
    code, output = on_terminal("-u", "--samples-only")
    assert code == 0
    assert "sample:" in output


def test_only_the_sources_asked_for(site):
    code, out, _ = program(PROGRAM, "-r", "--source", "grada_cz", "--source", "ben_cz", "--json")
    assert code == 0
    assert {json.loads(line)["source"] for line in out.splitlines()} == {"grada_cz", "ben_cz"}
    assert site.has_sent(site.take()[0], "grada_cz", "ben_cz")
    code, out, error = program(PROGRAM, "-r", "--source", "grada")
    assert (code, out, site.count()) == (1, "", 0)
    assert "there is no source 'grada' (there are: ben_cz," in error


def titles(output):
    return sum(line.startswith("title: ") for line in output.splitlines())


def test_a_dry_run_prints_sends_nothing_and_marks_nothing(site):
    code, out, error = program(PROGRAM, "-r", "--dry-run", "--json")
    assert (code, error) == (0, "")
    printed = [deserialize(line, class_table("harvester")) for line in out.splitlines()]
    assert site.has_sent(printed)
    found = sum(len(shop.expected) for shop in site.shops.values())
    assert titles(program(TEST_PROGRAM, "-r")[1]) == found > len(printed)
    assert site.count() == site.seen() == 0
    assert program(PROGRAM, "-r")[0] == 0
    assert site.has_sent(site.take()[0])
    assert titles(program(TEST_PROGRAM, "-r")[1]) == found
    assert program(TEST_PROGRAM, "-r", "-d")[1] == ""


def test_a_broken_source_and_broken_books_cost_nobody_else(site):
    grada, ben = site.shops["grada_cz"], site.shops["ben_cz"]
    site.server.hosts[grada.host] = {path: (500, {}, b"broken") for path in grada.pages}
    detail = next(path for path in ben.pages if ben.expected[3].optionals.URL.endswith(path))
    site.server.hosts[ben.host][detail] = (404, {}, b"gone")
    code, out, error = program(PROGRAM, "-r")
    assert code == 1
    assert "grada_cz: 0 found" in out
    assert error.count("grada_cz: the server answered with status 500") == 1
    books, errors, _ = site.take()
    ben.expected.pop(3)
    assert site.has_sent(books, "ben_cz", "cpress_cz", "zonerpress_cz")
    assert {headers["exception_name"] for headers in errors} == {"SourceFailedError"}
    texts = sorted(headers["exception"] for headers in errors)
    assert texts[0].startswith("source ben_cz: 1 error\n")
    assert "404" in texts[0]
    assert texts[1].startswith("source grada_cz: ")


def test_without_a_queue_nothing_is_marked(site):
    site.channel.queue_unbind("plone", "harvester", "result")
    code, _, error = program(PROGRAM, "-r")
    assert code == 1
    assert "no queue is bound to exchange 'harvester' with routing key 'result'" in error
    assert site.seen() == 0
    site.channel.queue_bind("plone", "harvester", "result")
    assert program(PROGRAM, "-r")[0] == 0
    assert site.has_sent(site.take()[0])


def test_no_source_is_no_failure_but_is_said(site, monkeypatch):
    monkeypatch.setenv("HARVESTER_SOURCES", "")
    code, out, error = program(PROGRAM, "-r")
    assert (code, error) == (0, "")
    assert out.startswith("No source was harvested")


def test_without_a_broker_no_page_is_asked_for(site, monkeypatch):
    monkeypatch.setenv("RABBITMQ_PORT", "1")
    code, _, error = program(PROGRAM, "-r")
    assert code == 1
    assert "127.0.0.1:1" in error
    assert site.server.requests == []


def test_a_broker_that_goes_away_after_the_harvest_gets_everything_next_time(
    site, proxy, monkeypatch
):
    monkeypatch.setenv("RABBITMQ_PORT", str(proxy.port))
    restore = serve_then(site, proxy.close)
    code, _, error = program(PROGRAM, "-r", "--source", "grada_cz")
    assert code == 1
    assert str(proxy.port) in error
    assert site.count() == site.seen() == 0
    restore()
    monkeypatch.setenv("RABBITMQ_PORT", str(site.connection._impl.params.port))
    assert program(PROGRAM, "-r")[0] == 0
    assert site.has_sent(site.take()[0])


def serve_then(site, act):
    """The list of one source calls ``act`` before it is served; returns how to undo that."""
    shop = site.shops["grada_cz"]
    path, content = next((p, c) for p, c in shop.pages.items() if "novinky" in p)

    def answer(handler):
        act()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    pages = site.server.hosts[shop.host]
    pages[path] = answer
    return lambda: pages.update({path: content})


def test_a_connection_that_is_lost_meanwhile_is_made_again(site, proxy, monkeypatch):
    monkeypatch.setenv("RABBITMQ_PORT", str(proxy.port))
    cuts = []
    serve_then(site, lambda: cuts.append(proxy.cut()))
    code, _, error = program(PROGRAM, "-r")
    assert (code, error) == (0, "")
    assert cuts
    books = {identity_of(book): book for book in site.take()[0]}
    assert site.has_sent(books.values())


@pytest.mark.parametrize("as_daemon", [False, True])
def test_a_broker_that_takes_only_small_messages_gets_small_ones(site, limit_messages, as_daemon):
    limit_messages(1500)
    if as_daemon:
        start(PROGRAM)
        last = site.directory / "harvester-last.json"
        wait_for(last.exists, 30, "the harvest")
    else:
        assert program(PROGRAM, "-r")[0] == 0
    books, errors, uuids = site.take()
    assert site.has_sent(books)
    assert errors == []
    assert len(books) / 3 < len(uuids)


def test_killed_at_any_moment_no_book_is_lost(site, monkeypatch):
    monkeypatch.setenv("HARVESTER_BATCH", "1")
    rng = random.Random(7)
    arrived = []
    for _ in range(6):
        command = [sys.executable, str(BIN / PROGRAM), "-r"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = rng.randrange(1, 5)
        wait_for(lambda p=process, n=wanted: p.poll() is not None or site.count() >= n, 30, "books")
        process.send_signal(signal.SIGKILL)
        process.wait()
        books, errors, _ = site.take()
        arrived += {identity_of(book) for book in books}
        assert errors == []
        assert site.seen() <= len(set(arrived))
    assert program(PROGRAM, "-r")[0] == 0
    arrived += map(identity_of, site.take()[0])
    wanted = {identity_of(book) for shop in site.shops.values() for book in shop.expected}
    assert set(arrived) == wanted
    assert program(PROGRAM, "-r")[0] == 0
    assert site.count() == 0


# --- the self-test --------------------------------------------------------------------------


def test_a_self_test_that_passes_says_and_sends_nothing(site):
    assert program(PROGRAM, "--unittest") == (0, "", "")
    assert program(TEST_PROGRAM, "-u") == (0, "", "")
    assert site.count() == 0


def test_a_changed_layout_is_in_the_queue(site):
    shop = site.shops["grada_cz"]
    for path, page in shop.pages.items():
        site.server.hosts[shop.host][path] = page.replace(b"prices", b"cost")
    code, out, _ = program(PROGRAM, "-u")
    assert code == 1
    assert "price" in out
    assert "WRONG" in out
    assert "publisher" not in out
    books, (headers,), _ = site.take()
    assert books == []
    assert headers["exception_name"] == "SelfTestError"
    assert headers["exception_type"] == (
        "<class 'edeposit.amqp.harvester.exceptions.SelfTestError'>"
    )
    assert headers["exception"].startswith(
        "source grada_cz: the self-test failed in 1 of its checks\n"
    )
    assert "live: price: expected (any), found in 0 of 8" in headers["exception"]
    assert headers["UUID"]


# --- usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code"),
    [([], 0), (["-r", "start"], 2), (["--list"], 0), (["start", "--interval", "0"], 2)],
)
def test_usage(site, arguments, code):
    assert program(PROGRAM, *arguments)[0] == code
    assert site.server.requests == []


# --- the daemon -----------------------------------------------------------------------------


def start(name, *arguments):
    code, _, error = program(name, "start", *arguments)
    assert (code, error) == (0, "")


def test_the_daemon_harvests_at_its_interval_and_remembers_the_last_time(site):
    start(PROGRAM, "--interval", "1")
    wait_for(lambda: (site.directory / "harvester-last.json").exists(), 30, "the harvest")
    assert site.has_sent(site.take()[0])
    shop = site.shops["grada_cz"]
    asked = len(site.server.paths(shop.host))
    wait_for(lambda: len(site.server.paths(shop.host)) > asked, 30, "another harvest")
    assert json.loads(program(PROGRAM, "status", "--json")[1])["state"] == "connected"
    code, out, _ = program(PROGRAM, "stop")
    assert code == 0
    assert "all accepted work was finished" in out
    assert site.count() == 0

    # Not due yet: a restart makes no harvest of its own.
    asked = len(site.server.requests)
    start(PROGRAM, "--interval", "3600")
    log = site.directory / "harvester.log"
    wait_for(lambda: "next harvest in" in log.read_text("utf-8"), 20, "the daemon to wait")
    assert program(PROGRAM, "stop")[0] == 0
    assert len(site.server.requests) == asked

    # Missed while it was down: made at the start.
    (site.directory / "harvester-last.json").write_text('{"started": 0}', "utf-8")
    start(PROGRAM, "--interval", "3600")
    wait_for(lambda: len(site.server.requests) > asked, 20, "the missed harvest")


def test_the_daemon_can_be_stopped_in_the_middle_of_a_harvest(site):
    shop = site.shops["grada_cz"]
    page, content = next((p, c) for p, c in shop.pages.items() if "novinky" in p)
    reached, go_on = threading.Event(), threading.Event()

    def hang(_handler):
        reached.set()
        go_on.wait(120)

    site.server.hosts[shop.host][page] = hang
    start(PROGRAM, "--interval", "3600")
    assert reached.wait(30)
    started = time.monotonic()
    code, _, _ = program(PROGRAM, "stop")
    assert code == 0
    assert time.monotonic() - started < 15
    go_on.set()
    books = site.take()[0]
    site.server.hosts[shop.host][page] = content
    # It was not complete, so it is made again, and what was sent is not sent twice.
    start(PROGRAM, "--interval", "3600")
    wait_for(lambda: (site.directory / "harvester-last.json").exists(), 30, "the harvest")
    assert site.has_sent(books + site.take()[0])


def test_the_daemon_waits_for_a_lost_broker(site, proxy, monkeypatch):
    monkeypatch.setenv("RABBITMQ_PORT", str(proxy.port))
    serve_then(site, proxy.cut)
    start(PROGRAM, "--interval", "3600")
    wait_for(lambda: (site.directory / "harvester-last.json").exists(), 30, "the harvest")
    books = {identity_of(book): book for book in site.take()[0]}
    assert site.has_sent(books.values())


def test_a_daemon_that_cannot_start_says_why(site, monkeypatch):
    (site.directory / "file").write_text("no directory")
    monkeypatch.setenv("HARVESTER_STATE", str(site.directory / "file" / "state.json"))
    code, _, error = program(PROGRAM, "start")
    assert code == 1
    assert "the state cannot be kept here" in error
    monkeypatch.setenv("HARVESTER_STATE", "")
    monkeypatch.setenv("HARVESTER_SOURCES", "ben_cz,grada")
    for name in (PROGRAM, ON_REQUEST):
        code, _, error = program(name, "start")
        assert code == 1
        assert error.count("\n") == 1
        assert "there is no source 'grada' (there are: ben_cz," in error


# --- on request -----------------------------------------------------------------------------


def test_a_harvest_can_be_ordered(site):
    start(ON_REQUEST)
    progress = []
    with AMQPClient("harvester") as client:
        for _ in range(2):  # nothing is marked, as the answer might have been lost
            answer = client.call(
                HarvestRequest(["grada_cz"]), timeout=60, on_progress=progress.append
            )
            assert isinstance(answer, Publications)
            assert site.has_sent(answer.publications, "grada_cz")
        assert progress == [SourceHarvested("grada_cz", 8, 8, [])] * 2
        everything = client.call(HarvestRequest(), timeout=60)
        assert site.has_sent(everything.publications)
        with pytest.raises(RemoteError, match="there is no source 'x'") as caught:
            client.call(HarvestRequest(["x"]), timeout=60)
        assert caught.value.name == "HarvestFailedError"
        with pytest.raises(RemoteError, match="must be a list of names"):
            client.call(HarvestRequest("grada_cz"), timeout=60)
    assert os.listdir(site.directory / "run")
