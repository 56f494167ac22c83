"""Where a daemon's log lines go; opened after the fork, reopened for logrotate.

Only the program configures logging, and only its own handler, so that it can do so again. A log
file is opened for appending (so ``copytruncate`` loses nothing) and is opened again at SIGHUP or
when the file at its path has become another one (``create``). The process's descriptors 1 and 2
point to it: children, ``print`` and the interpreter's dying words end up there as well.
"""

import datetime
import faulthandler
import io
import logging
import logging.handlers
import os
import sys
from pathlib import Path

from edeposit.amqp.errors import StartError

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_SYSLOG = "/dev/log"

_installed: logging.Handler | None = None


class _Formatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        moment = datetime.datetime.fromtimestamp(record.created).astimezone()
        return moment.isoformat(timespec="milliseconds")


class LogFile(logging.handlers.WatchedFileHandler):
    """A log file that follows rotation.

    Args:
        path: of the file; its directory is made (mode 0750) if it is missing.
        redirect: point the process's stdout and stderr to it as well.
    """

    def __init__(self, path: Path, *, redirect: bool) -> None:
        self._redirect = redirect
        super().__init__(path, "a", encoding="utf-8", errors="backslashreplace")

    def _open(self) -> io.TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self.baseFilename, flags, 0o640)
        if self._redirect:
            os.dup2(fd, 1)
            os.dup2(fd, 2)
        return open(fd, "a", encoding="utf-8", errors="backslashreplace")

    def reopen(self) -> None:
        """Open the file anew; on failure go on with the old one."""
        self.acquire()
        try:
            stream = self._open()
            if self.stream is not None:
                self.stream.close()
            self.stream = stream
            self._statstream()
        finally:
            self.release()


def default_path(name: str) -> Path:
    """The log file of a daemon that is told nothing else."""
    if os.geteuid() == 0:
        return Path("/var/log/edeposit", f"{name}.log")
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state else Path.home() / ".local" / "state"
    return base / "edeposit" / f"{name}.log"


def configure(target: str, level: str, name: str, *, redirect: bool) -> None:
    """Send the root logger's lines to a target; called again, it replaces its own handler only.

    Args:
        target: ``stderr``, ``syslog``, an absolute path, or empty for ``default_path(name)``.
        level: name of the lowest level that is logged.
        name: of the daemon.
        redirect: also point stdout and stderr to a log file.

    Raises:
        StartError: the target cannot be opened.
    """
    global _installed
    handler = _make_handler(target, name, redirect)
    if isinstance(handler, logging.handlers.SysLogHandler):
        handler.setFormatter(logging.Formatter(f"{name}[%(process)d]: %(name)s: %(message)s"))
    else:
        handler.setFormatter(_Formatter(_FORMAT))
    root = logging.getLogger()
    if _installed is not None:
        root.removeHandler(_installed)
        _installed.close()
    root.addHandler(handler)
    _installed = handler
    set_level(level)
    if redirect:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        faulthandler.enable(2)


def set_level(level: str) -> None:
    """Change the lowest level that is logged."""
    logging.getLogger().setLevel(level)
    # pika reports at INFO what it does and at ERROR what it will report to us as an exception:
    # its warnings are kept, its repetitions of our own lines are not.
    logging.getLogger("pika").setLevel(max(logging.WARNING, logging.getLevelName(level)))


def reopen() -> None:
    """Open the log file again, as logrotate asks for with SIGHUP."""
    if isinstance(_installed, LogFile):
        _installed.reopen()


def _make_handler(target: str, name: str, redirect: bool) -> logging.Handler:
    if target == "stderr":
        if isinstance(sys.stderr, io.TextIOWrapper):
            sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
        return logging.StreamHandler(sys.stderr)
    if target == "syslog":
        if not os.path.exists(_SYSLOG):
            raise StartError(f"log target 'syslog': there is no {_SYSLOG} on this machine")
        return logging.handlers.SysLogHandler(
            _SYSLOG, facility=logging.handlers.SysLogHandler.LOG_DAEMON
        )
    path = Path(target) if target else default_path(name)
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        return LogFile(path, redirect=redirect)
    except OSError as error:
        raise StartError(f"log file {path} cannot be opened: {error.strerror}") from error
