"""Scanning of files and of base64 content, with clamd or clamscan."""

import base64
import datetime
import logging
import re
import tempfile
from collections.abc import Iterator

from edeposit.amqp.antivirus import settings
from edeposit.amqp.antivirus.exceptions import ScanError, ScannerUnavailableError
from edeposit.amqp.antivirus.wrappers import clamd, clamscan
from edeposit.amqp.antivirus.wrappers.clamd import Result
from edeposit.amqp.antivirus.wrappers.freshclam import update_database

__all__ = ["describe_scanner", "save_and_scan", "scan_file", "update_database"]

logger = logging.getLogger(__name__)

# Decoded 1 MiB at a time: a multiple of four characters, so that no group is cut.
_B64_PIECE = 4 * 1024 * 1024 // 3 // 4 * 4
_WHITESPACE = re.compile(r"[ \t\r\n\f\v]+")
_OLD_DATABASE = datetime.timedelta(days=7)


def scan_file(path: str) -> Result:
    """Scan a file of this machine.

    Args:
        path: absolute path.

    Returns:
        ``{path: ("FOUND", name)}``, or ``{}`` for a clean file.

    Raises:
        AssertionError: there is no such file.
        ScanError: it was not, or not fully, scanned.
    """
    return clamd.scan_file(path) if settings.USE_CLAMD else clamscan.scan_file(path)


def save_and_scan(filename: str, b64_data: str) -> Result:
    """Scan content that came in base64.

    With clamd the content goes from memory into its socket; only clamscan needs a file, whose
    name has nothing of the client's. When clamd cannot be reached, clamscan is tried.

    Args:
        filename: as the client knows it; key of the result.
        b64_data: the content; white space in it is allowed.

    Returns:
        ``{filename: ("FOUND", name)}``, or ``{}`` for a clean file.

    Raises:
        ScanError: it is not base64, too large, or was not fully scanned.
    """
    encoded = _checked_base64(filename, b64_data)
    clamd.check_size(filename, len(encoded) // 4 * 3 - encoded[-2:].count("="))
    if settings.USE_CLAMD:
        try:
            return clamd.scan_stream(filename, _decoded(filename, encoded))
        except ScannerUnavailableError as error:
            logger.warning("clamd cannot be used, trying clamscan: %s", error)
            unavailable = error
    else:
        unavailable = None
    return _scan_with_clamscan(filename, encoded, unavailable)


def describe_scanner() -> str:
    """Engine and database, for the log at start.

    Returns:
        clamd's version line; warnings are logged if the database is older than a week, or clamd's
        limits let it call files clean that it has not read to their end.

    Raises:
        ScannerUnavailableError: clamd cannot be reached.
    """
    if not settings.USE_CLAMD:
        return "clamscan"
    version = clamd.version()
    if clamd.has_blind_spot():
        logger.warning(
            "%s: MaxFileSize is less than MaxScanSize: clamd scans larger members of archives in"
            " part only and calls them clean; edeposit_clamd_init.py repairs that",
            settings.CONF_PATH,
        )
    date = _database_date(version)
    if date is None:
        logger.warning("clamd has no dated signature database: %s", version)
    elif datetime.datetime.now() - date > _OLD_DATABASE:
        logger.warning("the signature database is older than a week: %s", version)
    return version


def _scan_with_clamscan(
    filename: str, encoded: str, unavailable: ScannerUnavailableError | None
) -> Result:
    with tempfile.NamedTemporaryFile(prefix="edeposit-av-") as file:  # mode 0600
        for piece in _decoded(filename, encoded):
            file.write(piece)
        file.flush()
        try:
            found = clamscan.scan_file(file.name)
        except ScanError as error:
            # Both failed: the first reason is the one to repair.
            raise unavailable or error from error
    return {filename: next(iter(found.values()))} if found else {}


def _checked_base64(filename: str, b64_data: str) -> str:
    if not isinstance(b64_data, str):
        raise ScanError(f"{filename!r}: b64_data must be a string")
    encoded = _WHITESPACE.sub("", b64_data)
    if len(encoded) % 4:
        raise ScanError(f"{filename!r}: b64_data is not base64: wrong length or padding")
    return encoded


def _decoded(filename: str, encoded: str) -> Iterator[bytes]:
    """The content in pieces.

    Raises:
        ScanError: there is a foreign character, or padding before the end.
    """
    for start in range(0, len(encoded), _B64_PIECE):
        piece = encoded[start : start + _B64_PIECE]
        if "=" in piece and start + _B64_PIECE < len(encoded):
            raise ScanError(f"{filename!r}: b64_data is not base64: padding before its end")
        try:
            yield base64.b64decode(piece, validate=True)
        except ValueError as error:  # binascii.Error, and characters beyond ASCII
            raise ScanError(f"{filename!r}: b64_data is not base64: {error}") from error


def _database_date(version: str) -> datetime.datetime | None:
    """ClamAV 1.4.6/27000/Mon Nov 23 10:00:00 2026"""
    parts = version.split("/")
    if len(parts) < 3:
        return None
    try:
        return datetime.datetime.strptime(parts[2].strip(), "%a %b %d %H:%M:%S %Y")
    except ValueError:
        return None
