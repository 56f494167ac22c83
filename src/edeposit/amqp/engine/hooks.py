"""The one place where the I/O thread calls what users of the daemon classes have written.

A hook that raises must not end the I/O loop, and an error in telling it must not either.
"""

import contextlib
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


def call_hook(hook: Callable[..., Any], *arguments: Any, default: Any = None) -> Any:
    """Call a user's function once.

    Returns:
        Its result, or ``default`` if it raises; then the log has the traceback.
    """
    try:
        return hook(*arguments)
    except BaseException:
        name = getattr(hook, "__qualname__", "?")
        tell(logger, logging.ERROR, "%s() has failed", name, exc_info=True)
        return default


def tell(log: logging.Logger, level: int, text: str, *arguments: Any, exc_info: Any = None) -> None:
    """Write a log line on a path that must go on even if logging raises."""
    with contextlib.suppress(BaseException):
        log.log(level, text, *arguments, exc_info=exc_info)
