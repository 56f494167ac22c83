"""Conversions over RabbitMQ: the daemon, the client, progress, and what is left when it ends."""

import json
import os
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pika
import pytest

from edeposit.amqp import settings
from edeposit.amqp.calibre import settings as calibre_settings
from edeposit.amqp.calibre.structures import ConversionProgress, ConversionRequest
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError
from edeposit.amqp.testing import wait_for

from ..calibre.conftest import HTML, SENTENCE, b64, ebook_converts, unb64
from ..calibre.test_conversion import zip_bomb
from .programs import program

# Some seconds of work.
LARGE = "<html><body>" + "".join(f"<h1>{n}</h1><p>{SENTENCE * 40}</p>" for n in range(300))

DAEMON = "edeposit_amqp_calibredaemon.py"


@pytest.fixture
def configured(monkeypatch, rabbit, vhost, tmp_path):
    """The environment points the programs to the broker; conversions have their own directory."""
    with tempfile.TemporaryDirectory(prefix="edeposit-test-") as work:
        Path(work).chmod(0o755)
        environment = {
            **rabbit.env(),
            "RABBITMQ_CALIBRE_VIRTUALHOST": vhost,
            "RABBITMQ_CALIBRE_CONCURRENCY": "2",
            "PID_DIR": str(tmp_path / "run"),
            "LOG_TARGET": str(tmp_path / "calibre.log"),
            "HOME": str(tmp_path),
            "CALIBRE_TMP_PATH": work,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings.reload()
        calibre_settings.reload()
        assert program("edeposit_amqp_tool.py", "--host", "calibre", "--create")[0] == 0
        yield Path(work)
        monkeypatch.setenv("STOP_TIMEOUT", "0")
        program(DAEMON, "stop")
    monkeypatch.undo()
    settings.reload()
    calibre_settings.reload()


@pytest.fixture
def daemon(configured):
    code, _, error = program(DAEMON, "start")
    assert (code, error) == (0, "")
    return configured


def daemon_pid():
    return json.loads(program(DAEMON, "status", "--json")[1])["pid"]


def is_over(work):
    """No converter runs, and no working directory is left."""
    return ebook_converts(work) == 0 and not list(work.iterdir())


def test_a_book_is_converted_with_progress(daemon):
    progress = []
    with AMQPClient("calibre") as client:
        request = ConversionRequest("html", "epub", b64(HTML))
        response = client.call(request, on_progress=progress.append)
        assert response.format == "epub"
        assert unb64(response.b64_data).startswith(b"PK")
        assert "EPUB output written to output.epub" in response.protocol
        assert all(isinstance(one, ConversionProgress) for one in progress)
        assert len(progress) >= 2
        request = ConversionRequest("html", "txt", b64(HTML))
        assert SENTENCE in unb64(client.call(request).b64_data).decode()


def test_a_first_generation_client_gets_one_answer(daemon, rabbit, vhost):
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(port=rabbit.port, virtual_host=vhost)
    )
    channel = connection.channel()
    lines = b64(HTML)
    body = {
        "__nt_name": "ConversionRequest",
        "input_format": "html",
        "output_format": "epub",
        "b64_data": "\n".join(lines[i : i + 80] for i in range(0, len(lines), 80)),
    }
    properties = pika.BasicProperties(headers={"UUID": "u-1"}, delivery_mode=2)
    channel.basic_publish("convert", "request", json.dumps(body), properties)
    message = wait_for(
        lambda: (found := channel.basic_get("plone", auto_ack=True))[0] and found, 30, "an answer"
    )
    assert message[1].headers["UUID"] == "u-1"
    answer = json.loads(message[2])
    assert answer["__nt_name"] == "ConversionResponse"
    assert set(answer) == {"__nt_name", "format", "b64_data", "protocol"}
    assert channel.basic_get("plone")[0] is None
    connection.close()


def test_bad_requests_are_answered_and_the_daemon_lives(daemon):
    bodies = [
        ({"input_format": "exe", "output_format": "epub", "b64_data": ""}, "BadValueError"),
        ({"input_format": "html", "output_format": "../x", "b64_data": ""}, "BadValueError"),
        ({"input_format": "html", "output_format": "epub", "b64_data": "?"}, "ValueError"),
        ({"input_format": "epub", "output_format": "txt", "b64_data": b64("x")}, "UserWarning"),
    ]
    with AMQPClient("calibre") as client:
        for fields, name in bodies:
            with pytest.raises(RemoteError) as caught:
                client.call(json.dumps({"__nt_name": "ConversionRequest", **fields}).encode())
            assert caught.value.name == name
        assert client.call(ConversionRequest("txt", "epub", b64("Ahoj"))).format == "epub"


def test_a_zip_bomb_is_answered_while_others_are_served(daemon, monkeypatch):
    with AMQPClient("calibre") as client, ThreadPoolExecutor(1) as pool:
        bomb = pool.submit(
            client.call, ConversionRequest("epub", "txt", b64(zip_bomb(4, 2**28))), 120
        )
        assert client.call(ConversionRequest("txt", "epub", b64("Ahoj")), 60).format == "epub"
        with pytest.raises(RemoteError, match="Conversion failed"):
            bomb.result(120)
    assert is_over(daemon)
    lines = Path(f"/proc/{daemon_pid()}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    assert peak < 400_000, f"{peak} kB"


def test_two_requests_are_converted_at_the_same_time(daemon):
    with AMQPClient("calibre") as client, ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(client.call, ConversionRequest("html", "epub", b64(LARGE)), 120)
            for _ in range(2)
        ]
        wait_for(lambda: len(list(daemon.iterdir())) == 2, 20, "both are being converted")
        assert program(DAEMON, "stop")[0] == 0
        done = [call.exception(1) or call.result() for call in calls]
    # Stopping has drained: both are finished.
    assert [answer.format for answer in done] == ["epub", "epub"]


def test_stop_in_the_middle_leaves_nothing_and_the_request_comes_back(daemon, monkeypatch):
    with AMQPClient("calibre") as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.call, ConversionRequest("html", "epub", b64(LARGE)), 120)
        wait_for(lambda: ebook_converts(daemon) > 0, 20, "it converts")
        os.kill(daemon_pid(), signal.SIGTERM)
        # Its file, not a program: that would take longer than the conversion.
        status = Path(os.environ["PID_DIR"], "calibre.status")
        wait_for(lambda: '"draining"' in status.read_text("utf-8"), 10, "it drains")
        os.kill(daemon_pid(), signal.SIGTERM)  # the second one exits at once
        wait_for(lambda: program(DAEMON, "status")[0] == 3, 20, "it has ended")
        wait_for(lambda: is_over(daemon), 10, "nothing is left")
        assert program(DAEMON, "start")[0] == 0
        assert call.result(120).format == "epub"


def test_kill_minus_9_leaves_no_converter(daemon):
    with AMQPClient("calibre") as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.call, ConversionRequest("html", "epub", b64(LARGE)), 120)
        wait_for(lambda: ebook_converts(daemon) > 0, 20, "it converts")
        os.kill(daemon_pid(), signal.SIGKILL)
        wait_for(lambda: ebook_converts(daemon) == 0, 5, "the converter has ended with its daemon")
        assert program(DAEMON, "start")[0] == 0
        assert call.result(120).format == "epub"
    assert is_over(daemon)  # the new daemon has swept


def published(channel, uuid, message, headers=None):
    properties = pika.BasicProperties(headers={"UUID": uuid, **(headers or {})}, delivery_mode=2)
    channel.basic_publish("convert", "request", json.dumps(message), properties)


def answers(channel, count):
    """The next messages of the output queue, by UUID."""
    found = {}

    def have_come():
        method, properties, body = channel.basic_get("plone", auto_ack=True)
        if method is not None:
            found[properties.headers["UUID"]] = (properties.headers, body.decode())
        return len(found) == count

    wait_for(have_come, 60, f"{count} answers")
    return found


def test_a_conversion_is_cancelled_and_options_travel_as_headers(daemon, rabbit, vhost):
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(port=rabbit.port, virtual_host=vhost)
    )
    channel = connection.channel()
    request = {"__nt_name": "ConversionRequest", "input_format": "html", "output_format": "epub"}
    published(channel, "u-1", {**request, "b64_data": b64(LARGE)})
    wait_for(lambda: ebook_converts(daemon) > 0, 20, "it converts")
    published(channel, "u-2", {"__nt_name": "CancelConversion", "uuid": "u-1"})
    found = answers(channel, 2)
    assert json.loads(found["u-2"][1])["was_running"] is True
    assert found["u-1"][0]["exception_name"] == "UserWarning"
    assert "it was cancelled" in found["u-1"][1]
    assert is_over(daemon)
    words = "These bytes are those of a mainframe."
    request = {"__nt_name": "ConversionRequest", "input_format": "txt", "output_format": "txt"}
    message = {**request, "b64_data": b64(words.encode("cp500"))}
    published(channel, "u-3", message, {"x-edeposit-charset": "cp500"})
    published(channel, "u-4", message, {"x-edeposit-options": '{"cover": "/etc/passwd"}'})
    found = answers(channel, 2)
    assert words in unb64(json.loads(found["u-3"][1])["b64_data"]).decode()
    assert found["u-4"][0]["exception_name"] == "ValueError"
    connection.close()


def test_a_timeout_is_answered(configured, monkeypatch):
    monkeypatch.setenv("CALIBRE_TIMEOUT", "1.5")
    assert program(DAEMON, "start")[0] == 0
    with AMQPClient("calibre") as client:
        started = time.monotonic()
        with pytest.raises(RemoteError, match=r"ended after 1\.5 s \(TIMEOUT\)") as caught:
            client.call(ConversionRequest("html", "pdf", b64(LARGE)), 60)
        assert caught.value.name == "UserWarning"
        assert time.monotonic() - started < 30
    assert is_over(configured)


def test_without_calibre_it_does_not_start_and_names_the_package(configured, monkeypatch):
    monkeypatch.setenv("CALIBRE_EBOOK_CONVERT", "missing-convert")
    code, _, error = program(DAEMON, "start")
    assert code == 1
    assert "apt-get install --no-install-recommends calibre" in error
    assert "Traceback" not in error


def test_the_log_says_how_it_is_fenced(daemon, tmp_path):
    done = subprocess.run(["bwrap", "--version"], check=False, capture_output=True)
    assert done.returncode == 0
    assert "in bubblewrap" in (tmp_path / "calibre.log").read_text("utf-8")
