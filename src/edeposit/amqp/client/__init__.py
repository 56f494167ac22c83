"""``AMQPClient``: the calling end of the contract.

A connection in a background thread serves any number of calling threads. Answers come back
through one durable queue of the client's own; it outlives a lost connection and a broker restart,
so a call in flight is answered after them. The queue is deleted by ``close()`` and expires by
itself after a crash.

What must stay true: a call ends with its answer, a ``RemoteError``, or an error within its
time-out, connecting included; it never hangs, and an answer never reaches a call that it does not
belong to. A client that is used after ``fork()`` makes connections of its own.
"""

import os
import threading
import time
import uuid as uuid_module
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import pika

from edeposit.amqp import settings
from edeposit.amqp.client.answers import Answer, UnreadableError, read
from edeposit.amqp.client.output import Delivery, Output
from edeposit.amqp.client.pending import Place
from edeposit.amqp.client.requests import REPLY_QUEUE_PREFIX, Requests
from edeposit.amqp.client.session import CLOSE_TIMEOUT, Session
from edeposit.amqp.contract import PROGRESS_HEADER
from edeposit.amqp.engine.parameters import getConParams
from edeposit.amqp.errors import AMQPError, ClosedError
from edeposit.amqp.registry import class_table
from edeposit.amqp.serializers import SerializationError, serialize_bytes

__all__ = ["AMQPClient", "Answer", "UnreadableError"]

_S = TypeVar("_S", bound=Session)

# Above this (31 years) locks refuse to wait.
_LONGEST = 1e9
# Unreadable messages that ``receive()`` remembers in order to pass them by.
_REMEMBERED = 10_000


class AMQPClient:
    """Calls one service. Usable from many threads at once; a context manager.

    Args:
        service: its name in ``settings.get_amqp_settings()``, such as ``"antivirus"``.
        glob: namedtuple classes that answers may build, as dict of names or as classes; default:
            those of the service's package.
        parameters: where to connect; default: the service's virtual host, from the settings,
            which are read again at each attempt.
        timeout: seconds that a call waits when it is not told otherwise.
        key_prefix: put in front of the request's routing key, with a dot; a queue must be bound
            to it.

    Attributes:
        reply_queue: the name of the queue for answers.
    """

    def __init__(
        self,
        service: str,
        *,
        glob: Mapping[str, Any] | Iterable[type] | None = None,
        parameters: pika.ConnectionParameters | None = None,
        timeout: float = 60.0,
        key_prefix: str = "",
    ) -> None:
        try:
            config = settings.get_amqp_settings()[service]
        except KeyError as error:
            raise AMQPError(f"there is no service {service!r} in the settings") from error
        if glob is None:
            glob = class_table(service)
        self.service = service
        self.timeout = timeout
        self._classes = glob if isinstance(glob, Mapping) else {cls.__name__: cls for cls in glob}
        self._given_parameters = parameters
        self._vhost = config["vhost"]
        self._out_queue = config["out_queue"]
        self._place = Place(
            service,
            config["exchange"],
            config["in_key"],
            config["out_key"],
            key_prefix,
        )
        self.routing_key = self._place.request_key
        self._closed = False
        self._start_anew()
        _clients.add(self)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._requests: Requests | None = None
        self._output: Output | None = None
        self._unreadable: dict[int, None] = {}
        self.reply_queue = _new_reply_queue()

    # --- for callers ------------------------------------------------------------------------

    def __enter__(self) -> "AMQPClient":
        self.connect()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def connect(self, timeout: float | None = None) -> None:
        """Connect now; ``call`` and its like do it by themselves.

        Args:
            timeout: seconds to wait; None is the client's default.

        Raises:
            AMQPError: there is no broker, no virtual host, no permission; in one line.
            CallTimeoutError: the broker does not answer in time.
            ClosedError: the client has been closed.
        """
        self._connected(self._deadline(timeout))

    def call(
        self,
        request: Any,
        timeout: float | None = None,
        on_progress: Callable[[Any], None] | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send a request and wait for its answer.

        Args:
            request: a namedtuple of the service, any JSON-like data, or ``bytes`` of JSON to be
                sent as they are.
            timeout: seconds for the whole call, connecting included; None is the client's default.
            on_progress: called in this thread with each progress message, before the answer. The
                request then asks for progress, which some services only send to callers who ask.
            headers: more headers of the request, such as a service's parameters
                (``x-edeposit-...``).

        Returns:
            The answer.

        Raises:
            RemoteError: the service answered with an exception.
            CallTimeoutError: no answer in time; ``maybe_sent`` says whether the request may still
                be, or have been, run.
            UnroutableError: no daemon's queue is bound to the request's key, or there is no such
                exchange.
            MessageTooLargeError: the broker does not take a message of this size.
            PublishError: the broker refused the request, or its headers do not fit.
            SerializationError: the request cannot be sent, or the answer not be read (then its
                ``raw`` is the answer's body).
            ClosedError: the client was closed meanwhile.
            AMQPError: there is no connection.
        """
        return self.ask(request, timeout, on_progress, headers).result()

    def ask(
        self,
        request: Any,
        timeout: float | None = None,
        on_progress: Callable[[Any], None] | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Answer:
        """As ``call``, but returns the whole ``Answer``: with its headers, a RemoteError in it."""
        deadline = self._deadline(timeout)
        body = _to_body(request)
        more = dict(headers or {})
        if on_progress is not None:
            more[PROGRESS_HEADER] = True
        session = self._connected(deadline)
        pending = session.submit(str(uuid_module.uuid4()), body, more, True)
        try:
            while True:
                properties, answer_body = session.next(pending, deadline)
                answer = read(properties, answer_body, self._classes)
                if not answer.is_progress:
                    return answer
                if on_progress is not None:
                    on_progress(answer.value)
        finally:
            session.withdraw(pending)

    def send(
        self,
        request: Any,
        timeout: float | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> str:
        """Send a request whose answer goes to the service's output queue, for ``receive()``.

        Args:
            request: as for ``call``.
            timeout: seconds to wait for the broker's confirm, connecting included; None is the
                client's default.
            headers: as for ``call``.

        Returns:
            Its UUID, once the broker has confirmed it.

        Raises:
            CallTimeoutError: no confirm in time. If its ``maybe_sent`` is False the request was
                not sent and will not be.
            UnroutableError, MessageTooLargeError, PublishError, ClosedError, AMQPError: as
                ``call``.
        """
        deadline = self._deadline(timeout)
        body = _to_body(request)
        uuid = str(uuid_module.uuid4())
        session = self._connected(deadline)
        pending = session.submit(uuid, body, dict(headers or {}), False)
        try:
            session.next(pending, deadline)
        finally:
            session.withdraw(pending)
        return uuid

    def receive(self, timeout: float | None = None) -> Answer:
        """Take the next message from the service's output queue, whoever asked for it.

        A message that cannot be read is returned to the queue, and reported once; after that this
        client passes it by, and holds it until ``close()``.

        Args:
            timeout: seconds to wait, connecting included; None is the client's default.

        Returns:
            The answer, progress or exception. It is acked when this returns.

        Raises:
            CallTimeoutError: nothing came in time.
            UnreadableError: the message is of an unknown class, or no JSON.
            ClosedError: the client was closed meanwhile.
            AMQPError: there is no connection.
        """
        deadline = self._deadline(timeout)
        with self._lock:
            output = self._output = self._current(
                self._output,
                lambda: Output(
                    self._out_queue,
                    parameters=self._parameters,
                    name=f"amqp-client-{self.service}-output",
                ),
            )
        output.wait(deadline)
        while True:
            delivery = output.take(deadline)
            try:
                answer = self._read_output(delivery)
            except BaseException:
                output.give_back(delivery)
                raise
            if answer is not None and output.ack(delivery, deadline):
                return answer

    def close(self) -> None:
        """End all calls with ``ClosedError``, delete the reply queue, disconnect. Idempotent."""
        with self._lock:
            self._closed = True
            sessions = [s for s in (self._requests, self._output) if s is not None]
            self._requests = self._output = None
        for session in sessions:
            session.close()
        deadline = self._deadline(CLOSE_TIMEOUT)
        for session in sessions:
            session.join(deadline)

    # --- sessions ---------------------------------------------------------------------------

    def _connected(self, deadline: float) -> Requests:
        with self._lock:
            session = self._requests = self._current(self._requests, self._new_requests)
        session.wait(deadline)
        return session

    def _new_requests(self) -> Requests:
        self.reply_queue = _new_reply_queue()
        return Requests(
            self._place,
            self.reply_queue,
            parameters=self._parameters,
            name=f"amqp-client-{self.service}",
        )

    def _current(self, session: _S | None, make: Callable[[], _S]) -> _S:
        """The running session, or a new one; under the lock."""
        if self._closed:
            raise ClosedError("the client is closed")
        if session is None or session.has_ended:
            session = make()
            session.start()
        return session

    def _parameters(self) -> pika.ConnectionParameters:
        return self._given_parameters or getConParams(self._vhost)

    # For tests: what the client holds at the moment.
    _session = property(lambda self: self._requests or self._output)
    _link = property(lambda self: self._session and self._session.link)
    _thread = property(lambda self: self._session and self._session.thread)

    def _after_fork(self) -> None:
        """In the child: the parent's connections, calls and lock are not ours."""
        sessions = (self._requests, self._output)
        self._start_anew()
        for session in sessions:
            if session is not None:
                session.forget()

    # --- the rest ---------------------------------------------------------------------------

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + min(self.timeout if timeout is None else timeout, _LONGEST)

    def _read_output(self, delivery: Delivery) -> Answer | None:
        """Read a message of the output queue; None: it was reported as unreadable before."""
        if self._unreadable and delivery.identity() in self._unreadable:
            return None
        try:
            return read(delivery.properties, delivery.body, self._classes)
        except SerializationError as error:
            if len(self._unreadable) >= _REMEMBERED:
                self._unreadable.clear()
            self._unreadable[delivery.identity()] = None
            raise UnreadableError(
                self._out_queue, delivery.properties, delivery.body, error
            ) from error


def _new_reply_queue() -> str:
    return f"{REPLY_QUEUE_PREFIX}.{uuid_module.uuid4()}"


def _to_body(request: Any) -> bytes:
    return request if isinstance(request, bytes) else serialize_bytes(request)


_clients: "weakref.WeakSet[AMQPClient]" = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client._after_fork()


os.register_at_fork(after_in_child=_after_fork)
