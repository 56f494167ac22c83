"""Where a daemon's log lines go; opened after the fork, reopened for logrotate.

Only the program configures logging, and only its own handler, so that it can do so again. Logging
never raises and never waits: see ``logwriter``. With a log file, the process's descriptors 1 and 2
point to it: children, ``print`` and the interpreter's dying words end up there as well.
"""

import datetime
import faulthandler
import logging
import os
from pathlib import Path

from edeposit.amqp.errors import StartError
from edeposit.amqp.process import streams
from edeposit.amqp.process.directory import state_directory
from edeposit.amqp.process.logwriter import LogWriter
from edeposit.amqp.process.sinks import DescriptorSink, FileSink, Sink, SyslogSink

logger = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_SYSLOG = "/dev/log"


class _Formatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        moment = datetime.datetime.fromtimestamp(record.created).astimezone()
        return moment.isoformat(timespec="milliseconds")


class _Handler(logging.Handler):
    """Formats a record in the thread that logs it, and hands the line to the writer.

    It has no lock: an argument whose text takes long holds up nobody else.
    """

    def __init__(self, writer: LogWriter, formatter: logging.Formatter) -> None:
        super().__init__()
        self.writer = writer
        self.setFormatter(formatter)

    def createLock(self) -> None:
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception as error:
            where = f"{record.pathname}:{record.lineno}"
            text = f"a log line of {where} cannot be formatted: {type(error).__name__}"
        self.writer.put(record.levelno, f"{text}\n")

    def close(self) -> None:
        self.writer.close()
        super().close()


_installed: _Handler | None = None


def default_path(name: str) -> Path:
    """The log file of a daemon that is told nothing else.

    Raises:
        StartError: there is no home directory.
    """
    if os.geteuid() == 0:
        return Path("/var/log/edeposit", f"{name}.log")
    return state_directory() / f"{name}.log"


def configure(target: str, level: str, name: str, *, redirect: bool) -> None:
    """Send the root logger's lines, and what is printed, to a target.

    Called again, it replaces its own handler only.

    Args:
        target: ``stderr``, ``syslog``, an absolute path, or empty for ``default_path(name)``.
        level: name of the lowest level that is logged.
        name: of the daemon.
        redirect: stdout and stderr go to the log as well; otherwise they stay what they are.

    Raises:
        StartError: the target cannot be opened.
    """
    global _installed
    sink = _open_sink(target, name, redirect)
    formatter = (
        logging.Formatter("%(name)s: %(message)s")
        if isinstance(sink, SyslogSink)
        else _Formatter(_FORMAT)
    )

    def remark(text: str) -> bytes:
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)
        return f"{formatter.format(record)}\n".encode("utf-8", "backslashreplace")

    writer = LogWriter(sink, remark)
    root = logging.getLogger()
    if _installed is not None:
        root.removeHandler(_installed)
        _installed.close()
    _installed = _Handler(writer, formatter)
    root.addHandler(_installed)
    set_level(level)
    if redirect:
        streams.take(writer, writer)
        faulthandler.enable(2)
    else:
        streams.take(_printer(1), writer if target == "stderr" else _printer(2))


def _open_sink(target: str, name: str, redirect: bool) -> Sink:
    if target == "stderr":
        return DescriptorSink(2)
    if target == "syslog":
        try:
            return SyslogSink(_SYSLOG, f"{name}[{os.getpid()}]")
        except OSError as error:
            raise StartError(f"log target 'syslog': {_SYSLOG}: {error.strerror}") from error
    path = Path(target) if target else default_path(name)
    try:
        return FileSink(path, redirect=redirect)
    except OSError as error:
        raise StartError(f"log file {path} cannot be opened: {error.strerror}") from error


def _printer(fd: int) -> LogWriter:
    """A writer for what is printed in the foreground; its losses are in the log."""

    def remark(text: str) -> bytes:
        logger.warning("standard %s: %s", "output" if fd == 1 else "error", text)
        return b""

    return LogWriter(DescriptorSink(fd), remark)


def set_level(level: str) -> None:
    """Change the lowest level that is logged."""
    logging.getLogger().setLevel(level)
    # pika reports at INFO what it does and at ERROR what it will report to us as an exception:
    # its warnings are kept, its repetitions of our own lines are not.
    logging.getLogger("pika").setLevel(max(logging.WARNING, logging.getLevelName(level)))


def reopen() -> None:
    """Open the log file again, as logrotate asks for with SIGHUP. The log says if it fails."""
    if _installed is not None:
        _installed.writer.reopen()


def close() -> None:
    """Write what waits, within a few seconds, and restore the original streams."""
    streams.give_back()
    if _installed is not None:
        _installed.close()
