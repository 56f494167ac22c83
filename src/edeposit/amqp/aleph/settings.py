"""Settings of the catalogue service.

The file is ``$HOME/edeposit/aleph.json``, else ``/etc/edeposit/aleph.json``; environment variables
of the same names come on top. Every reader looks at a setting when it runs.
"""

import os
from typing import TYPE_CHECKING

from edeposit.amqp._configuration import Configuration, Setting, SettingsError, between

__all__ = ["SettingsError", "describe", "get_all_constants", "reload", "substitute_globals"]

BASE_PATH = os.path.dirname(os.path.abspath(__file__))

_TABLE = (
    Setting("ALEPH_URL", "http://aleph.nkp.cz", "server of the X-Services"),
    Setting("ALEPH_EXPORT_URL", "http://aleph.nkp.cz/aleph-cgi/e-deposit", "form for exports"),
    Setting("ALEPH_DEFAULT_BASE", "nkc", "base of queries that name none"),
    Setting("DEFAULT_LIBRARY", "CZE01", "library of DocumentQuery and of found records"),
    Setting("EDEPOSIT_EXPORT_SIGNATURE", "edeposit", "form field sid of exports"),
    Setting("EDEPOSIT_EXPORT_REFERER", "", "Referer of exports; empty: the signature"),
    Setting(
        "EDEPOSIT_EXPORT_CONFIRMATION",
        "",
        "text in the page that confirms an export; empty: any page will do",
    ),
    Setting("ALEPH_CONNECT_TIMEOUT", 10.0, "seconds to connect", between(0.01, 600)),
    Setting(
        "ALEPH_READ_TIMEOUT", 60.0, "seconds between two pieces of a reply", between(0.01, 3600)
    ),
    Setting(
        "ALEPH_TOTAL_TIMEOUT",
        120.0,
        "seconds for one request, retries included",
        between(0.01, 3600),
    ),
    Setting(
        "ALEPH_RETRIES", 3, "further attempts of a GET after a network error or 5xx", between(0, 20)
    ),
    Setting(
        "ALEPH_REQUESTS_PER_SECOND", 150.0, "the service's licence bounds them", between(0.1, 10000)
    ),
    Setting("ALEPH_CONCURRENCY", 30, "requests of one search at the same time", between(1, 100)),
    Setting(
        "ALEPH_MAX_REPLY", 10 * 1024 * 1024, "bytes of the largest reply", between(1000, 2**31)
    ),
    Setting("MAX_RECORDS", 30, "records of one search", between(1, 1000)),
)


_configuration = Configuration(_TABLE, "/edeposit/aleph.json")


# How programs and the daemon see this module; see ``Configuration``.
get_all_constants = _configuration.names
substitute_globals = _configuration.substitute
reload = _configuration.reload
describe = _configuration.describe
__getattr__ = _configuration.module_getattr(
    __name__,
    {"EDEPOSIT_EXPORT_REFERER": lambda: _configuration.get("EDEPOSIT_EXPORT_SIGNATURE")},
)

if TYPE_CHECKING:
    ALEPH_URL: str
    ALEPH_EXPORT_URL: str
    ALEPH_DEFAULT_BASE: str
    DEFAULT_LIBRARY: str
    EDEPOSIT_EXPORT_SIGNATURE: str
    EDEPOSIT_EXPORT_REFERER: str
    EDEPOSIT_EXPORT_CONFIRMATION: str
    ALEPH_CONNECT_TIMEOUT: float
    ALEPH_READ_TIMEOUT: float
    ALEPH_TOTAL_TIMEOUT: float
    ALEPH_RETRIES: int
    ALEPH_REQUESTS_PER_SECOND: float
    ALEPH_CONCURRENCY: int
    ALEPH_MAX_REPLY: int
    MAX_RECORDS: int
