"""Server processes of one's own: on free ports, never outliving the program that started them."""

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that nobody listens at just now.

    They lie below the range from which the system takes ports for outgoing connections: otherwise
    one of those could sit on a port before the server that it was found for has started.
    """
    sockets: list[socket.socket] = []
    try:
        for port in random.sample(range(10_000, _first_outgoing_port()), 500):
            if len(sockets) == count:
                break
            sock = socket.socket()
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                sock.close()
            else:
                sockets.append(sock)
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def _first_outgoing_port() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii")
        return max(int(text.split()[0]), 20_000)
    except (OSError, ValueError):
        return 32_768


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Start a server in a process group of its own; it is killed when this process dies.

    Args:
        command: program and arguments.
        log: file that gets its output.
        env: its whole environment; default: this process's.
        cwd: its working directory.
    """
    with open(log, "ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


def kill_group(process: "subprocess.Popen[bytes]", number: int = signal.SIGKILL) -> None:
    """Signal a spawned process and all that it has started; wait for it after SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    if number == signal.SIGKILL:
        process.wait()


def kill_marked(marker: str) -> None:
    """Kill our processes that carry a marker in their environment.

    Erlang's helpers (epmd, port programs) leave the process group of the node; the marker, a
    directory's name that only one node uses, finds exactly those of that node.
    """
    needle = marker.encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if needle in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
