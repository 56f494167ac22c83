"""The errors of the virus scanner.

All are ``ValueError``: the first generation's clients know that name for "your request could not
be served", and a file that was not scanned must never look like a clean one.
"""


class ScanError(ValueError):
    """The file was not, or not fully, scanned; the text says why."""


class FileTooLargeError(ScanError):
    """The content is larger than the scanner would look at.

    Attributes:
        size: bytes of the content.
        limit: bytes that are scanned.
    """

    def __init__(self, filename: str, size: int, limit: int) -> None:
        super().__init__(f"{filename!r}: {size} bytes are more than the limit of {limit}")
        self.size = size
        self.limit = limit


class NotScannedError(ScanError):
    """A part of the file was not scanned: it is encrypted, damaged, or in a form that the scanner
    does not open, or one of the scanner's limits was exceeded.

    Attributes:
        kind: name of the reason, as in the setting ACCEPT; empty: the scanner's own alert.
    """

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


class ScannerUnavailableError(ScanError):
    """No connection to clamd, a connection that broke, or no clamscan."""


class ScanTimeoutError(ScannerUnavailableError):
    """The scan was not over within SCAN_TIMEOUT."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s (SCAN_TIMEOUT)")


class BlindScannerError(ScanError):
    """clamd has called a sample clean in which EICAR was hidden; the text names the kinds."""


class DatabaseUpdateError(ValueError):
    """freshclam failed; the text holds its output."""
