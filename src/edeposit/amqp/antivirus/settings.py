"""Settings of the virus scanner.

The file is ``$HOME/edeposit/antivirus.json``, else ``/etc/edeposit/antivirus.json``; environment
variables with the prefix ``ANTIVIRUS_`` (``ANTIVIRUS_LOCALSOCKET``) come on top.
"""

import os
from typing import TYPE_CHECKING

from edeposit.amqp._configuration import Configuration, Setting, SettingsError, between

__all__ = [
    "SettingsError", "describe", "get_all_constants", "is_deb_system", "reload",
    "substitute_globals",
]  # fmt: skip

_TABLE = (
    Setting("USE_CLAMD", True, "scan with clamd; false: with clamscan, which loads its database "
            "for each file"),
    Setting("DEB_CONF_PATH", "/etc/clamav/", "directory of clamd.conf on Debian"),
    Setting("SUSE_CONF_PATH", "/etc/", "directory of clamd.conf elsewhere"),
    Setting("CONF_FILE", "clamd.conf", "its name"),
    Setting("CONF_PATH", "", "its path; empty: directory of the system and CONF_FILE"),
    Setting("LOCALSOCKET", "/var/run/clamav/clamd.ctl", "clamd's Unix socket"),
    Setting("PIDFILE", "/var/run/clamav/clamd.pid", "clamd's pid file, for the set-up script"),
    Setting("LOGFILE", "/var/log/clamav/clamav.log", "clamd's log, for the set-up script"),
    Setting("CLAMD_HOST", "", "host of clamd, tried when the Unix socket does not answer; "
            "empty: none"),
    Setting("CLAMD_PORT", 3310, "its port", between(1, 65535)),
    Setting("CONNECT_TIMEOUT", 5.0, "seconds for a connection to clamd", between(0.01, 600)),
    Setting("SCAN_TIMEOUT", 120.0, "seconds for one scan", between(0.01, 86400)),
    Setting("MAX_FILE_SIZE", 25 * 1024 * 1024,
            "bytes of the largest file; clamd's own StreamMaxLength and MaxFileSize count as well",
            between(0, 2**32)),
    Setting("FRESHCLAM_TIMEOUT", 600.0, "seconds for an update of the database",
            between(1, 86400)),
    Setting("DATABASE_DIR", "", "directory of the signatures for clamscan; empty: its own"),
)  # fmt: skip

_configuration = Configuration(_TABLE, "/edeposit/antivirus.json", prefix="ANTIVIRUS_")


def is_deb_system() -> bool:
    """Is this Debian or one of its descendants?"""
    return os.path.exists("/etc/apt")


def _conf_path() -> str:
    directory = "DEB_CONF_PATH" if is_deb_system() else "SUSE_CONF_PATH"
    return os.path.join(_configuration.get(directory), _configuration.get("CONF_FILE"))


# How programs and the daemon see this module; see ``Configuration``.
get_all_constants = _configuration.names
substitute_globals = _configuration.substitute
reload = _configuration.reload
describe = _configuration.describe
__getattr__ = _configuration.module_getattr(__name__, {"CONF_PATH": _conf_path})

if TYPE_CHECKING:
    USE_CLAMD: bool
    DEB_CONF_PATH: str
    SUSE_CONF_PATH: str
    CONF_FILE: str
    CONF_PATH: str
    LOCALSOCKET: str
    PIDFILE: str
    LOGFILE: str
    CLAMD_HOST: str
    CLAMD_PORT: int
    CONNECT_TIMEOUT: float
    SCAN_TIMEOUT: float
    MAX_FILE_SIZE: int
    FRESHCLAM_TIMEOUT: float
    DATABASE_DIR: str
