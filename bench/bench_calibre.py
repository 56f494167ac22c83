"""Conversions per minute over RabbitMQ with one and with two at a time.

The book has 60 chapters of HTML (about 130 kB) and becomes an EPUB: one busy core for two seconds.
"""

import base64
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edeposit.amqp import settings
from edeposit.amqp.broker.schema import create
from edeposit.amqp.calibre.structures import ConversionRequest
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.testing import RabbitNode

DAEMON = Path(__file__).parents[1] / "bin" / "edeposit_amqp_calibredaemon.py"
COUNT = 12
SENTENCE = "Příliš žluťoučký kůň úpěl ďábelské ódy. "
BOOK = "".join(f"<h1>Kapitola {n}</h1><p>{SENTENCE * 40}</p>" for n in range(60))


def run(action):
    subprocess.run([sys.executable, str(DAEMON), action], check=True, stdout=subprocess.DEVNULL)


def measure(concurrency):
    os.environ["RABBITMQ_CALIBRE_CONCURRENCY"] = str(concurrency)
    run("start")
    request = ConversionRequest("html", "epub", base64.b64encode(BOOK.encode()).decode())
    try:
        with AMQPClient("calibre", timeout=300) as client, ThreadPoolExecutor(4) as pool:
            client.call(request)
            started = time.perf_counter()
            list(pool.map(client.call, [request] * COUNT))
            seconds = time.perf_counter() - started
    finally:
        run("stop")
    print(f"concurrency {concurrency}: {COUNT / seconds * 60:.0f} conversions a minute")


def main():
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        node = stack.enter_context(RabbitNode())
        node.add_vhost("bench")
        os.environ |= {
            **node.env(),
            "RABBITMQ_CALIBRE_VIRTUALHOST": "bench",
            "PID_DIR": f"{directory}/run",
            "LOG_TARGET": f"{directory}/log",
        }
        settings.reload()
        create("calibre")
        for concurrency in (1, 2, 1, 2):
            measure(concurrency)


if __name__ == "__main__":
    main()
