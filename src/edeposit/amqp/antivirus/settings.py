"""Settings of the virus scanner.

The file is ``$HOME/edeposit/antivirus.json``, else ``/etc/edeposit/antivirus.json``; environment
variables with the prefix ``ANTIVIRUS_`` (``ANTIVIRUS_LOCALSOCKET``) come on top.
"""

import os
from typing import TYPE_CHECKING

from edeposit.amqp._configuration import Configuration, Setting, SettingsError, between, one_of

__all__ = [
    "SettingsError",
    "describe",
    "get_all_constants",
    "is_deb_system",
    "reload",
    "substitute_globals",
]

_TABLE = (
    Setting(
        "USE_CLAMD",
        True,
        "scan with clamd; false: with clamscan, which loads its database for each file",
    ),
    Setting("DEB_CONF_PATH", "/etc/clamav/", "directory of clamd.conf on Debian"),
    Setting("SUSE_CONF_PATH", "/etc/", "directory of clamd.conf elsewhere"),
    Setting("CONF_FILE", "clamd.conf", "its name"),
    Setting("CONF_PATH", "", "its path; empty: directory of the system and CONF_FILE"),
    Setting("LOCALSOCKET", "/var/run/clamav/clamd.ctl", "clamd's Unix socket"),
    Setting("PIDFILE", "/var/run/clamav/clamd.pid", "clamd's pid file, for the set-up script"),
    Setting("LOGFILE", "/var/log/clamav/clamav.log", "clamd's log, for the set-up script"),
    Setting(
        "CLAMD_HOST", "", "host of clamd, tried when the Unix socket does not answer; empty: none"
    ),
    Setting("CLAMD_PORT", 3310, "its port", between(1, 65535)),
    Setting("CONNECT_TIMEOUT", 5.0, "seconds for a connection to clamd", between(0.01, 600)),
    Setting(
        "SCAN_TIMEOUT", 120.0, "seconds for one scan, all its steps together", between(0.01, 86400)
    ),
    Setting(
        "MAX_FILE_SIZE",
        25 * 1024 * 1024,
        "bytes of the largest file; clamd's own StreamMaxLength and MaxFileSize count as well",
        between(0, 2**32),
    ),
    Setting(
        "MAX_UNPACKED",
        1024**3,
        "bytes that may be unpacked of one file to look for what ClamAV passes over",
        between(0, 2**42),
    ),
    Setting(
        "ACCEPT",
        [],
        "kinds of content that may be called clean although ClamAV passes it "
        "over, such as drm; NotScannedError names the kind",
    ),
    Setting(
        "BLIND_SCANNER",
        "refuse",
        "what the daemon does at its start when clamd calls a "
        "sample clean in which EICAR is hidden: refuse to start, or warn and answer such "
        "content with an error",
        one_of("refuse", "warn"),
    ),
    Setting(
        "PROBE_INTERVAL",
        3600.0,
        "seconds after which clamd is asked for such samples again; "
        "after a restart or new signatures it is at once",
        between(1, 10**7),
    ),
    Setting("FRESHCLAM_TIMEOUT", 600.0, "seconds for an update of the database", between(1, 86400)),
    Setting("DATABASE_DIR", "", "directory of the signatures for clamscan; empty: its own"),
)

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
    MAX_UNPACKED: int
    ACCEPT: list[str]
    BLIND_SCANNER: str
    PROBE_INTERVAL: float
    FRESHCLAM_TIMEOUT: float
    DATABASE_DIR: str
