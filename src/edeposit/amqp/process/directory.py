"""Where pid and status files are: a directory in which only one user can write."""

import os
import stat
from pathlib import Path

from edeposit.amqp.errors import StartError

# Root's own daemons; below it each systemd unit has a directory of its user's.
SYSTEM = Path("/run/edeposit")


def state_directory() -> Path:
    """The user's directory for files that outlive a session, ``~/.local/state/edeposit``.

    Raises:
        StartError: there is no home directory.
    """
    state = os.environ.get("XDG_STATE_HOME")
    try:
        return Path(state or Path.home() / ".local" / "state", "edeposit")
    except RuntimeError as error:
        raise StartError(
            f"user {os.geteuid()} has no home directory: set PID_DIR and LOG_TARGET, or HOME"
        ) from error


def private_directory(configured: str) -> Path:
    """The directory of a new daemon's pid and status file.

    Args:
        configured: the setting PID_DIR; empty for ``/run/edeposit`` (root),
            ``$XDG_RUNTIME_DIR/edeposit`` or ``~/.local/state/edeposit``.

    Returns:
        An absolute path: a daemon changes its working directory.

    Raises:
        StartError: there is no home directory, and it would be there.
    """
    if configured:
        try:
            return Path(configured).absolute()
        except OSError as error:
            raise StartError(f"directory {configured}: {error.strerror}") from error
    if os.geteuid() == 0:
        return SYSTEM
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime, "edeposit") if runtime else state_directory()


def other_directories() -> list[Path]:
    """Where another user's daemon, or one that systemd has started, may have its files.

    Raises:
        StartError: not permitted to look there.
    """
    found = [SYSTEM]
    try:
        found += sorted(path for path in SYSTEM.glob("*/") if path.is_dir())
        if os.geteuid() == 0:
            found += sorted(Path("/run/user").glob("*/edeposit"))
    except OSError as error:
        raise StartError(f"directory {SYSTEM}: {error.strerror}") from error
    return found


def make_private(directory: Path) -> None:
    """Create the directory, or check that only its owner, we, can write in it.

    Others may look into the system's, so that they can ask for the status.

    Raises:
        StartError: it cannot be made, belongs to somebody else, or others can write in it.
    """
    try:
        mode = 0o755 if directory == SYSTEM else 0o700
        directory.mkdir(mode=mode, parents=True, exist_ok=True)
        info = directory.stat()
    except OSError as error:
        raise StartError(f"directory {directory}: {error.strerror}") from error
    if info.st_uid != os.geteuid():
        raise StartError(f"directory {directory} belongs to another user (uid {info.st_uid})")
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StartError(f"others can write in directory {directory}: chmod go-w {directory}")
