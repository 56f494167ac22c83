"""The running daemon seen from outside: find it, signal it, say what it does and how it ended.

Works from the pid file and the status file alone, so that ``stop`` and ``status`` need neither the
daemon's settings nor its code.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edeposit.amqp.errors import StartError
from edeposit.amqp.process.children import descendants
from edeposit.amqp.process.pidfile import PidFile
from edeposit.amqp.process.statusfile import StatusFile, describe

# Exit codes of all actions. Those of status are the LSB's (Linux Standard Base, "Init Script
# Actions"): 0 running, 1 dead but pid file left, 3 not running, 4 unknown.
EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_UNKNOWN = 4
EXIT_INTERRUPTED = 130  # by Ctrl-C

# After its stop_timeout a daemon abandons its work; it gets this long (s) to exit before SIGKILL.
GRACE = 5.0

_REPEAT = 0.5  # seconds between two signals of ``stop --now``
_EXITING = 1.0  # seconds from the release of the pid file to the end of the process

_ENDS = {
    "drained": ": all accepted work was finished",
    "aborted": ": aborted, unfinished requests went back to the queue",
}


def complain(name: str, reason: str, code: int = EXIT_FAILURE) -> int:
    """Print one line on stderr; returns the exit code."""
    print(f"{name}: {' '.join(reason.split())}", file=sys.stderr)
    return code


class Control:
    """A daemon that may be running.

    Args:
        name: of the daemon.
        directory: of its pid and status file.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.pidfile = PidFile(directory / f"{name}.pid")
        self.status_file = StatusFile(directory / f"{name}.status")
        self._stop_mark = directory / f"{name}.stop"

    def stop(self, stop_timeout: float, *, now: bool = False) -> int | None:
        """Stop it, wait for its end, and print how it ended.

        A second ``stop`` waits like the first: the daemon would take a second signal for an order
        to abandon its work.

        Args:
            stop_timeout: seconds that its current work gets.
            now: have the work abandoned.

        Returns:
            An exit code, or None if nothing runs.
        """
        try:
            with self._process() as (pid, process):
                if pid is None:
                    return None
                if self._mark_stopping(pid) or now:
                    _signal(process, pid, signal.SIGTERM)
                timeout = GRACE if now else stop_timeout + GRACE
                if self._wait_for_end(pid, process, timeout, repeat=now):
                    end = _ENDS.get(self.status_file.read(pid).get("state", ""), "")
                    print(f"{self.name} (pid {pid}) stopped{end}.")
                    return EXIT_OK
                return self._kill(pid, process, timeout)
        except StartError as error:
            return complain(self.name, str(error), EXIT_UNKNOWN)

    def status(self, *, as_json: bool, looked_in: str = "") -> int:
        """Print whether it runs, and what it is doing; returns the LSB's exit code.

        Args:
            as_json: one JSON object on one line instead of text.
            looked_in: where else it was looked for, if it does not run.
        """
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
            print(f"{self.name} is running (pid {pid}): {describe(told)}")
        elif code == EXIT_FAILURE:
            print(f"{self.name} is dead, its pid file {self.pidfile.path} is left over.")
        else:
            print(f"{self.name} is not running{looked_in and f' (looked in {looked_in})'}.")
        return code

    def reload(self) -> int:
        """Have it reopen its logs and read its settings again (SIGHUP); returns an exit code."""
        try:
            with self._process() as (pid, process):
                if pid is None:
                    return complain(self.name, "not running, nothing to reload", EXIT_NOT_RUNNING)
                _signal(process, pid, signal.SIGHUP)
        except StartError as error:
            return complain(self.name, str(error), EXIT_UNKNOWN)
        print(f"{self.name} (pid {pid}) was told to reload.")
        return EXIT_OK

    @contextlib.contextmanager
    def _process(self) -> Iterator[tuple[int | None, int]]:
        """The holder of the pid file: its pid, or None, and a descriptor of the process.

        The descriptor names one process for good; if that process still holds the file after it
        was opened, its number cannot have been given to another one before.

        Raises:
            StartError: as ``PidFile.holder``.
        """
        while (pid := self.pidfile.holder()) is not None:
            try:
                process = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                if self.pidfile.holder() == pid:
                    yield pid, process
                    return
            finally:
                os.close(process)
        yield None, -1

    def _mark_stopping(self, pid: int) -> bool:
        """Note that a daemon is being stopped.

        Returns:
            False if another command has noted it before, and sends or has sent the signal.
        """
        # Without a mark, on a full disk for example, the signal is sent in any case.
        with contextlib.suppress(OSError):
            if self._is_marked(pid):
                return False
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(self._stop_mark, flags, 0o644)
            try:
                info = os.fstat(fd)
                # Root in another user's directory must not write into what that user has linked.
                if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
                    return True
                fcntl.flock(fd, fcntl.LOCK_EX)  # held for no longer than the next three calls
                if os.pread(fd, 20, 0) == b"%d" % pid:
                    return False
                os.ftruncate(fd, 0)
                os.pwrite(fd, b"%d" % pid, 0)
                os.fchmod(fd, 0o644)  # whatever the umask: another user's stop asks as well
            finally:
                os.close(fd)
        return True

    def _is_marked(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            fd = os.open(self._stop_mark, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                return os.read(fd, 20) == b"%d" % pid
            finally:
                os.close(fd)
        return False

    def remove_stop_mark(self) -> None:
        """For a daemon that has just started, perhaps with the pid of the last one."""
        with contextlib.suppress(OSError):
            self._stop_mark.unlink()

    def _wait_for_end(self, pid: int, process: int, timeout: float, *, repeat: bool) -> bool:
        deadline = time.monotonic() + timeout
        next_signal = time.monotonic() + _REPEAT
        while not _has_ended(process, 0.02):
            if not self.pidfile.is_locked():
                # Process 1 of a container does not end before we do: see let_others_end().
                _has_ended(process, 0 if pid == 1 else _EXITING)
                return True
            if time.monotonic() > deadline:
                return False
            if repeat and time.monotonic() > next_signal:
                next_signal += _REPEAT
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, signal.SIGTERM)
        return True

    def _kill(self, pid: int, process: int, timeout: float) -> int:
        victims = descendants(pid)
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        for victim in victims:
            with contextlib.suppress(OSError):
                os.kill(victim, signal.SIGKILL)
        end = "was killed" if _has_ended(process, GRACE) else "cannot be killed"
        return complain(self.name, f"pid {pid} did not stop within {timeout:g} s and {end}")


def _signal(process: int, pid: int, number: int) -> None:
    """Signal a process.

    Raises:
        StartError: it is not permitted.
    """
    try:
        signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise StartError(f"not permitted to signal process {pid}") from error


def _has_ended(process: int, timeout: float) -> bool:
    """Has a process ended, or does it within some seconds?"""
    poller = select.poll()
    poller.register(process, select.POLLIN)
    return bool(poller.poll(timeout * 1000))
