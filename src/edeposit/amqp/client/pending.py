"""One request, from its caller to the broker, and the place where requests go."""

import enum
import queue
import threading
from typing import Any, NamedTuple

from edeposit.amqp.engine.publisher import Outgoing


class Place(NamedTuple):
    """Where a service's requests go.

    Attributes:
        service: its name, for error texts.
        exchange: of its requests and answers.
        in_key: routing key of requests.
        out_key: routing key of answers.
        prefix: of both keys, as the user wants it; empty: none.
    """

    service: str
    exchange: str
    in_key: str
    out_key: str
    prefix: str

    @property
    def request_key(self) -> str:
        """The key of a request that carries no prefix of a reply queue."""
        return f"{self.prefix}.{self.in_key}" if self.prefix else self.in_key

    def answer_key(self, request_key: str) -> str:
        """The key of the answer: the last word of the request's key is replaced."""
        before, dot, _ = request_key.rpartition(".")
        return f"{before}{dot}{self.out_key}"


class _State(enum.Enum):
    UNSENT = "unsent"
    WRITTEN = "written"
    GIVEN_UP = "given up"


class Request:
    """A request, and the caller who waits for it.

    Attributes:
        inbox: gets messages (properties, body), or an exception; None when the broker has
            confirmed a request that is not answered here.
        may_have_prefix: its routing key may be that of the reply queue.
    """

    def __init__(self, uuid: str, outgoing: Outgoing, wants_answer: bool) -> None:
        self.uuid = uuid
        self.outgoing = outgoing
        self.wants_answer = wants_answer
        self.is_confirmed = False
        self.may_have_prefix = wants_answer
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._state = _State.UNSENT
        self._lock = threading.Lock()

    def begin(self) -> bool:
        """(I/O thread) It is about to be written; False if nobody waits for it any more."""
        with self._lock:
            if self._state is _State.GIVEN_UP:
                return False
            self._state = _State.WRITTEN
            return True

    def give_up(self) -> bool:
        """(caller) It is not written from now on; False if it may have been already."""
        with self._lock:
            was_unsent = self._state is _State.UNSENT
            self._state = _State.GIVEN_UP
            return was_unsent
