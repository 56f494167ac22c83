"""Waiting for a condition with a deadline, in place of sleeping for a time."""

import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], Any], timeout: float = 10.0, what: str = "") -> Any:
    """Poll until the condition holds.

    Args:
        condition: called again and again; its first true result is returned.
        timeout: seconds until giving up.
        what: said in the error.

    Raises:
        AssertionError: the condition did not hold in time.
    """
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
