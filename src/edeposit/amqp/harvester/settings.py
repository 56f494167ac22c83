"""Settings of the harvester.

The file is ``$HOME/edeposit/harvester.json``, else ``/etc/edeposit/harvester.json``; environment
variables of the same names come on top (lists with commas). Every reader looks at a setting when it
runs.
"""

import json
import os
from pathlib import Path

from edeposit.amqp._configuration import (
    Configuration,
    SettingsError,
    between,
    declare,
    declared,
)

__all__ = [
    "SettingsError",
    "describe",
    "get_all_constants",
    "old_cache_path",
    "reload",
    "seen_path",
    "state_file",
    "substitute_globals",
]


def _base_urls(value: str) -> str | None:
    try:
        pairs = json.loads(value or "{}")
    except ValueError:
        pairs = None
    if isinstance(pairs, dict) and all(isinstance(url, str) for url in pairs.values()):
        return None
    return 'JSON such as {"www.example.org": "http://127.0.0.1:8000"}'


USE_DUP_FILTER = declare(True, "drop books that have been sent before")
USE_ALEPH_FILTER = declare(False, "drop books that the catalogue has; asks it for each book")
ALEPH_FILTER_BY_AUTHOR = declare(True, "in searches by title the authors must agree, too")
ALEPH_TITLE_THRESHOLD = declare(80, "per cent from which two titles are the same", between(1, 100))
ALEPH_AUTHOR_THRESHOLD = declare(
    50, "per cent from which two authors are the same", between(1, 100)
)
ALEPH_FILTER_PER_SECOND = declare(
    2.0, "books for which the catalogue is asked in a second", between(0.001, 1000)
)
DUP_FILTER_FILE = declare(
    "~/.edeposit_harvester_cache.json",
    "cache of sent books of the first generation, imported on first use",
)
DUP_FILTER_DATABASE = declare(
    "",
    "database of the sent books; empty: harvester.sqlite in /var/lib/edeposit for root, "
    "else in ~/.local/state/edeposit",
)
HARVESTER_SOURCES: list[str] = declare(
    [], "names of the sources to be harvested; empty: the enabled"
)
HARVESTER_SOURCES_DIR = declare("", "directory of further source files")
HARVESTER_INTERVAL = declare(
    86400.0, "seconds between two harvests of the daemon", between(1, 366 * 86400)
)
HARVESTER_STATE = declare(
    "",
    "file with the time of the daemon's last harvest; empty: harvester-last.json in the "
    "directory of the sent books",
)
HARVESTER_BATCH = declare(100, "books in one message", between(1, 100_000))
HARVESTER_MAX_MESSAGE = declare(
    16 * 1024**2,
    "bytes of one message; a batch that would be larger is divided",
    between(64 * 1024, 512 * 1024**2),
)
HARVESTER_USER_AGENT = declare(
    "edeposit-harvester/2.0 (+mailto:root@localhost)",
    "User-Agent of requests; give an address that reaches a person",
)
HARVESTER_DELAY = declare(
    1.0,
    "seconds between two requests to one host; a source or its robots.txt may want more",
    between(0, 3600),
)
HARVESTER_CONNECTIONS = declare(
    8, "simultaneous requests of one source, as the delay allows", between(1, 100)
)
HARVESTER_CONNECT_TIMEOUT = declare(5.0, "seconds for one attempt to connect", between(0.1, 600))
HARVESTER_TIMEOUT = declare(20.0, "seconds without a byte that end a request", between(0.1, 600))
HARVESTER_PAGE_TIMEOUT = declare(60.0, "seconds for one page in total", between(0.1, 3600))
HARVESTER_RETRIES = declare(3, "further attempts after a temporary error", between(0, 20))
HARVESTER_MAX_BYTES = declare(
    10 * 1024**2, "bytes of the largest page, unpacked", between(1000, 2**31)
)
HARVESTER_MAX_PAGES = declare(50, "list pages of one source", between(1, 10_000))
HARVESTER_MAX_ITEMS = declare(5000, "books of one source", between(1, 10**6))
HARVESTER_CACHE = declare(
    "",
    "file of the page cache; empty: pages.sqlite in the directory of the sent books; -: no cache",
)
HARVESTER_CACHE_SIZE = declare(
    200 * 1024**2, "bytes that the page cache may hold", between(0, 2**40)
)
HARVESTER_PROXY = declare("", "URL of a proxy for all requests")
HARVESTER_ALLOW_PRIVATE = declare(False, "pages may come from private and local addresses")
HARVESTER_BASE_URLS = declare(
    "", "JSON of host to URL: another server takes the place of the host, for tests", _base_urls
)

_configuration = Configuration(declared(globals()), "/edeposit/harvester.json")


def state_file(name: str) -> Path:
    """A file of the harvester that outlives a run."""
    if os.geteuid() == 0:
        return Path("/var/lib/edeposit", name)
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state, "edeposit", name)


def seen_path() -> Path:
    """The database of the sent books."""
    name: str = _configuration.get("DUP_FILTER_DATABASE")
    return Path(name).expanduser() if name else state_file("harvester.sqlite")


def old_cache_path() -> Path:
    """The cache of the first generation."""
    return Path(_configuration.get("DUP_FILTER_FILE")).expanduser()


# How programs and the daemon see this module; see ``Configuration``.
get_all_constants = _configuration.names
substitute_globals = _configuration.substitute
reload = _configuration.reload
describe = _configuration.describe
__getattr__ = _configuration.module_getattr(__name__)
