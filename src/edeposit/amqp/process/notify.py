"""systemd's notification protocol (sd_notify(3)): one datagram to ``$NOTIFY_SOCKET``."""

import logging
import os
import socket
import time

logger = logging.getLogger(__name__)


def notify(message: str) -> bool:
    """Send a state such as ``READY=1``.

    Returns:
        False if nobody listens (not started by a supervisor), or it could not be sent.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.sendall(message.encode("utf-8"))
    except OSError as error:
        logger.warning("the supervisor cannot be notified: %s", error)
        return False
    return True


def notify_reloading() -> bool:
    """``RELOADING=1`` with the time that Type=notify-reload wants."""
    return notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval() -> float | None:
    """Seconds between two signs of life: half of what the supervisor allows; None for none."""
    try:
        allowed = int(os.environ.get("WATCHDOG_USEC", ""))
        pid = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return allowed / 2e6 if allowed > 0 and pid == os.getpid() else None
