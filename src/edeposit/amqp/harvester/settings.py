"""Settings of the harvester.

The file is ``$HOME/edeposit/harvester.json``, else ``/etc/edeposit/harvester.json``; environment
variables of the same names come on top. Every reader looks at a setting when it runs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from edeposit.amqp import __version__
from edeposit.amqp._configuration import Configuration, Setting, SettingsError, between

__all__ = ["SettingsError", "describe", "get_all_constants", "reload", "substitute_globals"]

_DAY = 86400

_TABLE = (
    Setting("USE_DUP_FILTER", True, "drop books that were sent before"),
    Setting("USE_ALEPH_FILTER", False, "drop books that the catalogue Aleph has; off because of "
            "the load it means for Aleph"),
    Setting("ALEPH_FILTER_BY_AUTHOR", True, "a book found in Aleph by its title must have an "
            "author in common, too"),
    Setting("ALEPH_TITLE_THRESHOLD", 80, "likeness of titles from which they count as the same, "
            "per cent", between(0, 100)),
    Setting("ALEPH_AUTHOR_THRESHOLD", 50, "likeness of authors from which they count as the same, "
            "per cent", between(0, 100)),
    Setting("ALEPH_FILTER_PER_SECOND", 2.0, "books for which Aleph is asked in a second",
            between(0.001, 1000)),
    Setting("DUP_FILTER_FILE", "", "database of the books sent; a path that ends in .json is a "
            "cache of the first generation, which is imported into a database beside it; empty: "
            "harvester.sqlite in the user's state directory"),
    Setting("HARVESTER_SOURCES", [], "names of the sources to be harvested; empty: those that "
            "are enabled in their own files"),
    Setting("HARVESTER_SOURCES_DIR", "", "directory with further source files, which replace "
            "shipped ones of the same name; empty: none"),
    Setting("HARVESTER_CONNECT_TIMEOUT", 5.0, "seconds for connecting", between(0.1, 600)),
    Setting("HARVESTER_TIMEOUT", 20.0, "seconds without a byte from the server",
            between(0.1, 3600)),
    Setting("HARVESTER_PAGE_TIMEOUT", 120.0, "seconds for one page as a whole",
            between(0.1, _DAY)),
    Setting("HARVESTER_RETRIES", 3, "further attempts after a failure that may pass",
            between(0, 20)),
    Setting("HARVESTER_DELAY", 1.0, "seconds between two requests to one host", between(0, 3600)),
    Setting("HARVESTER_MAX_PAGES", 1000, "pages of one source in one harvest",
            between(1, 10**7)),
    Setting("HARVESTER_MAX_BYTES", 5 * 1024 * 1024, "bytes of one page, unpacked",
            between(1024, 2**31)),
    Setting("HARVESTER_USER_AGENT", f"edeposit.amqp.harvester/{__version__} "
            "(+https://edeposit-amqp.readthedocs.org)", "how the harvester names itself; write an "
            "address of yours into it"),
    Setting("HARVESTER_CONCURRENCY", 8, "requests at the same time, over all hosts",
            between(1, 256)),
    Setting("HARVESTER_CACHE", "", "directory for pages, so that unchanged ones are not "
            "transferred again; empty: harvester in the user's cache directory"),
    Setting("HARVESTER_ALLOW_PRIVATE", False, "read pages from private and local addresses, too"),
    Setting("HARVESTER_BASE_URLS", {}, "source name to the address that stands for its server, "
            "for tests and mirrors"),
    Setting("HARVESTER_BATCH", 100, "books in one message", between(1, 100_000)),
    Setting("HARVESTER_MAX_MESSAGE", 16 * 1024 * 1024, "bytes of one message; a batch that would "
            "be larger is divided", between(64 * 1024, 512 * 1024 * 1024)),
    Setting("HARVESTER_INTERVAL", float(_DAY), "seconds between two harvests of the daemon",
            between(1, 366 * _DAY)),
    Setting("HARVESTER_STATE", "", "file in which the daemon keeps the time of its last harvest; "
            "empty: harvester-last-run.json in the user's state directory"),
)  # fmt: skip

_DERIVED = {
    "DUP_FILTER_FILE": lambda: _state("harvester.sqlite"),
    "HARVESTER_CACHE": lambda: str(platformdirs.user_cache_path("edeposit") / "harvester"),
    "HARVESTER_STATE": lambda: _state("harvester-last-run.json"),
}
_PATHS = {*_DERIVED, "HARVESTER_SOURCES_DIR"}

_configuration = Configuration(_TABLE, "/edeposit/harvester.json")


def _state(name: str) -> str:
    return str(platformdirs.user_state_path("edeposit") / name)


def __getattr__(name: str) -> Any:
    if name not in _configuration.table:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = _configuration.get(name)
    if not value and name in _DERIVED:
        return _DERIVED[name]()
    if value and name in _PATHS:
        return str(Path(value).expanduser())
    return value


def get_all_constants() -> list[str]:
    """Names of all settings."""
    return list(_configuration.table)


def substitute_globals(config_dict: Mapping[str, Any]) -> None:
    """Replace settings in this process.

    Raises:
        SettingsError: a value is wrong.
    """
    _configuration.substitute(config_dict)


def reload() -> None:
    """Read file and environment again; on failure the running values stay.

    Raises:
        SettingsError: the configuration is wrong.
    """
    _configuration.reload()


def describe() -> list[tuple[str, str, Any, str]]:
    """Rows of name, type, default and meaning."""
    return _configuration.describe()


if TYPE_CHECKING:
    USE_DUP_FILTER: bool
    USE_ALEPH_FILTER: bool
    ALEPH_FILTER_BY_AUTHOR: bool
    ALEPH_TITLE_THRESHOLD: int
    ALEPH_AUTHOR_THRESHOLD: int
    ALEPH_FILTER_PER_SECOND: float
    DUP_FILTER_FILE: str
    HARVESTER_SOURCES: list[str]
    HARVESTER_SOURCES_DIR: str
    HARVESTER_CONNECT_TIMEOUT: float
    HARVESTER_TIMEOUT: float
    HARVESTER_PAGE_TIMEOUT: float
    HARVESTER_RETRIES: int
    HARVESTER_DELAY: float
    HARVESTER_MAX_PAGES: int
    HARVESTER_MAX_BYTES: int
    HARVESTER_USER_AGENT: str
    HARVESTER_CONCURRENCY: int
    HARVESTER_CACHE: str
    HARVESTER_ALLOW_PRIVATE: bool
    HARVESTER_BASE_URLS: dict[str, str]
    HARVESTER_BATCH: int
    HARVESTER_MAX_MESSAGE: int
    HARVESTER_INTERVAL: float
    HARVESTER_STATE: str
