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
    """The scanner gave up inside the file: a limit was exceeded, or the content is encrypted."""


class ScannerUnavailableError(ScanError):
    """No connection to clamd, no answer in time, or no clamscan."""


class DatabaseUpdateError(ValueError):
    """freshclam failed; the text holds its output."""
