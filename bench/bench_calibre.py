"""Conversions per minute over RabbitMQ with one and with two at a time, and the daemon's memory.

The book has 60 chapters of HTML (about 130 kB) and becomes an EPUB: one busy core for two seconds.
For the memory of the daemon itself, ``cp`` takes the converter's place.
"""

import base64
import contextlib
import json
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


def peak_memory(size):
    """Peak RSS of a fresh daemon that has converted one text of ``size`` MB."""
    os.environ["CALIBRE_EBOOK_CONVERT"] = "/usr/bin/cp"
    run("start")
    request = ConversionRequest("txt", "txt", base64.b64encode(bytes(size * 1_000_000)).decode())
    try:
        with AMQPClient("calibre", timeout=300) as client:
            started = time.perf_counter()
            client.call(request)
            seconds = time.perf_counter() - started
        done = subprocess.run(
            [sys.executable, str(DAEMON), "status", "--json"], check=True, capture_output=True
        )
        lines = Path(f"/proc/{json.loads(done.stdout)['pid']}/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1000
    finally:
        run("stop")
        del os.environ["CALIBRE_EBOOK_CONVERT"]
    print(f"{size} MB copied: {seconds:.1f} s, peak RSS of the daemon {peak} MB", flush=True)


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
        for size in (10, 100):
            peak_memory(size)
        for concurrency in (1, 2, 1, 2):
            measure(concurrency)


if __name__ == "__main__":
    main()
