"""Third step of an import: the home gets its kept files, logs and lock file back."""

import logging
import os

from edeposit.amqp.ftp import homefiles, homes, settings
from edeposit.amqp.ftp.message import texts
from edeposit.amqp.ftp.spool import RETURNED, SpoolEntry

logger = logging.getLogger(__name__)

_MAX_LOG = 1024 * 1024  # characters of each part of a log in a home


def give_home_back(entry: SpoolEntry) -> None:
    """Put kept files, logs and the lock file into the home; remove empty directories.

    Raises:
        OSError: the home cannot be used.
    """
    try:
        with (
            homes.opened(*entry.place, identity=entry.data.get("identity")) as root,
            homes.opened_directory(entry.directory.parent) as workshop,
        ):
            for number in entry.data["kept"]:
                _return_file(entry, number, root)
            homefiles.remove_empty_directories(root)
            _write_logs(entry, root, workshop)
            # The lock comes last, by one rename from the entry: whether it is there tells, also
            # after a crash, if the home has it. A lock deleted meanwhile is not put back.
            with homes.opened_directory(entry.directory) as directory:
                text = settings.LOCK_FILE_CONTENT
                homefiles.write_file(directory, entry.lock.name, text, 0o775)
            entry.save(synced=False, state=RETURNED)
            _place_lock(entry, root)
    except FileNotFoundError as error:
        is_replaced = isinstance(error, homes.HomeReplacedError)
        if not is_replaced and os.path.lexists(os.path.join(*entry.place)):
            raise  # something inside has vanished, or the home has come back: again, later
        logger.warning("home %s is gone (%s), its import goes on", entry.place, error.strerror)
        if is_replaced or entry.data["below"]:
            # Another user may have this home now: what was left here is not his.
            entry.keep_for_administrator(entry.data["kept"])
        entry.lock.unlink(missing_ok=True)
        entry.save(synced=False, state=RETURNED)


def finish(entry: SpoolEntry) -> None:
    """After a crash: give a home its lock file if that is what was left to do.

    Raises:
        OSError: the home cannot be used.
    """
    try:
        with homes.opened(*entry.place, identity=entry.data.get("identity")) as root:
            _place_lock(entry, root)
    except FileNotFoundError:
        entry.lock.unlink(missing_ok=True)


def _place_lock(entry: SpoolEntry, root: int) -> None:
    try:
        os.rename(entry.lock, settings.LOCK_FILENAME, dst_dir_fd=root)
    except IsADirectoryError:  # that is a lock as well: it exists
        entry.lock.unlink()


def _return_file(entry: SpoolEntry, number: int, root: int) -> None:
    parts = entry.parts(number)
    with homes.opened_directory(entry.files) as spooled:
        if not homes.exists(spooled, str(number)):  # returned before a crash
            return
        target = homefiles.make_directories(root, parts[:-1])
        try:
            homefiles.give_back(spooled, str(number), target, parts[-1])
        finally:
            os.close(target)


def _write_logs(entry: SpoolEntry, root: int, workshop: int) -> None:
    errors, told = texts(entry, prefix="", limit=_MAX_LOG)
    if errors:
        homefiles.write_file(root, settings.USER_ERROR_LOG, errors + "\n", workshop=workshop)
    else:
        homefiles.remove_file(root, settings.USER_ERROR_LOG)
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
    homefiles.write_file(root, settings.USER_IMPORT_LOG, text, workshop=workshop)
