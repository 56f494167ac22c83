"""Settings of the harvester.

The file is ``$HOME/edeposit/harvester.json``, else ``/etc/edeposit/harvester.json``; environment
variables of the same names come on top (lists with commas). Every reader looks at a setting when it
runs.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edeposit.amqp._configuration import Configuration, Setting, SettingsError, between

__all__ = [
    "SettingsError", "describe", "get_all_constants", "reload", "state_file", "substitute_globals",
]  # fmt: skip


def _base_urls(value: str) -> str | None:
    try:
        pairs = json.loads(value or "{}")
    except ValueError:
        pairs = None
    if isinstance(pairs, dict) and all(isinstance(url, str) for url in pairs.values()):
        return None
    return 'JSON such as {"www.example.org": "http://127.0.0.1:8000"}'


_TABLE = (
    Setting("USE_DUP_FILTER", True, "drop books that have been sent before"),
    Setting("USE_ALEPH_FILTER", False, "drop books that the catalogue has; asks it for each book"),
    Setting("ALEPH_FILTER_BY_AUTHOR", True, "in searches by title the authors must agree, too"),
    Setting("ALEPH_TITLE_THRESHOLD", 80, "per cent from which two titles are the same",
            between(1, 100)),
    Setting("ALEPH_AUTHOR_THRESHOLD", 50, "per cent from which two authors are the same",
            between(1, 100)),
    Setting("ALEPH_FILTER_PER_SECOND", 2.0, "books for which the catalogue is asked in a second",
            between(0.001, 1000)),
    Setting("DUP_FILTER_FILE", "~/.edeposit_harvester_cache.json", "sent books of the first "
            "generation, taken over at the first use"),
    Setting("DUP_FILTER_DATABASE", "", "where sent books are kept; empty: harvester.sqlite in "
            "/var/lib/edeposit for root, else in ~/.local/state/edeposit"),
    Setting("HARVESTER_SOURCES", [], "names of the sources to be harvested; empty: the enabled"),
    Setting("HARVESTER_SOURCES_DIR", "", "directory of further source files"),
    Setting("HARVESTER_INTERVAL", 86400.0, "seconds between two harvests of the daemon",
            between(1, 366 * 86400)),
    Setting("HARVESTER_STATE", "", "file with the time of the daemon's last harvest; empty: "
            "harvester-last.json beside the sent books"),
    Setting("HARVESTER_BATCH", 100, "books in one message", between(1, 100_000)),
    Setting("HARVESTER_MAX_MESSAGE", 16 * 1024**2, "bytes of one message; a batch that would be "
            "larger is divided", between(64 * 1024, 512 * 1024**2)),
    Setting("HARVESTER_USER_AGENT", "edeposit-harvester/2.0 (+mailto:root@localhost)",
            "who we are; put an address there that reaches a person"),
    Setting("HARVESTER_DELAY", 1.0, "seconds between two requests to one host; a source or its "
            "robots.txt may want more", between(0, 3600)),
    Setting("HARVESTER_CONNECTIONS", 8, "requests at a time for one source, as the delay allows",
            between(1, 100)),
    Setting("HARVESTER_CONNECT_TIMEOUT", 5.0, "seconds for one attempt to connect",
            between(0.1, 600)),
    Setting("HARVESTER_TIMEOUT", 20.0, "seconds without a byte that end a request",
            between(0.1, 600)),
    Setting("HARVESTER_PAGE_TIMEOUT", 60.0, "seconds for one page in all", between(0.1, 3600)),
    Setting("HARVESTER_RETRIES", 3, "further attempts after an error that may pass",
            between(0, 20)),
    Setting("HARVESTER_MAX_BYTES", 10 * 1024**2, "bytes of the largest page, unpacked",
            between(1000, 2**31)),
    Setting("HARVESTER_MAX_PAGES", 50, "list pages of one source", between(1, 10_000)),
    Setting("HARVESTER_MAX_ITEMS", 5000, "books of one source", between(1, 10**6)),
    Setting("HARVESTER_CACHE", "", "file that pages are kept in; empty: pages.sqlite beside the "
            "sent books; -: none"),
    Setting("HARVESTER_CACHE_SIZE", 200 * 1024**2, "bytes that the kept pages may have",
            between(0, 2**40)),
    Setting("HARVESTER_PROXY", "", "URL of a proxy for all requests"),
    Setting("HARVESTER_ALLOW_PRIVATE", False, "pages may come from private and local addresses"),
    Setting("HARVESTER_BASE_URLS", "", "JSON of host to URL: another server plays this host, for "
            "tests", _base_urls),
)  # fmt: skip

_configuration = Configuration(_TABLE, "/edeposit/harvester.json")


def state_file(name: str) -> Path:
    """A file of the harvester's own that outlives a run."""
    if os.geteuid() == 0:
        return Path("/var/lib/edeposit", name)
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state, "edeposit", name)


# How programs and the daemon see this module; see ``Configuration``.
get_all_constants = _configuration.names
substitute_globals = _configuration.substitute
reload = _configuration.reload
describe = _configuration.describe
__getattr__ = _configuration.module_getattr(__name__)

if TYPE_CHECKING:
    USE_DUP_FILTER: bool
    USE_ALEPH_FILTER: bool
    ALEPH_FILTER_BY_AUTHOR: bool
    ALEPH_TITLE_THRESHOLD: int
    ALEPH_AUTHOR_THRESHOLD: int
    ALEPH_FILTER_PER_SECOND: float
    DUP_FILTER_FILE: str
    DUP_FILTER_DATABASE: str
    HARVESTER_SOURCES: list[str]
    HARVESTER_SOURCES_DIR: str
    HARVESTER_INTERVAL: float
    HARVESTER_STATE: str
    HARVESTER_BATCH: int
    HARVESTER_MAX_MESSAGE: int
    HARVESTER_USER_AGENT: str
    HARVESTER_DELAY: float
    HARVESTER_CONNECTIONS: int
    HARVESTER_CONNECT_TIMEOUT: float
    HARVESTER_TIMEOUT: float
    HARVESTER_PAGE_TIMEOUT: float
    HARVESTER_RETRIES: int
    HARVESTER_MAX_BYTES: int
    HARVESTER_MAX_PAGES: int
    HARVESTER_MAX_ITEMS: int
    HARVESTER_CACHE: str
    HARVESTER_CACHE_SIZE: int
    HARVESTER_PROXY: str
    HARVESTER_ALLOW_PRIVATE: bool
    HARVESTER_BASE_URLS: str
