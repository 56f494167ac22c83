"""How a daemon ends in order, and what it says of itself meanwhile.

Shutdown order (first SIGTERM): 1. cancel the consumer, 2. give back what no handler has begun,
3. let the handlers finish and the broker confirm, heartbeats going on, 4. write the acks, 5.
close. After ``stop_timeout``, or at the second SIGTERM, the rest is abandoned: the broker gives
it to somebody else.
"""

import logging
from typing import Any

from edeposit.amqp import settings
from edeposit.amqp.daemonwrapper import DaemonRunnerWrapper
from edeposit.amqp.engine.connection import BrokerConnection
from edeposit.amqp.engine.consumer import Consumer
from edeposit.amqp.engine.handlers import HandlerPool
from edeposit.amqp.engine.ledger import Ledger
from edeposit.amqp.engine.prefetch import PrefetchWindow
from edeposit.amqp.errors import ClosedError

logger = logging.getLogger(__name__)


class DrainingDaemon(DaemonRunnerWrapper):
    """A daemon with a connection, a ledger, handlers and a consumer that it can drain.

    Args:
        name: of pid file, log and status.
        queue: what it consumes; empty: nothing.
        concurrency: as of ``PikaDaemon``.
        prefetch: as of ``PikaDaemon``.
        daemon_options: of ``DaemonRunnerWrapper``.
    """

    _ledger: Ledger  # these from body() on
    _pool: HandlerPool
    _consumer: Consumer
    _window: PrefetchWindow

    def __init__(
        self,
        name: str,
        queue: str,
        concurrency: int | None,
        prefetch: int | None,
        **daemon_options: Any,
    ) -> None:
        super().__init__(name, **daemon_options)
        self.queue = queue
        self.concurrency = concurrency
        self.prefetch = prefetch
        self._link: BrokerConnection | None = None
        self._is_adaptive = False
        self._state = ""
        self._told: dict[str, Any] = {}

    def is_idle(self) -> bool:
        """Is there no work but that on messages? Overridden by daemons with threads of their own;
        called on the I/O thread while draining, after each batch."""
        return True

    def _running_link(self) -> BrokerConnection:
        if self._link is None:
            raise ClosedError("the daemon is not running")
        return self._link

    def _prefetch_count(self) -> int:
        fixed = settings.RABBITMQ_PREFETCH if self.prefetch is None else self.prefetch
        self._is_adaptive = not fixed
        return int(fixed) or self._window.size

    def _concurrency(self) -> int:
        return self.concurrency or settings.RABBITMQ_CONCURRENCY

    # --- ending -------------------------------------------------------------------------------

    def drain(self) -> None:
        """Stop consuming, finish what is being handled, exit; called again: exit at once."""
        link, ledger = self._running_link(), self._ledger
        if ledger.draining:
            self._abandon("second signal")
            return
        logger.info("draining: %d requests unfinished", ledger.unfinished)
        self._set_state("draining")
        self._consumer.cancel()
        ledger.drain()
        for delivery in self._pool.withdraw():
            ledger.give_back(delivery)
        link.flush()
        link.ioloop.call_later(
            self.stop_timeout, lambda: self._abandon(f"stop_timeout ({self.stop_timeout:g} s)")
        )
        self._check_drained()

    def _check_drained(self) -> None:
        link = self._running_link()
        if not link.is_usable and self._ledger.unfinished:
            self._abandon("there is no connection to answer on")
        elif not self._ledger.unfinished and self._ledger.outbox.is_empty and self.is_idle():
            self._leave()

    @property
    def _working_state(self) -> str:
        return "consuming" if self.queue else "connected"

    def _abandon(self, why: str) -> None:
        unfinished = self._ledger.unfinished
        if not unfinished:
            self._leave()
            return
        logger.warning(
            "exiting with %d requests unfinished, they go back to the queue: %s", unfinished, why
        )
        self._set_state("aborted", reason=why)
        self._running_link().stop()

    def _leave(self) -> None:
        if self._running_link().close():
            done = ", ".join(f"{name} {value}" for name, value in self._achieved().items())
            logger.info("drained: %s", done)
            self._set_state("drained")

    def _set_state(self, state: str, **details: Any) -> None:
        self._state = state
        self._told = self._achieved()
        window = {"prefetch": self._prefetch_count()} if self.queue else {}
        self.set_state(state, **self._told, **window, **details)

    def _achieved(self) -> dict[str, Any]:
        """What the daemon has done so far, for its status."""
        achieved = {"queue": self.queue, "handled": self._ledger.handled}
        if self._ledger.outbox.stuck:
            achieved["stuck"] = self._ledger.outbox.stuck
        if self._pool.replaced:
            achieved["handlers_replaced"] = self._pool.replaced
        return achieved
