"""What a daemon says of itself, as JSON beside its pid file.

``state`` has the time of its beginning in ``since``, readiness has its own in ``ready_since``.
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_SIZE_LIMIT = 1 << 20  # bytes; another user's file is not read without end


class StatusFile:
    """The status file of a daemon, written by it and read by others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = ""
        self._since = ""
        self._ready_since = ""
        self._details: dict[str, Any] = {}
        self._trouble = ""

    def write(self, state: str, details: dict[str, Any]) -> None:
        """Say what the daemon is doing; a full disk is logged, it does not stop the daemon.

        Args:
            state: one word; ``since`` changes only with it.
            details: further JSON values.
        """
        if state != self._state:
            self._state, self._since = state, _now()
        self._details = details
        self._save()

    def write_ready(self) -> None:
        """Say that the daemon works from now on."""
        self._ready_since = _now()
        if not self._state:
            self._state, self._since = "running", self._ready_since
        self._save()

    def _save(self) -> None:
        data = {"pid": os.getpid(), "state": self._state, "since": self._since}
        if self._ready_since:
            data["ready_since"] = self._ready_since
        temporary = self.path.with_suffix(".status.new")
        try:
            temporary.write_text(
                json.dumps({**data, **self._details, **data}, default=str), "utf-8"
            )
            temporary.chmod(0o644)  # whatever the umask: others may ask for the status
            temporary.replace(self.path)
            self._trouble = ""
        except (OSError, ValueError, RecursionError) as error:
            trouble = str(getattr(error, "strerror", None) or error)
            if trouble != self._trouble:
                logger.warning("status file %s cannot be written: %s", self.path, trouble)
            self._trouble = trouble

    def read(self, pid: int) -> dict[str, Any]:
        """What the process with this pid has said; empty if nothing."""
        try:
            # Perhaps another user's: opening a FIFO must not wait.
            with open(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                status = json.loads(file.read(_SIZE_LIMIT) or b"")
        except (OSError, ValueError, RecursionError):
            return {}
        return status if isinstance(status, dict) and status.get("pid") == pid else {}


def describe(told: dict[str, Any]) -> str:
    """What ``read`` has returned, for people."""
    state = f"{told.get('state', 'starting')}"
    if told.get("since"):
        state += f" since {told['since']}"
    # The same moment twice says nothing.
    hidden = ["pid", "state", "since"]
    if told.get("ready_since") == told.get("since"):
        hidden.append("ready_since")
    rest = [f"{key.replace('_', ' ')} {value}" for key, value in told.items() if key not in hidden]
    return ", ".join([state, *rest])


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
