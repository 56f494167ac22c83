"""First step of an import: the files go from the home into the spool.

A plan of what will be taken is on disk before the first file is. After a crash the same plan is
carried out to its end: what a user uploads meanwhile waits for the next import.
"""

import errno
import logging
import os
from itertools import groupby, islice

from edeposit.amqp.ftp import homefiles, homes, settings
from edeposit.amqp.ftp.names import mark
from edeposit.amqp.ftp.pairing import Parts
from edeposit.amqp.ftp.spool import SpoolEntry

logger = logging.getLogger(__name__)

# These are no fault of a file: the import waits until they are over.
_TEMPORARY = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}


def collect(entry: SpoolEntry) -> list[str]:
    """Rename the files out of the home into the entry.

    Returns:
        What could not be taken, and why; paths in it are marked.

    Raises:
        OSError: the home or the spool cannot be used.
    """
    try:
        with homes.opened(*entry.place, identity=entry.data.get("identity")) as root:
            if "plan" not in entry.data:
                _make_plan(entry, root)
            return [*entry.data["problems"], *_take_all(entry, root)]
    except FileNotFoundError as error:
        is_replaced = isinstance(error, homes.HomeReplacedError)
        if not is_replaced and os.path.lexists(os.path.join(*entry.place)):
            raise  # something inside has vanished: again, later
        logger.warning("%s is gone; what was taken from it before is imported", entry.place)
        if "plan" not in entry.data:
            entry.save(plan=[], problems=[])
        return list(entry.data["problems"])


def _make_plan(entry: SpoolEntry, root: int) -> None:
    limit = settings.MAX_IMPORT_FILES
    found = [one for _, one in islice(homes.walk(root), limit + 1)]
    if len(found) > limit:
        problem = (
            f"There are more than {limit} files, nothing is imported:"
            " take some away and delete the lock file again."
        )
        entry.save(plan=[], problems=[problem])
        return
    broken = set(entry.data.get("broken", ()))
    plan: list[Parts] = []
    problems = []
    for one in found:
        problem = one.problem
        if not problem and "/".join((*entry.place, one.path)) in broken:
            problem = "its upload was broken off"
        if problem:
            problems.append(_refusal(one.parts, problem))
        else:
            plan.append(one.parts)
    entry.save(plan=plan, problems=problems)


def _take_all(entry: SpoolEntry, root: int) -> list[str]:
    problems = []
    numbered = enumerate(map(tuple, entry.data["plan"]))
    with homes.opened_directory(entry.files) as spooled:
        for names, group in groupby(numbered, key=lambda one: one[1][:-1]):
            # A directory that has vanished is made again only to give a file back.
            directory = homes.open_below(root, names)
            try:
                for number, parts in group:
                    problem = _take(directory, parts, spooled, str(number), root)
                    if problem:
                        problems.append(_refusal(parts, problem))
            finally:
                if directory is not None:
                    os.close(directory)
    return problems


def _take(directory: int | None, parts: Parts, spooled: int, number: str, root: int) -> str:
    """Take one file, unless it was taken before a crash; returns why not, or an empty text."""
    if not homes.exists(spooled, number):
        if directory is None:
            return ""  # deleted meanwhile, by its owner
        try:
            os.rename(parts[-1], number, src_dir_fd=directory, dst_dir_fd=spooled)
        except FileNotFoundError:
            return ""
        except OSError as error:
            if error.errno in _TEMPORARY:
                raise
            return f"it cannot be taken: {error.strerror}"
    # Only here, where its owner cannot swap it any more, is it sure what it is.
    problem = homes.problem_of(spooled, number)
    if problem:
        target = homefiles.make_directories(root, parts[:-1])
        try:
            homefiles.give_back(spooled, number, target, parts[-1])
        finally:
            os.close(target)
    return problem


def _refusal(parts: Parts, problem: str) -> str:
    return f"Can't import {mark(parts)}: {problem}"
