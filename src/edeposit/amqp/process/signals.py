"""Signals that are only recorded when they come, and acted on where it is safe.

A Python signal handler runs between any two bytecodes of the main thread: a log line or a lock in
it can deadlock. So the handler appends to a deque, the interpreter's wake-up descriptor makes a
waiting loop look, and the loop acts. Many signals at once become one look.
"""

import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from edeposit.amqp.process import children

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
RELOAD_SIGNALS = (signal.SIGHUP, signal.SIGUSR1)
ALL_SIGNALS = (*STOP_SIGNALS, *RELOAD_SIGNALS)


def block() -> None:
    """Hold our signals back, also over a fork, until ``SignalInbox.install`` takes them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)


def unblock() -> None:
    """Let held back signals come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL_SIGNALS)


# A signal between a fork and the child's first line would be recorded, in the wrong process, and
# forgotten; so it is held back over the fork. Per thread, as masks are.
_masks = threading.local()
_is_installed = False


def _before_fork() -> None:
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS if _is_installed else ())


def _after_fork_in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)


def _restore_defaults() -> None:
    """In a forked child: signals end it, instead of being recorded for a loop that it lacks."""
    signal.set_wakeup_fd(-1)
    for number in ALL_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    unblock()


class SignalInbox:
    """The signals that have come and have not been looked at."""

    def __init__(self) -> None:
        self._pending: deque[int] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1

    def fileno(self) -> int:
        """A descriptor that becomes readable when a signal has come."""
        return self._reader.fileno()

    def drain(self) -> list[int]:
        """The signals that have come since the last call, in their order."""
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            pass
        result = []
        while self._pending:
            result.append(self._pending.popleft())
        return result

    def install(self, *, stop_raises: bool) -> None:
        """Take the signals over; the main thread only (elsewhere nothing happens).

        Args:
            stop_raises: SIGTERM raises ``SystemExit`` and SIGINT ``KeyboardInterrupt`` in the main
                thread, for bodies without a loop; otherwise they are recorded like the rest.
        """
        global _is_installed
        if threading.current_thread() is not threading.main_thread():
            return
        _is_installed = True
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in ALL_SIGNALS:
            handler = self._raise if stop_raises and number in STOP_SIGNALS else self._record
            self._before[number] = signal.signal(number, handler)
        children.give_up_in_child(_restore_defaults)
        unblock()

    def restore(self) -> None:
        """Put back what was there before ``install``."""
        global _is_installed
        _is_installed = False
        children.keep_in_child(_restore_defaults)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._wakeup_before)
        self._before.clear()

    def watch(self, on_reload: Callable[[], None]) -> None:
        """Act on reload signals in a small thread, for bodies without a loop that watches them."""

        def run() -> None:
            self._reader.setblocking(True)
            # The interpreter writes each signal's number as a byte. The deque would be too early:
            # its handler runs on the main thread, perhaps after this one has looked.
            while numbers := self._reader.recv(4096):
                self._pending.clear()
                if any(number in RELOAD_SIGNALS for number in numbers):
                    on_reload()

        threading.Thread(target=run, name="signals", daemon=True).start()

    def _record(self, number: int, _frame: FrameType | None) -> None:
        self._pending.append(number)

    @staticmethod
    def _raise(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(0)
