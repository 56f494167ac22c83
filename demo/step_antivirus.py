"""The virus scanner: a clean file, EICAR, and a request that cannot be served."""

import base64
import os

from edeposit.amqp.antivirus.structures import ScanFile
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError
from edeposit.amqp.testing import EICAR, ClamdServer

TOOL = "edeposit_amqp_tool.py"
DAEMON = "edeposit_amqp_antivirusd.py"


def run(stage):
    stage.title("antivirus: ClamAV behind RabbitMQ")
    clamd = stage.stack.enter_context(ClamdServer())
    os.environ["ANTIVIRUS_LOCALSOCKET"] = clamd.socket_path
    os.environ["ANTIVIRUS_CONF_PATH"] = str(clamd.config_file)
    stage.say(f"A private clamd that knows EICAR listens at {clamd.socket_path}.")

    stage.say("Exchange, queues and bindings:")
    stage.command(TOOL, "--host", "antivirus", "--create")
    stage.say("The daemon; start returns when it consumes:")
    stage.daemon(DAEMON)
    stage.command(DAEMON, "status")

    stage.say("Requests over RabbitMQ, answered with the same UUID:")
    with AMQPClient("antivirus") as client:
        clean = client.call(ScanFile("hello.txt", base64.b64encode(b"Hello").decode()))
        stage.expect("hello.txt", clean, clean.result == {})
        infected = client.call(ScanFile("eicar.com", base64.b64encode(EICAR).decode()))
        status, signature = infected.result["eicar.com"]
        stage.expect("eicar.com", infected, status == "FOUND" and "EICAR" in signature)
        stage.say("A broken request comes back as an exception:")
        try:
            client.call(ScanFile("broken.bin", "this is not base64!"))
        except RemoteError as error:
            stage.expect(error.name, error.message, error.name == "ScanError")
        else:
            raise AssertionError("a broken request was answered")

    stage.say("The same from the shell; the request is parsed, not evaluated:")
    stage.command(TOOL, "--host", "antivirus", "--call", 'ScanFile("hello.txt", "SGVsbG8=")')
    stage.command(TOOL, "--host", "antivirus", "--status")
    stage.command(DAEMON, "stop")
    stage.command(DAEMON, "status", expect=3)
