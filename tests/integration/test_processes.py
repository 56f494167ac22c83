"""AMQP daemons as people start and stop them: ``start``, ``status``, ``stop``, ``restart``."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edeposit.amqp import __version__
from edeposit.amqp.process.commands import ACTIONS
from edeposit.amqp.testing import wait_for

from .conftest import ECHO, EchoDaemon

SCANNER = Path(__file__).parents[2] / "bin" / "edeposit_amqp_antivirusd.py"
SERVICE_ACTIONS = (*ACTIONS, "create", "check")
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "shouting.py"


class Script:
    """A daemon script in the background; stopped after the test."""

    def __init__(self, rabbit, vhost, tmp_path, script=ECHO, name="echo", **environment):
        self.script = script
        self.environment = EchoDaemon(rabbit, vhost, tmp_path, name=name, **environment).environment
        self.environment["LOG_TARGET"] = str(tmp_path / f"{name}.log")

    def __call__(self, *arguments):
        """Run an action; returns (exit code, stdout, stderr)."""
        done = subprocess.run(
            [sys.executable, str(self.script), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=40,
        )
        return done.returncode, done.stdout.strip(), done.stderr.strip()

    def log(self):
        return Path(self.environment["LOG_TARGET"]).read_text("utf-8")


@pytest.fixture
def make_script(rabbit, vhost, tmp_path):
    scripts = []

    def make(**options):
        script = Script(rabbit, vhost, tmp_path, **options)
        scripts.append(script)
        return script

    yield make
    for script in scripts:
        script.environment["STOP_TIMEOUT"] = "0"
        script("stop")


def test_start_answer_stop(service, make_script):
    script = make_script()
    code, out, error = script("start")
    assert (code, error) == (0, "")
    assert out.startswith("echo started with pid ")
    assert service.is_still_answering()
    code, out, _ = script("status")
    assert code == 0
    assert "consuming" in out
    code, out, _ = script("stop")
    assert code == 0
    assert "finished" in out
    assert script("status")[0] == 3
    assert "drained" in script.log()


def test_two_services_on_one_machine(service, make_script, rabbit, vhost):
    service.channel.queue_declare("updater", durable=True)
    service.channel.queue_bind("updater", "echo", "update")
    first, second = make_script(), make_script(name="updater", ECHO_QUEUE="updater")
    assert first("start")[0] == 0
    assert second("start")[0] == 0
    number = service.send({"__nt_name": "Echo", "value": 2}, key="update")
    assert service.answer()[0] == number
    assert service.is_still_answering()
    assert first("stop")[0] == 0
    assert second("status")[0] == 0
    number = service.send({"__nt_name": "Echo", "value": 3}, key="update")
    assert service.answer()[0] == number


def test_start_twice_and_stop_twice(service, make_script):
    script = make_script()
    assert script("start")[0] == 0
    assert script("start")[:2] == (1, "It looks like a daemon is already running!")
    assert service.is_still_answering()
    assert script("stop")[0] == 0
    assert script("stop")[:2] == (0, "There is no running instance to be stopped.")


def test_restart_replaces_the_process(service, make_script):
    script = make_script()
    assert script("restart")[0] == 0
    first = script("status")[1]
    assert script("restart")[0] == 0
    assert script("status")[1] != first
    assert service.is_still_answering()


def test_stop_waits_for_the_job_at_hand(service, make_script):
    script = make_script()
    script("start")
    number = service.send({"__nt_name": "Do", "what": "sleep", "argument": 2})
    runs = Path(script.environment["ECHO_RUNS"])
    wait_for(runs.exists, what="the job runs")
    code, out, _ = script("stop")
    assert code == 0
    assert "all accepted work was finished" in out
    assert service.answer()[0] == number
    assert service.nothing_left()


def test_stop_of_a_daemon_whose_handler_hangs(service, make_script):
    script = make_script(STOP_TIMEOUT="1")
    script("start")
    service.send({"__nt_name": "Do", "what": "sleep", "argument": 600})
    runs = Path(script.environment["ECHO_RUNS"])
    wait_for(runs.exists, what="the job runs")
    code, out, _ = script("stop")
    assert code == 0
    assert "aborted" in out
    assert service.get("daemon")[0].redelivered


def test_reload_takes_new_settings_and_keeps_the_process(service, make_script, tmp_path):
    config = tmp_path / "amqp.json"
    config.write_text('{"RABBITMQ_SEND_TRACEBACKS": true}')
    script = make_script(EDEPOSIT_AMQP_CONFIG=str(config))
    script("start")
    before = script("status")[1].split(")")[0]

    def traceback():
        service.send({"__nt_name": "Do", "what": "raise", "argument": "x"})
        return service.get()[1].headers["traceback"]

    assert traceback().startswith("Traceback")
    config.write_text('{"RABBITMQ_SEND_TRACEBACKS": false}')
    assert script("reload")[0] == 0
    wait_for(lambda: "reloaded" in script.log(), what="reloaded")
    assert traceback() is None
    config.write_text('{"RABBITMQ_SEND_TRACEBACKS": "perhaps"}')
    code, _, error = script("reload")
    assert code == 1
    assert "'perhaps' is not true or false" in error
    # A supervisor that sends the signal itself does no harm either.
    os.kill(int(before.rpartition(" ")[2]), signal.SIGHUP)
    wait_for(lambda: "reload failed" in script.log(), what="the mistake is logged")
    assert traceback() is None
    config.write_text("{}")
    assert script("status")[1].split(")")[0] == before


def test_a_wrong_setting_is_one_line(service, make_script, tmp_path):
    config = tmp_path / "amqp.json"
    config.write_text('{"RABBITMQ_HEARTBEAT": "often"}')
    code, _, error = make_script(script=SCANNER, EDEPOSIT_AMQP_CONFIG=str(config))("start")
    assert code == 1
    assert "RABBITMQ_HEARTBEAT: 'often' is not a whole number" in error
    assert "Traceback" not in error


def test_nothing_a_daemon_writes_is_writable_by_others(service, make_script, tmp_path):
    script = make_script()
    script("start")
    service.is_still_answering()
    found = [p for p in tmp_path.rglob("*") if not p.is_symlink() and p.stat().st_mode & 0o002]
    assert found == []


CALLER = EXAMPLE.with_name("ask_shouting.py")


def readme_example():
    """The code block of the README that defines a module."""
    text = (EXAMPLE.parents[2] / "README.rst").read_text("utf-8")
    _, _, rest = text.partition(".. code-block:: python\n\n")
    block = itertools.takewhile(lambda line: not line or line[0] == " ", rest.splitlines())
    return textwrap.dedent("\n".join(block))


@pytest.mark.parametrize(
    ("source", "arguments", "printed"),
    [
        (EXAMPLE.read_text("utf-8"), ["hello", "2"], ["1!", "2!", "HELLO"]),
        (readme_example(), ["hello"], ["HELLO"]),
    ],
    ids=["docs/own_module", "README"],
)
def test_the_documented_modules_work(rabbit, tmp_path, make_script, source, arguments, printed):
    file = tmp_path / "shouting.py"
    file.write_text(source, "utf-8")
    script = make_script(script=file, name="shouting")
    try:
        assert script()[::2] == (2, f"usage: shouting.py {'|'.join(SERVICE_ACTIONS)}")
        code, _, error = script("start")
        assert code == 1
        assert "create it with 'shouting.py create'" in error
        assert script("create")[0] == 0
        assert script("start")[0] == 0
        code, out, _ = script("check")
        assert code == 0
        assert re.fullmatch(r"OK: shouting: answered in [\d.]+ s\|time=[\d.]+s", out)
        asked = subprocess.run(
            [sys.executable, str(shutil.copy(CALLER, tmp_path)), *arguments],
            env=script.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert asked.stdout.split() == printed
        wait_for(lambda: "handled 2" in script("status")[1], what="both are counted")
        assert script("stop")[0] == 0
        code, out, _ = script("check", "--timeout", "1", "--json")
        assert code == 2
        found = json.loads(out)
        assert (found["code"], found["seconds"]) == ("CRITICAL", None)
        assert "0 consumers" in found["text"]
    finally:
        rabbit.delete_vhost("shouting")


def test_the_schema_of_an_own_module_has_a_parking_queue_and_follows_its_settings(
    rabbit, vhost, make_script
):
    script = make_script(
        script=EXAMPLE,
        name="shouting",
        RABBITMQ_SHOUTING_VIRTUALHOST=vhost,
        RABBITMQ_SHOUTING_EXCHANGE="loud",
        RABBITMQ_SHOUTING_INPUT_QUEUE="ears",
    )
    code, out, _ = script("create", "--json")
    assert code == 0
    made = json.loads(out)
    assert (made["virtual_host"], made["exchange"]) == (vhost, "loud")
    assert set(made["queues"]) == {"ears", "plone", "ears.undeliverable"}
    assert script("start")[0] == 0
    assert "queue ears" in script("status")[1]


def test_a_check_says_what_is_wrong(rabbit, vhost, make_script):
    script = make_script(script=EXAMPLE, name="shouting", RABBITMQ_SHOUTING_VIRTUALHOST=vhost)
    code, out, _ = script("check")
    assert (code, out.split(":")[0]) == (2, "CRITICAL")
    script.environment["RABBITMQ_HEARTBEAT"] = "often"
    code, out, _ = script("check")
    assert (code, out.split(":")[0]) == (3, "UNKNOWN")
    script.environment |= {"RABBITMQ_HEARTBEAT": "60", "RABBITMQ_PORT": "1"}
    code, out, _ = script("check")
    assert (code, out.split(":")[0]) == (2, "CRITICAL")


def test_help_and_version_of_an_own_module(make_script):
    script = make_script(script=EXAMPLE, name="shouting")
    code, out, _ = script("--version")
    assert (code, out) == (0, f"shouting.py (edeposit.amqp {__version__})")
    code, out, _ = script("--help")
    assert code == 0
    for action in SERVICE_ACTIONS:
        assert action in out
    assert script("start", "--loud")[0] == 2


@pytest.mark.parametrize("arguments", [["start", "-f"], ["start", "--foreground"]])
def test_a_plain_daemon_honours_the_foreground_option(service, make_script, arguments):
    script = make_script()
    process = subprocess.Popen(
        [sys.executable, str(ECHO), *arguments], env=script.environment, stdin=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: "consuming" in script("status")[1], what="it consumes")
        assert f"(pid {process.pid})" in script("status")[1]
    finally:
        process.terminate()
    assert process.wait(20) == 0


# --- what a daemon's surroundings do to its service -----------------------------------------


def test_a_handler_ends_its_own_child(service, make_script):
    script = make_script()
    assert script("start")[0] == 0
    for _ in range(3):
        number = service.send({"__nt_name": "Do", "what": "fork", "argument": "terminate"})
        assert service.answer() == (number, -signal.SIGTERM)
    assert service.is_still_answering()


def test_a_child_keeps_neither_connection_nor_pid_file_of_a_killed_daemon(service, make_script):
    script = make_script()
    script("start")
    pid = json.loads(script("status", "--json")[1])["pid"]
    service.send({"__nt_name": "Do", "what": "fork", "argument": "stay"})
    children = Path(f"/proc/{pid}/task")
    wait_for(lambda: [path for path in children.glob("*/children") if path.read_text()])
    (child,) = [int(n) for path in children.glob("*/children") for n in path.read_text().split()]
    try:
        os.kill(pid, signal.SIGKILL)
        # The broker gives the request back at once, not after two missed heartbeats.
        method, _, _ = service.get("daemon", timeout=10)
        assert method.redelivered
        assert script("start")[0] == 0
        assert service.is_still_answering()
        assert "are not counted" not in script.log()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_restart_beside_a_stop_does_not_abort_the_job(service, make_script):
    script = make_script()
    script("start")
    number = service.send({"__nt_name": "Do", "what": "sleep", "argument": 3})
    runs = Path(script.environment["ECHO_RUNS"])
    wait_for(runs.exists, what="the job runs")
    command = [sys.executable, str(ECHO)]
    first = subprocess.Popen(
        [*command, "stop"], env=script.environment, stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: "draining" in script("status")[1], what="it drains")
    assert script("restart")[0] == 0
    assert "all accepted work was finished" in first.communicate(timeout=20)[0]
    assert service.answer()[0] == number
    assert len(runs.read_text().splitlines()) == 1
    assert service.is_still_answering()


@pytest.mark.parametrize("foreground", [False, True], ids=["background", "foreground"])
def test_a_full_disk_fails_no_request_whose_handler_prints(service, make_script, foreground):
    script = make_script(LOG_TARGET="/dev/full")
    script.environment["LOG_TARGET"] = "/dev/full"
    if foreground:
        with open("/dev/full", "w") as full:
            process = subprocess.Popen(
                [sys.executable, str(ECHO), "start", "-f"],
                env=script.environment,
                stdout=full,
                stderr=full,
            )
        wait_for(lambda: "consuming" in script("status")[1], what="it consumes")
    else:
        assert script("start")[0] == 0
    for _ in range(20):
        number = service.send({"__nt_name": "Do", "what": "print", "argument": "x" * 5000})
        assert service.answer()[0] == number
        service.send("this is no JSON")
        assert service.answer()[1][0] != "Do"
    assert script("stop")[0] == 0
    if foreground:
        assert process.wait(10) == 0


def test_pipes_that_nobody_reads_stop_no_service(service, make_script):
    script = make_script(LOG_LEVEL="DEBUG")
    script.environment["LOG_TARGET"] = "stderr"
    process = subprocess.Popen(
        [sys.executable, str(ECHO), "start", "-f"],
        env=script.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(lambda: "consuming" in script("status")[1], what="it consumes")
        for _ in range(10):
            number = service.send({"__nt_name": "Do", "what": "print", "argument": "x" * 50_000})
            assert service.answer()[0] == number
        code, out, _ = script("stop")
        assert code == 0
        assert "finished" in out
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_log_directory_that_is_removed_stops_no_service(service, make_script, tmp_path):
    log = tmp_path / "logs" / "echo.log"
    script = make_script()
    script.environment["LOG_TARGET"] = str(log)
    assert script("start")[0] == 0
    shutil.rmtree(log.parent)
    log.parent.write_text("in the way")
    for _ in range(5):
        service.send("this is no JSON")
        service.answer()
    assert script("reload")[0] == 0
    assert service.is_still_answering()
    log.parent.unlink()
    service.send("this is no JSON")
    service.answer()

    def is_back():
        service.send("this is no JSON")
        service.answer()
        return log.exists()

    wait_for(is_back, what="it is logged again")
