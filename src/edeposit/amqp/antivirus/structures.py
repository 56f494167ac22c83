"""Requests and answers of the virus scanner, as they travel."""

from collections import namedtuple


class ScanFile(namedtuple("ScanFile", ["filename", "b64_data"])):
    """Request: scan a file.

    Attributes:
        filename (str): as the client knows it; echoed, never used as a path.
        b64_data (str): content in base64.
    """

    __slots__ = ()


class ScanResult(namedtuple("ScanResult", ["filename", "result"])):
    """Answer to ``ScanFile``.

    Attributes:
        filename (str): of the request.
        result (dict): empty for a clean file, else ``{filename: ("FOUND", signature)}``.
    """

    __slots__ = ()


class UpdateDatabase(namedtuple("UpdateDatabase", [])):
    """Request: run freshclam."""

    __slots__ = ()


class DatabaseUpdated(namedtuple("DatabaseUpdated", ["log"])):
    """Answer to ``UpdateDatabase``.

    Attributes:
        log (str): what freshclam printed.
    """

    __slots__ = ()
