"""A process and its descendants: their memory, and how they are killed."""

import contextlib
import os
import select
import signal
import subprocess

_PATIENCE = 2.0  # seconds between SIGTERM and SIGKILL


def descendants(pid: int) -> list[int]:
    """A process and its descendants at this moment."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                with (
                    contextlib.suppress(OSError),
                    open(f"/proc/{one}/task/{task}/children", encoding="ascii") as file,
                ):
                    found += [int(child) for child in file.read().split()]
    return found


def memory_of(pid: int) -> int:
    """Bytes of memory of a process and its descendants; shared memory is counted once."""
    return sum(_memory(one) for one in descendants(pid))


def _memory(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:  # no permission for the detailed file
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process started with ``start_new_session`` and its descendants, and wait for it.

    It must not have been waited for: until then its pid, which is also its group's, is not reused.
    """
    below = [_Handle(pid) for pid in descendants(process.pid)]
    try:
        _signal_group(process.pid, signal.SIGTERM)
        below[0].wait()
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        # Those outside the group: without a PID namespace nothing else would kill them.
        for handle in below:
            handle.kill()
    finally:
        for handle in below:
            handle.close()


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


class _Handle:
    """A process by descriptor, so that a reused pid is never signalled."""

    def __init__(self, pid: int) -> None:
        try:
            self._descriptor: int | None = os.pidfd_open(pid)
        except OSError:
            self._descriptor = None

    def kill(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
                self.wait()

    def wait(self) -> None:
        """Wait for its exit, up to ``_PATIENCE``."""
        if self._descriptor is not None:
            select.select([self._descriptor], [], [], _PATIENCE)  # readable: it has exited

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
