"""Settings of the calibre service.

The file is ``$HOME/edeposit/calibre.json``, else ``/etc/edeposit/calibre.json``; environment
variables with the prefix ``CALIBRE_`` (``CALIBRE_TIMEOUT``) come on top. Every reader looks at a
setting when it runs.
"""

from typing import TYPE_CHECKING

from edeposit.amqp._configuration import Configuration, Setting, SettingsError, between, one_of

__all__ = ["SettingsError", "describe", "get_all_constants", "reload", "substitute_globals"]

_TABLE = (
    Setting("EBOOK_CONVERT", "ebook-convert", "the program; without a slash it is looked for"),
    Setting("TIMEOUT", 300.0, "seconds for one conversion", between(0.1, 86400)),
    Setting("MAX_INPUT_SIZE", 100 * 1024**2, "bytes of the largest e-book taken",
            between(1, 2**40)),
    Setting("MAX_OUTPUT_SIZE", 100 * 1024**2, "bytes of the largest e-book, and of any other file, "
            "that a conversion may write", between(1, 2**40)),
    Setting("MAX_WORK_SIZE", 1024**3, "bytes of all that a conversion may have on disk",
            between(1, 2**42)),
    Setting("MAX_MEMORY", 2 * 1024**3, "bytes of memory for one conversion, all its processes "
            "together", between(64 * 1024**2, 2**42)),
    Setting("TMP_PATH", "", "parent of the working directories; empty: the system's"),
    Setting("RUN_AS", "nobody", "account that converts when the daemon is root; better one of its "
            "own"),
    Setting("SANDBOX", "auto", "auto: bubblewrap where it works, with a warning where not; always: "
            "no start without; never", one_of("auto", "always", "never")),
    Setting("PROGRESS", False, "send progress with every request; false: to callers who ask"),
)  # fmt: skip

_configuration = Configuration(_TABLE, "/edeposit/calibre.json", prefix="CALIBRE_")


# How programs and the daemon see this module; see ``Configuration``.
get_all_constants = _configuration.names
substitute_globals = _configuration.substitute
reload = _configuration.reload
describe = _configuration.describe
__getattr__ = _configuration.module_getattr(__name__)

if TYPE_CHECKING:
    EBOOK_CONVERT: str
    TIMEOUT: float
    MAX_INPUT_SIZE: int
    MAX_OUTPUT_SIZE: int
    MAX_WORK_SIZE: int
    MAX_MEMORY: int
    TMP_PATH: str
    RUN_AS: str
    SANDBOX: str
    PROGRESS: bool
