"""Scanning of 10 and 100 MB: MB/s and peak memory, in this process and in the daemon.

Compared with ClamAV's own client, ``clamdscan --stream`` (Debian's package clamdscan, or the path
of the program in CLAMDSCAN), on the same private clamd. Both are run in turns, the best of each
counts: the machine is rarely idle.
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edeposit.amqp import settings
from edeposit.amqp.antivirus import antivirus
from edeposit.amqp.antivirus import settings as antivirus_settings
from edeposit.amqp.antivirus.structures import ScanFile
from edeposit.amqp.broker.schema import create
from edeposit.amqp.client import AMQPClient
from edeposit.amqp.testing import ClamdServer, RabbitNode

DAEMON = Path(__file__).parents[1] / "bin" / "edeposit_amqp_antivirusd.py"
LIMITS = ["StreamMaxLength 200M", "MaxFileSize 200M", "MaxScanSize 200M"]
ROUNDS = 7
# In base64 the larger one is just below what RabbitMQ 3 takes in one message, 128 MiB.
DAEMON_MB = (10, 100)


def status_of(process, field):
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1000


def measured(action):
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def compare(size, text, clamd, path):
    """Seconds of our scan and of clamdscan's."""
    program = os.environ.get("CLAMDSCAN") or shutil.which("clamdscan")
    command = [program, "-c", clamd.config_file, "--stream", "--no-summary", path]
    Path("/proc/self/clear_refs").write_text("5")
    before = status_of("self", "VmRSS")
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(measured(lambda: antivirus.save_and_scan("file", text)))
        if program:
            theirs.append(
                measured(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
            )
    peak = status_of("self", "VmHWM") - before
    line = f"{size} MB: {size / min(ours):.0f} MB/s, peak memory above the text {peak:.1f} MB"
    if theirs:
        line += f"; clamdscan --stream {size / min(theirs):.0f} MB/s, ratio "
        line += f"{min(theirs) / min(ours):.2f}"
    print(line, flush=True)


def measure_library(clamd):
    antivirus.check_scanner()
    for size in (10, 100):
        data = os.urandom(size * 1_000_000)
        with tempfile.NamedTemporaryFile(dir=clamd.directory) as file:
            file.write(data)
            file.flush()
            text = base64.b64encode(data).decode()
            del data
            compare(size, text, clamd, file.name)
            if size == 10:
                lines = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
                print("with line breaks, ", end="")
                compare(size, lines, clamd, file.name)


def daemon(action):
    done = subprocess.run(
        [sys.executable, str(DAEMON), action, *(["--json"] if action == "status" else [])],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def measure_daemon(node, directory):
    os.environ |= {
        **node.env(),
        "RABBITMQ_ANTIVIRUS_VIRTUALHOST": "bench",
        "PID_DIR": f"{directory}/run",
        "LOG_TARGET": f"{directory}/log",
    }
    settings.reload()
    create("antivirus")
    for size in DAEMON_MB:
        daemon("start")
        try:
            pid = json.loads(daemon("status"))["pid"]
            before = status_of(pid, "VmHWM")
            request = ScanFile("file", base64.b64encode(os.urandom(size * 1_000_000)).decode())
            with AMQPClient("antivirus", timeout=120) as client:
                seconds = measured(lambda: client.call(request))  # noqa: B023
            print(
                f"daemon, {size} MB: {seconds:.2f} s over RabbitMQ, peak RSS"
                f" {status_of(pid, 'VmHWM'):.0f} MB (idle {before:.0f} MB)",
                flush=True,
            )
        finally:
            daemon("stop")


def main():
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        clamd = stack.enter_context(ClamdServer(LIMITS))
        os.environ |= {
            "ANTIVIRUS_LOCALSOCKET": clamd.socket_path,
            "ANTIVIRUS_CONF_PATH": str(clamd.config_file),
            "ANTIVIRUS_MAX_FILE_SIZE": "150000000",
            "HOME": directory,
        }
        antivirus_settings.reload()
        measure_library(clamd)
        node = stack.enter_context(RabbitNode())
        node.add_vhost("bench")
        measure_daemon(node, directory)


if __name__ == "__main__":
    main()
