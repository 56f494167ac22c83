"""Who may be asked: hosts as source files name them, and addresses outside all private networks."""

import ipaddress
import socket
from urllib.parse import urlsplit

import httpcore2
import idna

from edeposit.amqp.harvester.exceptions import FetchError

_USUAL_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# All that is assigned so far; the other ranges are local, transitional or reserved.
_UNICAST = ipaddress.ip_network("2000::/3")
# Inside of it: protocols (RFC 6890; Teredo, ORCHID) and documentation (RFC 9637). Not every Python
# counts all of them as special.
_SPECIAL = (
    ipaddress.ip_network("2001::/23"),
    ipaddress.ip_network("2001:db8::/32"),
    ipaddress.ip_network("3fff::/20"),
    ipaddress.ip_network("192.0.0.0/24"),
    ipaddress.ip_network("192.88.99.0/24"),
)


def host_of(url: str) -> str:
    """Host of a URL, and its port unless it is the usual one; see ``canonical_host``.

    Raises:
        FetchError: it is not an HTTP URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(f"invalid address: {error}", url) from error
    if parts.scheme not in _USUAL_PORTS or not parts.hostname:
        raise FetchError("only http and https pages are fetched", url)
    host = _canonical_name(parts.hostname)
    return host if port in (None, _USUAL_PORTS[parts.scheme]) else f"{host}:{port}"


def canonical_host(text: str) -> str:
    """A host, with or without a port, in the only form that is compared.

    Lower case, international names in their ASCII form (IDNA 2008), IPv6 addresses compressed and
    in brackets.
    """
    try:
        parts = urlsplit(f"//{text.strip()}")
        name, port = parts.hostname or "", parts.port
    except ValueError:
        name, port = text, None
    if text.count(":") > 1 and not text.startswith("["):
        name, port = text, None  # an IPv6 address without brackets
    return _canonical_name(name) + (f":{port}" if port is not None else "")


def _canonical_name(name: str) -> str:
    name = name.strip("[]").lower()
    if ":" in name:
        try:
            return f"[{ipaddress.ip_address(name)}]"
        except ValueError:
            return name
    if name.isascii():
        return name
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        return name


def public_address(host: str, port: int) -> str:
    """An address of the host outside all private networks.

    Raises:
        FetchError: it has none.
        httpcore2.ConnectError: the name cannot be resolved (now).
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore2.ConnectError(str(error)) from error
    for *_, address in found:
        if is_public(str(address[0])):
            return str(address[0])
    raise FetchError(f"{host} has no public address (HARVESTER_ALLOW_PRIVATE)")


def is_public(text: str) -> bool:
    """Whether an address is outside all private networks, in any of its disguises."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
        elif address not in _UNICAST:
            return False
    special = any(address in network for network in _SPECIAL)
    return address.is_global and not address.is_multicast and not special
