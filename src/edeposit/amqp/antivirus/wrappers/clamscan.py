"""clamscan: the scanner as a process of its own; slow, for machines without clamd."""

import os
import re
import subprocess

from edeposit.amqp.antivirus import settings
from edeposit.amqp.antivirus.deadline import Deadline
from edeposit.amqp.antivirus.exceptions import (
    ScanError,
    ScannerUnavailableError,
    ScanTimeoutError,
)
from edeposit.amqp.antivirus.wrappers.clamd import Result, check_size, result_of

_LINE = re.compile(r"(?P<path>.*): (?P<name>[^\s\0]+) FOUND")


def scan_file(path: str, deadline: Deadline | None = None) -> Result:
    """Scan a file.

    Args:
        path: of the file.
        deadline: of the whole scan; default: SCAN_TIMEOUT from now.

    Returns:
        ``{path: ("FOUND", name)}``, or ``{}`` for a clean file.

    Raises:
        AssertionError: there is no such file.
        ScanError: it was not, or not fully, scanned.
    """
    if not os.path.isfile(path):
        raise AssertionError(f"Unreachable file '{path}'.")
    check_size(path, os.path.getsize(path))
    deadline = deadline or Deadline(settings.SCAN_TIMEOUT)
    limit = str(settings.MAX_FILE_SIZE + 1)
    command = [
        "clamscan",
        "--no-summary",
        "--infected",
        "--alert-exceeds-max=yes",
        "--alert-encrypted=yes",
        f"--max-filesize={limit}",
        f"--max-scansize={limit}",
    ]
    if settings.DATABASE_DIR:
        command.append(f"--database={settings.DATABASE_DIR}")
    try:
        # A path that starts with a dash would be an option.
        done = subprocess.run(
            [*command, "--", path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline.remaining(),
            check=False,
        )
    except FileNotFoundError as error:
        raise ScannerUnavailableError("clamscan is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ScanTimeoutError(deadline.seconds) from error
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode not in (0, 1):
        message = done.stderr.decode("utf-8", "replace").strip() or output.strip()
        raise ScanError(f"clamscan failed (exit code {done.returncode}): {message[-1000:]}")
    return _parse_result(output)


def version() -> str:
    """Engine, database number and its date.

    Raises:
        ScannerUnavailableError: clamscan is not installed, or does not answer.
    """
    try:
        done = subprocess.run(
            ["clamscan", "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=settings.SCAN_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ScannerUnavailableError(f"clamscan --version: {error}") from error
    return done.stdout.decode("utf-8", "replace").strip()


def _parse_result(text: str) -> Result:
    """Turn lines ``path: name FOUND`` into a result.

    Raises:
        ScanError: the scanner did not look through all of the file.
    """
    result: Result = {}
    for line in text.splitlines():
        if line.strip():
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise ScanError(f"clamscan says: {line[:500]!r}")
            result.update(result_of(match["path"], match["name"]))
    return result
