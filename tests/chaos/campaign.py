"""A campaign of random faults against daemons under load; an oracle says what was lost.

    python tests/chaos/campaign.py --seconds 180 --seed 7
    make chaos SECONDS=1800 SEED=7 QUEUE=quorum

Everything is private: a RabbitMQ node, daemons as processes, a proxy before each daemon. The table
at the end counts faults, requests and answers, and what must be zero: requests lost, daemons that
ended by themselves, daemons that did not come back. Exit code 0 says that they are.
"""

import argparse
import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pika

sys.path.insert(0, str(Path(__file__).parent))

import faults
from load import Caller, Collector, Publisher
from oracle import Oracle

from edeposit.amqp.testing import Proxy, RabbitNode

WORKER = Path(__file__).with_name("worker.py")
VHOST = "chaos"
# A daemon that runs nothing this long after its fault is over (s) counts as stuck.
PATIENCE = 60.0


class Daemon:
    """A worker as a background daemon, behind a proxy of its own."""

    def __init__(self, stage, number):
        self.stage = stage
        self.name = f"chaos-{number}"
        self.proxy = Proxy(stage.node.host, stage.node.port)
        base = stage.small_disk if number == 0 else stage.directory
        self.log_directory = base / f"log-{number}"
        self.log_directory.mkdir()
        self.run_directory = stage.directory / "run"
        self.expected_pid = None
        self.environment = {
            **os.environ,
            **stage.node.env(),
            "RABBITMQ_PORT": str(self.proxy.port),
            "RABBITMQ_HEARTBEAT": "4",
            "RABBITMQ_CONFIRM_TIMEOUT": "10",
            "RABBITMQ_CONNECT_TIMEOUT": "5",
            "START_TIMEOUT": "60",
            "STOP_TIMEOUT": "10",
            "PID_DIR": str(self.run_directory),
            "LOG_TARGET": str(self.log_directory / "daemon.log"),
            "LOG_LEVEL": "WARNING",
            "HOME": str(stage.directory),
            "CHAOS_VHOST": VHOST,
            "CHAOS_NAME": self.name,
            "CHAOS_RUNS": str(stage.runs),
        }

    def start(self):
        for _ in range(5):
            done = subprocess.run(
                [sys.executable, WORKER, "start"],
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            if done.returncode == 0:
                self.expected_pid = self.pid()
                return
            time.sleep(0.5)
        raise AssertionError(f"{self.name} does not start: {done.stdout}{done.stderr}")

    def pid(self):
        try:
            pid = int((self.run_directory / f"{self.name}.pid").read_text("ascii"))
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def signal(self, number):
        if self.expected_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.expected_pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self._gone()

    def terminate(self):
        self.signal(signal.SIGTERM)
        if not self._gone():
            self.kill()

    def _gone(self):
        deadline = time.monotonic() + 20
        while self.pid() == self.expected_pid and self.expected_pid is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        self.expected_pid = None
        return True


class Stage:
    """The broker, the daemons, the load, and the books."""

    def __init__(self, stack, args):
        self.args = args
        self.node = stack.enter_context(RabbitNode())
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        self.small_disk = self.directory / "disk"
        self.small_disk.mkdir()
        if os.geteuid() == 0:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=2m", "chaos", self.small_disk], check=True
            )
            stack.callback(subprocess.run, ["umount", "-l", self.small_disk], check=False)
        self.runs = self.directory / "runs"
        self.oracle = Oracle()
        self.node.add_vhost(VHOST)
        self.parameters = pika.ConnectionParameters(
            self.node.host, self.node.port, VHOST, heartbeat=0, blocked_connection_timeout=60
        )
        with self.channel() as channel:
            self.declare(channel)
        self.daemons = [Daemon(self, number) for number in range(args.daemons)]
        for daemon in self.daemons:
            daemon.start()
            stack.callback(daemon.kill)
        self.publishers = [
            Publisher(self.parameters, self.oracle, args.rate / 2, f"{args.seed}-{number}")
            for number in range(2)
        ]
        self.collector = Collector(self.parameters, self.oracle)
        self.caller_proxy = stack.enter_context(Proxy(self.node.host, self.node.port))
        self.caller = Caller(self.parameters, self.caller_proxy.port)
        for worker in (*self.publishers, self.collector, self.caller):
            stack.callback(worker.stop)

    @contextlib.contextmanager
    def channel(self):
        connection = pika.BlockingConnection(self.parameters)
        try:
            yield connection.channel()
        finally:
            connection.close()

    def declare(self, channel):
        arguments = {"x-queue-type": "quorum"} if self.args.queue == "quorum" else {}
        channel.exchange_declare("chaos", "topic", durable=True)
        for queue, key in (("daemon", "request"), ("plone", "result")):
            channel.queue_declare(queue, durable=True, arguments=arguments)
            channel.queue_bind(queue, "chaos", key)
        channel.queue_declare("daemon.undeliverable", durable=True)

    @contextlib.contextmanager
    def quiet(self):
        """Nobody sends, and the input queue is empty, unacked messages included."""
        senders = [*self.publishers, self.caller]
        for sender in senders:
            sender.pause.set()
        try:
            deadline = time.monotonic() + 90
            while not all(sender.idle.is_set() for sender in senders):
                time.sleep(0.05)
                if time.monotonic() > deadline:
                    raise AssertionError("the senders do not pause")
            while self.depth("daemon"):
                if time.monotonic() > deadline:
                    raise AssertionError("the queue is not worked off")
                time.sleep(0.2)
            yield
        finally:
            for sender in senders:
                sender.pause.clear()

    def depth(self, queue):
        rows = self.node.ctl("-q", "list_queues", "-p", VHOST, "name", "messages")
        table = dict(line.split("\t") for line in rows.splitlines() if "\t" in line)
        return int(table.get(queue, 0))

    def fallen(self):
        """Daemons that ended although nobody has ended them; they are started again."""
        down = 0
        for daemon in self.daemons:
            if daemon.pid() != daemon.expected_pid or daemon.pid() is None:
                down += 1
                print(f"!! {daemon.name} is down: {daemon.expected_pid} {daemon.pid()}", flush=True)
                for log in daemon.log_directory.glob("*"):
                    print(log.read_text("utf-8", "replace")[-2000:])
                daemon.start()
        return down

    def settle(self):
        """Stop the load; wait until everything has ended or nothing moves any more."""
        for worker in (*self.publishers, self.caller):
            worker.stop()
        last, since = None, time.monotonic()
        parked = Collector(self.parameters, self.oracle, "daemon.undeliverable")
        while missing := self.oracle.missing():
            if len(missing) != last:
                last, since = len(missing), time.monotonic()
            if time.monotonic() - since > 90:
                break
            time.sleep(0.2)
        # What is parked on top of an answer counts as well.
        time.sleep(1)
        parked.stop()
        self.collector.stop()
        return missing


def recovered(stage, daemons):
    """Seconds until each of them has run another request; None if one does not."""
    start = time.monotonic()
    missing = {daemon.name for daemon in daemons}
    with open(stage.runs, encoding="ascii") as runs:
        runs.seek(0, os.SEEK_END)
        while missing:
            missing -= {line.partition(" ")[0] for line in runs}
            if time.monotonic() - start > PATIENCE:
                return None
            time.sleep(0.02)
    return time.monotonic() - start


@dataclasses.dataclass
class Tally:
    """What happened in a campaign."""

    faults: Counter = dataclasses.field(default_factory=Counter)
    recovery: list = dataclasses.field(default_factory=list)  # seconds
    stuck: int = 0
    down: int = 0
    missing: set = dataclasses.field(default_factory=set)
    elapsed: float = 0.0

    def recovered(self, quantile):
        ordered = sorted(self.recovery) or [0.0]
        return ordered[min(int(len(ordered) * quantile), len(ordered) - 1)]


def run(args):
    rng = random.Random(args.seed)
    names = args.only.split(",") if args.only else [fault.__name__ for fault in faults.FAULTS]
    table = {fault: weight for fault, weight in faults.FAULTS.items() if fault.__name__ in names}
    tally = Tally()
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, args)
        start = time.monotonic()
        while time.monotonic() - start < args.seconds and (
            not args.faults or tally.faults.total() < args.faults
        ):
            (fault,) = rng.choices(list(table), list(table.values()))
            if args.verbose:
                print(f"{time.monotonic() - start:7.1f} {fault.__name__}", flush=True)
            strike(fault, stage, rng, tally)
            time.sleep(rng.random() * args.calm)
        tally.missing = stage.settle()
        tally.elapsed = time.monotonic() - start
        report(args, stage, tally)
        bad = tally.missing or tally.stuck or tally.down or stage.caller.unanswered
        return 1 if bad else 0


def strike(fault, stage, rng, tally):
    """Do one fault, undo it, and see that the daemons come back."""
    struck = fault(stage, rng)
    tally.faults[fault.__name__] += 1
    took = recovered(stage, struck)
    if took is None:
        tally.stuck += 1
        print(f"!! stuck after {fault.__name__}", flush=True)
    elif struck:
        tally.recovery.append(took)
    tally.down += stage.fallen()


def report(args, stage, tally):
    oracle, caller = stage.oracle, stage.caller
    runs = Counter(line.split()[1] for line in stage.runs.open(encoding="ascii"))
    quantiles = [tally.recovered(quantile) for quantile in (0.5, 0.99, 1)]
    rows = [
        ("seed, queue type", f"{args.seed}, {args.queue}"),
        ("seconds", f"{tally.elapsed:.0f}"),
        ("faults", tally.faults.total()),
        ("requests confirmed by the broker", len(oracle.confirmed)),
        ("answered", sum(1 for number in oracle.confirmed if number in oracle.answers)),
        ("parked", len(oracle.parked)),
        ("answered twice", oracle.twice()),
        ("run more than once", sum(1 for count in runs.values() if count > 1)),
        ("calls answered, with an exception", f"{caller.answered}, {caller.exceptions}"),
        ("calls that failed at once", sum(caller.errors.values())),
        ("calls WITHOUT an answer", caller.unanswered),
        ("LOST", len(tally.missing)),
        ("daemons DOWN", tally.down),
        ("daemons STUCK", tally.stuck),
        ("seconds to recover: p50, p99, max", ", ".join(f"{value:.2f}" for value in quantiles)),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
    print(", ".join(f"{name} {count}" for name, count in tally.faults.most_common()))
    for text, count in caller.errors.items():
        print(f"{count} calls: {text}")
    if tally.missing:
        print("lost:", *sorted(tally.missing)[:20])


def make_parser():
    parser = argparse.ArgumentParser(description="Random faults against daemons under load.")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--faults", type=int, default=0, help="end after so many; 0: by time only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queue", choices=["classic", "quorum"], default="classic")
    parser.add_argument("--daemons", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--calm", type=float, default=1.0, help="most seconds between two faults")
    parser.add_argument("--only", help="names of faults, with commas")
    parser.add_argument("--verbose", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(run(make_parser().parse_args()))
