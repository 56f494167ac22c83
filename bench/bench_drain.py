"""Drain of preloaded persistent requests by an echo handler: this engine against plain pika.

(a)  a BlockingConnection.consume loop: no confirms, no prefetch limit, ack after publish
(b)  the same with confirms, mandatory publishing and prefetch 1: as safe as ours, done simply
ours AMQPDaemon with one handler thread and no setting: the prefetch window adapts itself
p200 the same with a fixed prefetch count of 200

Each runs in a process of its own, alternating, against the same private node; CPU is that of the
consuming process. Run it with ``make bench`` or ``python bench/bench_drain.py [--messages N]
[--rounds N] [--big]``.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import uuid

import pika

from edeposit.amqp.testing import RabbitNode

EXCHANGE, QUEUE, OUTPUT = "bench", "daemon", "plone"


def parameters():
    return pika.ConnectionParameters("127.0.0.1", int(os.environ["RABBITMQ_PORT"]), "bench")


def preload(count, size):
    """Fill the input queue; the output queue is emptied."""
    connection = pika.BlockingConnection(parameters())
    channel = connection.channel()
    channel.exchange_declare(EXCHANGE, "topic", durable=True)
    for queue, key in ((QUEUE, "request"), (OUTPUT, "result")):
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, EXCHANGE, key)
        channel.queue_purge(queue)
    body = json.dumps({"text": "x" * size}).encode()
    for _ in range(count):
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            headers={"UUID": str(uuid.uuid4())},
        )
        channel.basic_publish(EXCHANGE, "request", body, properties)
    while channel.queue_declare(QUEUE, passive=True).method.message_count < count:
        time.sleep(0.05)
    connection.close()


class Meter:
    """Time, CPU and resident memory of the draining; reports once, as JSON on stdout."""

    def __init__(self):
        self.started = time.monotonic()
        self.cpu = self._cpu()
        self.rss = {}

    @staticmethod
    def _cpu():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def sample(self, what):
        with open("/proc/self/statm", encoding="ascii") as file:
            self.rss[what] = int(file.read().split()[1]) * resource.getpagesize() // 1024

    def report(self, count):
        seconds = time.monotonic() - self.started
        self.sample("end")
        row = {"seconds": seconds, "cpu": self._cpu() - self.cpu, "count": count, "rss": self.rss}
        print(json.dumps(row), flush=True)


def run_plain(count, *, confirmed):
    connection = pika.BlockingConnection(parameters())
    channel = connection.channel()
    if confirmed:
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=1)
    meter = Meter()
    for done, (method, properties, body) in enumerate(channel.consume(QUEUE), 1):
        answer = json.dumps(json.loads(body)).encode()
        reply = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            headers={"UUID": properties.headers["UUID"]},
        )
        channel.basic_publish(EXCHANGE, "result", answer, reply, mandatory=confirmed)
        channel.basic_ack(method.delivery_tag)
        if done == count // 10:
            meter.sample("10 %")
        if done == count:
            break
    channel.cancel()
    connection.close()
    meter.report(count)


def run_ours(count, prefetch):
    from edeposit.amqp.amqpdaemon import AMQPDaemon

    class Bench(AMQPDaemon):
        meter = None

        def on_usable(self):
            self.meter = Meter()
            super().on_usable()

        def on_batch_end(self):
            super().on_batch_end()
            if self._ledger.handled >= count // 10 and "10 %" not in self.meter.rss:
                self.meter.sample("10 %")
            if self._ledger.handled >= count and not self._ledger.draining:
                self.drain()

    daemon = Bench(
        parameters(),
        QUEUE,
        EXCHANGE,
        "result",
        lambda message: message,
        {},
        name="bench",
        prefetch=prefetch,
    )
    daemon.run()
    daemon.meter.report(count)


def measure(which, count, size, prefetch):
    preload(count, size)
    result = subprocess.run(
        [sys.executable, __file__, "--child", which, str(count), str(prefetch)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads([line for line in result.stdout.splitlines() if line.startswith("{")][-1])


def table(rows, size):
    print(f"{'':6} {'messages/s':>11} {'CPU us/message':>15} {'MB/s':>8}  RSS MB at 10 % and end")
    best = {}
    for which, results in rows.items():
        rate = statistics.median(r["count"] / r["seconds"] for r in results)
        cpu = statistics.median(r["cpu"] / r["count"] * 1e6 for r in results)
        best[which] = (rate, cpu)
        rss = results[-1]["rss"]
        print(
            f"{which:6} {rate:11.0f} {cpu:15.1f} {rate * size / 1e6:8.1f}  "
            f"{rss.get('10 %', 0) / 1024:.1f} {rss['end'] / 1024:.1f}"
        )
    rate, cpu = best["ours"]
    print(f"ours/a: throughput {rate / best['a'][0]:.2f} x, CPU {cpu / best['a'][1]:.2f} x")
    if "b" in best:
        print(f"ours/b: throughput {rate / best['b'][0]:.1f} x")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--big", action="store_true", help="bodies of 10 MB only")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        which, count, prefetch = args.child[0], int(args.child[1]), int(args.child[2])
        if which in ("ours", "p200"):
            run_ours(count, prefetch)
        else:
            run_plain(count, confirmed=which == "b")
        return
    with RabbitNode() as node:
        os.environ.update(node.env())
        node.add_vhost("bench")
        if not args.big:
            print(f"\n{args.messages} requests of 100 bytes, median of {args.rounds} runs")
            rows = {"a": [], "b": [], "ours": [], "p200": []}
            for _ in range(args.rounds):
                rows["a"].append(measure("a", args.messages, 100, 0))
                rows["ours"].append(measure("ours", args.messages, 100, 0))
                rows["p200"].append(measure("p200", args.messages, 100, 200))
                rows["b"].append(measure("b", args.messages // 10, 100, 0))
            table(rows, 100)
        print(f"\n40 requests of 10 MB, median of {args.rounds} runs")
        rows = {"a": [], "ours": []}
        for _ in range(args.rounds):
            rows["a"].append(measure("a", 40, 10_000_000, 0))
            rows["ours"].append(measure("ours", 40, 10_000_000, 0))
        table(rows, 10_000_000)


if __name__ == "__main__":
    main()
