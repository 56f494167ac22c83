"""FTP service with a real ProFTPD and a private RabbitMQ.

* Latency: from the moment a user sends the deletion of the lock file to the ImportRequest in a
  consumer's hands.
* Throughput: 1,000 small imports by 20 users over FTP, and 1,000 that were waiting when the
  monitor started.
* Manager: cost of one password change and one listing by the number of users in the file, with
  and without the password's hash, which is meant to be slow.
"""

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pika

from edeposit.amqp import settings
from edeposit.amqp.broker.schema import create
from edeposit.amqp.ftp import api, passwd_reader
from edeposit.amqp.ftp import settings as ftp_settings
from edeposit.amqp.testing import ProftpdServer, RabbitNode, wait_for

MONITOR = Path(__file__).parents[1] / "bin" / "edeposit_amqp_ftp_monitord.py"
LOCK = "delete_me_to_import_files.txt"


@contextlib.contextmanager
def monitor():
    """The monitor daemon, when it is connected."""
    process = subprocess.Popen([sys.executable, str(MONITOR), "start", "-f"])
    log = Path(os.environ["LOG_TARGET"])
    log.unlink(missing_ok=True)
    try:
        wait_for(lambda: log.exists() and "connected to" in log.read_text("utf-8"), 20)
        yield process
    finally:
        process.terminate()
        process.wait(20)


class Consumer(threading.Thread):
    """Notes when messages come."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.arrivals = []
        self.connection = pika.BlockingConnection(
            pika.ConnectionParameters(port=node.port, virtual_host="bench")
        )
        self.channel = self.connection.channel()
        self.channel.basic_consume("plone", self.note, auto_ack=True)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.connection.add_callback_threadsafe(self.channel.stop_consuming)
        self.join()
        self.connection.close()

    def note(self, *_message):
        self.arrivals.append(time.perf_counter())

    def run(self):
        self.channel.start_consuming()

    def wait_until(self, count, timeout=120):
        wait_for(lambda: len(self.arrivals) >= count, timeout, f"{count} messages")


def import_one(session, name):
    session.storbinary(f"STOR {name}", io.BytesIO(b"x" * 1000))
    wait_for(lambda: LOCK in session.nlst(), 30)
    started = time.perf_counter()
    session.delete(LOCK)
    return started


def latency(server, node, count=300):
    api.add_user("latency", "x")
    session = server.login("latency", "x")
    times = []
    with Consumer(node) as consumer, monitor():
        for number in range(count):
            started = import_one(session, f"{number}.pdf")
            consumer.wait_until(number + 1)
            times.append((consumer.arrivals[number] - started) * 1000)
    times.sort()
    print(
        f"latency of {count} imports: p50 {statistics.median(times):.1f} ms,"
        f" p99 {times[int(count * 0.99)]:.1f} ms"
    )


def throughput(server, node, users=20, rounds=50):
    for number in range(users):
        api.add_user(f"live{number}", "x")

    def work(number):
        session = server.login(f"live{number}", "x")
        for turn in range(rounds):
            import_one(session, f"{turn}.pdf")

    with Consumer(node) as consumer, monitor():
        started = time.perf_counter()
        threads = [threading.Thread(target=work, args=(number,)) for number in range(users)]
        for thread in threads:
            thread.start()
        consumer.wait_until(users * rounds)
        seconds = time.perf_counter() - started
    print(
        f"{users * rounds} imports by {users} users over FTP: {users * rounds / seconds:.0f}/s"
        " (the users included)"
    )

    for number in range(1000):
        api.add_user(f"waiting{number}", "x")
        home = server.data_path / f"waiting{number}"
        (home / "a.pdf").write_bytes(b"x" * 1000)
        (home / LOCK).unlink()
    with Consumer(node) as consumer, monitor() as process:
        started = time.perf_counter()
        consumer.wait_until(1000)
        seconds = time.perf_counter() - started
        cpu = sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().split()[13:15]))
        cpu /= os.sysconf("SC_CLK_TCK")
    print(
        f"1,000 imports that were waiting: {1000 / seconds:.0f}/s,"
        f" {cpu:.2f} ms CPU each with start-up"
    )


def manager():
    print(f"{'users':>8} {'change password':>18} {'without hash':>14} {'list':>10}")
    for count in (0, 1_000, 5_000, 10_000, 20_000):
        entry = passwd_reader.Entry("$6$x", "2000", "2000", "ttttt", "/home/ftp/x", "/bin/false")
        passwd_reader.save_users({f"user{n}": entry._asdict() for n in range(max(count, 1))})

        def cost(function, repeat=20):
            started = time.perf_counter()
            for _ in range(repeat):
                function()
            return (time.perf_counter() - started) / repeat * 1000

        ftp_settings.substitute_globals({"HASH_ROUNDS": 100_000})
        full = cost(lambda: api.change_password("user0", "x"))
        ftp_settings.substitute_globals({"HASH_ROUNDS": 1000})
        bare = cost(lambda: api.change_password("user0", "x"))
        listing = cost(api.list_users)
        print(f"{count:>8} {full:>15.1f} ms {bare:>11.1f} ms {listing:>7.1f} ms")


def main():
    if os.geteuid():
        sys.exit("root is needed: the homes belong to another user")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        node = stack.enter_context(RabbitNode())
        server = stack.enter_context(ProftpdServer())
        node.add_vhost("bench")
        os.environ |= {
            **node.env(),
            **server.env(),
            "RABBITMQ_FTP_VIRTUALHOST": "bench",
            "PID_DIR": f"{directory}/run",
            "LOG_TARGET": f"{directory}/log",
            "FTP_HASH_ROUNDS": "1000",
        }
        settings.reload()
        ftp_settings.reload()
        create("ftp")
        latency(server, node)
        throughput(server, node)
        manager()


if __name__ == "__main__":
    main()
