"""systemd's notification protocol (sd_notify(3)): one datagram to ``$NOTIFY_SOCKET``.

A supervisor that does not read fills its socket. Sending never waits for it: what does not fit is
sent, in its order, by a thread.
"""

import logging
import os
import queue
import socket
import threading
import time

logger = logging.getLogger(__name__)

_MOST_WAITING = 100

_waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
_lock = threading.Lock()  # of the two below; held only for a look at them
_sender: threading.Thread | None = None
_last_error = ""


def _in_child() -> None:
    """A forked child lacks the sending thread, and the lock may have been held."""
    global _lock, _sender
    _lock, _sender = threading.Lock(), None


os.register_at_fork(after_in_child=_in_child)


def notify(message: str) -> bool:
    """Send a state such as ``READY=1``; never waits.

    Returns:
        False if nobody listens (not started by a supervisor), or it could not be sent.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if _sender is None:
        try:
            _send(address, message, socket.MSG_DONTWAIT)
            _note("")
            return True
        except BlockingIOError:
            pass
        except OSError as error:
            _note(str(error))
            return False
    return _send_later(address, message)


def _send(address: str, message: str, flags: int = 0) -> None:
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect(address)
        sock.send(message.encode("utf-8", "backslashreplace"), flags)


def _send_later(address: str, message: str) -> bool:
    global _sender
    if _waiting.qsize() >= _MOST_WAITING:
        return False  # signs of life, most of them; nobody has read for minutes
    _waiting.put(message)
    with _lock:
        if _sender is None:
            thread = threading.Thread(target=_run, args=(address,), name="notify", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False  # no more threads are allowed; the next message tries again
            _sender = thread
    return True


def _run(address: str) -> None:
    global _sender
    while True:
        with _lock:
            if _waiting.empty():
                _sender = None
                return
        try:
            _send(address, _waiting.get())
            _note("")
        except OSError as error:
            _note(str(error))


def _note(error: str) -> None:
    """Log what hinders, once."""
    global _last_error
    if error and error != _last_error:
        logger.warning("the supervisor cannot be notified: %s", error)
    _last_error = error


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
