"""clamscan: the scanner as a process of its own; slow, for machines without clamd."""

import os
import subprocess

from edeposit.amqp.antivirus import settings
from edeposit.amqp.antivirus.exceptions import ScanError, ScannerUnavailableError
from edeposit.amqp.antivirus.wrappers.clamd import Result, check_size, parse_answer


def scan_file(path: str) -> Result:
    """Scan a file.

    Args:
        path: of the file.

    Returns:
        ``{path: ("FOUND", name)}``, or ``{}`` for a clean file.

    Raises:
        AssertionError: there is no such file.
        ScanError: it was not, or not fully, scanned.
    """
    if not os.path.isfile(path):
        raise AssertionError(f"Unreachable file '{path}'.")
    check_size(path, os.path.getsize(path))
    limit = str(settings.MAX_FILE_SIZE + 1)
    command = [
        "clamscan", "--no-summary", "--infected", "--alert-exceeds-max=yes",
        "--alert-encrypted=yes", f"--max-filesize={limit}", f"--max-scansize={limit}",
    ]  # fmt: skip
    if settings.DATABASE_DIR:
        command.append(f"--database={settings.DATABASE_DIR}")
    try:
        # A path that starts with a dash would be an option.
        done = subprocess.run(
            [*command, "--", path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=settings.SCAN_TIMEOUT,
            check=False,
        )
    except FileNotFoundError as error:
        raise ScannerUnavailableError("clamscan is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ScannerUnavailableError(
            f"clamscan did not end within {settings.SCAN_TIMEOUT:g} s"
        ) from error
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode not in (0, 1):
        message = done.stderr.decode("utf-8", "replace").strip() or output.strip()
        raise ScanError(f"clamscan failed (exit code {done.returncode}): {message[-1000:]}")
    return _parse_result(output)


def _parse_result(text: str) -> Result:
    """Turn lines ``path: name FOUND`` into a result.

    Raises:
        ScanError: the scanner did not look through all of the file.
    """
    result: Result = {}
    for line in text.splitlines():
        if line.strip():
            path = line.rpartition(" ")[0].rpartition(": ")[0]
            result.update(parse_answer(path, line.strip()))
    return result
