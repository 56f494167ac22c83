"""A private ProFTPD: an FTP server on a free port, with homes, users and an extended log."""

import ftplib
import grp
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from edeposit.amqp.testing import _process
from edeposit.amqp.testing._waiting import wait_for

_MODULES = Path("/usr/lib/proftpd")


def _load_modules() -> list[str]:
    """Directives for modules that are part of the server on Debian 12, and files on Debian 13."""
    return [
        line
        for name in ("mod_ls", "mod_xfer", "mod_delay")
        if (_MODULES / f"{name}.so").exists()
        for line in (f"<IfModule !{name}.c>", f"  LoadModule {name}.c", "</IfModule>")
    ]


class ProftpdServer:
    """A ProFTPD of Debian's ``proftpd-core``; a context manager.

    As root it locks its users into their homes (``DefaultRoot ~``), as it will in real life.
    Without root it serves all homes as the caller.

    Args:
        include: a configuration file of directives to be taken in, such as the one that
            ``edeposit_proftpd_init.py`` writes; default: the directives are made here.
        log_format: of the extended log.

    Attributes:
        port: on 127.0.0.1.
        directory: everything is in it.
        data_path: parent of the homes.
        login_file: the AuthUserFile.
        log_file: the extended log.
        config_file: its ``proftpd.conf``.
        pid_file: of the server.
    """

    host = "127.0.0.1"

    def __init__(
        self, include: Path | None = None, log_format: str = "%s, %f, %u, %m, %{%s}t"
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="edeposit-ftp-", dir="/tmp"))
        self.directory.chmod(0o755)  # the server's user must get through to the homes
        self.port = _process.free_ports(1)[0]
        self.data_path = self.directory / "home"
        self.config_path = self.directory / "etc"
        self.login_file = self.config_path / "ftpd.passwd"
        self.config_file = self.config_path / "proftpd.conf"
        self.log_file = self.directory / "log" / "extended.log"
        self.pid_file = self.directory / "run" / "proftpd.pid"
        self.scoreboard = self.directory / "run" / "scoreboard"
        self._include = include
        self._log_format = log_format
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ProftpdServer":
        try:
            for name in ("home", "etc", "log", "run"):
                (self.directory / name).mkdir(exist_ok=True)
                (self.directory / name).chmod(0o755)  # whatever the caller's umask is
            self.login_file.touch(mode=0o600)
            self.config_file.write_text(self._configuration(), "utf-8")
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def env(self) -> dict[str, str]:
        """Environment variables that lead the ftp service to this server."""
        return {
            "FTP_CONF_PATH": str(self.config_path),
            "FTP_DATA_PATH": str(self.data_path),
            "FTP_LOG_PATH": str(self.log_file.parent),
            "FTP_SCOREBOARD_FILE": str(self.scoreboard),
            "FTP_PROFTPD_PIDFILE": str(self.pid_file),
        }

    def start(self, timeout: float = 20.0) -> None:
        """Start the server and wait until it greets.

        Raises:
            AssertionError: it did not in time; the text shows its output.
        """
        output = self.directory / "out.log"
        process = _process.spawn(
            ["/usr/sbin/proftpd", "-n", "-q", "-c", str(self.config_file)], output
        )
        self._process = process

        def greets() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"proftpd did not start:\n{output.read_text('utf-8')}")
            try:
                ftplib.FTP(timeout=2).connect(self.host, self.port, timeout=2)
            except (OSError, EOFError, ftplib.Error):
                return False
            return True

        wait_for(greets, timeout, "proftpd greets")

    def kill(self) -> None:
        """End the server and its sessions; its files stay, ``start()`` brings it back."""
        if self._process is not None:
            _process.kill_group(self._process, signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                pass
            _process.kill_group(self._process)
            self._process = None

    def stop(self) -> None:
        """End the server and delete its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def login(self, username: str, password: str, encoding: str = "utf-8") -> ftplib.FTP:
        """A session of a user.

        Raises:
            ftplib.error_perm: the server refused the login.
        """
        session = ftplib.FTP(encoding=encoding, timeout=20)
        session.connect(self.host, self.port)
        session.login(username, password)
        return session

    def _configuration(self) -> str:
        user, group = "proftpd", "nogroup"
        if os.geteuid():
            user = pwd.getpwuid(os.geteuid()).pw_name
            group = grp.getgrgid(os.getegid()).gr_name
        run = self.directory / "run"
        lines = [
            'ServerName "edeposit"',
            *_load_modules(),
            "ServerType standalone",
            f"DefaultAddress {self.host}",
            "SocketBindTight on",
            f"Port {self.port}",
            "UseIPv6 off",
            f"User {user}",
            f"Group {group}",
            f"PidFile {self.pid_file}",
            f"ScoreboardFile {self.scoreboard}",
            f"SystemLog {self.log_file.parent / 'proftpd.log'}",
            "TransferLog none",
            "WtmpLog off",
            "MaxInstances 100",
            "<IfModule mod_delay.c>",
            f"  DelayTable {run / 'delay'}",
            "</IfModule>",
        ]
        if self._include is not None:
            return "\n".join([*lines, f"Include {self._include}", ""])
        lines += [
            "UseReverseDNS off",
            "RequireValidShell off",
            "RootLogin off",
            "AuthOrder mod_auth_file.c",
            f"AuthUserFile {self.login_file}",
            *(["DefaultRoot ~"] if os.geteuid() == 0 else []),
            "Umask 007 007",
            "AllowOverwrite on",
            "AllowStoreRestart on",
            f'LogFormat edeposit "{self._log_format}"',
            f"ExtendedLog {self.log_file} WRITE edeposit",
        ]
        return "\n".join([*lines, ""])
