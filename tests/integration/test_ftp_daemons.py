"""FTP users and imports as people meet them: real ProFTPD, real RabbitMQ, both daemons."""

import ftplib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pika
import pytest

from edeposit.amqp import settings
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError
from edeposit.amqp.ftp import api
from edeposit.amqp.ftp import settings as ftp_settings
from edeposit.amqp.ftp.structures import (
    AddUser,
    ChangePassword,
    DataPair,
    EbookFile,
    ImportRequest,
    ListRegisteredUsers,
    RemoveUser,
    SetUserSettings,
    Userlist,
)
from edeposit.amqp.serializers import deserialize
from edeposit.amqp.service import class_table
from edeposit.amqp.testing import ProftpdServer, wait_for

from ..ftp.conftest import GOOD, needs_root
from ..ftp.test_metadata import FORMATS, HOSTILE
from .programs import BIN, program

pytestmark = needs_root

MANAGER = "edeposit_amqp_ftp_managerd.py"
MONITOR = "edeposit_amqp_ftp_monitord.py"
LOCK = "delete_me_to_import_files.txt"
BOOK = b"%PDF-1.4\n\xff\xfe\x00" + bytes(range(256))


@pytest.fixture
def ftp(monkeypatch, rabbit, vhost, tmp_path):
    """A private ProFTPD; the environment leads our programs to it and to the broker."""
    with ProftpdServer() as server:
        environment = {
            **rabbit.env(),
            **server.env(),
            "RABBITMQ_FTP_VIRTUALHOST": vhost,
            "PID_DIR": str(tmp_path / "run"),
            "LOG_TARGET": str(tmp_path / "ftp.log"),
            "HOME": str(tmp_path),
            "FTP_HASH_ROUNDS": "1000",
            # Lines written right before a copytruncate are gone: then the homes themselves tell.
            "FTP_SCAN_INTERVAL": "5",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings.reload()
        ftp_settings.reload()
        assert program("edeposit_amqp_tool.py", "--host", "ftp", "--create")[0] == 0
        yield server
        monkeypatch.setenv("STOP_TIMEOUT", "0")
        for name in (MANAGER, MONITOR):
            program(name, "stop")
    monkeypatch.undo()
    settings.reload()
    ftp_settings.reload()


@pytest.fixture
def daemons(ftp):
    for name in (MANAGER, MONITOR):
        code, _, error = program(name, "start")
        assert (code, error) == (0, "")


class Inbox:
    """The queue of import requests, as a client sees it."""

    def __init__(self, rabbit, vhost):
        self.parameters = pika.ConnectionParameters(
            port=rabbit.port, virtual_host=vhost, heartbeat=0
        )
        self.connection = None

    def get(self):
        """The next message as (UUID, properties, body); None if there is none."""
        try:
            if self.connection is None:
                self.connection = pika.BlockingConnection(self.parameters)
                self.channel = self.connection.channel()
            method, properties, body = self.channel.basic_get("plone", auto_ack=True)
        except pika.exceptions.AMQPError:
            self.connection = None
            return None
        return method and (properties.headers["UUID"], properties, body)

    def next(self):
        """The next import request."""
        _, properties, body = wait_for(self.get, 20, "an import request")
        assert properties.delivery_mode == 2
        assert properties.content_type == "application/json"
        request = deserialize(body, class_table("ftp"))
        assert isinstance(request, ImportRequest)
        return request


@pytest.fixture
def inbox(rabbit, vhost):
    inbox = Inbox(rabbit, vhost)
    yield inbox
    if inbox.connection is not None:
        inbox.connection.close()


def upload(session, **files):
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode("utf-8")
        session.storbinary(f"STOR {name.replace('_', '.')}", io.BytesIO(data))


def read(session, name):
    lines = []
    session.retrlines(f"RETR {name}", lines.append)
    return "\n".join(lines)


def is_locked(session):
    return LOCK in session.nlst()


# --- the manager ------------------------------------------------------------------------------


def test_users_are_managed_over_rabbitmq(daemons, ftp):
    with AMQPClient("ftp") as client:
        assert client.call(AddUser("garda", "tajné")) is True
        ftp.login("garda", "tajné").quit()
        assert client.call(ListRegisteredUsers()) == Userlist(["garda"])
        assert client.call(ChangePassword("garda", "jiné")) is True
        with pytest.raises(ftplib.error_perm):
            ftp.login("garda", "tajné")
        ftp.login("garda", "jiné").quit()
        stored = client.call(SetUserSettings("garda", True, False, True, True, True))
        assert stored.SAME_DIR_PAIRING is False
        assert client.call(RemoveUser("garda")) is True
        with pytest.raises(ftplib.error_perm):
            ftp.login("garda", "jiné")
        assert client.call(ListRegisteredUsers()) == Userlist([])


def test_hostile_names_are_refused_and_the_daemon_lives(daemons, ftp):
    (ftp.data_path / "other").mkdir()
    before = sorted(os.listdir(ftp.data_path))
    with AMQPClient("ftp") as client:
        for name in ("..", "", "a/../b", "a\nroot:x:0:0::/:", "a\0b", "x" * 255, None, ["a"]):
            for request in (AddUser(name, "x"), RemoveUser(name), ChangePassword(name, "x")):
                with pytest.raises(RemoteError) as caught:
                    client.call(request)
                assert caught.value.name == "AssertionError"
        with pytest.raises(RemoteError, match="reqired"):
            client.call(AddUser("garda", ""))
        assert client.call(ListRegisteredUsers()) == Userlist([])
    assert sorted(os.listdir(ftp.data_path)) == before
    assert ftp.login_file.read_text("ascii") == ""


def test_no_password_reaches_a_log_or_an_answer(daemons, ftp, tmp_path, inbox):
    body = '{"__nt_name": "AddUser", "username": "ga/da", "password": "velmitajne"}'
    connection = pika.BlockingConnection(inbox.parameters)
    connection.channel().basic_publish(
        "ftp", "request", body, pika.BasicProperties(headers={"UUID": "u-1"})
    )
    connection.close()
    uuid, properties, answer = wait_for(inbox.get, 10, "an answer")
    assert uuid == "u-1"
    assert properties.headers["exception_name"] == "AssertionError"
    everything = repr(properties) + repr(answer) + (tmp_path / "ftp.log").read_text("utf-8")
    assert "velmitajne" not in everything


def test_both_daemons_run_beside_each_other(daemons, ftp):
    assert "consuming" in program(MANAGER, "status")[1]
    code, out, _ = program(MONITOR, "status", "--json")
    assert code == 0
    assert json.loads(out)["state"] == "connected"
    for name in (MONITOR, MANAGER):
        code, out, _ = program(name, "stop")
        assert code == 0
        assert "was finished" in out
        assert program(name, "status")[0] == 3


@pytest.mark.parametrize("turn", range(3))
def test_a_manager_killed_between_effect_and_ack_answers_as_if_it_had_not_been(ftp, inbox, turn):
    """The broker delivers the request again: no "already registered", no "not found"."""
    connection = pika.BlockingConnection(inbox.parameters)
    for kind, fields, effect in (
        ("AddUser", ', "password": "x"', lambda: "garda:" in ftp.login_file.read_text("ascii")),
        ("RemoveUser", "", lambda: "garda:" not in ftp.login_file.read_text("ascii")),
    ):
        process = subprocess.Popen([sys.executable, BIN / MANAGER, "start", "-f"])
        wait_for(lambda: "consuming" in program(MANAGER, "status")[1], 20, "it consumes")
        body = f'{{"__nt_name": "{kind}", "username": "garda"{fields}}}'
        properties = pika.BasicProperties(headers={"UUID": kind}, delivery_mode=2)
        connection.channel().basic_publish("ftp", "request", body, properties)
        wait_for(effect, 20, "the effect is there")
        process.kill()
        process.wait(20)
        assert program(MANAGER, "start")[0] == 0
        uuid = None
        while uuid != kind:  # the answer before may come twice, if the kill was after its confirm
            uuid, properties, answer = wait_for(inbox.get, 20, "an answer")
            assert answer == b"true", properties
        assert program(MANAGER, "stop")[0] == 0
    connection.close()


def test_start_says_what_is_missing(ftp, monkeypatch, tmp_path):
    monkeypatch.setenv("FTP_CONF_PATH", "/nowhere")
    code, _, error = program(MANAGER, "start")
    assert code == 1
    assert "there is no directory /nowhere: has edeposit_proftpd_init.py been run?" in error
    code, _, error = program(MONITOR, "start", "-n", "/nowhere/extended.log")
    assert code == 1
    assert "'/nowhere/extended.log' doesn't exists!" in error
    monkeypatch.setenv("RABBITMQ_FTP_EXCHANGE", "nonsense")
    code, _, error = program(MONITOR, "start")
    assert code == 1
    assert "nonsense" in error
    assert "Traceback" not in error


# --- imports ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["double.csv", "object.json", "strict.xml", "mapping.yaml"])
def test_a_paired_upload_arrives_as_an_import_request(daemons, ftp, inbox, name):
    with AMQPClient("ftp") as client:
        client.call(AddUser("garda", "tajne"))
    session = ftp.login("garda", "tajne")
    upload(session, kniha_pdf=BOOK, **{name: FORMATS[name]})
    session.delete(LOCK)
    request = inbox.next()
    home = ftp.data_path / "garda"
    (pair,) = request.requests
    assert isinstance(pair, DataPair)
    assert pair.ebook_file == EbookFile(f"{home}/kniha.pdf", BOOK)
    assert pair.metadata_file.filename == f"{home}/{name}"
    assert pair.metadata_file.raw_data == FORMATS[name]
    book = pair.metadata_file.parsed_data
    assert (book.ISBN, book.nazev) == (GOOD["ISBN knihy"], "Zen")
    assert (request.username, request.error_log) == ("garda", "")
    wait_for(lambda: is_locked(session), what="the lock is back")
    assert sorted(session.nlst()) == [LOCK, "import.log.txt"]
    assert read(session, "import.log.txt").startswith("Status: Ok\n")


def test_wrong_metadata_are_told_to_the_user(daemons, ftp, inbox):
    api.add_user("garda", "tajne")
    session = ftp.login("garda", "tajne")
    upload(session, kniha_pdf=BOOK, kniha_json='{"isbn": "80-86056-31-8"}')
    session.delete(LOCK)
    request = inbox.next()
    assert request.requests == [EbookFile(f"{ftp.data_path}/garda/kniha.pdf", BOOK)]
    wait_for(lambda: is_locked(session), what="the lock is back")
    assert "Can't parse kniha.json: Missing field(s):" in read(session, "error.log.txt")
    assert read(session, "import.log.txt").startswith("Status: Error\n")
    assert sorted(session.nlst()) == sorted([LOCK, "error.log.txt", "import.log.txt", "kniha.json"])


def test_a_failed_or_forged_deletion_starts_nothing(daemons, ftp, inbox):
    for name in ("garda", "victim"):
        api.add_user(name, "tajne")
    victim = ftp.data_path / "victim"
    (victim / "a.pdf").write_bytes(b"x")
    session = ftp.login("garda", "tajne")
    for path in (f"../victim/{LOCK}", f"../../etc/{LOCK}", f"d/{LOCK}"):
        with pytest.raises(ftplib.error_perm):
            session.delete(path)
    # One line of the log with a carriage return in it, which looks like two.
    forged = f"DELE x\r{victim}/{LOCK}, victim, DELE, 1795487046"
    session.sock.sendall(forged.encode() + b"\r\n")
    wait_for(
        lambda: b"victim, DELE, 1795487046, garda" in ftp.log_file.read_bytes(), what="it is logged"
    )
    session = ftp.login("garda", "tajne")  # the answer, with the name in it, confuses ftplib
    upload(session, mine_pdf=BOOK)
    session.delete(LOCK)
    assert inbox.next().username == "garda"
    assert inbox.get() is None
    assert (victim / "a.pdf").exists()


def test_a_link_out_of_the_home_is_not_followed(daemons, ftp, inbox, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("precious")
    secret.chmod(0o600)
    api.add_user("garda", "tajne")
    home = ftp.data_path / "garda"
    (home / "kniha.epub").symlink_to(secret)
    (home / "adresar").symlink_to("/etc")
    session = ftp.login("garda", "tajne")
    upload(session, good_pdf=BOOK)
    session.delete(LOCK)
    request = inbox.next()
    assert request.requests == [EbookFile(f"{home}/good.pdf", BOOK)]
    assert request.error_log.count("it is a symbolic link") == 2
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("precious", 0o600)


def test_hostile_uploads_leave_the_daemon_small_and_alive(daemons, ftp, inbox):
    api.add_user("garda", "tajne")
    home = ftp.data_path / "garda"
    session = ftp.login("garda", "tajne", encoding="latin-1")
    hostile = {f"h{n}.{name.split('.')[1]}": HOSTILE[name] for n, name in enumerate(HOSTILE)}
    for name, content in hostile.items():
        upload(session, **{name: content})
    for name in ("\xe9\xe8.pdf", "a" * 251 + ".pdf", "-rf.pdf", "\x01.pdf", "%s%n.pdf"):
        upload(session, **{name: BOOK})
    with open(home / "sparse.epub", "wb") as file:
        file.truncate(1 << 30)
    os.chown(home / "sparse.epub", 2000, 2000)
    session.delete(LOCK)
    request = inbox.next()
    books = [one for one in request.requests if one.raw_data]
    assert [one.raw_data for one in books] == [BOOK] * 5
    (large,) = [one for one in request.requests if one.raw_data is None]
    assert Path(large.filename).stat().st_size == 1 << 30
    for name in hostile:
        assert f"/{name}: " in request.error_log
    wait_for(lambda: is_locked(session), what="the lock is back")
    assert set(hostile) <= set(session.nlst())
    pid = json.loads(program(MONITOR, "status", "--json")[1])["pid"]
    peak = next(
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    assert peak < 400_000, f"{peak} kB"


# --- faults -------------------------------------------------------------------------------------

USERS = 20
ROUNDS = 25


class Monitor:
    """The monitor as a foreground process, to be killed."""

    def __init__(self, tmp_path):
        self.log = tmp_path / "ftp.log"
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, str(BIN / MONITOR), "start", "--foreground"], stdin=subprocess.DEVNULL
        )
        return self

    def has_told(self, text):
        return self.log.exists() and text in self.log.read_text("utf-8")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def monitor(ftp, tmp_path):
    monitor = Monitor(tmp_path).start()
    yield monitor
    if monitor.process.poll() is None:
        monitor.kill()


class Publishers:
    """Users who upload one file after another, each by real FTP, waiting for the lock each time."""

    def __init__(self, server, rounds=ROUNDS):
        self.server = server
        self.rounds = rounds
        self.done = 0
        self.errors = []
        self.uploaded = set()
        self._lock = threading.Lock()
        for number in range(USERS):
            api.add_user(f"user{number}", "x")
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(USERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc_info):
        for thread in self.threads:
            thread.join(120)

    def _run(self, number):
        try:
            for turn in range(self.rounds):
                if turn % 5 == 0:  # some sessions are older than a rotation, some are not
                    session = self.server.login(f"user{number}", "x")
                content = f"{number}-{turn}".encode()
                upload(session, **{f"book{turn}.pdf": content})
                session.delete(LOCK)
                with self._lock:
                    self.uploaded.add(content)
                    self.done += 1
                wait_for(lambda: is_locked(session), 60, "the lock is back")  # noqa: B023
        except BaseException as error:
            self.errors.append(error)

    def wait_until(self, count):
        wait_for(lambda: self.done >= count or self.errors, 60, f"{count} uploads")
        assert not self.errors, self.errors


def collect(inbox, uploaded):
    """Wait until every upload has come; returns content -> UUIDs, and UUID -> how often."""
    contents = {}
    counts = {}

    def all_there():
        while (message := inbox.get()) is not None:
            uuid, _, body = message
            counts[uuid] = counts.get(uuid, 0) + 1
            for one in deserialize(body, class_table("ftp")).requests:
                contents.setdefault(one.raw_data, set()).add(uuid)
        return set(contents) >= uploaded

    wait_for(all_there, 60, "every upload is reported")
    return contents, counts


def test_killed_in_the_middle_of_500_uploads_each_is_reported_once(ftp, monitor, inbox):
    with Publishers(ftp) as publishers:
        for count in (100, 200, 300):
            publishers.wait_until(count)
            monitor.kill()
            monitor.start()
        publishers.wait_until(USERS * ROUNDS)
    assert publishers.errors == []
    contents, counts = collect(inbox, publishers.uploaded)
    assert len(contents) == USERS * ROUNDS
    assert all(len(uuids) == 1 for uuids in contents.values())
    # Killed between the broker's confirm and our note of it: the same UUID comes once more.
    assert sum(counts.values()) - len(counts) <= 3
    assert monitor.stop() == 0
    assert not list(Path(ftp_settings.SPOOL_PATH).glob("import-*"))


def test_the_log_rotated_in_the_middle_loses_nothing(ftp, monitor, inbox, monkeypatch):
    log = ftp.log_file
    with Publishers(ftp, rounds=10) as publishers:
        publishers.wait_until(40)
        log.rename(log.with_name("extended.log.1"))  # logrotate; the server goes on writing there
        publishers.wait_until(80)
        os.kill(int(ftp.pid_file.read_text()), signal.SIGHUP)  # it opens a new one
        publishers.wait_until(120)
        wait_for(log.exists, what="the server has a new log")
        os.truncate(log, 0)  # copytruncate
        publishers.wait_until(160)
        monitor.kill()  # a rotation while it is down
        log.rename(log.with_name("extended.log.2"))
        monitor.start()
    assert publishers.errors == []
    contents, _ = collect(inbox, publishers.uploaded)
    assert len(contents) == USERS * 10
    assert all(len(uuids) == 1 for uuids in contents.values())


def test_the_broker_down_for_a_while_loses_nothing(ftp, monitor, inbox, rabbit):
    with Publishers(ftp, rounds=10) as publishers:
        publishers.wait_until(40)
        rabbit.stop_app()
        # Users are not held up: their uploads wait in the spool.
        publishers.wait_until(160)
        rabbit.start_app()
    assert publishers.errors == []
    contents, _ = collect(inbox, publishers.uploaded)
    assert len(contents) == USERS * 10
    assert all(len(uuids) == 1 for uuids in contents.values())
    assert monitor.process.poll() is None


def test_a_missing_binding_keeps_imports_until_it_is_back(ftp, monitor, inbox):
    api.add_user("garda", "tajne")
    connection = pika.BlockingConnection(inbox.parameters)
    channel = connection.channel()
    channel.queue_unbind("plone", "ftp", "result")
    session = ftp.login("garda", "tajne")
    upload(session, a_pdf=BOOK)
    session.delete(LOCK)
    wait_for(lambda: monitor.has_told("is not sent"), what="it is told")
    wait_for(lambda: is_locked(session), what="the lock is back")
    channel.queue_bind("plone", "ftp", "result")
    connection.close()
    assert inbox.next().requests[0].raw_data == BOOK


def test_sigterm_while_the_broker_is_away_ends_it_and_keeps_the_imports(
    ftp, monitor, inbox, rabbit, monkeypatch
):
    api.add_user("garda", "tajne")
    session = ftp.login("garda", "tajne")
    wait_for(lambda: monitor.has_told("connected to virtual host"), what="it works")
    rabbit.stop_app()
    try:
        upload(session, a_pdf=BOOK)
        session.delete(LOCK)
        wait_for(lambda: is_locked(session), what="the lock is back")
        monitor.stop()
    finally:
        rabbit.start_app()
    monitor.start()
    assert inbox.next().requests[0].raw_data == BOOK
