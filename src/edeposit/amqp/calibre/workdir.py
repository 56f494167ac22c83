"""The directory of one conversion: everything it reads and writes, removed at its end.

The process that uses it locks it (``flock``), so directories of a killed daemon are distinguished
from those in use, and removed at the next start.
"""

import contextlib
import fcntl
import logging
import os
import pwd
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from edeposit.amqp.calibre import settings
from edeposit.amqp.calibre.exceptions import ConverterUnavailableError

logger = logging.getLogger(__name__)

_PREFIX = "edeposit-calibre-"
# For files of calibre, Qt and fontconfig.
SUBDIRECTORIES = ("home", "tmp", "config", "run", "cache")


def account() -> pwd.struct_passwd | None:
    """The account that converts; None: the daemon's own.

    Raises:
        ConverterUnavailableError: there is no such account, or it is root.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(settings.RUN_AS)
    except KeyError as error:
        raise ConverterUnavailableError(f"RUN_AS: there is no user {settings.RUN_AS!r}") from error
    if entry.pw_uid == 0:
        raise ConverterUnavailableError("RUN_AS: root must not convert untrusted e-books")
    return entry


_in_use = 0
_changed = threading.Condition()


def _count(step: int) -> None:
    global _in_use
    with _changed:
        _in_use += step
        _changed.notify_all()


def wait_until_unused(timeout: float) -> bool:
    """Wait until this process has removed all its directories.

    Args:
        timeout: seconds.

    Returns:
        Whether it has.
    """
    with _changed:
        return _changed.wait_for(lambda: not _in_use, timeout)


@contextlib.contextmanager
def work_directory() -> Iterator[Path]:
    """A fresh directory for one conversion, owned by its account; removed whatever happens.

    Raises:
        OSError: it cannot be made.
        ConverterUnavailableError: as ``account``.
    """
    owner = account()
    _count(1)
    try:
        with _made(owner) as path:
            yield path
    finally:
        _count(-1)


@contextlib.contextmanager
def _made(owner: pwd.struct_passwd | None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=settings.TMP_PATH or None))
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in SUBDIRECTORIES:
            (path / name).mkdir(mode=0o700)
        if owner is not None:
            for name in (*SUBDIRECTORIES, ""):
                os.chown(path / name, owner.pw_uid, owner.pw_gid)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def sweep() -> None:
    """Remove the directories of killed daemons."""
    for path in Path(settings.TMP_PATH or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            logger.info("removing %s of a killed daemon", path)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def size_of(path: Path) -> int:
    """Bytes on disk below a directory, as far as it can be read."""
    total = 0
    for _, _, names, descriptor in os.fwalk(path, follow_symlinks=False):
        for name in names:
            with contextlib.suppress(OSError):
                info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                total += info.st_blocks * 512
    return total
