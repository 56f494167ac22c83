"""The handler threads: they run the user's code, and survive it.

A delivery that waits is in the pool's table; it is taken out by a handler thread to run it, or by
the I/O thread to withdraw it, and whichever thread takes it has it alone.
"""

import logging
import queue
import threading
from collections.abc import Callable

from edeposit.amqp.engine.deliveries import RUNNING, Delivery
from edeposit.amqp.engine.hooks import tell

logger = logging.getLogger(__name__)


class HandlerPool:
    """Handler threads with one queue of deliveries.

    Args:
        handle: called in a handler thread with a delivery.
        failed: called in a handler thread with a delivery and what ``handle`` raised, and on the
            I/O thread with a delivery whose thread has died.
        gate: no delivery is begun while this event is clear.

    Attributes:
        replaced: how many threads have died and were replaced.
    """

    def __init__(
        self,
        handle: Callable[[Delivery], None],
        failed: Callable[[Delivery, BaseException], None],
        gate: threading.Event,
    ) -> None:
        self.replaced = 0
        self._handle = handle
        self._failed = failed
        self._gate = gate
        self._queue: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._waiting: dict[int, Delivery] = {}
        self._threads: list[threading.Thread] = []
        self._running: dict[int, Delivery] = {}

    def start(self, count: int) -> None:
        """Start so many threads."""
        self._threads += [self._new_thread(number) for number in range(count)]

    def put(self, delivery: Delivery) -> None:
        """Have a delivery handled."""
        self._waiting[delivery.handle] = delivery
        self._queue.put(delivery)

    def withdraw(self) -> list[Delivery]:
        """Take back all that no thread has begun."""
        withdrawn = []
        while True:
            try:
                delivery = self._queue.get_nowait()
            except queue.Empty:
                break
            if self._waiting.pop(delivery.handle, None) is not None:
                withdrawn.append(delivery)
        while self._waiting:  # threads hold these at the gate
            try:
                withdrawn.append(self._waiting.popitem()[1])
            except KeyError:
                break
        withdrawn.sort(key=lambda delivery: delivery.handle)
        return withdrawn

    def check(self) -> None:
        """Replace threads that have died; call it now and then, on the I/O thread."""
        for number, thread in enumerate(self._threads):
            if thread.is_alive():
                continue
            self.replaced += 1
            tell(logger, logging.CRITICAL, "handler thread %d has died and is replaced", number)
            # First: the new thread may get the ident of the dead one.
            delivery = self._running.pop(thread.ident or 0, None)
            self._threads[number] = self._new_thread(number)
            if delivery is not None and delivery.handle not in self._waiting:
                self._failed(delivery, RuntimeError("the handler thread has died"))
            # What it took from the queue and did not begin; doubles in the queue do no harm.
            for waiting in list(self._waiting.values()):
                self._queue.put(waiting)

    def _new_thread(self, number: int) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=f"handler-{number}", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        me = threading.get_ident()
        waiting, running, gate = self._waiting, self._running, self._gate
        while True:
            delivery = self._queue.get()
            if not gate.is_set():
                gate.wait()
            running[me] = delivery
            if waiting.pop(delivery.handle, None) is not None:
                delivery.state = RUNNING
                try:
                    self._handle(delivery)
                except BaseException as error:
                    self._survive(delivery, error)
            del running[me], delivery

    def _survive(self, delivery: Delivery, error: BaseException) -> None:
        try:
            self._failed(delivery, error)
        except BaseException as second:
            tell(
                logger,
                logging.ERROR,
                "the error of a handler could not be dealt with",
                exc_info=second,
            )
        tell(
            logger, logging.ERROR, "handler failed for delivery %d", delivery.handle, exc_info=error
        )
