"""Third step of an import: the home gets its kept files, logs and lock file back."""

import logging
import os

from edeposit.amqp.ftp import homes, settings
from edeposit.amqp.ftp.message import texts
from edeposit.amqp.ftp.pairing import Parts
from edeposit.amqp.ftp.spool import RETURNED, SpoolEntry

logger = logging.getLogger(__name__)


def give_home_back(entry: SpoolEntry) -> None:
    """Put kept files, logs and the lock file into the home; take empty directories away.

    Raises:
        OSError: the home cannot be used.
    """
    try:
        with homes.opened(entry.data["home"], *entry.data["below"]) as root:
            for parts in map(tuple, entry.data["kept"]):
                _return_file(entry, parts, root)
            homes.remove_empty_directories(root)
            _write_logs(entry, root)
            # The lock comes last: after a crash before it the home counts as unlocked, and is
            # looked at again; the other way round, a lock deleted meanwhile would be put back.
            entry.save(synced=False, state=RETURNED)
            homes.write_lock(root)
    except FileNotFoundError:
        logger.warning("home %s is gone, its import goes on", entry.data["home"])
        entry.save(synced=False, state=RETURNED)


def _return_file(entry: SpoolEntry, parts: Parts, root: int) -> None:
    source = entry.files.joinpath(*parts)
    if not source.exists():  # returned before the crash
        return
    try:
        target = homes.make_directories(root, parts[:-1])
    except OSError:  # a file is where its directory was
        target = os.dup(root)
    try:
        with homes.opened_directory(source.parent) as spooled:
            homes.give_back(spooled, parts[-1], target)
    finally:
        os.close(target)


def _write_logs(entry: SpoolEntry, root: int) -> None:
    errors, told = texts(entry, relative=True)
    if errors:
        homes.write_file(root, settings.USER_ERROR_LOG, errors + "\n")
    elif homes.exists(root, settings.USER_ERROR_LOG):
        os.unlink(settings.USER_ERROR_LOG, dir_fd=root)
    if not entry.data["has_import_log"] or not (errors or told):
        return
    if errors:
        text = (
            "Status: Error\n\nError: Import only partially successful.\n"
            f"See '{settings.USER_ERROR_LOG}' for details.\n\n--- Errors ---\n{errors}\n\n"
            f"--- Successfully imported files ---\n{told}\n"
        )
    else:
        text = f"Status: Ok\n\n--- Sucess ---\n{told}\n"
    homes.write_file(root, settings.USER_IMPORT_LOG, text)
