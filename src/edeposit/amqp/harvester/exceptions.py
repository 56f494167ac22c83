"""The errors of the harvester; each says where it happened, none contains a whole page."""

from collections.abc import Sequence
from typing import Any

# In characters: a hostile page may link to megabytes.
_LONGEST = 500


class HarvesterError(Exception):
    """Base of all errors of the harvester.

    The text may quote a page: half characters in it are escaped, so that it can be sent.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(message.encode("utf-8", "backslashreplace").decode("utf-8"))


class DefinitionError(HarvesterError):
    """A source definition is wrong; the text names the place and what would be right."""


class FetchError(HarvesterError):
    """A page could not be fetched.

    Attributes:
        url: of the page.
    """

    def __init__(self, message: str, url: str = "") -> None:
        super().__init__(_at(message, url))
        self.url = url


class ExtractionError(HarvesterError):
    """A required value is not where the definition says.

    Attributes:
        url: of the page.
        field: of the publication.
    """

    def __init__(self, message: str, url: str = "", field: str = "") -> None:
        super().__init__(_at(message, url))
        self.url = url
        self.field = field


class CacheError(HarvesterError):
    """The database of the sent books cannot be used; the text names the file.

    Attributes:
        path: of the database.
    """

    def __init__(self, message: str, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class HarvestFailedError(HarvesterError):
    """Every source of a harvest has failed, or a self-test found something wrong.

    Attributes:
        errors: what happened, at least one.
    """

    def __init__(self, message: str, errors: list[str]) -> None:
        super().__init__("\n".join([message, *errors]))
        self.errors = errors


class SourceFailedError(HarvesterError):
    """Something went wrong with a source; other books of it may have been sent nevertheless.

    Attributes:
        source: its name.
        errors: what happened.
    """

    # A changed layout makes as many errors as there are books; nobody reads them all.
    _SHOWN = 50

    def __init__(self, source: str, errors: Sequence[Exception]) -> None:
        lines = [f"source {source}: {len(errors)} error{'s' if len(errors) != 1 else ''}"]
        lines += [f"{type(error).__name__}: {error}"[:500] for error in errors[: self._SHOWN]]
        if len(errors) > self._SHOWN:
            lines.append(f"… and {len(errors) - self._SHOWN} more")
        super().__init__("\n".join(lines))
        self.source = source
        self.errors = list(errors)


class SelfTestError(HarvesterError):
    """A source no longer finds what it should.

    Attributes:
        source: its name.
        checks: the ``selftest.FieldCheck`` that failed.
    """

    def __init__(self, source: str, checks: Sequence[Any]) -> None:
        lines = [f"source {source}: the self-test failed in {len(checks)} of its checks"]
        lines += [
            f"{check.where}: {check.field}: expected {check.expected}, found {check.found}"[:500]
            for check in checks
        ]
        super().__init__("\n".join(lines))
        self.source = source
        self.checks = list(checks)


def _at(message: str, url: str) -> str:
    return f"{message[:_LONGEST]} ({url[:_LONGEST]})" if url else message
