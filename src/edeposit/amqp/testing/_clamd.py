"""A private clamd with a database of two signatures, both of the EICAR test file."""

import base64
import hashlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edeposit.amqp.testing import _process
from edeposit.amqp.testing._waiting import wait_for

# The test string of eicar.org; encoded, so that scanners leave this file alone.
EICAR = base64.b64decode(
    "WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJELUFOVElWSVJVUy1URVNULUZJTEUhJEgrSCo="
)


class ClamdServer:
    """A clamd of Debian's ``clamav-daemon``, as this user; a context manager.

    Args:
        extra_config: further lines for ``clamd.conf``; a line replaces the default of its name.
        tcp: also listen on a TCP port of 127.0.0.1.

    Attributes:
        socket_path: of its Unix socket.
        port: of its TCP listener, 0 without ``tcp``.
        config_file: its ``clamd.conf``.
        database: directory of the signatures, for ``clamscan -d``.
    """

    host = "127.0.0.1"

    def __init__(self, extra_config: Sequence[str] = (), tcp: bool = False) -> None:
        # Unix socket paths end at 107 bytes: always directly below /tmp.
        self.directory = Path(tempfile.mkdtemp(prefix="edeposit-av-", dir="/tmp"))
        self.socket_path = str(self.directory / "clamd.ctl")
        self.port = _process.free_ports(1)[0] if tcp else 0
        self.config_file = self.directory / "clamd.conf"
        self.database = self.directory / "db"
        self._extra_config = list(extra_config)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ClamdServer":
        try:
            self.database.mkdir()
            (self.directory / "tmp").mkdir()
            signature = f"Test.EICAR:0:*:{EICAR.hex()}\n"
            (self.database / "local.ndb").write_text(signature, "ascii")
            digest = hashlib.md5(EICAR, usedforsecurity=False).hexdigest()
            (self.database / "local.hdb").write_text(f"{digest}:68:Test.EICAR.MD5\n", "ascii")
            self.config_file.write_text(self._configuration(), "utf-8")
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self, timeout: float = 30.0) -> None:
        """Start clamd and wait until it answers.

        Raises:
            AssertionError: it did not answer in time; the text shows its log.
        """
        log = self.directory / "out.log"
        process = _process.spawn(["/usr/sbin/clamd", "-c", str(self.config_file)], log)
        self._process = process

        def answers() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"clamd did not start:\n{log.read_text('utf-8', 'replace')}")
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(1)
                try:
                    sock.connect(self.socket_path)
                    sock.sendall(b"zPING\0")
                    return sock.recv(16).startswith(b"PONG")
                except OSError:
                    return False

        wait_for(answers, timeout, "clamd answers")

    def kill(self) -> None:
        """End clamd; its files stay, ``start()`` brings it back."""
        if self._process is not None:
            _process.kill_group(self._process)
            self._process = None
        Path(self.socket_path).unlink(missing_ok=True)

    def stop(self) -> None:
        """End clamd and delete its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _configuration(self) -> str:
        lines = {
            "DatabaseDirectory": str(self.database),
            "LocalSocket": self.socket_path,
            "LocalSocketMode": "600",
            "PidFile": str(self.directory / "clamd.pid"),
            "LogFile": str(self.directory / "clamd.log"),
            "TemporaryDirectory": str(self.directory / "tmp"),
            "Foreground": "yes",
            "MaxThreads": "4",
            "SelfCheck": "0",
            "StreamMaxLength": "30M",
            "MaxFileSize": "60M",
            "MaxScanSize": "60M",
            "AlertExceedsMax": "yes",
            "AlertEncrypted": "yes",
        }
        if self.port:
            lines |= {"TCPSocket": str(self.port), "TCPAddr": self.host}
        for line in self._extra_config:
            name, _, value = line.partition(" ")
            lines[name] = value
        return "".join(f"{name} {value}\n" for name, value in lines.items())
