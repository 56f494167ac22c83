"""The exceptions of the daemon layers, in one shallow tree.

Errors of a service belong to that service; errors of JSON belong to ``serializers``.
"""


class AMQPError(Exception):
    """Base of everything that the daemon layers and the client raise on purpose."""


class StartError(AMQPError):
    """Raised by ``body()`` before the daemon is ready: it cannot start, and the text says why."""
