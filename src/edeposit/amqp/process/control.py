"""The running daemon seen from outside: find it, signal it, say what it does and how it ended.

Works from the pid file and the status file alone, so that ``stop`` and ``status`` need neither the
daemon's settings nor its code.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from edeposit.amqp.errors import StartError
from edeposit.amqp.process.pidfile import PidFile

logger = logging.getLogger(__name__)

# Exit codes of all actions. Those of status are the LSB's (Linux Standard Base, "Init Script
# Actions"): 0 running, 1 dead but pid file left, 3 not running, 4 unknown.
EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_UNKNOWN = 4

# After its stop_timeout a daemon abandons its work; it gets this long (s) to leave before SIGKILL.
GRACE = 5.0

_ENDS = {
    "drained": "all work at hand was finished",
    "aborted": "aborted, unfinished requests went back to the queue",
}


def complain(name: str, reason: str, code: int = EXIT_FAILURE) -> int:
    """Print one line on stderr; returns the exit code."""
    print(f"{name}: {' '.join(reason.split())}", file=sys.stderr)
    return code


class StatusFile:
    """What a daemon has told last, as JSON beside its pid file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, state: str, details: dict[str, Any]) -> None:
        """Replace the file in one step; a full disk is logged, it does not stop the daemon."""
        since = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        data = {"pid": os.getpid(), "state": state, "since": since, **details}
        temporary = self.path.with_suffix(".status.new")
        try:
            temporary.write_text(json.dumps(data, ensure_ascii=False), "utf-8")
            temporary.replace(self.path)
        except OSError as error:
            logger.warning("status file %s cannot be written: %s", self.path, error.strerror)

    def read(self, pid: int) -> dict[str, Any]:
        """What the process with this pid has told; empty if nothing."""
        try:
            status = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return status if isinstance(status, dict) and status.get("pid") == pid else {}


class Control:
    """A daemon that may be running.

    Args:
        name: for messages.
        pidfile: of the daemon.
        status_file: of the daemon.
    """

    def __init__(self, name: str, pidfile: PidFile, status_file: StatusFile) -> None:
        self.name = name
        self.pidfile = pidfile
        self.status_file = status_file

    def stop(self, stop_timeout: float) -> int | None:
        """Stop it, wait for its end, and print how it ended.

        Args:
            stop_timeout: seconds that its work at hand gets.

        Returns:
            An exit code, or None if nothing runs.
        """
        try:
            pid = self.pidfile.holder()
            if pid is None:
                return None
            self._signal(pid, signal.SIGTERM)
        except StartError as error:
            return complain(self.name, str(error), EXIT_UNKNOWN)
        if self._wait_for_end(stop_timeout + GRACE):
            state = self.status_file.read(pid).get("state", "stopped")
            print(f"{self.name} (pid {pid}) stopped: {_ENDS.get(state, state)}.")
            return EXIT_OK
        for victim in (pid, *_descendants(pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        self._wait_for_end(GRACE)
        return complain(
            self.name, f"pid {pid} did not stop within {stop_timeout + GRACE:g} s and was killed"
        )

    def status(self, *, as_json: bool) -> int:
        """Print whether it runs, and what it is doing; returns the LSB's exit code."""
        try:
            pid = self.pidfile.holder()
        except StartError as error:
            return complain(self.name, f"unknown: {error}", EXIT_UNKNOWN)
        told = self.status_file.read(pid) if pid is not None else {}
        if pid is not None:
            code = EXIT_OK
        else:
            code = EXIT_FAILURE if self.pidfile.exists() else EXIT_NOT_RUNNING
        if as_json:
            running = {"running": True, **told, "pid": pid} if pid is not None else {}
            data = {"name": self.name, "running": False, **running}
            print(json.dumps(data, ensure_ascii=False))
        elif pid is not None:
            print(f"{self.name} is running (pid {pid}): {_describe(told)}")
        elif code == EXIT_FAILURE:
            print(f"{self.name} is dead, its pid file {self.pidfile.path} is left over.")
        else:
            print(f"{self.name} is not running.")
        return code

    def reload(self) -> int:
        """Have it reopen its logs and read its settings again (SIGHUP); returns an exit code."""
        try:
            pid = self.pidfile.holder()
            if pid is None:
                return complain(self.name, "not running, nothing to reload", EXIT_NOT_RUNNING)
            self._signal(pid, signal.SIGHUP)
        except StartError as error:
            return complain(self.name, str(error), EXIT_UNKNOWN)
        print(f"{self.name} (pid {pid}) was told to reload.")
        return EXIT_OK

    def _signal(self, pid: int, number: int) -> None:
        """Signal the holder of the pid file and nobody else.

        The descriptor names one process for good; if that process still holds the file after it
        was opened, its number cannot have been given to another one before.

        Raises:
            StartError: it is not permitted.
        """
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if self.pidfile.holder() == pid:
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        except PermissionError as error:
            raise StartError(f"not permitted to signal process {pid}") from error
        finally:
            os.close(descriptor)

    def _wait_for_end(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.pidfile.is_locked():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def _describe(told: dict[str, Any]) -> str:
    state = f"{told.get('state', 'starting')} since {told.get('since', '?')}"
    rest = [f"{key} {value}" for key, value in told.items() if key not in ("pid", "state", "since")]
    return ", ".join([state, *rest])


def _descendants(pid: int) -> list[int]:
    """Children of a process, and theirs."""
    result: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text("ascii").split()]
        except OSError:
            continue
        for child in children:
            result += [child, *_descendants(child)]
    return result
