"""First step of an import: the files go from the home into the spool."""

import os

from edeposit.amqp.ftp import homes, settings
from edeposit.amqp.ftp.names import mark
from edeposit.amqp.ftp.pairing import Parts
from edeposit.amqp.ftp.spool import SpoolEntry


def collect(entry: SpoolEntry) -> list[str]:
    """Rename the files out of the home into the entry.

    Returns:
        What could not be taken, and why.

    Raises:
        OSError: the home cannot be used.
    """
    if not os.path.lexists(entry.data["home"]):
        return []  # removed meanwhile; what was taken before is imported
    with homes.opened(entry.data["home"], *entry.data["below"]) as root:
        count = sum(
            1 for _ in zip(homes.walk(root), range(settings.MAX_IMPORT_FILES + 1), strict=False)
        )
        if count > settings.MAX_IMPORT_FILES:
            return [
                f"There are more than {settings.MAX_IMPORT_FILES} files, nothing is imported:"
                " take some away and delete the lock file again."
            ]
        problems = []
        for directory, found in homes.walk(root):
            problem = found.problem or _take(directory, found.parts, entry)
            if problem:
                problems.append(f"Can't import {mark(found.parts)}: {problem}")
        return problems


def _take(directory: int, parts: Parts, entry: SpoolEntry) -> str:
    """Take one file; returns why not, or an empty text."""
    target = entry.files.joinpath(*parts[:-1])
    target.mkdir(0o700, parents=True, exist_ok=True)
    with homes.opened_directory(target) as spooled:
        name = parts[-1]
        try:
            os.rename(name, name, src_dir_fd=directory, dst_dir_fd=spooled)
        except FileNotFoundError:
            return ""  # deleted meanwhile, by its owner
        # Only here, where its owner cannot swap it any more, is it sure what it is.
        problem = homes.problem_of(spooled, name)
        if problem:
            homes.give_back(spooled, name, directory)
        return problem
