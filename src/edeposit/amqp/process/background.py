"""Start a process in the background, and learn whether its work begins.

The order is: fork, detach (python-daemon's ``DaemonContext``), work. Threads, connections and log
files come after the last fork. The starting process waits at a pipe for one line of JSON.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable
from typing import Any

import daemon as python_daemon

from edeposit.amqp.process import children, logs, signals, streams

logger = logging.getLogger(__name__)

_UMASK = 0o027
_LONGEST_REPORT = 100_000


class Report:
    """The one answer to the waiting starter."""

    def __init__(self, pipe: int | None = None) -> None:
        self._pipe = pipe
        if pipe is not None:
            children.give_up_in_child(self._close)  # a child would keep the starter waiting

    def send(self, message: dict[str, Any]) -> None:
        """Answer, if nobody has answered and somebody waits.

        Args:
            message: JSON values.
        """
        if self._pipe is None:
            return
        line = json.dumps(message).encode("ascii")[:_LONGEST_REPORT] + b"\n"
        try:
            while line:
                line = line[os.write(self._pipe, line) :]
        except BrokenPipeError:
            logger.info("the starting program has not waited")
        self._close()

    def _close(self) -> None:
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            os.close(pipe)


def start(work: Callable[[Report], int]) -> dict[str, Any] | None:
    """Work in a new process, detached from terminal and session.

    Args:
        work: called there; returns the exit code of the process.

    Returns:
        What it has sent with the report; None if the process has ended without.
    """
    streams.open_missing()
    streams.flush()
    signals.block()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _detach(writer, work)
    os.close(writer)
    signals.unblock()
    os.waitpid(child, 0)  # the first child; it ends as soon as it has forked again
    with open(reader, "rb") as pipe:
        line = pipe.readline()  # not to its end: a process that the daemon starts may hold it open
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _detach(writer: int, work: Callable[[Report], int]) -> None:
    """In the first child: become the daemon, work, and end the process."""
    code = 1
    report = Report()
    try:
        # The context's own defaults are umask 0 and a SIGTERM that raises anywhere.
        context = python_daemon.DaemonContext(
            umask=_UMASK,
            working_directory="/",
            detach_process=True,
            signal_map={},
            files_preserve=[writer],
        )
        context.open()
        os.set_inheritable(writer, False)
        report = Report(writer)
        code = work(report)
    except BaseException as error:
        report.send({"failed": f"{type(error).__name__}: {error}"})
        logger.critical("the daemon failed", exc_info=True)
    finally:
        with contextlib.suppress(Exception):
            logs.close()
        # Not sys.exit: the starting program's own cleanup belongs to its parent.
        os._exit(code)
