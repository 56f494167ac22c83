"""The host of an address, as source files and allow-lists name it."""

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
