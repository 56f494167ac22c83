"""The whole chain as people run it: tool, daemon script, client, the real clamd."""

import base64
import json
import os
import subprocess
import sys

import pika
import pytest

from edeposit.amqp import settings
from edeposit.amqp.antivirus.structures import ScanFile, ScanResult
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError
from edeposit.amqp.testing import EICAR, ClamdServer, wait_for

from .programs import BIN, program


def b64(data):
    return base64.b64encode(data).decode()


@pytest.fixture
def clamd(monkeypatch, rabbit, vhost, tmp_path):
    """A private clamd; the environment leads our programs to it, to the broker, to our files."""
    with ClamdServer() as server:
        environment = {
            **rabbit.env(),
            "RABBITMQ_ANTIVIRUS_VIRTUALHOST": vhost,
            "PID_DIR": str(tmp_path / "run"),
            "LOG_TARGET": str(tmp_path / "antivirus.log"),
            "HOME": str(tmp_path),
            "ANTIVIRUS_LOCALSOCKET": server.socket_path,
            "ANTIVIRUS_CONF_PATH": str(server.config_file),
            "ANTIVIRUS_DATABASE_DIR": str(server.database),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings.reload()
        yield server
        os.environ["STOP_TIMEOUT"] = "0"
        program("edeposit_amqp_antivirusd.py", "stop")
        del os.environ["STOP_TIMEOUT"]


@pytest.fixture
def daemon(clamd):
    assert program("edeposit_amqp_tool.py", "--host", "antivirus", "--create")[0] == 0
    code, out, error = program("edeposit_amqp_antivirusd.py", "start")
    assert (code, error) == (0, ""), error
    assert out.startswith("antivirus started with pid ")


def test_files_are_scanned_over_rabbitmq(daemon, clamd, tmp_path):
    with AMQPClient("antivirus") as client:
        assert client.call(ScanFile("a.txt", b64(b"hello"))) == ScanResult("a.txt", {})
        result = client.call(ScanFile("/home/me/e.com", b64(EICAR)))
        assert result.result == {"/home/me/e.com": ["FOUND", "Test.EICAR.UNOFFICIAL"]}
        large = client.call(ScanFile("big", b64(os.urandom(10_000_000))))
        assert large == ScanResult("big", {})
        with pytest.raises(RemoteError, match=r"'b\.txt': b64_data is not base64") as caught:
            client.call(ScanFile("b.txt", "?"))
        assert caught.value.name == "ScanError"
        with pytest.raises(RemoteError) as caught:
            client.call(ScanResult("b.txt", {}))
        assert caught.value.name == "ValueError"
    assert "scanner: ClamAV" in (tmp_path / "antivirus.log").read_text("utf-8")


def test_a_first_generation_client_works_unchanged(daemon, rabbit, vhost):
    """Plain pika, the output queue, the UUID header: as clients of 2015 do it."""
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(port=rabbit.port, virtual_host=vhost)
    )
    channel = connection.channel()
    body = json.dumps({"__nt_name": "ScanFile", "filename": "e.com", "b64_data": b64(EICAR)})
    properties = pika.BasicProperties(
        content_type="application/json", delivery_mode=2, headers={"UUID": "u-1"}
    )
    channel.basic_publish("antivirus", "request", body, properties)
    method, properties, body = next(channel.consume("plone", auto_ack=True, inactivity_timeout=10))
    assert method is not None, "no answer"
    connection.close()
    assert properties.headers["UUID"] == "u-1"
    assert json.loads(body) == {
        "__nt_name": "ScanResult",
        "filename": "e.com",
        "result": {"e.com": ["FOUND", "Test.EICAR.UNOFFICIAL"]},
    }


def test_a_clean_answer_carries_its_evidence_as_headers(daemon, rabbit, vhost, tmp_path):
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(port=rabbit.port, virtual_host=vhost)
    )
    channel = connection.channel()
    body = json.dumps({"__nt_name": "ScanFile", "filename": "a.txt", "b64_data": b64(b"hello")})
    properties = pika.BasicProperties(headers={"UUID": "u-2"}, delivery_mode=2)
    channel.basic_publish("antivirus", "request", body, properties)
    _, properties, body = next(channel.consume("plone", auto_ack=True, inactivity_timeout=20))
    connection.close()
    assert json.loads(body) == {"__nt_name": "ScanResult", "filename": "a.txt", "result": {}}
    headers = properties.headers
    assert headers["UUID"] == "u-2"
    assert headers["x-edeposit-scan-engine"].startswith("ClamAV ")
    assert headers["x-edeposit-scan-signatures"]
    assert headers["x-edeposit-scan-time"].endswith("+00:00")
    assert headers["x-edeposit-scan-time"] in (tmp_path / "antivirus.log").read_text("utf-8")


def test_a_blind_clamd_is_refused_in_one_line(clamd):
    clamd.kill()
    with open(clamd.config_file, "a") as file:
        file.write("ScanMail no\n")
    clamd.start()
    assert program("edeposit_amqp_tool.py", "--host", "antivirus", "--create")[0] == 0
    code, _, error = program("edeposit_amqp_antivirusd.py", "start")
    assert code == 1
    assert "clamd calls clean without a look: mails (ScanMail)" in error
    assert "Traceback" not in error


def test_clamd_may_go_and_come_back(daemon, clamd, monkeypatch):
    with AMQPClient("antivirus") as client:
        clamd.kill()
        # clamscan takes over, slower but never wrong.
        assert client.call(ScanFile("e.com", b64(EICAR))).result["e.com"][0] == "FOUND"
        clamd.start()
        assert client.call(ScanFile("a.txt", b64(b"hello"))).result == {}
    assert program("edeposit_amqp_antivirusd.py", "status")[0] == 0


def test_the_tool_calls_and_says_by_its_exit_code_if_it_failed(daemon):
    tool = ("edeposit_amqp_tool.py", "--host", "antivirus", "--call")
    code, out, _ = program(*tool, f'ScanFile("e.com", "{b64(EICAR)}")')
    assert code == 0
    assert "Test.EICAR" in out
    code, _, error = program(*tool, 'ScanFile("e.com", b64_data="?")')
    assert code == 1
    assert "ScanError" in error
    code, _, error = program(*tool, '__import__("os").system("true")')
    assert code == 1
    assert "Traceback" not in error


def test_stop_and_status(daemon):
    code, out, _ = program("edeposit_amqp_antivirusd.py", "status", "--json")
    assert code == 0
    assert json.loads(out)["state"] == "consuming"
    code, out, _ = program("edeposit_amqp_antivirusd.py", "stop")
    assert code == 0
    assert program("edeposit_amqp_antivirusd.py", "status")[0] == 3


def test_foreground_serves_as_well(clamd, rabbit):
    assert program("edeposit_amqp_tool.py", "--host", "antivirus", "--create")[0] == 0
    process = subprocess.Popen(
        [sys.executable, str(BIN / "edeposit_amqp_antivirusd.py"), "start", "--foreground"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(lambda: program("edeposit_amqp_antivirusd.py", "status")[0] == 0, what="it runs")
        with AMQPClient("antivirus") as client:
            assert client.call(ScanFile("a.txt", b64(b"hello"))).result == {}
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
