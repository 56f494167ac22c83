"""Puts the programs, units and manual of an environment into the system; takes them away again.

``pip install`` fills a virtual environment only. This makes its programs commands, and gives
systemd, logrotate, man and the shell their files. What must stay true: ``uninstall`` removes what
``install`` has put there and nothing else, and keeps a file that was changed since.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edeposit.amqp import __version__

_UNITS = "/usr/local/lib/systemd/system"
# Name below share/edeposit-amqp/systemd to the places it goes to.
_PLACES = {
    "edeposit-amqp@.service": [f"{_UNITS}/edeposit-amqp@.service"],
    "edeposit-amqp-ftp.conf": [
        f"{_UNITS}/edeposit-amqp@ftp_managerd.service.d/ftp.conf",
        f"{_UNITS}/edeposit-amqp@ftp_monitord.service.d/ftp.conf",
    ],
    "edeposit-amqp-harvester.conf": [
        f"{_UNITS}/edeposit-amqp@harvester.service.d/harvester.conf",
        f"{_UNITS}/edeposit-amqp@harvesterd.service.d/harvester.conf",
    ],
    "edeposit-amqp.sysusers": ["/etc/sysusers.d/edeposit-amqp.conf"],
    "edeposit-amqp.tmpfiles": ["/etc/tmpfiles.d/edeposit-amqp.conf"],
    "edeposit-amqp.logrotate": ["/etc/logrotate.d/edeposit-amqp"],
    "edeposit-ftp.logrotate": ["/etc/logrotate.d/edeposit-ftp"],
}
# Directory below share/edeposit-amqp/manual to where its files go.
_MANUAL = {
    "man1": "/usr/local/share/man/man1",
    "bash": "/usr/local/share/bash-completion/completions",
    "zsh": "/usr/local/share/zsh/site-functions",
}
_PROGRAMS = "edeposit_*.py"


class Piece(NamedTuple):
    """A file or link that is put into the system.

    Attributes:
        target: absolute path.
        content: of the file; None for a link.
        link: what the link leads to.
    """

    target: str
    content: bytes | None
    link: str = ""


class InstallError(Exception):
    """Something is in the way, or cannot be written; the text says what."""


class Installation:
    """What one environment has put into a system.

    Args:
        prefix: the virtual environment.
        bindir: where the programs become commands.
        root: put before every target, for packagers and tests; nothing else is done then.
    """

    def __init__(self, prefix: Path, bindir: str, root: str = "") -> None:
        self.prefix = prefix
        self.bindir = bindir
        self.root = root.rstrip("/")
        self.share = prefix / "share" / "edeposit-amqp"
        self._list = self.share / "installed.json"

    def pieces(self) -> Iterator[Piece]:
        """Everything that belongs into the system."""
        for program in sorted((self.prefix / "bin").glob(_PROGRAMS)):
            yield Piece(f"{self.bindir}/{program.name}", None, str(program))
        for name, targets in _PLACES.items():
            text = (self.share / "systemd" / name).read_text("utf-8")
            text = text.replace("/usr/local/bin/", f"{self.bindir}/")
            for target in targets:
                yield Piece(target, text.encode("utf-8"))
        for name, place in _MANUAL.items():
            for path in sorted((self.share / "manual" / name).iterdir()):
                yield Piece(f"{place}/{path.name}", path.read_bytes())

    def install(self) -> list[str]:
        """Put everything in its place; again after an upgrade.

        Returns:
            One line for each thing done or kept.

        Raises:
            InstallError: a foreign file is in the way, or a target cannot be written.
        """
        before = self._recorded()
        pieces = list(self.pieces())
        self._check_free(pieces, before)
        lines = []
        recorded: dict[str, str] = {}
        for piece in pieces:
            path = Path(self.root + piece.target)
            if piece.target in before and _is_changed(path, before[piece.target]):
                lines.append(f"kept {path}: it was changed here")
                recorded[piece.target] = before[piece.target]
                continue
            try:
                _put(path, piece)
            except OSError as error:
                raise InstallError(f"{path}: {error.strerror}") from error
            recorded[piece.target] = _fingerprint(path)
            lines.append(f"installed {path}")
        gone = {target: mark for target, mark in before.items() if target not in recorded}
        lines += self._remove(gone)
        self._list.write_text(json.dumps(recorded, indent=1), "utf-8")
        return lines + self._tell_system()

    def uninstall(self) -> list[str]:
        """Take everything away that ``install`` has put there.

        Returns:
            One line for each thing done or kept.
        """
        lines = self._remove(self._recorded())
        self._list.unlink(missing_ok=True)
        if not self.root:
            lines += _run_if_there("systemctl", "daemon-reload")
        return lines

    def _recorded(self) -> dict[str, str]:
        try:
            recorded = json.loads(self._list.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return dict(recorded)

    def _check_free(self, pieces: list[Piece], before: dict[str, str]) -> None:
        for piece in pieces:
            path = Path(self.root + piece.target)
            if piece.target in before or not os.path.lexists(path):
                continue
            same_link = path.is_symlink() and os.readlink(path) == piece.link
            if not same_link and (piece.content is None or path.read_bytes() != piece.content):
                raise InstallError(f"{path} exists and is not from here: move it away first")

    def _remove(self, recorded: dict[str, str]) -> list[str]:
        lines = []
        for target, mark in recorded.items():
            path = Path(self.root + target)
            if not os.path.lexists(path):
                continue
            if _is_changed(path, mark):
                lines.append(f"kept {path}: it was changed here")
                continue
            path.unlink()
            lines.append(f"removed {path}")
            if path.parent.name.endswith(".d") and not any(path.parent.iterdir()):
                path.parent.rmdir()
        return lines

    def _tell_system(self) -> list[str]:
        """Account and directories now, not only at the next boot."""
        if self.root:
            return []
        return [
            *_run_if_there("systemd-sysusers", "/etc/sysusers.d/edeposit-amqp.conf"),
            *_run_if_there("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/edeposit-amqp.conf"),
            *_run_if_there("systemctl", "daemon-reload"),
        ]


def _put(path: Path, piece: Piece) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    if piece.content is None:
        temporary.symlink_to(piece.link)
    else:
        temporary.write_bytes(piece.content)
        temporary.chmod(0o644)
    temporary.replace(path)


def _fingerprint(path: Path) -> str:
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_changed(path: Path, mark: str) -> bool:
    return os.path.lexists(path) and _fingerprint(path) != mark


def _run_if_there(program: str, *arguments: str) -> list[str]:
    """Run a program of systemd; where it is missing or refuses, a line says what remains to do."""
    command = " ".join([program, *arguments])
    if program == "systemctl" and not Path("/run/systemd/system").is_dir():
        return []
    if shutil.which(program) is None:
        return [f"left to do: {command} ({program} is not on this machine)"]
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        problem = re.sub(r"\s+", " ", done.stderr).strip()
        return [f"left to do: {command} ({problem})"]
    return [f"done: {command}"]


def run(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = make_parser().parse_args(argv)
    installation = Installation(Path(sys.prefix), args.bindir, args.root)
    try:
        lines = getattr(installation, args.action)()
    except InstallError as error:
        print(f"edeposit_amqp_setup.py: {error}", file=sys.stderr)
        return 1
    print(*lines, sep="\n")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of ``edeposit_amqp_setup.py``."""
    parser = argparse.ArgumentParser(
        prog="edeposit_amqp_setup.py",
        description="Make the programs of this virtual environment commands of the system, with"
        " systemd units, the account 'edeposit', its directories, and log rotation.",
    )
    parser.add_argument("action", choices=["install", "uninstall"])
    parser.add_argument(
        "--bindir", default="/usr/local/bin", help="where the commands go; default %(default)s"
    )
    parser.add_argument(
        "--root", default="", help="put before every path; nothing of this system is touched then"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser
