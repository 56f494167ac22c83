"""Set-up of clamd on a machine: the logic of ``edeposit_clamd_init.py``.

The configuration is changed line by line and keeps everything it does not need to change. The
result is tried with ``clamconf``, ClamAV's own parser, before it replaces anything: an option that
clamd does not know keeps it from starting. Running it twice changes nothing more.
"""

import argparse
import grp
import logging
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edeposit.amqp.antivirus import conf_writer, settings
from edeposit.amqp.antivirus.wrappers.freshclam import require_root

logger = logging.getLogger(__name__)

# The whole of a clean configuration; the keys below are added to it.
_CLEAN = """\
# Written by edeposit_clamd_init.py.
DatabaseDirectory /var/lib/clamav
OfficialDatabaseOnly false
SelfCheck 3600
Foreground false
Bytecode true
"""

# Debian's own values; less would refuse work under load.
_LEAST = {"MaxThreads": 12, "MaxConnectionQueueLength": 15}
# Of old configurations: clamd warns about the one and does not start with the other.
_GONE = (
    "AllowSupplementaryGroups",
    "StatsEnabled",
    "StatsHostID",
    "StatsPEDisabled",
    "StatsTimeout",
    "ScanOnAccess",
    "DetectBrokenExecutables",
    "AlgorithmicDetection",
    "BlockMax",
    "ArchiveBlockEncrypted",
)


class _Account(NamedTuple):
    user: str
    uid: int
    gid: int


def _account() -> _Account:
    name = "clamav" if settings.is_deb_system() else "vscan"
    try:
        entry = pwd.getpwnam(name)
        group = grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise AssertionError(f"There is no user '{name}': is clamd installed?") from error
    return _Account(name, entry.pw_uid, group)


def wanted_options(user: str) -> dict[str, str]:
    """The options that the antivirus service needs, in the order they are written."""
    return {
        "User": user,
        "LocalSocket": settings.LOCALSOCKET,
        # A world-writable socket lets every local user shut clamd down.
        "LocalSocketGroup": user,
        "LocalSocketMode": "660",
        "FixStaleSocket": "true",
        "PidFile": settings.PIDFILE,
        "LogFile": settings.LOGFILE,
        "LogTime": "true",
        "LogSyslog": "false",
        "LogRotate": "true",
        "ReadTimeout": "180",
        "ScanPE": "true",
        "ScanELF": "true",
        "ScanArchive": "true",
        "ScanMail": "true",
        "ScanPDF": "true",
        "ScanOLE2": "true",
        # What was not looked through must not be called clean.
        "AlertExceedsMax": "true",
        "AlertEncrypted": "true",
    }


def update_configuration(text: str, user: str) -> str:
    """Put the wanted options into a configuration's text.

    Args:
        text: of the present ``clamd.conf``, or empty for a clean one.
        user: the account clamd runs as.

    Returns:
        The new text.
    """
    text = text or _CLEAN
    for item in _GONE:
        text = conf_writer.remove(text, item)
    # Debian's template has it active; the example of ClamAV does not work with it.
    text = conf_writer.comment(text, "Example")
    for item, value in wanted_options(user).items():
        text = conf_writer.add_or_update(text, item, value)
    for item, least in _LEAST.items():
        present = conf_writer.value_of(text, item) or ""
        if not present.isdigit() or int(present) < least:
            text = conf_writer.add_or_update(text, item, str(least))
    if conf_writer.has_blind_spot(text):
        limit = conf_writer.value_of(text, "MaxScanSize") or "400M"
        text = conf_writer.add_or_update(text, "MaxScanSize", limit)
        text = conf_writer.add_or_update(text, "MaxFileSize", limit)
    return text


def check_configuration(text: str) -> None:
    """Have ClamAV's own parser read a configuration.

    Raises:
        AssertionError: it is refused, with the parser's words.
    """
    if shutil.which("clamconf") is None:
        logger.warning("clamconf is not installed, the configuration is not checked")
        return
    with tempfile.TemporaryDirectory(prefix="edeposit-clamd-") as directory:
        Path(directory, "clamd.conf").write_text(text, "utf-8")
        done = subprocess.run(
            ["clamconf", f"--config-dir={directory}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    complaints = [
        line for line in done.stdout.splitlines() if "Parse error" in line or "ERROR" in line
    ]
    if complaints:
        raise AssertionError(f"ClamAV refuses the configuration: {complaints[0].strip()}")


@require_root
def main(
    conf_file: str, overwrite: bool = False, *, restart: bool = True, dry_run: bool = False
) -> None:
    """Configure clamd and restart it.

    Args:
        conf_file: path of ``clamd.conf``.
        overwrite: begin with a clean configuration instead of the present one.
        restart: stop clamd before and start it after.
        dry_run: only print what would be written.

    Raises:
        AssertionError: not root; clamd's account is missing; the result is refused.
    """
    account = _account()
    path = Path(conf_file)
    present = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
    text = update_configuration("" if overwrite else present, account.user)
    check_configuration(text)
    if dry_run:
        print(text, end="")
        return
    if restart:
        _service("stop")
    if text != present:
        _write(path, text, backup=bool(present))
    else:
        logger.info("%s is right already", path)
    if not settings.is_deb_system():
        _link_debians_path(path)
    _make_log(Path(settings.LOGFILE), account)
    _make_socket_directory(Path(settings.LOCALSOCKET).parent, account)
    if restart:
        _service("start")


def _write(path: Path, text: str, *, backup: bool) -> None:
    """Replace the file in one step; the version before stays as ``<file>_``, ``<file>_1``, ..."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if backup:
        target, number = Path(f"{path}_"), 0
        while target.exists():
            number += 1
            target = Path(f"{path}_{number}")
        shutil.copy2(path, target)
        logger.info("the configuration before is kept as %s", target)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, "utf-8", "surrogateescape")
    temporary.chmod(0o644)
    temporary.replace(path)
    logger.info("%s is written", path)


def _link_debians_path(path: Path) -> None:
    link = Path("/etc/clamav/clamd.conf")
    link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(path)


def _make_log(path: Path, account: _Account) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.touch(mode=0o640, exist_ok=True)
    path.chmod(0o640)
    os.chown(path.parent, account.uid, account.gid)
    os.chown(path, account.uid, account.gid)


def _make_socket_directory(directory: Path, account: _Account) -> None:
    if not directory.exists():  # without systemd-tmpfiles nobody else makes it
        directory.mkdir(mode=0o755, parents=True)
        os.chown(directory, account.uid, account.gid)


def _service(action: str) -> None:
    """Stop or start clamd; a machine without an init system, or nothing to stop, is no error."""
    name = "clamav-daemon" if settings.is_deb_system() else "clamd"
    try:
        done = subprocess.run(
            ["service", name, action], capture_output=True, text=True, check=False, timeout=120
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        logger.warning("service %s %s: %s", name, action, error)
        return
    if done.returncode:
        logger.warning("service %s %s: %s", name, action, (done.stderr or done.stdout).strip())


def run(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Configure clamd for the antivirus service of edeposit.amqp (as root)."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is done")
    parser.add_argument(
        "-o", "--overwrite", action="store_true", help="begin with a clean configuration"
    )
    parser.add_argument("-c", "--config", metavar="PATH", help="clamd.conf (default: the system's)")
    parser.add_argument("--no-restart", action="store_true", help="do not restart clamd")
    parser.add_argument("--dry-run", action="store_true", help="print the result, change nothing")
    args = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING, format="%(message)s"
    )
    try:
        main(
            args.config or settings.CONF_PATH,
            args.overwrite,
            restart=not args.no_restart,
            dry_run=args.dry_run,
        )
    except (AssertionError, OSError, settings.SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
