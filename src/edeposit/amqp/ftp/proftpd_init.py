"""Set-up of ProFTPD on a machine: the logic of ``edeposit_proftpd_init.py``.

What must stay true: running it twice changes nothing more; what it changes is kept as a copy; the
result is tried with ``proftpd -t`` and taken back if the server would not start with it.
"""

import argparse
import difflib
import grp
import logging
import os
import pwd
import shutil
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edeposit.amqp.ftp import api, proftpd_conf, settings

logger = logging.getLogger(__name__)

_GROUP = "edeposit-ftp"
_TLS_MODULE = f"{proftpd_conf.MODULES}/mod_tls.so"
_CLEAR_TEXT = (
    "WARNING: without TLS all passwords and books cross the network in clear text;"
    " see --tls-cert and --tls-key."
)


class _Changes:
    """New texts of files: shown, or written with copies of the old ones, or taken back."""

    def __init__(self) -> None:
        self._texts: dict[Path, tuple[str | None, str]] = {}

    def put(self, path: Path, text: str) -> None:
        old = path.read_text("utf-8", "surrogateescape") if path.exists() else None
        if old != text:
            self._texts[path] = (old, text)

    def __bool__(self) -> bool:
        return bool(self._texts)

    def show(self) -> None:
        for path, (old, new) in self._texts.items():
            diff = difflib.unified_diff(
                (old or "").splitlines(), new.splitlines(), str(path), str(path), lineterm=""
            )
            print("\n".join(diff))

    def write(self) -> None:
        for path, (old, new) in self._texts.items():
            if old is not None:
                logger.info("%s: the file before is kept as %s", path, _keep_copy(path))
            if not path.parent.exists():
                path.parent.mkdir(parents=True)
                path.parent.chmod(0o755)
            _replace(path, new)
            logger.info("%s is written", path)

    def take_back(self) -> None:
        for path, (old, _new) in self._texts.items():
            if old is None:
                path.unlink(missing_ok=True)
            else:
                _replace(path, old)


def _keep_copy(path: Path) -> Path:
    # Debian includes whatever is in conf.d, a copy as well.
    directory = path.parent.parent if path.parent.name == "conf.d" else path.parent
    plain = directory / f"{path.name}_"
    target, number = plain, 0
    while target.exists():
        number += 1
        target = Path(f"{plain}{number}")
    shutil.copy2(path, target)
    return target


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, "utf-8", "surrogateescape")
    temporary.chmod(0o644)
    temporary.replace(path)


@api.require_root
def main(
    overwrite: bool = False,
    *,
    dry_run: bool = False,
    tls: tuple[str, str] | None = None,
    quota: int | None = None,
    make_group: bool = True,
) -> bool:
    """Configure ProFTPD for the service and have a running one take it over.

    Args:
        overwrite: begin with a clean ``proftpd.conf`` instead of the present one.
        dry_run: only print what would change.
        tls: paths of certificate and key (PEM); None: without TLS.
        quota: MiB that a home may hold; None: without a limit.
        make_group: give the gid of the FTP users a name, so that nobody else gets it.

    Returns:
        Whether anything was, or would be, changed in the configuration.

    Raises:
        AssertionError: not root; ProFTPD or a module is missing; the gid or uid belongs to
            somebody; the present or the new configuration is refused.
        OSError: a file cannot be written.
    """
    _check_surroundings()
    certificate = _certificate(*tls) if tls is not None else None
    conf_file = Path(settings.CONF_FILE)
    own_file = Path(settings.CONF_PATH) / "conf.d" / "edeposit.conf"
    present = conf_file.read_text("utf-8", "surrogateescape") if conf_file.exists() else ""
    changes = _Changes()
    limit = _quota(quota) if quota is not None else None
    changes.put(own_file, proftpd_conf.own_text(certificate, limit))
    if overwrite or not present:
        changes.put(conf_file, proftpd_conf.clean_text(str(own_file)))
    else:
        changes.put(conf_file, proftpd_conf.adapt(present, str(own_file)))
    if dry_run:
        changes.show()
        return bool(changes)
    if present and not overwrite and Path(settings.LOGIN_FILE).exists():
        _check_configuration("the present configuration")
    if make_group:
        _make_group()
    _make_places()
    if limit is not None:
        _make_quota_tables(limit)
    changes.write()
    try:
        _check_configuration("the new configuration, the old one is back")
    except AssertionError:
        changes.take_back()
        raise
    if changes and not api.reload_configuration():
        logger.info("ProFTPD does not run, it takes the configuration when it starts")
    return bool(changes)


def _check_surroundings() -> None:
    if not os.path.isdir(settings.CONF_PATH):
        raise AssertionError(
            f"Can't find '{settings.CONF_PATH}' - it looks like ProFTPD is not installed!"
        )
    if _program() is None:
        raise AssertionError("There is no program proftpd: apt-get install proftpd-core")
    number = settings.PROFTPD_USERS_GID
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        pass
    else:
        raise AssertionError(f"uid {number} belongs to '{name}': set PROFTPD_USERS_GID")


def _certificate(file: str, key_file: str) -> proftpd_conf.Certificate:
    """Check certificate and key, and find out of which kind they are."""
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise AssertionError(f"'{file}' and '{key_file}' cannot be used: {error}") from error
    if not os.path.exists(_TLS_MODULE):
        raise AssertionError("There is no mod_tls: apt-get install proftpd-mod-crypto")
    done = subprocess.run(
        ["openssl", "pkey", "-in", key_file, "-noout", "-text"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return proftpd_conf.Certificate(file, key_file, "EC" if "ASN1 OID" in done.stdout else "RSA")


def _quota(size: int) -> proftpd_conf.Quota:
    """Look whether quotas can be had."""
    if not os.path.exists(f"{proftpd_conf.MODULES}/mod_quotatab_file.so"):
        raise AssertionError("There is no mod_quotatab_file: it is in Debian's proftpd-core")
    tables = f"{settings.CONF_PATH}edeposit-quota."
    return proftpd_conf.Quota(size, f"{tables}limit", f"{tables}tally")


def _make_quota_tables(quota: proftpd_conf.Quota) -> None:
    for kind, path in (("limit", quota.limit_table), ("tally", quota.tally_table)):
        if not os.path.exists(path):
            subprocess.run(
                ["ftpquota", "--create-table", f"--type={kind}", f"--table-path={path}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=60,
            )
            logger.info("%s is made", path)


def _program() -> str | None:
    return shutil.which("proftpd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _check_configuration(what: str) -> None:
    """Have ProFTPD itself read the configuration.

    Raises:
        AssertionError: it is refused, with the server's words.
    """
    program = _program()
    assert program is not None
    done = subprocess.run(
        [program, "-t", "-c", settings.CONF_FILE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )
    # An error in an included file is told, but the exit code stays 0 (seen with 1.3.8).
    fatal = [line for line in done.stdout.splitlines() if " fatal: " in line]
    if done.returncode or fatal:
        reason = (fatal or done.stdout.splitlines() or ["no reason given"])[0]
        raise AssertionError(f"ProFTPD refuses {what}: {reason.strip()}")


def _make_group() -> None:
    number = settings.PROFTPD_USERS_GID
    try:
        name = grp.getgrgid(number).gr_name
    except KeyError:
        subprocess.run(
            ["groupadd", "--system", "--gid", str(number), _GROUP], check=True, timeout=60
        )
        logger.info("group %s is made", _GROUP)
        return
    if name != _GROUP:
        raise AssertionError(f"gid {number} belongs to group '{name}': set PROFTPD_USERS_GID")


def _make_places() -> None:
    """Directory of the homes and the file of users; an existing one keeps its mode."""
    data = Path(settings.DATA_PATH)
    if not data.exists():
        data.mkdir(parents=True)
        data.chmod(0o755)
        logger.info("%s is made", data)
    if data.stat().st_mode & 0o022:
        # The first generation made it 0777: everybody could put a link where a home will be.
        data.chmod(0o755)
        logger.info("%s is no longer writable by everybody", data)
    login = Path(settings.LOGIN_FILE)
    if not login.exists():
        login.touch(mode=0o600)
        logger.info("%s is made", login)
    logs = Path(settings.LOG_PATH)
    if not logs.exists():
        logs.mkdir(parents=True)
        logs.chmod(0o755)


def _size(text: str) -> int:
    size = int(text)
    if not 0 < size < 2**40:
        raise ValueError(text)
    return size


def run(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Configure ProFTPD for the ftp service of edeposit.amqp (as root)."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is done")
    parser.add_argument(
        "-o", "--overwrite", action="store_true", help="begin with a clean configuration"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the changes, make none")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate (PEM): FTP only with TLS")
    parser.add_argument("--tls-key", metavar="FILE", help="its key (PEM)")
    parser.add_argument("--quota", metavar="MIB", type=_size, help="what a home may hold")
    parser.add_argument("--no-group", action="store_true", help="do not name the users' group")
    args = parser.parse_args(argv)
    if bool(args.tls_cert) != bool(args.tls_key):
        parser.error("--tls-cert and --tls-key belong together")
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING, format="%(message)s"
    )
    tls = None
    if args.tls_cert:
        tls = (os.path.abspath(args.tls_cert), os.path.abspath(args.tls_key))
    try:
        main(
            args.overwrite,
            dry_run=args.dry_run,
            tls=tls,
            quota=args.quota,
            make_group=not args.no_group,
        )
    except (AssertionError, OSError, subprocess.SubprocessError, settings.SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    if tls is None:
        print(_CLEAR_TEXT, file=sys.stderr)
    return 0
