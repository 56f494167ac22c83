"""freshclam: updates of ClamAV's database."""

import functools
import os
import subprocess
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from edeposit.amqp.antivirus import settings
from edeposit.amqp.antivirus.exceptions import DatabaseUpdateError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def require_root(fn: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function be called by root only; others get an ``AssertionError``."""

    @functools.wraps(fn)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if os.geteuid() != 0:
            raise AssertionError(f"You have to be root to run function '{fn.__name__}'.")
        return fn(*args, **kwargs)

    return checked


def _may_update() -> bool:
    """Root, or the owner of the database's directory, such as the account clamav."""
    directory = settings.DATABASE_DIR or "/var/lib/clamav"
    return os.geteuid() == 0 or (os.path.isdir(directory) and os.access(directory, os.W_OK))


def update_database() -> str:
    """Run freshclam.

    Returns:
        What it printed; "already up to date" counts as success.

    Raises:
        AssertionError: we are neither root nor allowed to write the database's directory.
        DatabaseUpdateError: it failed or took longer than FRESHCLAM_TIMEOUT; with its output.
    """
    if not _may_update():
        raise AssertionError("You have to be root to run function 'update_database'.")
    command = ["freshclam", "--stdout"]
    if settings.DATABASE_DIR:
        command.append(f"--datadir={settings.DATABASE_DIR}")
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=settings.FRESHCLAM_TIMEOUT,
            check=False,
        )
    except FileNotFoundError as error:
        raise DatabaseUpdateError("freshclam is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise DatabaseUpdateError(
            f"freshclam did not end within {settings.FRESHCLAM_TIMEOUT:g} s"
        ) from error
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        raise DatabaseUpdateError(
            f"freshclam failed (exit code {done.returncode}): {output.strip()[-2000:]}"
        )
    return output
