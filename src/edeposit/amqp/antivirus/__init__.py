"""Virus scanning with ClamAV: ``ScanFile`` and ``UpdateDatabase``.

A plain library: usable without a broker. What must stay true: a file that was not fully scanned is
an error, never clean and never malware, and the client's file name is never used as a path.
"""

import logging
from collections.abc import Callable
from typing import Any

from edeposit.amqp.antivirus import antivirus
from edeposit.amqp.antivirus.exceptions import ScannerUnavailableError
from edeposit.amqp.antivirus.structures import (
    DatabaseUpdated,
    ScanFile,
    ScanResult,
    UpdateDatabase,
)

__all__ = [
    "DatabaseUpdated",
    "ScanFile",
    "ScanResult",
    "UpdateDatabase",
    "on_start",
    "reactToAMQPMessage",
]

logger = logging.getLogger(__name__)


def reactToAMQPMessage(message: Any, send_back: Callable[[Any], None]) -> Any:
    """Serve one request.

    Args:
        message: ``ScanFile`` or ``UpdateDatabase``; recognised by the name of its class.
        send_back: its ``headers``, if it has any, get the evidence of a scan.

    Returns:
        ``ScanResult`` or ``DatabaseUpdated``.

    Raises:
        ValueError: unknown request; not scanned (``exceptions.ScanError``); update failed.
        AssertionError: not permitted to update the database.
    """
    kind = type(message).__name__
    if kind == "ScanFile":
        report = antivirus.scan_base64(message.filename, message.b64_data)
        headers = report.headers()
        getattr(send_back, "headers", {}).update(headers)
        logger.info(
            "%.200r: %s; %s",
            message.filename,
            report.result or "clean",
            ", ".join(f"{name} {value}" for name, value in headers.items()),
        )
        return ScanResult(message.filename, report.result)
    if kind == "UpdateDatabase":
        return DatabaseUpdated(antivirus.update_database())
    raise ValueError(f"Unknown type of request: '{type(message)}'!")


def on_start() -> None:
    """Ask clamd what it looks into; the daemon starts without a clamd, and says so.

    Raises:
        BlindScannerError: clamd calls clean what it does not look into.
    """
    try:
        logger.info("scanner: %s", antivirus.check_scanner())
    except ScannerUnavailableError as error:
        logger.warning("%s: requests will fail until it runs", error)
