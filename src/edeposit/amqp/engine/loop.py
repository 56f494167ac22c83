"""The I/O loop of one connection: pika's, guarded, with an inbox for other threads.

pika's loop ends with the first exception that a callback lets out, its own callbacks included
(a ``ValueError`` of ``getpeername()`` when a peer accepts and resets at once, an ``OSError`` when
no file descriptor is free). Here every callback runs in a guard that reports the exception and
lets the loop go on. What must stay true: nothing reaches pika's loop around this guard.
"""

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop

logger = logging.getLogger(__name__)


class GuardedLoop(IOLoop):
    """pika's ``IOLoop`` that no exception of a callback ends.

    Args:
        on_error: called on the loop's thread with each exception that a callback raised.
        on_batch_end: called after each batch of posted work.
    """

    def __init__(
        self, on_error: Callable[[Exception], None], on_batch_end: Callable[[], None]
    ) -> None:
        self._on_error = on_error
        self._on_batch_end = on_batch_end
        self._inbox: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._woken = False
        super().__init__()

    def post(self, function: Callable[[Any], None], argument: Any) -> None:
        """Have ``function(argument)`` called on the loop's thread. Thread-safe, never blocks.

        The loop is woken once for a batch, not once for each call.
        """
        self._inbox.append((function, argument))
        if not self._woken:
            self._woken = True
            self.add_callback_threadsafe(self._drain_inbox)

    def _drain_inbox(self) -> None:
        # The flag goes first: what is appended after this line wakes the loop again.
        self._woken = False
        inbox = self._inbox
        try:
            for _ in range(len(inbox)):
                function, argument = inbox.popleft()
                function(argument)
            self._on_batch_end()
        finally:
            if inbox and not self._woken:
                self._woken = True
                self.add_callback_threadsafe(self._drain_inbox)

    # --- all ways by which pika's loop gets a callback ----------------------------------------

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        """As of ``IOLoop``, guarded."""
        return super().call_later(delay, self._guarded(callback))

    def add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        """As of ``IOLoop``, guarded."""
        super().add_callback_threadsafe(self._guarded(callback))

    add_callback = add_callback_threadsafe

    def add_handler(self, fd: int, handler: Callable[[int, int], Any], events: int) -> None:
        """As of ``IOLoop``, guarded."""
        super().add_handler(fd, self._guarded(handler), events)

    def _guarded(self, callback: Callable[..., Any]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:
                try:
                    self._on_error(error)
                except Exception:
                    logger.critical("an error could not be handled", exc_info=True)

        return call

    def close(self) -> None:
        """Release the loop's file descriptors; further calls of ``stop`` and ``post`` do nothing.

        ``IOLoop`` refuses to close if ``start()`` could not get a poller.
        """
        with contextlib.suppress(AssertionError):
            super().close()
