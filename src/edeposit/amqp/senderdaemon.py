"""``SenderDaemon``: a daemon that sends messages unasked, such as the FTP monitor.

It consumes nothing. Its work is a function that runs in a thread of its own and publishes through
the daemon's connection; everything else (start, stop, reconnect, confirms, status) is
``PikaDaemon``'s. What must stay true: ``send`` returns only when the broker has confirmed.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pika

from edeposit.amqp import contract
from edeposit.amqp.engine.backoff import Backoff
from edeposit.amqp.errors import (
    ClosedError,
    ConnectionLostError,
    MessageTooLargeError,
    PublishError,
    UnencodableError,
)
from edeposit.amqp.pikadaemon import PikaDaemon
from edeposit.amqp.serializers import serialize_bytes

logger = logging.getLogger(__name__)

Send = Callable[[Any, str], None]
Work = Callable[[Send, threading.Event], None]


class SenderDaemon(PikaDaemon, wraps_body=True):
    """A daemon around a function that sends.

    Args:
        connection_param: where to connect.
        output_exchange: where ``send`` publishes.
        output_key: its routing key.
        work: called in a thread of its own with ``send(data, UUID)`` and an event that is set
            when it has to end. When it returns by itself or raises, the daemon ends. Without it
            ``onStart()`` has to set the attribute ``work``.
        name: name of pid file, log and status.
        daemon_options: of ``DaemonRunnerWrapper``.
    """

    def __init__(
        self,
        connection_param: pika.ConnectionParameters,
        output_exchange: str,
        output_key: str,
        work: Work | None = None,
        *,
        name: str,
        **daemon_options: Any,
    ) -> None:
        super().__init__(
            connection_param, "", output_exchange, output_key, name=name, **daemon_options
        )
        self.work = work
        self._sent = 0
        self._end = threading.Event()
        self._worker: threading.Thread | None = None
        self._trouble: BaseException | None = None

    def send(self, data: Any, UUID: str) -> None:
        """Publish data; returns when the broker has confirmed. Only for the working thread.

        A lost connection, a refusal and a missing binding are waited for; the message is sent
        again with the same UUID, so its receiver may get it twice, but never not at all.

        Args:
            data: anything that can be serialized; an exception becomes an exception message.
            UUID: goes into the headers.

        Raises:
            MessageTooLargeError: the broker does not take a message of this size.
            SerializationError: the data have no JSON form.
            ClosedError: the daemon ends; the message may or may not be at the broker.
        """
        properties = None
        if isinstance(data, BaseException):
            properties, body = contract.as_message(data, UUID, self._frame_max())
        else:
            body = serialize_bytes(data)
        backoff = Backoff(cap=10.0)
        while True:
            if self._end.is_set():
                raise ClosedError("the daemon ends")
            try:
                self.publish(self.output_exchange, self.output_key, body, properties, UUID).result()
                self._sent += 1
                return
            except (MessageTooLargeError, UnencodableError):
                raise
            except PublishError as error:
                delay = backoff.next()
                log = logger.info if isinstance(error, ConnectionLostError) else logger.error
                log("message %s is not sent (%s); again in %.1f s", UUID, error, delay)
                self._end.wait(delay)

    def on_usable(self) -> None:
        """The channel is ready (engine): begin to work, the first time."""
        super().on_usable()
        if self._worker is None:
            self._worker = threading.Thread(target=self._run_work, name="work", daemon=True)
            self._worker.start()

    def _run_work(self) -> None:
        try:
            assert self.work is not None
            self.work(self.send, self._end)
        except ClosedError:
            pass
        except BaseException as error:
            logger.critical("the work has failed", exc_info=True)
            self._trouble = error
        self._running_link().post(lambda _none: self._worked(), None)

    def _worked(self) -> None:
        self._worker = None
        if self._ledger.draining:
            self._check_drained()
        else:
            self.drain()

    def drain(self) -> None:
        """Tell the work to end, let it; called again: leave at once."""
        self._end.set()
        super().drain()

    def _achieved(self) -> dict[str, Any]:
        return {"exchange": self.output_exchange, "sent": self._sent}

    def is_idle(self) -> bool:
        """Has the work ended?"""
        return self._worker is None

    def body(self) -> None:
        """Connect, work until a signal ends it.

        Raises:
            StartError: the broker, the virtual host or the exchange is not there.
            RuntimeError: the work has failed.
        """
        super().body()
        if self._trouble is not None:
            raise RuntimeError(f"the work has failed: {self._trouble}") from self._trouble
