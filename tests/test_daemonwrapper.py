"""Daemon processes as processes: start, signal, look at exit codes, files and logs."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from edeposit.amqp.process.children import descendants
from edeposit.amqp.testing import wait_for

SCRIPT = Path(__file__).parent / "daemons" / "plain.py"
LONG = os.environ.get("EDEPOSIT_LONG_TESTS") == "1"

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0
    or subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode
    != 0,
    reason="namespaces are root's, and not in every container",
)


class Plain:
    """The plain daemon with files of its own."""

    def __init__(self, directory, **environment):
        self.run_dir = directory / "run"
        self.log_path = directory / "log" / "plain.log"
        self.exits = directory / "exits"
        self.pidfile = self.run_dir / "plain.pid"
        self.environment = {
            **os.environ,
            "HOME": str(directory),
            "PID_DIR": str(self.run_dir),
            "LOG_TARGET": str(self.log_path),
            "LOG_LEVEL": "DEBUG",
            "PLAIN_EXITS": str(self.exits),
            "STOP_TIMEOUT": "5",
            **environment,
        }

    def mode(self, mode, **environment):
        self.environment.update(PLAIN_MODE=mode, **environment)
        return self

    def popen(self, action, **options):
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), action],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def __call__(self, action):
        """Run an action to its end; returns (exit code, stdout, stderr)."""
        process = self.popen(action)
        out, error = process.communicate(timeout=30)
        return process.returncode, out.strip(), error.strip()

    def log(self):
        return self.log_path.read_text("utf-8") if self.log_path.exists() else ""

    def pid(self):
        return int(self.pidfile.read_text())

    def count_exits(self):
        return len(self.exits.read_text().splitlines()) if self.exits.exists() else 0


@pytest.fixture
def plain(tmp_path):
    plain = Plain(tmp_path)
    yield plain
    plain.environment["STOP_TIMEOUT"] = "0"
    if plain.pidfile.exists() and plain("status")[0] == 0:
        pid = plain.pid()
        for victim in (*descendants(pid), pid):
            os.kill(victim, signal.SIGKILL)


def is_alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text("ascii")
    except FileNotFoundError:
        return False


# --- start and stop -------------------------------------------------------------------------


def test_start_status_stop(plain):
    code, out, error = plain("start")
    assert (code, error) == (0, "")
    pid = plain.pid()
    assert out == f"plain started with pid {pid}."
    code, out, _ = plain("status-json")
    status = json.loads(out)
    since = status.pop("since")
    assert datetime.strptime(since, "%Y-%m-%dT%H:%M:%S%z")
    assert status.pop("ready_since") == since
    assert status == {"name": "plain", "running": True, "pid": pid, "state": "running"}
    assert plain("status")[:2] == (0, f"plain is running (pid {pid}): running since {since}")
    assert plain("stop")[0] == 0
    assert not is_alive(pid)
    assert not plain.pidfile.exists()
    assert plain("status")[:2] == (3, "plain is not running.")
    assert json.loads(plain("status-json")[1]) == {"name": "plain", "running": False}
    assert plain.count_exits() == 1


def test_start_twice_and_stop_twice(plain):
    plain("start")
    pid = plain.pid()
    assert plain("start")[:2] == (1, "It looks like a daemon is already running!")
    assert plain.pid() == pid
    assert plain("stop")[0] == 0
    assert plain("stop")[:2] == (0, "There is no running instance to be stopped.")


def test_restart_starts_a_stopped_daemon_and_replaces_a_running_one(plain):
    assert plain("restart")[0] == 0
    first = plain.pid()
    assert plain("restart")[0] == 0
    assert plain.pid() != first
    assert not is_alive(first)


def test_an_unknown_action_is_wrong_usage(plain):
    code, _, error = plain("dance")
    assert code == 2
    assert error == "usage: plain.py start|stop|restart|status|reload"


def test_p19_stop_of_a_daemon_that_ignores_it_kills_it_and_its_children(plain):
    plain.mode("stubborn", STOP_TIMEOUT="0.5")
    plain("start")
    pid = plain.pid()
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_for(children.read_text, what="the child runs")
    child = int(children.read_text())
    started = time.monotonic()
    code, _, error = plain("stop")
    assert code == 1
    assert "did not stop within 5.5 s and was killed" in error
    assert time.monotonic() - started < 9
    wait_for(lambda: not is_alive(pid) and not is_alive(child), what="both are gone")
    assert plain.mode("")("start")[0] == 0


@pytest.mark.parametrize(("mode", "code"), [("return", 0), ("raise", 1)])
def test_onexit_runs_once_whatever_ends_the_body(plain, mode, code):
    process = plain.mode(mode).popen("foreground")
    process.communicate(timeout=10)
    assert process.returncode == code
    assert plain.count_exits() == 1
    if code:
        assert "ValueError: after it was ready" in plain.log()
    assert not plain.pidfile.exists()


# --- P16: an honest start -------------------------------------------------------------------


def test_p16_a_daemon_that_cannot_start_says_why_on_one_line(plain):
    started = time.monotonic()
    assert plain.mode("refuse")("start") == (1, "", "plain: the moon is not full")
    assert time.monotonic() - started < 3
    assert "the moon is not" in plain.log()
    assert plain("status")[0] == 3
    assert plain("foreground")[0] == 1


def test_p16_a_crash_before_ready_is_said_and_logged(plain):
    code, _, error = plain.mode("crash-early")("start")
    assert (code, error) == (1, "plain: KeyError: 'surprise'")
    assert "Traceback" in plain.log()


def test_p16_a_death_before_ready_is_noticed(plain):
    code, _, error = plain.mode("exit-early")("start")
    assert code == 1
    assert "died before it was ready" in error
    assert str(plain.log_path) in error


def test_p16_an_unwritable_log_is_one_line(plain):
    plain.environment["LOG_TARGET"] = "/proc/no/place.log"
    code, _, error = plain("start")
    assert code == 1
    assert error.startswith("plain: log file /proc/no/place.log cannot be opened")
    assert len(error.splitlines()) == 1


def test_p14_threads_before_the_fork_are_refused(plain):
    code, _, error = plain.mode("thread-before")("start")
    assert code == 1
    assert "threads are running already" in error


# --- P15: pid files -------------------------------------------------------------------------


def test_p15_a_pid_file_left_by_a_crash_blocks_nothing(plain):
    plain("start")
    old = plain.pid()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: not is_alive(old), what="it is dead")
    code, out, _ = plain("status")
    assert code == 1
    assert "is dead, its pid file" in out
    assert plain("start")[0] == 0
    assert plain.pid() != old


def test_p15_a_foreign_process_is_never_signalled(plain):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        plain.run_dir.mkdir(mode=0o700)
        plain.pidfile.write_text(f"{bystander.pid}\n")
        assert plain("stop")[:2] == (0, "There is no running instance to be stopped.")
        # Even a lock held by somebody else does not make the number true.
        with open(plain.pidfile) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            code, _, error = plain("stop")
            assert code == 4
            assert "not by the process it names" in error
            assert plain("status")[0] == 4
        assert bystander.poll() is None
        assert plain("start")[0] == 0
    finally:
        bystander.kill()
        bystander.wait()


def test_p15_the_number_1_is_never_signalled(plain):
    plain.run_dir.mkdir(mode=0o700)
    plain.pidfile.write_text("1\n")
    assert plain("stop")[0] == 0
    assert plain("start")[0] == 0


def test_p15_a_file_that_is_no_pid_file_is_left_alone(plain):
    plain.run_dir.mkdir(mode=0o700)
    plain.pidfile.write_text("my diary\n")
    code, _, error = plain("start")
    assert code == 1
    assert "is not a pid file and is left alone" in error
    assert plain.pidfile.read_text() == "my diary\n"


def test_p15_a_symlink_is_refused(plain, tmp_path):
    plain.run_dir.mkdir(mode=0o700)
    (tmp_path / "target").write_text("")
    plain.pidfile.symlink_to(tmp_path / "target")
    assert plain("start")[0] == 1
    assert (tmp_path / "target").read_text() == ""


def test_p15_a_directory_that_others_can_write_is_refused(plain):
    plain.run_dir.mkdir()
    plain.run_dir.chmod(0o777)
    code, _, error = plain("start")
    assert code == 1
    assert "others can write in directory" in error


def test_p15_of_many_starts_at_once_exactly_one_wins(plain):
    for _ in range(20 if LONG else 2):
        with ThreadPoolExecutor(5) as pool:
            codes = list(pool.map(lambda _: plain("start")[0], range(5)))
        assert sorted(codes) == [0, 1, 1, 1, 1]
        assert plain("stop")[0] == 0


# Becomes another user after everything is imported: that user need not be able to read Python.
AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv.pop(1))
import plain
from edeposit.amqp import settings
settings.reload()
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
plain.main()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_p15_another_user_can_neither_start_nor_stop_it(plain):
    plain("start")
    for action, expected in (("stop", 4), ("status", 4), ("start", 1)):
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(SCRIPT.parent), action],
            env=plain.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expected, (action, done.stderr)
        assert "Traceback" not in done.stderr
    assert plain("status")[0] == 0


# --- foreground and run ---------------------------------------------------------------------


def test_foreground_holds_the_pid_file_and_stops_on_signal(plain):
    plain.environment["LOG_TARGET"] = ""
    process = plain.popen("foreground")
    wait_for(lambda: plain("status")[0] == 0, what="it runs")
    assert plain.pid() == process.pid
    assert plain("start")[0] == 1
    assert plain("stop")[0] == 0
    _, error = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Plain is shutting down." in error
    assert plain.count_exits() == 1


def test_foreground_ends_quietly_with_ctrl_c(plain):
    process = plain.popen("foreground")
    wait_for(lambda: plain("status")[0] == 0, what="it runs")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in error


def test_run_touches_no_pid_file(plain):
    process = plain.mode("return").popen("run")
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert not plain.run_dir.exists()
    assert plain.count_exits() == 1


# --- P13: signals ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["", "own-loop"])
def test_p13_a_storm_of_signals_neither_hangs_nor_kills(plain, mode):
    plain.mode(mode)("start")
    pid = plain.pid()
    for _ in range(10_000 if LONG else 2000):
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGUSR1)
    assert plain("status")[0] == 0
    assert plain("stop")[0] == 0
    assert "Traceback" not in plain.log()
    assert "reentrant" not in plain.log()


# --- P17: logs ------------------------------------------------------------------------------


def rotate(plain, tmp_path, options):
    """One run of logrotate, forced."""
    config = tmp_path / "logrotate.conf"
    config.write_text(f"{plain.log_path} {{\n rotate 100\n nocompress\n {options}\n}}\n")
    config.chmod(0o600)
    state = tmp_path / "logrotate.state"
    subprocess.run(["logrotate", "-f", "-s", str(state), str(config)], check=True)


@pytest.mark.parametrize("how", ["create", "create-and-reload"])
def test_p17_no_line_is_lost_when_logs_are_rotated(plain, tmp_path, how):
    lines = 10_000 if LONG else 2500
    plain.mode("lines", PLAIN_LINES=str(lines))("start")
    for rotation in range(4):
        wait_for(
            lambda seen=rotation: plain.log_path.exists() and "line" in plain.log(),
            what=f"lines before rotation {rotation}",
        )
        rotate(plain, tmp_path, "create 0640\n")
        if how == "create-and-reload":
            assert plain("reload")[0] == 0
    status = plain.run_dir / "plain.status"
    wait_for(lambda: status.exists() and "written" in status.read_text(), timeout=30)
    text = "".join(path.read_text("utf-8") for path in plain.log_path.parent.iterdir())
    numbers = {int(number) for number in re.findall(r"line (\d+)\.", text)}
    assert numbers == set(range(lines))


def test_p17_copytruncate_leaves_a_log_without_holes(plain, tmp_path):
    plain.mode("lines", PLAIN_LINES="500")("start")
    status = plain.run_dir / "plain.status"
    wait_for(lambda: status.exists() and "written" in status.read_text(), timeout=30)
    rotate(plain, tmp_path, "copytruncate\n")
    plain("reload")
    wait_for(lambda: "onReload was called" in plain.log(), what="the next line")
    assert "\0" not in plain.log()


def test_p17_a_crash_of_the_interpreter_is_in_the_log(plain):
    plain.mode("abort")("start")
    wait_for(lambda: "Fatal Python error: Aborted" in plain.log(), what="faulthandler's text")


def test_p17_prints_and_childrens_output_are_in_the_log(plain):
    plain.environment.update(LANG="C", LC_ALL="C")
    plain.mode("print")("start")
    wait_for(lambda: "from a child" in plain.log(), what="the child's output")
    assert "printed žluťoučký" in plain.log()


# --- P18, reload ----------------------------------------------------------------------------


def test_p18_nothing_is_writable_by_others(plain, tmp_path):
    plain.mode("files", PLAIN_FILE=str(tmp_path / "file"))("start")
    wait_for((tmp_path / "file").exists, what="the file")
    found = [p for p in tmp_path.rglob("*") if p.stat().st_mode & 0o002]
    assert found == []
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_reload_reopens_and_calls_back(plain):
    plain("start")
    code, out, _ = plain("reload")
    assert (code, out) == (0, f"plain (pid {plain.pid()}) was told to reload.")
    wait_for(lambda: "onReload was called" in plain.log(), what="onReload")
    plain("stop")
    assert plain("reload")[0] == 3


# --- P32: the supervisor --------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_p32_the_supervisor_is_told(plain, tmp_path, abstract):
    name = f"edeposit-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind("\0" + name if abstract else name)
        supervisor.settimeout(10)
        plain.environment["NOTIFY_SOCKET"] = "@" + name if abstract else name
        process = plain.popen("foreground")
        assert supervisor.recv(1000) == b"READY=1"
        process.send_signal(signal.SIGHUP)
        reloading = supervisor.recv(1000).decode()
        assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert supervisor.recv(1000) == b"READY=1"
        process.terminate()
        assert supervisor.recv(1000) == b"STOPPING=1"
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_reload_before_it_is_ready_does_not_tell_that_it_is(plain, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(10)
        plain.mode("wait-for-file", PLAIN_FILE=str(tmp_path / "file"))
        plain.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        process = plain.popen("foreground")
        wait_for(lambda: plain("reload")[0] == 0, what="it takes signals")
        wait_for(lambda: "reloaded" in plain.log(), what="it has reloaded")
        (tmp_path / "file").touch()
        assert supervisor.recv(1000) == b"READY=1"
        process.terminate()
        process.communicate(timeout=10)


# --- children, without exec -----------------------------------------------------------------


def child_of(plain):
    children = Path(f"/proc/{plain.pid()}/task/{plain.pid()}/children")
    return int(wait_for(children.read_text, what="the child runs"))


def test_start_returns_although_a_child_was_forked_before_ready(plain):
    assert plain.mode("fork-early")("start")[0] == 0


@pytest.mark.parametrize("how", ["start", "foreground"])
def test_stop_leaves_no_child(plain, how):
    plain.mode("fork").popen(how)
    wait_for(lambda: plain("status")[0] == 0, what="it runs")
    child = child_of(plain)
    assert plain("stop")[0] == 0
    assert not is_alive(child)


def test_a_child_of_a_killed_daemon_blocks_nothing(plain):
    plain.mode("fork")("start")
    child = child_of(plain)
    try:
        os.kill(plain.pid(), signal.SIGKILL)
        wait_for(lambda: plain("status")[0] == 1, what="it is seen as dead")
        assert plain("start")[0] == 0
    finally:
        os.kill(child, signal.SIGKILL)


# --- several commands at once ---------------------------------------------------------------


def test_a_second_stop_and_a_restart_wait_for_the_first(plain, tmp_path):
    plain.mode("slow-end", PLAIN_SECONDS="2", PLAIN_FILE=str(tmp_path / "file"))("start")
    first = plain.pid()
    commands = [plain.popen("stop")]
    wait_for((plain.run_dir / "plain.stop").exists, what="it is being stopped")
    commands += [plain.popen("stop"), plain.popen("restart")]
    for command in commands:
        _, error = command.communicate(timeout=20)
        assert (command.returncode, error) == (0, "")
    assert (tmp_path / "file").read_text() == "finished"
    assert plain.pid() != first
    assert not (plain.run_dir / "plain.stop").exists()


def test_a_second_signal_and_stop_now_do_not_wait(plain, tmp_path):
    file = tmp_path / "file"
    plain.mode("slow-end", PLAIN_SECONDS="600", PLAIN_FILE=str(file))("start")
    assert plain("stop-now")[0] == 0
    assert not file.exists()
    plain("start")
    command = plain.popen("stop")
    wait_for((plain.run_dir / "plain.stop").exists, what="it is being stopped")
    wait_for(lambda: plain("stop-now")[0] == 0, what="the second signal")
    command.communicate(timeout=20)
    assert command.returncode == 0
    assert not file.exists()


def test_a_stop_mark_left_by_a_crash_does_not_keep_stop_off(plain):
    plain("start")
    pid = plain.pid()
    (plain.run_dir / "plain.stop").write_text(f"{pid}")  # by the last process of this number
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid), what="it is dead")
    assert plain("start")[0] == 0
    assert not (plain.run_dir / "plain.stop").exists()
    assert plain("stop")[0] == 0


# --- the edge of Unix -----------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_hinder_no_start(plain, closed):
    command = f'exec "$0" "$1" start {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, str(SCRIPT)],
        env=plain.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert plain("status")[0] == 0


AS_UNKNOWN = AS_NOBODY.replace("65534", "54321")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("action", ["start", "stop", "status", "foreground"])
def test_a_user_without_a_home_gets_one_line(plain, action):
    for name in ("HOME", "PID_DIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        plain.environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", AS_UNKNOWN, str(SCRIPT.parent), action],
        env=plain.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode in (1, 4)
    assert "user 54321 has no home directory: set PID_DIR" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@needs_namespaces
@pytest.mark.parametrize("action", ["start", "foreground"])
@pytest.mark.parametrize(
    ("options", "problem"),
    [("ro", "Read-only file system"), ("nr_inodes=1", "No space left on device")],
)
def test_a_pid_directory_that_is_full_or_read_only_is_one_line(plain, action, options, problem):
    plain.run_dir.mkdir(mode=0o700)
    mount = 'mount -t tmpfs -o mode=700,"$1" tmpfs "$2" && exec "$3" "$4" "$5"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", options, str(plain.run_dir)]
        + [sys.executable, str(SCRIPT), action],
        env=plain.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"plain: pid file {plain.pidfile}: {problem}\n"


@needs_namespaces
def test_a_daemon_that_is_process_1_can_be_asked_and_stopped(plain):
    outside = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        + [sys.executable, str(SCRIPT), "foreground"],
        env=plain.environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def inside(action):
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
        return subprocess.run(
            ["nsenter", "-t", children[0], "-p", "-m", sys.executable, str(SCRIPT), action],
            env=plain.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    try:
        wait_for(lambda: plain.pidfile.exists() and plain.pidfile.read_text() == "1\n")
        wait_for(lambda: inside("status").returncode == 0, what="it can be asked")
        assert inside("reload").returncode == 0
        done = inside("stop")
        assert (done.returncode, done.stdout) == (0, "plain (pid 1) stopped.\n")
        assert outside.wait(10) == 0
    finally:
        outside.kill()
        outside.wait()


def test_a_wrong_setting_does_not_hide_the_daemon(plain, tmp_path):
    config = tmp_path / "amqp.json"
    right = {"PID_DIR": str(plain.run_dir), "LOG_TARGET": str(plain.log_path)}
    config.write_text(json.dumps(right))
    del plain.environment["PID_DIR"], plain.environment["LOG_TARGET"]
    plain.environment["EDEPOSIT_AMQP_CONFIG"] = str(config)
    plain("start")
    pid = plain.pid()
    config.write_text(json.dumps({**right, "RABBITMQ_HEARTBEAT": "sixty", "LOG_LEVEL": 7}))
    assert plain("status")[0] == 0
    assert plain("stop")[0] == 0
    assert not is_alive(pid)


def test_what_fails_at_the_end_does_not_hide_the_first_error(plain):
    process = plain.mode("fail-twice").popen("foreground")
    process.communicate(timeout=10)
    assert process.returncode == 1
    before, _, end = plain.log().partition("the daemon ends with an error")
    assert "KeyError: 'the second error'" in before
    assert end.endswith("ValueError: the first error\n")
    assert plain.count_exits() == 1


@pytest.fixture
def open_plain():
    """The daemon with files where other users can look; pytest's own directories are closed."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        plain = Plain(Path(directory))
        yield plain
        plain.environment["STOP_TIMEOUT"] = "0"
        plain("stop")


@pytest.mark.parametrize("how", ["as a user of its own", "default"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_sees_a_daemon_that_runs(open_plain, how):
    """As joe, of a daemon of root's or of a service account in /run/edeposit."""
    script = """
import sys
from pathlib import Path
from edeposit.amqp.process import directory
directory.SYSTEM = Path(sys.argv.pop(1))
"""
    plain = open_plain
    place = plain.run_dir / "account" if how != "default" else plain.run_dir
    place.mkdir(mode=0o755, parents=True)
    plain.environment["PID_DIR"] = str(place)
    assert plain("start")[0] == 0
    pid = int((place / "plain.pid").read_text())
    asked = subprocess.run(
        [
            sys.executable,
            "-c",
            script + AS_NOBODY,
            str(plain.run_dir),
            str(SCRIPT.parent),
            "status",
        ],
        env={**plain.environment, "PID_DIR": "", "XDG_RUNTIME_DIR": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout.startswith(f"plain is running (pid {pid}): running since ")
    assert plain("stop")[0] == 0


def test_a_relative_pid_dir_is_one_of_the_caller(plain, tmp_path):
    plain.environment["PID_DIR"] = "run"
    for action, code in (("start", 0), ("status", 0), ("stop", 0), ("status", 3)):
        done = subprocess.run(
            [sys.executable, str(SCRIPT), action], cwd=tmp_path, env=plain.environment, check=False
        )
        assert done.returncode == code
        assert plain.pidfile.exists() == (code == 0 and action != "stop")


def test_status_says_where_it_has_looked(plain, tmp_path):
    del plain.environment["PID_DIR"]
    plain.environment.pop("XDG_RUNTIME_DIR", None)
    code, out, _ = plain("status")
    assert code in (3, 4)
    if code == 3:
        assert out.startswith("plain is not running (looked in ")
        assert out.endswith("/run/edeposit).")


def test_what_was_started_before_the_daemon_is_not_ended_with_it(plain):
    code = """
import subprocess, sys
sys.path.insert(0, sys.argv.pop(1))
before = subprocess.Popen(["sleep", "600"])
import plain
daemon = plain.Plain("plain")
assert daemon.foreground() == 0
assert before.poll() is None
before.kill()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPT.parent)],
        env={**plain.environment, "PLAIN_MODE": "return"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_restart_with_a_wrong_setting_stops_nothing(plain):
    plain("start")
    pid = plain.pid()
    plain.environment["RABBITMQ_HEARTBEAT"] = "sixty"
    code, _, error = plain("restart")
    assert code == 1
    assert "RABBITMQ_HEARTBEAT" in error
    assert plain.pid() == pid
    assert is_alive(pid)


def test_ctrl_c_while_start_waits_is_no_traceback(plain):
    plain.mode("wait-for-file", PLAIN_FILE="/nonexistent/file")
    process = plain.popen("start")
    wait_for(lambda: plain("status")[0] == 0, what="it waits")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=10)
    assert (process.returncode, error) == (130, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_and_the_daemons_user_stop_it_together(open_plain, tmp_path):
    plain = open_plain
    plain.run_dir.mkdir(mode=0o755)
    for path in (plain.run_dir, plain.run_dir.parent):
        os.chown(path, 65534, 65534)
    file = plain.run_dir.parent / "file"
    plain.mode("slow-end", PLAIN_SECONDS="2", PLAIN_FILE=str(file))

    def as_nobody(action):
        return subprocess.Popen(
            [sys.executable, "-c", AS_NOBODY, str(SCRIPT.parent), action],
            env=plain.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    _, error = as_nobody("start").communicate(timeout=20)
    assert error == ""
    commands = [plain.popen("stop")]
    wait_for((plain.run_dir / "plain.stop").exists, what="root stops it")
    commands.append(as_nobody("stop"))
    for command in commands:
        command.communicate(timeout=20)
        assert command.returncode == 0
    assert file.read_text() == "finished"


@pytest.mark.parametrize("name", ["plain.pid", "plain.status", "plain.stop"])
def test_a_fifo_in_place_of_a_file_holds_up_no_command(plain, name):
    plain("start")
    pid = plain.pid()
    (plain.run_dir / name).unlink(missing_ok=True)
    os.mkfifo(plain.run_dir / name)
    try:
        for action in ("status", "stop"):
            assert plain(action)[0] in (0, 1, 3, 4)
    finally:
        (plain.run_dir / name).unlink(missing_ok=True)
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
