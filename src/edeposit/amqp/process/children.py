"""Processes that a daemon's work forks, directly or by ``multiprocessing``.

A fork without exec copies the whole daemon: its signal handlers, its descriptors, the lock of its
pid file. What a child must not have is registered here and given up in it, so that the child can be
ended with SIGTERM and the daemon's death is noticed although the child lives. At its own end the
daemon ends its children: nothing else would.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

_given_up_in_child: list[Callable[[], None]] = []


def give_up_in_child(action: Callable[[], None]) -> None:
    """Register what a forked child does first; called once, in that child only."""
    _given_up_in_child.append(action)


def keep_in_child(action: Callable[[], None]) -> None:
    """Undo ``give_up_in_child``."""
    with contextlib.suppress(ValueError):
        _given_up_in_child.remove(action)


def _after_fork() -> None:
    actions = list(_given_up_in_child)
    _given_up_in_child.clear()
    for action in actions:
        # Whatever fails here, the child has other work to do than to report it.
        with contextlib.suppress(Exception):
            action()


os.register_at_fork(after_in_child=_after_fork)


def descendants(pid: int, spare: Collection[int] = ()) -> list[int]:
    """Children of a process, and theirs; without those to be spared, and theirs."""
    result: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text("utf-8").split()]
        except OSError:
            continue
        for child in children:
            if child not in spare:
                result += [child, *descendants(child, spare)]
    return result


def end_descendants(patience: float = 1.5, spare: Collection[int] = ()) -> int:
    """End all descendants of this process: SIGTERM, and after a while SIGKILL.

    Args:
        patience: seconds until SIGKILL; the whole takes at most twice as long.
        spare: children that were there before the daemon; their children are spared as well.

    Returns:
        How many there were.
    """
    ended: set[int] = set()
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + patience
        # Repeated, because a process that is told to end may start another one first.
        while victims := _open_descendants(spare):
            try:
                for pid, descriptor in victims.items():
                    with contextlib.suppress(OSError):
                        signal.pidfd_send_signal(descriptor, number)
                    ended.add(pid)
                _wait(list(victims.values()), deadline)
            finally:
                for descriptor in victims.values():
                    os.close(descriptor)
            if time.monotonic() >= deadline:
                break
        else:
            break
    return len(ended)


def _open_descendants(spare: Collection[int]) -> dict[int, int]:
    """Living descendants, each with a descriptor; a number alone may be given to another one."""
    tracker = _resource_tracker()
    found = {}
    for pid in descendants(os.getpid(), spare):
        if pid != tracker and not _is_zombie(pid):
            with contextlib.suppress(OSError):
                found[pid] = os.pidfd_open(pid)
    return found


def let_others_end(patience: float = 1.0) -> None:
    """As process 1 of a container, wait for the rest of it, a ``stop`` that waits for us.

    The kernel kills every process of a pid namespace when its process 1 ends.

    Args:
        patience: seconds at most.
    """
    deadline = time.monotonic() + patience
    while os.getpid() == 1 and time.monotonic() < deadline:
        others = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        if not others:
            return
        time.sleep(0.02)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2][1] == "Z"
    except OSError:
        return True


def _resource_tracker() -> int | None:
    """``multiprocessing``'s process that cleans up after us; it ends when we have ended."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(getattr(module, "_resource_tracker", None), "_pid", None)


def _wait(descriptors: list[int], deadline: float) -> None:
    """Wait until all processes have ended, or until the deadline."""
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    remaining = set(descriptors)
    while remaining and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poller.poll(left * 1000):
            poller.unregister(descriptor)
            remaining.discard(descriptor)
