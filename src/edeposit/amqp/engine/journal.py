"""Which requests were being handled when their process died.

A request that kills its process (a crash in C code, the OOM killer) is delivered again to the next
process, and kills that, too. RabbitMQ counts deliveries only in quorum queues, and counts the
innocent neighbours of such a request as well. So a small file notes what a handler has begun and
not ended; what is found in it at the next start was being handled when the process died.

Only requests that the broker marks as redelivered are noted: the usual way costs nothing.
"""

import fcntl
import hashlib
import logging
import os
import threading
from pathlib import Path

from edeposit.amqp.engine.deliveries import Delivery
from edeposit.amqp.engine.jobs import digest_of

logger = logging.getLogger(__name__)

#: A request that has ended so many processes is not run again. The first death is not counted, as
#: a request is noted from its second delivery on.
DEATHS_MOST = 2

# Each entry is a request that has killed a process and has not come back since.
_ENTRIES_MOST = 1000
_END = b".\n"


class Journal:
    """The file; without one (no directory, no permission) nothing is counted.

    Args:
        path: of the file. It is locked while it is open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._lock = threading.Lock()
        self._begun: dict[str, int] = {}
        self._running: dict[int, str] = {}

    def open(self) -> None:
        """Read what the last process has left."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            logger.warning("deaths of the process are not counted: %s", error)
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = os.pread(file, 1024 * 1024, 0)
        except OSError as error:
            logger.warning("deaths of the process are not counted: %s: %s", self._path, error)
            os.close(file)
            return
        self._file = file
        self._begun = _parse(text)

    def begin(self, delivery: Delivery) -> int:
        """A handler begins on it; returns how many processes have died over it. Thread-safe."""
        if self._file is None:
            return 0
        number = _number(delivery)
        with self._lock:
            deaths = self._begun.pop(number, 0)
            self._begun[number] = deaths + 1
            self._running[delivery.handle] = number
            if len(self._begun) > _ENTRIES_MOST:
                del self._begun[next(iter(self._begun))]
            self._write()
        return deaths

    def end(self, delivery: Delivery) -> None:
        """The handler has returned. Thread-safe."""
        if self._file is None:
            return
        with self._lock:
            self._begun.pop(self._running.pop(delivery.handle, ""), None)
            self._write()

    def close(self) -> None:
        """The process ends in order: what still runs is not to blame for it."""
        with self._lock:
            file, self._file = self._file, None
            if file is None:
                return
            for number in self._running.values():
                self._begun[number] = self._begun.get(number, 1) - 1
            self._begun = {number: count for number, count in self._begun.items() if count}
            self._file = file
            self._write()
            self._file = None
            os.close(file)

    def close_copy(self) -> None:
        """In a forked child: close its copy of the file, and with it its share of the lock."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _write(self) -> None:
        lines = [f"{number} {count}\n".encode("ascii") for number, count in self._begun.items()]
        data = b"".join(lines) + _END
        try:
            if self._file is not None:
                # One write, then the cut: what a death in between leaves ends at the mark.
                os.pwrite(self._file, data, 0)
                os.ftruncate(self._file, len(data))
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._path, error)


def _number(delivery: Delivery) -> str:
    return hashlib.blake2b(digest_of(delivery), digest_size=16).hexdigest()


def _parse(text: bytes) -> dict[str, int]:
    begun = {}
    for line in text.partition(_END)[0].splitlines():
        number, _, count = line.partition(b" ")
        if len(number) == 32 and number.isalnum() and count.isdigit():
            begun[number.decode("ascii")] = int(count)
    return begun
