"""The errors of the catalogue service; their names travel to the callers."""

import re


def without_credentials(url: str) -> str:
    """A URL as errors and logs may show it."""
    return re.sub("//[^/@]{0,200}@", "//", url)


class AlephException(Exception):
    """Base of the reading errors; also raised for error texts of the server that are not known."""


class InvalidAlephBaseException(AlephException):
    """The base does not exist, or its name has characters that no base has."""


class InvalidAlephFieldException(AlephException):
    """The field code is not one of ``VALID_ALEPH_FIELDS``."""


class LibraryNotFoundException(AlephException):
    """The library does not exist, or its name has characters that no library has."""


class DocumentNotFoundException(AlephException):
    """There is no such document, or it was deleted."""


class AlephUnavailableException(AlephException):
    """The server cannot be reached, is too slow, or its answer is not a reply of an Aleph server.

    Attributes:
        url: of the request, without user and password.
    """

    def __init__(self, message: str, url: str = "") -> None:
        url = without_credentials(url)
        super().__init__(f"{message} ({url})" if url else message)
        self.url = url


class InvalidRecordException(AlephException, ValueError):
    """The text is not a MARC record in XML."""


class ExportException(Exception):
    """Base of the writing errors; the text says whether anything was sent."""


class ExportOutcomeUnknownException(ExportException):
    """The book may have been exported: no confirmation came, or the request came twice.

    Search the catalogue before you repeat the export, or the book may be there twice.
    """


class InvalidISBNException(ExportException):
    """The ISBN, or that of the series, has a wrong checksum."""


class InvalidExportDataException(ExportException, AssertionError):
    """Required fields are missing or wrong; the text names all of them, a line each.

    Attributes:
        problems: the lines.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ExportRejectedException(ExportException):
    """The form has rejected the export; the text holds the server's reason."""
