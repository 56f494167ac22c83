"""Finds out what the running clamd looks into, by samples that hide EICAR.

Its configuration file is not evidence: clamd may run on another machine, or the file may have
changed since clamd started. What must stay true: content that clamd was shown to skip is never
called clean, also after clamd was restarted or has loaded new signatures.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from edeposit.amqp.antivirus import samples, settings
from edeposit.amqp.antivirus.deadline import Deadline
from edeposit.amqp.antivirus.exceptions import (
    BlindScannerError,
    ScanError,
    ScannerUnavailableError,
    ScanTimeoutError,
)
from edeposit.amqp.antivirus.wrappers import clamd

logger = logging.getLogger(__name__)

_MIB = 1024**2
_PIECE = 64 * 1024
_DEEPEST = 101


class _Probe(NamedTuple):
    """A kind of content.

    Attributes:
        text: what it is, for people.
        make: the sample of a size, in the kind's own unit.
        most: the size that is probed when the content's size is unknown.
        limit: the largest size that is ever probed: sizes in a file may be lies.
        try_first: the size to probe before a smaller one, so that one probe serves many files.
    """

    text: str
    make: Callable[[int], bytes | Iterable[bytes]]
    most: Callable[[], int] = lambda: 1
    limit: Callable[[], int] = lambda: 1
    try_first: Callable[[int], int] = lambda size: size


def _power_of_two(size: int) -> int:
    return 1 << max(size - 1, 0).bit_length()


_PROBES = {
    "EICAR": _Probe("files", lambda _: samples.EICAR),
    "archive": _Probe("archives (ScanArchive)", lambda _: samples.zipped()),
    # clamd's MaxRecursion is 100 at most, so it has to raise its alert for this one.
    "depth": _Probe(
        "archives in archives (AlertExceedsMax, MaxRecursion)",
        samples.nested,
        lambda: _DEEPEST,
        lambda: _DEEPEST,
        lambda _: _DEEPEST,
    ),
    # A file with more members is preceded by a larger probe.
    "members": _Probe(
        "archives with many members (AlertExceedsMax, MaxFiles)",
        samples.many_members,
        lambda: 1000,
        lambda: 20_000,
        _power_of_two,
    ),
    # Its default of MaxFileSize is 100 MiB.
    "largest": _Probe(
        "archives with large members (MaxFileSize, MaxScanSize)",
        samples.long_member,
        lambda: max(settings.MAX_FILE_SIZE, 99 * _MIB),
        lambda: max(settings.MAX_FILE_SIZE, 200 * _MIB),
        lambda size: max(_power_of_two(size), _MIB),
    ),
    "size": _Probe(
        "large files (AlertExceedsMax, MaxFileSize)",
        samples.long_stream,
        lambda: settings.MAX_FILE_SIZE,
        lambda: settings.MAX_FILE_SIZE,
        lambda size: max(_power_of_two(size), _MIB),
    ),
    "encrypted": _Probe("encrypted archives (AlertEncrypted)", lambda _: samples.encrypted_zip()),
    "mail": _Probe("mails (ScanMail)", lambda _: samples.mail()),
    "PDF": _Probe("PDFs (ScanPDF)", lambda _: samples.pdf()),
    "OLE2": _Probe("Office documents (ScanOLE2)", lambda _: samples.ole2()),
    "rar": _Probe("RARs (libclamunrar)", lambda _: samples.encrypted_rar()),
}
# Not a matter of configuration: the daemon starts, and answers such content with an error.
_MAY_BE_BLIND = {"rar"}


class Sight:
    """What one running clamd looks into.

    Args:
        identity: which clamd it is.
    """

    def __init__(self, identity: clamd.Identity) -> None:
        self.identity = identity
        self._asked = time.monotonic()
        self._lock = threading.Lock()
        # By kind: the largest size that it was shown to scan; infinite: it raises an alert.
        self._seen: dict[str, float] = {}
        # By kind: the smallest size that it was shown to skip.
        self._unseen: dict[str, float] = {}

    def is_current(self, identity: clamd.Identity) -> bool:
        """Does it still hold for this clamd?"""
        age = time.monotonic() - self._asked
        return identity == self.identity and age < settings.PROBE_INTERVAL

    def sees(self, kind: str, deadline: Deadline, size: float = 1) -> bool:
        """Does clamd look into content of a kind and size, or say that it does not?

        Args:
            kind: a key of the table of probes.
            deadline: of the whole scan.
            size: in the kind's unit; infinite: it is not known.

        Raises:
            ScannerUnavailableError: clamd cannot be asked.
        """
        probe = _PROBES[kind]
        if size == float("inf"):
            size = probe.most()
        wanted = int(min(size, probe.limit()))
        first = min(max(probe.try_first(wanted), wanted), probe.limit())
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise ScanTimeoutError(deadline.seconds)
        try:
            for one in sorted({first, wanted}, reverse=True):
                if self._seen.get(kind, 0) < wanted and one < self._unseen.get(kind, float("inf")):
                    self._ask(kind, one, deadline)
            return self._seen.get(kind, 0) >= size
        finally:
            self._lock.release()

    def blind_for(self) -> list[str]:
        """Texts of what clamd calls clean, of all kinds.

        Raises:
            ScannerUnavailableError: clamd cannot be asked.
        """
        return [
            probe.text
            for kind, probe in _PROBES.items()
            if not self.sees(kind, Deadline(settings.SCAN_TIMEOUT), probe.most())
            and kind not in _MAY_BE_BLIND
        ]

    def _ask(self, kind: str, size: int, deadline: Deadline) -> None:
        probe = _PROBES[kind]
        sample = probe.make(size)
        pieces = _pieces(sample) if isinstance(sample, bytes) else sample
        try:
            found = clamd.scan_stream("probe", pieces, deadline)
        except ScannerUnavailableError:
            raise
        except ScanError as error:  # an alert, or refused: not called clean
            logger.debug("probe for %s, size %d: %s", probe.text, size, error)
            self._seen[kind] = float("inf")
            return
        if found:
            self._seen[kind] = size
            return
        self._unseen[kind] = size
        level = logging.INFO if kind in _MAY_BE_BLIND else logging.WARNING
        logger.log(level, "clamd does not look into %s, size %d", probe.text, size)


_sight: Sight | None = None


def current(deadline: Deadline | None = None) -> Sight:
    """What the running clamd looks into; found out anew after a restart or new signatures.

    Args:
        deadline: default: SCAN_TIMEOUT from now.

    Raises:
        ScannerUnavailableError: clamd cannot be reached.
    """
    global _sight
    identity = clamd.identity(deadline)
    sight = _sight
    if sight is None or not sight.is_current(identity):
        if sight is not None and sight.identity != identity:
            logger.info("clamd was restarted or has new signatures: %s", identity.version)
        _sight = sight = Sight(identity)
    return sight


def known() -> clamd.Identity | None:
    """The clamd that was seen last; None: none yet."""
    return _sight.identity if _sight is not None else None


def check() -> Sight:
    """Probe clamd for every kind.

    Raises:
        BlindScannerError: it does not find EICAR, or skips content and the setting BLIND_SCANNER
            is not ``warn``.
        ScannerUnavailableError: clamd cannot be reached.
    """
    sight = current()
    blind = sight.blind_for()
    if not sight.sees("EICAR", Deadline(settings.SCAN_TIMEOUT)):
        raise BlindScannerError("clamd does not find EICAR: has it any signatures?")
    if blind:
        text = f"clamd calls clean without a look: {', '.join(blind)}"
        if settings.BLIND_SCANNER != "warn":
            raise BlindScannerError(f"{text}; edeposit_clamd_init.py repairs its configuration")
        logger.warning("%s; such content is answered with an error", text)
    return sight


def _pieces(data: bytes) -> Iterable[bytes]:
    return (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
