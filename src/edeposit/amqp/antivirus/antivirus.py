"""Scanning of files and of base64 content, with clamd or clamscan.

A file is called clean only if the scanner found nothing in it, and nothing in it is known to be
skipped by the scanner.
"""

import datetime
import logging
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from edeposit.amqp.antivirus import probing, settings
from edeposit.amqp.antivirus.containers import Walk
from edeposit.amqp.antivirus.containers.recognition import NO_ARCHIVES
from edeposit.amqp.antivirus.deadline import Deadline
from edeposit.amqp.antivirus.exceptions import (
    NotScannedError,
    ScanError,
    ScannerUnavailableError,
    ScanTimeoutError,
)
from edeposit.amqp.antivirus.wrappers import clamd, clamscan
from edeposit.amqp.antivirus.wrappers.clamd import Result
from edeposit.amqp.antivirus.wrappers.freshclam import update_database
from edeposit.amqp.formats.base64text import Base64Error, Base64Text

__all__ = [
    "Report",
    "check_scanner",
    "describe_scanner",
    "save_and_scan",
    "scan_base64",
    "scan_file",
    "update_database",
]

logger = logging.getLogger(__name__)

_OLD_DATABASE = datetime.timedelta(days=7)
# Smaller files are within every limit that a clamd may have.
_SMALL = 1024**2


class Report(NamedTuple):
    """The outcome of a scan, and its evidence.

    Attributes:
        result: ``{filename: ("FOUND", name)}``, or ``{}`` for a clean file.
        scanner: engine, number of the signature database and its date, as ClamAV names them.
        time: when the scan began, UTC, ISO 8601.
        accepted: kinds of problems in the file that the setting ACCEPT allows.
    """

    result: Result
    scanner: str
    time: str
    accepted: list[str]

    def headers(self) -> dict[str, str]:
        """The evidence, for the headers of the answer."""
        if not self.scanner:
            return {}
        engine, _, signatures = self.scanner.partition("/")
        evidence = {"engine": engine, "signatures": signatures or "unnumbered", "time": self.time}
        if self.accepted:
            evidence["accepted"] = ",".join(self.accepted)
        return {f"scan-{name}": value for name, value in evidence.items()}


def save_and_scan(filename: str, b64_data: str) -> Result:
    """Scan content that came in base64; as ``scan_base64``, but returns the result alone."""
    return scan_base64(filename, b64_data).result


def scan_base64(filename: str, b64_data: str) -> Report:
    """Scan content that came in base64.

    With clamd the content goes from memory into its socket; only clamscan needs a file, whose
    name has nothing of the client's. When clamd cannot be reached, clamscan is tried.

    Args:
        filename: as the client knows it; key of the result.
        b64_data: the content; white space in it is allowed.

    Raises:
        ScanError: it is not base64, too large, or was not fully scanned.
    """
    try:
        content = Base64Text(b64_data)
        if content.most > clamd.size_limit():
            clamd.check_size(filename, content.size)
    except Base64Error as error:
        raise ScanError(f"{filename!r}: b64_data is {error}") from error
    deadline = Deadline(settings.SCAN_TIMEOUT)

    def pieces() -> Iterator[bytes]:
        try:
            yield from content
        except Base64Error as error:
            raise ScanError(f"{filename!r}: b64_data is {error}") from error

    def scan_by_clamscan() -> Result:
        with tempfile.NamedTemporaryFile(prefix="edeposit-av-") as file:  # mode 0600
            for piece in pieces():
                file.write(piece)
            file.flush()
            found = clamscan.scan_file(file.name, deadline)
        return {filename: next(iter(found.values()))} if found else {}

    return _scan(
        filename,
        deadline,
        lambda: clamd.scan_stream(filename, pieces(), deadline),
        scan_by_clamscan,
        content.open,
    )


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
    deadline = Deadline(settings.SCAN_TIMEOUT)
    return _scan(
        path,
        deadline,
        lambda: clamd.scan_file(path, deadline),
        lambda: clamscan.scan_file(path, deadline),
        lambda: open(path, "rb"),
    ).result


def _scan(
    filename: str,
    deadline: Deadline,
    by_clamd: Callable[[], Result],
    by_clamscan: Callable[[], Result],
    open_content: Callable[[], IO[bytes]],
) -> Report:
    time = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    sight = None
    unavailable: ScanError | None = None
    if settings.USE_CLAMD:
        try:
            known = probing.known()
            result = by_clamd()
            if result:
                return Report(result, known.version if known else "", time, [])
            sight = probing.current(deadline)
            if known is not None and known != sight.identity:
                # Restarted or updated meanwhile: it is unknown which signatures were used.
                result = by_clamd()
            scanner = sight.identity.version
        except ScanTimeoutError:
            raise
        except ScannerUnavailableError as error:
            logger.warning("clamd cannot be used, trying clamscan: %s", error)
            unavailable, sight = error, None
    if sight is None:
        try:
            result, scanner = by_clamscan(), clamscan.version()
        except ScanError as error:
            # Both failed: the first reason is the one to repair.
            raise unavailable or error from error
    accepted = [] if result else _check_content(filename, open_content, sight, deadline)
    return Report(result, scanner, time, accepted)


def _check_content(
    filename: str,
    open_content: Callable[[], IO[bytes]],
    sight: probing.Sight | None,
    deadline: Deadline,
) -> list[str]:
    """Look for content that the scanner skipped; returns the kinds that are accepted.

    Raises:
        NotScannedError: there is some that is not accepted.
    """
    walk = Walk(deadline, settings.MAX_UNPACKED)
    with open_content() as file:
        walk.look(file)
        size = file.seek(0, 2)
    if sight is None:
        if "rar" in walk.formats:
            walk.add("rar", "clamscan may be without libclamunrar")
    else:
        _check_limits(walk, sight, size, deadline)
    for kind, text in walk.problems:
        if kind not in settings.ACCEPT:
            raise NotScannedError(f"{filename!r} was not fully scanned: {text} ({kind})", kind)
    return [problem.kind for problem in walk.problems]


def _check_limits(walk: Walk, sight: probing.Sight, size: int, deadline: Deadline) -> None:
    """Add the content that this clamd was shown to skip."""
    needed: dict[str, float] = dict.fromkeys(walk.formats & {"mail", "PDF", "OLE2", "rar"}, 1)
    if size > _SMALL and not sight.sees("depth", deadline, float("inf")):
        # Its alert for exceeded limits is off: does it scan a file of this size?
        needed["size"] = size
    if walk.formats - NO_ARCHIVES:
        # The extent of a container that only clamd opens is unknown.
        unknown = float("inf") if walk.is_opaque else 0
        needed |= {
            "archive": 1,
            "encrypted": 1,
            "depth": max(walk.depth, unknown),
            "members": max(walk.members, unknown),
            "largest": max(walk.largest, unknown),
        }
    for kind, extent in needed.items():
        if not sight.sees(kind, deadline, extent):
            name = "rar" if kind == "rar" else f"blind-{kind.lower()}"
            walk.add(name, f"clamd does not look into it ({kind})")


def check_scanner() -> str:
    """Check by probes that clamd looks into everything.

    Returns:
        Engine and database, for the log at start.

    Raises:
        BlindScannerError: see ``probing.check``.
        ScannerUnavailableError: clamd cannot be reached.
    """
    version = describe_scanner()
    if settings.USE_CLAMD:
        probing.check()
    return version


def describe_scanner() -> str:
    """Engine and database, for the log at start.

    Returns:
        clamd's version line; a warning is logged if the database is older than a week.

    Raises:
        ScannerUnavailableError: clamd cannot be reached.
    """
    if not settings.USE_CLAMD:
        return "clamscan"
    version = clamd.version()
    date = _database_date(version)
    if date is None:
        logger.warning("clamd has no dated signature database: %s", version)
    elif datetime.datetime.now() - date > _OLD_DATABASE:
        logger.warning("the signature database is older than a week: %s", version)
    return version


def _database_date(version: str) -> datetime.datetime | None:
    """ClamAV 1.4.6/27000/Mon Nov 23 10:00:00 2026"""
    parts = version.split("/")
    if len(parts) < 3:
        return None
    try:
        return datetime.datetime.strptime(parts[2].strip(), "%a %b %d %H:%M:%S %Y")
    except ValueError:
        return None
