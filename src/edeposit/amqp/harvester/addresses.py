"""Which hosts a source may reach: the ones that it names, at public addresses."""

import ipaddress
import socket
from urllib.parse import urlsplit

from edeposit.amqp.harvester.exceptions import FetchError


def host_of(url: str) -> str:
    """Host, and port if it is not the usual one, in lower case.

    Raises:
        FetchError: it is no HTTP URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(f"no valid address: {error}", url) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError("only http and https pages are fetched", url)
    usual = 443 if parts.scheme == "https" else 80
    return parts.hostname.lower() + ("" if port in (None, usual) else f":{port}")


def check_public(host: str, url: str) -> None:
    """Look a host up.

    Raises:
        FetchError: it is unknown, or at a private or local address.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    try:
        found = socket.getaddrinfo(name.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"host {name} cannot be found: {error}", url) from error
    for *_, address in found:
        check_address(str(address[0]), url)


def check_address(address: str, url: str) -> None:
    """Refuse an address inside our own network.

    Raises:
        FetchError: it is no public address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if not parsed.is_global:
        raise FetchError(f"{address} is not a public address (HARVESTER_ALLOW_PRIVATE)", url)
