"""Settings of the FTP service: manager, monitor and set-up.

The file is ``$HOME/edeposit/ftp.json``, else ``/etc/edeposit/ftp.json``; environment variables
with the prefix ``FTP_`` (``FTP_DATA_PATH``) come on top. Every reader looks at a setting when it
runs. Paths that are not given follow their directory.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edeposit.amqp._configuration import Configuration, Setting, SettingsError, between

__all__ = [
    "SettingsError",
    "conf_merger",
    "describe",
    "get_all_constants",
    "reload",
    "substitute_globals",
]

_LOCK_TEXT = (
    "Delete this file when all your files are uploaded: their import begins then.\n"
    "Až nahrajete všechny soubory, smažte tento: tím začne jejich import.\n"
)

_TABLE = (
    Setting("CONF_PATH", "/etc/proftpd/", "directory of ProFTPD's configuration"),
    Setting("LOG_PATH", "/var/log/proftpd/", "directory of its logs"),
    Setting("DATA_PATH", "/home/ftp/", "parent of the users' homes"),
    Setting("SERVER_ADDRESS", "localhost", "name of the FTP server, for people"),
    Setting("CONF_FILE", "", "its configuration; empty: proftpd.conf in CONF_PATH"),
    Setting("LOGIN_FILE", "", "its AuthUserFile; empty: ftpd.passwd in CONF_PATH"),
    Setting("MODULES_FILE", "", "its list of modules; empty: modules.conf in CONF_PATH"),
    Setting("LOG_FILE", "", "its ExtendedLog; empty: extended.log in LOG_PATH"),
    Setting(
        "SPOOL_PATH",
        "",
        "where imports wait until they are sent; on the file system of the "
        "homes, outside of each; empty: .edeposit-spool in DATA_PATH",
    ),
    Setting("PROFTPD_PIDFILE", "/run/proftpd.pid", "its PidFile, for the set-up script"),
    Setting(
        "SCOREBOARD_FILE",
        "",
        "its ScoreboardFile, to end a removed user's sessions; empty: where ftpwho looks by itself",
    ),
    Setting(
        "LOCK_FILENAME", "delete_me_to_import_files.txt", "the file whose deletion starts an import"
    ),
    Setting("USER_ERROR_LOG", "error.log.txt", "errors of an import, in the home"),
    Setting("USER_IMPORT_LOG", "import.log.txt", "what was imported, in the home"),
    Setting("LOCK_FILE_CONTENT", _LOCK_TEXT, "text of the lock file"),
    Setting("SAME_NAME_DIR_PAIRING", True, "pair files of equal names in one directory"),
    Setting("SAME_DIR_PAIRING", True, "pair the only two files of a directory"),
    Setting("ISBN_PAIRING", True, "pair files named by the same ISBN, in any directories"),
    Setting(
        "LOCK_ONLY_IN_HOME",
        True,
        "only the home itself has a lock file; false: a lock file "
        "in a directory below it, uploaded and deleted, imports that directory",
    ),
    Setting("CREATE_IMPORT_LOG", True, "tell the user in the home what was imported"),
    Setting("LEAVE_BAD_FILES", True, "keep metadata files that could not be parsed"),
    Setting(
        "HOLD_BAD_PAIRS",
        False,
        "keep the e-book of a pair whose metadata are bad, too; false: it is imported alone",
    ),
    Setting("PROFTPD_USERS_GID", 2000, "uid and gid of all FTP users", between(1, 2**31 - 2)),
    Setting(
        "HASH_ROUNDS",
        100_000,
        "rounds of SHA-512-crypt for new passwords; each login costs them as well",
        between(1000, 999_999_999),
    ),
    Setting(
        "MAX_INLINE_SIZE",
        8 * 1024 * 1024,
        "bytes of files in one ImportRequest; further files are handed over by path",
        between(0, 2**31),
    ),
    Setting(
        "OUTBOX_GROUP",
        "",
        "group that may read and delete files handed over by path; empty: only root",
    ),
    Setting(
        "MAX_METADATA_SIZE", 1024 * 1024, "bytes of the largest metadata file", between(1, 2**31)
    ),
    Setting("MAX_IMPORT_FILES", 10_000, "files of the largest import", between(1, 10**7)),
    Setting("MAX_SESSIONS", 30, "FTP sessions at a time (MaxInstances)", between(1, 100_000)),
    Setting(
        "SCAN_INTERVAL",
        60.0,
        "seconds between two looks for homes without a lock file",
        between(0.1, 86400),
    ),
)

_DERIVED = {
    "CONF_FILE": ("CONF_PATH", "proftpd.conf"),
    "LOGIN_FILE": ("CONF_PATH", "ftpd.passwd"),
    "MODULES_FILE": ("CONF_PATH", "modules.conf"),
    "LOG_FILE": ("LOG_PATH", "extended.log"),
    "SPOOL_PATH": ("DATA_PATH", ".edeposit-spool/"),
}

_configuration = Configuration(_TABLE, "/edeposit/ftp.json", prefix="FTP_")


def __getattr__(name: str) -> Any:
    if name not in _configuration.table:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = _configuration.get(name)
    if not value and name in _DERIVED:
        directory, file = _DERIVED[name]
        value = __getattr__(directory) + file
    if name.endswith("_PATH") and not value.endswith("/"):
        value += "/"
    return value


def conf_merger(user_dict: Mapping[str, bool], variable: str) -> bool:
    """A flag as it counts for one user, who can only switch off what is on for all.

    Args:
        user_dict: the user's own flags.
        variable: name of a flag.

    Raises:
        NameError: there is no such setting.
    """
    if variable not in _configuration.table:
        raise NameError(f"Unknown variable '{variable}'.")
    common: bool = __getattr__(variable)
    return common and user_dict.get(variable, True)


# How programs and the daemon see this module; see ``Configuration``.
get_all_constants = _configuration.names
substitute_globals = _configuration.substitute
reload = _configuration.reload
describe = _configuration.describe

if TYPE_CHECKING:
    CONF_PATH: str
    LOG_PATH: str
    DATA_PATH: str
    SERVER_ADDRESS: str
    CONF_FILE: str
    LOGIN_FILE: str
    MODULES_FILE: str
    LOG_FILE: str
    SPOOL_PATH: str
    PROFTPD_PIDFILE: str
    SCOREBOARD_FILE: str
    LOCK_FILENAME: str
    USER_ERROR_LOG: str
    USER_IMPORT_LOG: str
    LOCK_FILE_CONTENT: str
    SAME_NAME_DIR_PAIRING: bool
    SAME_DIR_PAIRING: bool
    ISBN_PAIRING: bool
    LOCK_ONLY_IN_HOME: bool
    CREATE_IMPORT_LOG: bool
    LEAVE_BAD_FILES: bool
    HOLD_BAD_PAIRS: bool
    PROFTPD_USERS_GID: int
    HASH_ROUNDS: int
    MAX_INLINE_SIZE: int
    OUTBOX_GROUP: str
    MAX_METADATA_SIZE: int
    MAX_IMPORT_FILES: int
    MAX_SESSIONS: int
    SCAN_INTERVAL: float
