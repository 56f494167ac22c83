"""Conversion: a small book over RabbitMQ, with progress; and one that is not what it claims."""

import base64
import io
import os
import zipfile

from edeposit.amqp.calibre import sandbox
from edeposit.amqp.calibre.structures import ConversionRequest
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.errors import RemoteError

TOOL = "edeposit_amqp_tool.py"
DAEMON = "edeposit_amqp_calibredaemon.py"
BOOK = """\
<html><head><title>Malá kniha</title></head><body>
<h1>První kapitola</h1><p>Příliš žluťoučký kůň úpěl ďábelské ódy.</p>
<h1>Druhá kapitola</h1><p>A pak už nic.</p></body></html>
"""


def run(stage):
    stage.title("calibre: conversion of e-books behind RabbitMQ")
    if os.environ.get("DEMO_CALIBRE") == "0":
        stage.say("Skipped: calibre is not wanted (DEMO_CALIBRE=0).")
        return
    reason = sandbox.why_not_fenced()
    if reason:
        # A container usually allows no further namespaces; a real service refuses to start then.
        stage.say(f"No sandbox here ({reason}): CALIBRE_SANDBOX=auto, for this demo only.")
        os.environ["CALIBRE_SANDBOX"] = "auto"
    stage.command(TOOL, "--host", "calibre", "--create")
    stage.daemon(DAEMON)
    data = base64.b64encode(BOOK.encode()).decode()
    with AMQPClient("calibre") as client:
        stage.say("HTML to EPUB, with progress:")
        steps = []
        answer = client.call(
            ConversionRequest("html", "epub", data), timeout=120, on_progress=steps.append
        )
        for step in steps:
            stage.say(f"  {step.percent} % {step.message}")
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(answer.b64_data))) as book:
            names = book.namelist()
        stage.expect("an EPUB of", f"{len(names)} files", "content.opf" in names)
        stage.expect("progress", f"{len(steps)} messages", len(steps) > 1)
        stage.say("EPUB to text:")
        answer = client.call(ConversionRequest("epub", "txt", answer.b64_data), timeout=120)
        text = base64.b64decode(answer.b64_data).decode()
        stage.expect("text", text.split("\n")[0], "žluťoučký kůň" in text)
        stage.say("A file that is not what it claims to be:")
        try:
            client.call(ConversionRequest("epub", "txt", data), timeout=120)
        except RemoteError as error:
            stage.expect(error.name, error.message.splitlines()[1], error.name == "UserWarning")
        else:
            raise AssertionError("a broken book was converted")
    stage.command(DAEMON, "stop")
