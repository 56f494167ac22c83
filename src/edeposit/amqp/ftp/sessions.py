"""Open FTP sessions of a user, to be ended when the user is removed."""

import json
import logging
import os
import signal
import subprocess

from edeposit.amqp.ftp import settings

logger = logging.getLogger(__name__)

_TIMEOUT = 10  # seconds


def end(username: str) -> int:
    """End a user's sessions; returns how many. Failures are logged: the sessions end by themselves.

    The processes are found in ProFTPD's scoreboard by its own ``ftpwho``, one by one.
    """
    command = ["ftpwho", "-o", "json"]
    if settings.SCOREBOARD_FILE:
        command += ["-f", settings.SCOREBOARD_FILE]
    try:
        output = subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT).stdout
        connections = json.loads(output).get("connections", [])
        pids = [int(row["pid"]) for row in connections if row.get("user") == username]
    except (OSError, subprocess.SubprocessError, ValueError, AttributeError) as error:
        logger.warning(
            "sessions of %s cannot be listed (%s); they go on until they end by themselves",
            username,
            error,
        )
        return 0
    return sum(_end(pid) for pid in pids)


def _end(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)  # first, so that the check below is of the same process
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            if file.read().strip() != "proftpd":
                return False
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(descriptor)
    return True
