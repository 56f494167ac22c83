"""When the daemon harvests: every so often, counted from the start of the last harvest.

The time of the last one is on disk, so a harvest that was missed while the daemon was down is made
at its start, and a restart does not make an extra one. What must stay true: only a harvest that
came to its end is noted, so one that was interrupted is made again.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edeposit.amqp.harvester import settings
from edeposit.amqp.harvester.exceptions import HarvesterError
from edeposit.amqp.harvester.filters.seen import default_paths

logger = logging.getLogger(__name__)

# A waiting daemon looks at clock and settings this often (s): both may be changed meanwhile.
_LOOK = 30.0


def state_path() -> Path:
    """Where the time of the last harvest is kept, by the settings."""
    if settings.HARVESTER_STATE:
        return Path(settings.HARVESTER_STATE).expanduser()
    return default_paths()[0].with_name("harvester-last.json")


class Schedule:
    """The time of the last harvest, on disk.

    Args:
        interval: seconds; None: the setting HARVESTER_INTERVAL, as it is at the time.
        path: of the state; default: the setting HARVESTER_STATE.
    """

    def __init__(self, interval: float | None = None, path: Path | None = None) -> None:
        self._interval = interval
        self.path = path or state_path()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise HarvesterError(f"{self.path}: the state cannot be kept here: {error}") from error

    @property
    def interval(self) -> float:
        """Seconds from the start of a harvest to that of the next."""
        return settings.HARVESTER_INTERVAL if self._interval is None else self._interval

    def last(self) -> float | None:
        """Start of the last complete harvest, in seconds since the epoch; None if not known."""
        try:
            started = json.loads(self.path.read_text("utf-8"))["started"]
            return float(started)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            logger.warning("%s: not readable (%s): a harvest is due", self.path, error)
            return None

    def seconds_left(self) -> float:
        """Until the next harvest; 0 if it is due.

        A last harvest in the future means that the clock was set back: it is due.
        """
        last, now = self.last(), time.time()
        if last is None or last > now:
            return 0.0
        return max(last + self.interval - now, 0.0)

    def note(self, started: float) -> None:
        """Remember a complete harvest.

        Raises:
            HarvesterError: the state cannot be written.
        """
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            with open(new, "w", encoding="utf-8") as file:
                json.dump({"started": started}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise HarvesterError(f"{self.path}: the state cannot be kept here: {error}") from error

    def run(self, harvest: Callable[[], None], end: threading.Event) -> None:
        """Harvest whenever it is due, until the end.

        Args:
            harvest: returns when it is complete; what it raises ends the loop.
            end: set when the loop is to end.

        Raises:
            HarvesterError: the state cannot be written.
        """
        said = False
        while not end.is_set():
            left = self.seconds_left()
            if left > 0:
                if not said:
                    logger.info("next harvest in %.0f s", left)
                    said = True
                end.wait(min(left, _LOOK))
                continue
            started, said = time.time(), False
            harvest()
            if not end.is_set():
                self.note(started)
