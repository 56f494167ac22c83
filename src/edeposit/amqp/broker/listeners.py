"""Who listens on a port of this machine, as Linux tells in ``/proc/net/tcp`` (proc(5))."""

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def listening_users(host: str, port: int) -> set[int]:
    """The user ids of those who listen at an address; empty if it is not one of this machine's.

    Args:
        host: name or address.
        port: TCP port.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    wanted = {ipaddress.ip_address(address[4][0]) for address in found}
    if not all(_is_own(address) for address in wanted):
        return set()
    return {
        uid
        for address, listening, uid in _listeners()
        if listening == port and (address in wanted or address.is_unspecified)
    }


def _is_own(address: _Address) -> bool:
    """Only an address of this machine can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((str(address), 0))
        return True
    return False


def _listeners() -> Iterator[tuple[_Address, int, int]]:
    """Address, port and user id of each listening socket."""
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _slot, local, _remote, state, _queues, _timer, _retransmits, uid, *_ = line.split()
            if state == _LISTEN:
                address, port = local.split(":")
                yield _to_address(address), int(port, 16), int(uid)


def _to_address(digits: str) -> _Address:
    """The kernel writes words of four bytes in the machine's own order."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
