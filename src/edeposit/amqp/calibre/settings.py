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
    Setting(
        "TIMEOUT",
        300.0,
        "seconds for one conversion of an e-book of up to 10 MiB; a larger "
        "one gets more, in proportion",
        between(0.1, 86400),
    ),
    Setting(
        "MAX_INPUT_SIZE", 100 * 1024**2, "bytes of the largest e-book taken", between(1, 2**40)
    ),
    Setting(
        "MAX_OUTPUT_SIZE",
        100 * 1024**2,
        "bytes of the largest e-book, and of any other file, that a conversion may write",
        between(1, 2**40),
    ),
    Setting(
        "MAX_WORK_SIZE",
        1024**3,
        "bytes of all that a conversion may have on disk",
        between(1, 2**42),
    ),
    Setting(
        "MAX_MEMORY",
        2 * 1024**3,
        "bytes of memory for one conversion, all its processes together",
        between(64 * 1024**2, 2**42),
    ),
    Setting(
        "MAX_TMPFS",
        256 * 1024**2,
        "bytes in memory of each of the sandbox's file systems, /tmp and /dev/shm",
        between(1024**2, 2**40),
    ),
    Setting(
        "MAX_PROCESSES",
        512,
        "processes and threads of one conversion; with RUN_AS, of all of its account",
        between(16, 2**22),
    ),
    Setting(
        "ALLOWED_OPTIONS",
        [
            "authors",
            "base-font-size",
            "chapter",
            "chapter-mark",
            "disable-font-rescaling",
            "embed-all-fonts",
            "enable-heuristics",
            "epub-version",
            "expand-css",
            "filter-css",
            "flow-size",
            "font-size-mapping",
            "formatting-type",
            "html-unwrap-factor",
            "input-profile",
            "insert-blank-line",
            "insert-metadata",
            "isbn",
            "keep-ligatures",
            "language",
            "level1-toc",
            "level2-toc",
            "level3-toc",
            "line-height",
            "linearize-tables",
            "margin-bottom",
            "margin-left",
            "margin-right",
            "margin-top",
            "max-line-length",
            "max-toc-links",
            "minimum-line-height",
            "no-chapters-in-toc",
            "no-default-epub-cover",
            "no-images",
            "no-process",
            "output-profile",
            "page-breaks-before",
            "paper-size",
            "paragraph-type",
            "pdf-default-font-size",
            "pdf-page-margin-bottom",
            "pdf-page-margin-left",
            "pdf-page-margin-right",
            "pdf-page-margin-top",
            "pdf-page-numbers",
            "preserve-cover-aspect-ratio",
            "preserve-spaces",
            "pretty-print",
            "publisher",
            "remove-first-image",
            "remove-paragraph-spacing",
            "right2left",
            "smarten-punctuation",
            "subset-embedded-fonts",
            "tags",
            "title",
            "toc-threshold",
            "toc-title",
            "txt-output-encoding",
            "txt-output-formatting",
            "unsmarten-punctuation",
            "unwrap-factor",
        ],
        "options of ebook-convert that a request may name; never such that name a file",
    ),
    Setting("TMP_PATH", "", "parent of the working directories; empty: the system's"),
    Setting(
        "RUN_AS", "nobody", "account that converts when the daemon is root; better one of its own"
    ),
    Setting(
        "SANDBOX",
        "always",
        "always: in bubblewrap, no start without it; auto: bubblewrap "
        "where it works, with a warning where not; never",
        one_of("always", "auto", "never"),
    ),
    Setting("PROGRESS", False, "send progress with every request; false: to callers who ask"),
)

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
    MAX_TMPFS: int
    MAX_PROCESSES: int
    ALLOWED_OPTIONS: list[str]
    TMP_PATH: str
    RUN_AS: str
    SANDBOX: str
    PROGRESS: bool
