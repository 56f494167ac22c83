"""The exceptions of the daemon layers, in one shallow tree.

Errors of a service belong to that service; errors of JSON belong to ``serializers``.
"""


class AMQPError(Exception):
    """Base of everything that the daemon layers and the client raise on purpose."""


class StartError(AMQPError):
    """Raised by ``body()`` before the daemon is ready: it cannot start, and the text says why."""


class PublishError(AMQPError):
    """A message was not taken by the broker, or could not be sent to it."""


class UnencodableError(PublishError):
    """A message cannot be written as AMQP frames: a header, a key or a property does not fit."""


class MessageTooLargeError(PublishError):
    """A message is larger than the broker accepts.

    Attributes:
        size: bytes of the message's body.
        limit: bytes that the broker accepts.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"message of {size} bytes is larger than the broker's limit of {limit}")
        self.size = size
        self.limit = limit


class UnroutableError(PublishError):
    """The broker returned a mandatory message: no queue is bound to its routing key."""


class RefusedError(PublishError):
    """The broker answered a publish with ``basic.nack`` (queue full, or an internal error)."""


class RejectedError(PublishError):
    """The broker closed a channel over this message alone: it will never take it.

    Attributes:
        reply_code: the broker's, such as 404 for a missing exchange.
    """

    def __init__(self, text: str, reply_code: int) -> None:
        super().__init__(text)
        self.reply_code = reply_code


class ConnectionLostError(PublishError):
    """The connection ended before the broker confirmed: the message may or may not be there."""


class ClosedError(AMQPError):
    """The client or daemon is closed or closing and takes no more messages."""


class DeadlyRequestError(AMQPError):
    """A request is not run again: each process that handled it has died over it.

    Attributes:
        deaths: of how many processes this is known.
    """

    def __init__(self, deaths: int) -> None:
        super().__init__(f"not run again: the process died each time ({deaths + 1} times)")
        self.deaths = deaths


class CallTimeoutError(AMQPError, TimeoutError):
    """No answer came within the time-out.

    Attributes:
        maybe_sent: False if the request was never sent and never will be; True if it may still
            be, or have been, run.
    """

    def __init__(self, *args: object, maybe_sent: bool = True) -> None:
        super().__init__(*args)
        self.maybe_sent = maybe_sent


class RemoteError(AMQPError):
    """The service answered with an exception.

    Attributes:
        name: class name of the remote exception, such as ``UnknownClassError``.
        message: its text.
        traceback: the remote traceback, or None if the daemon keeps tracebacks to itself.
        uuid: UUID of the request.
        exception_name: the name that the first generation used for it, such as ``KeyError``.
    """

    def __init__(
        self,
        name: str,
        message: str,
        traceback: str | None = None,
        uuid: str | None = None,
        exception_name: str | None = None,
    ) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message
        self.traceback = traceback
        self.uuid = uuid
        self.exception_name = exception_name or name
