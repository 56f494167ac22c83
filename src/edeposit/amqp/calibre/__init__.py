"""Conversion of e-books with calibre: ``ConversionRequest`` gives a ``ConversionResponse``.

A plain library: usable without a broker. What must stay true: an e-book reaches neither the network
nor a file of this machine, and no conversion exceeds its limits of time, memory and disk, or
outlives its daemon.
"""

import functools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from edeposit.amqp.calibre import options, runner, sandbox, settings, workdir
from edeposit.amqp.calibre.calibre import convert
from edeposit.amqp.calibre.structures import (
    CancelConversion,
    ConversionCancelled,
    ConversionProgress,
    ConversionRequest,
    ConversionResponse,
)

__all__ = [
    "CancelConversion",
    "ConversionCancelled",
    "ConversionProgress",
    "ConversionRequest",
    "ConversionResponse",
    "convert",
    "on_exit",
    "on_start",
    "reactToAMQPMessage",
]

logger = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds for the threads of ended conversions to remove their files


def reactToAMQPMessage(message: Any, send_back: Callable[[Any], None]) -> Any:
    """Serve one request.

    Args:
        message: a ``ConversionRequest`` or ``CancelConversion``; recognised by the name of its
            class.
        send_back: gets ``ConversionProgress`` if the caller has asked for progress, or the setting
            PROGRESS is on. Of its ``parameters``, if it has any, ``charset`` is the input's and
            ``options`` a table of options, or one as JSON.

    Returns:
        ``ConversionResponse`` or ``ConversionCancelled``.

    Raises:
        ValueError: unknown request; not base64, or too large; an option that is not allowed.
        UserWarning: the conversion failed, or was cancelled.
    """
    kind = type(message).__name__
    if kind == "CancelConversion":
        return ConversionCancelled(message.uuid, runner.cancel(str(message.uuid)))
    if kind != "ConversionRequest":
        raise ValueError(f"Unknown type of request: '{type(message)}'!")
    parameters = getattr(send_back, "parameters", {})
    run = functools.partial(
        convert,
        message.input_format,
        message.output_format,
        message.b64_data,
        charset=parameters.get("charset", ""),
        options=options.parsed(parameters.get("options", {})),
        job=str(getattr(send_back, "uuid", "") or ""),
    )
    if not (settings.PROGRESS or getattr(send_back, "is_wanted", False)):
        return run()
    with _Progress(send_back) as on_progress:
        return run(on_progress)


class _Progress:
    """Forwards progress from its own thread: a broker that blocks must not delay the checks of the
    conversion's limits. There are at most a hundred messages."""

    def __init__(self, send_back: Callable[[Any], None]) -> None:
        self._send_back = send_back
        self._messages: queue.SimpleQueue[ConversionProgress | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> "_Progress":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        # The answer comes last, so it waits for a message that is being sent.
        self._messages.put(None)
        self._thread.join()

    def __call__(self, percent: int, text: str) -> None:
        self._messages.put(ConversionProgress(percent, text))

    def _run(self) -> None:
        while (progress := self._messages.get()) is not None:
            try:
                self._send_back(progress)
            except Exception as error:
                logger.warning("progress is not sent: %s", error)


def on_start() -> None:
    """Check the converter; remove files of a killed daemon.

    Raises:
        ConverterUnavailableError: calibre or its sandbox is missing.
    """
    sandbox.check()
    workdir.sweep()


def on_exit() -> None:
    """End running conversions and remove their files."""
    runner.end_all()
    workdir.wait_until_unused(_PATIENCE)
