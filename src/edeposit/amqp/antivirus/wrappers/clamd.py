"""clamd's protocol: INSTREAM for content from memory, FILDES for a local file (clamd(8)).

The package ``clamd`` from PyPI sends with ``send`` in 1 KiB pieces, loses clamd's explanation of a
refused stream and knows no FILDES; the part of the protocol that is needed is small. Each call has
a socket of its own, so threads need no lock.
"""

import contextlib
import fcntl
import os
import re
import select
import socket
import struct
import sys
import termios
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from edeposit.amqp.antivirus import conf_writer, settings
from edeposit.amqp.antivirus.deadline import Deadline
from edeposit.amqp.antivirus.exceptions import (
    FileTooLargeError,
    NotScannedError,
    ScanError,
    ScannerUnavailableError,
    ScanTimeoutError,
)

CHUNK = 64 * 1024
_LENGTH = struct.Struct(">I")
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid: unix(7), SO_PEERCRED
_ANSWER = re.compile(r"(?:stream|fd\[\d+\]): (?:OK|(?P<name>[^\s\0]+) FOUND)")
# A path and a signature's name take less.
_MAX_ANSWER = 16 * 1024
# Names for content that clamd did not scan in full; neither clean nor malware. The last three are
# those of ClamAV 0.9x.
_NOT_SCANNED = (
    "Heuristics.Limits.Exceeded",
    "Heuristics.Encrypted",
    "Encrypted.",
    "Oversized.",
    "Archive.Exceeded",
)
Result = dict[str, tuple[str, str]]


class Identity(NamedTuple):
    """A clamd that runs.

    Attributes:
        version: its answer to VERSION.
        process: pid of the process that listens on its Unix socket; 0 over TCP.
    """

    version: str
    process: int


def scan_file(path: str, deadline: Deadline | None = None) -> Result:
    """Scan a file by handing its descriptor to clamd (its content, over TCP).

    Args:
        path: of the file; only this process needs permission to read it.
        deadline: of the whole scan; default: SCAN_TIMEOUT from now.

    Returns:
        ``{path: ("FOUND", name)}``, or ``{}`` for a clean file.

    Raises:
        AssertionError: there is no such file.
        ScanError: it was not, or not fully, scanned; ``ValueError`` like its children.
    """
    if not os.path.isfile(path):
        raise AssertionError(f"Unreachable file '{path}'.")
    deadline = deadline or Deadline(settings.SCAN_TIMEOUT)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        check_size(path, size)
        with _connection(deadline) as sock:
            if sock.family == socket.AF_UNIX:
                answer = _command(sock, deadline, lambda: _send_descriptor(sock, file.fileno()))
            else:
                pieces = iter(lambda: file.read(CHUNK), b"")
                answer = _command(sock, deadline, lambda: _send_stream(sock, deadline, pieces))
    return parse_answer(path, answer)


def scan_stream(filename: str, pieces: Iterable[bytes], deadline: Deadline | None = None) -> Result:
    """Scan content from memory; nothing is written to disk here.

    Args:
        filename: key of the result, and for error texts.
        pieces: the content, in order.
        deadline: of the whole scan; default: SCAN_TIMEOUT from now.

    Returns:
        As ``scan_file``.

    Raises:
        ScanError: it was not, or not fully, scanned.
    """
    deadline = deadline or Deadline(settings.SCAN_TIMEOUT)
    with _connection(deadline) as sock:
        answer = _command(sock, deadline, lambda: _send_stream(sock, deadline, pieces))
    return parse_answer(filename, answer)


def identity(deadline: Deadline | None = None) -> Identity:
    """The clamd that answers now; changes with a restart or new signatures.

    Args:
        deadline: default: SCAN_TIMEOUT from now.

    Raises:
        ScannerUnavailableError: clamd cannot be reached.
    """
    deadline = deadline or Deadline(settings.SCAN_TIMEOUT)
    with _connection(deadline) as sock:
        process = 0
        if sock.family == socket.AF_UNIX:
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            process = _CREDENTIALS.unpack(credentials)[0]
        return Identity(_command(sock, deadline, lambda: sock.sendall(b"zVERSION\0")), process)


def version() -> str:
    """clamd's answer to VERSION: engine, database number and its date.

    Raises:
        ScannerUnavailableError: clamd cannot be reached.
    """
    return identity().version


def size_limit() -> int:
    """Bytes of the largest content that is scanned as a whole.

    That is the setting MAX_FILE_SIZE, or clamd's own StreamMaxLength or MaxFileSize if CONF_PATH
    can be read and says less: beyond its MaxFileSize clamd answers OK without looking.
    """
    configuration = _configuration()
    if configuration is None:
        return settings.MAX_FILE_SIZE
    sizes = [
        conf_writer.size_of(configuration, item) for item in ("StreamMaxLength", "MaxFileSize")
    ]
    return int(min(settings.MAX_FILE_SIZE, *sizes))


def _configuration() -> str | None:
    try:
        with open(settings.CONF_PATH, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def check_size(filename: str, size: int) -> None:
    """Refuse what would not be scanned as a whole.

    Raises:
        FileTooLargeError: more than ``size_limit()``.
    """
    limit = size_limit()
    if size > limit:
        raise FileTooLargeError(filename, size, limit)


def parse_answer(filename: str, answer: str) -> Result:
    """Turn clamd's answer, such as ``stream: Eicar FOUND``, into a result.

    Raises:
        NotScannedError: clamd did not look through all of it.
        ScanError: clamd reports an error, or says anything but one line of these two forms.
    """
    match = _ANSWER.fullmatch(answer)
    if match is None:
        raise ScanError(f"{filename!r} was not scanned, clamd says: {answer[:500]!r}")
    return result_of(filename, match["name"])


def result_of(filename: str, name: str | None) -> Result:
    """The result for a signature's name; None: nothing was found.

    Raises:
        NotScannedError: it is not the name of malware but of what the scanner did not look at.
        ScanError: it is no name.
    """
    if name is None:
        return {}
    if name.startswith(_NOT_SCANNED):
        raise NotScannedError(f"{filename!r} was not fully scanned: {name}")
    if name == "(null)":
        raise ScanError(f"{filename!r} was not scanned: the scanner named no signature")
    return {filename: ("FOUND", name)}


@contextlib.contextmanager
def _connection(deadline: Deadline) -> Iterator[socket.socket]:
    """A socket that has been connected: the Unix one, else TCP."""
    attempts: list[tuple[int, Any]] = [(socket.AF_UNIX, settings.LOCALSOCKET)]
    if settings.CLAMD_HOST:
        attempts.append((socket.AF_INET, (settings.CLAMD_HOST, settings.CLAMD_PORT)))
    reasons = []
    for family, address in attempts:
        timeout = min(settings.CONNECT_TIMEOUT, deadline.remaining())
        try:
            sock = _connected(family, address, timeout)
        except OSError as error:
            reasons.append(f"{address}: {error.strerror or error}")
            continue
        with sock:
            yield sock
        return
    raise ScannerUnavailableError(
        f"Couldn't connect to clamd server using unix/network socket. ({'; '.join(reasons)})"
    )


def _connected(family: int, address: Any, timeout: float) -> socket.socket:
    if family != socket.AF_UNIX:
        return socket.create_connection(address, timeout)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _command(sock: socket.socket, deadline: Deadline, send: Callable[[], None]) -> str:
    """Send a command and read its answer: one line, ended by NUL.

    An answer given before clamd has read everything does not count, unless it is an error.
    """
    is_sent = False
    try:
        sock.settimeout(deadline.remaining())
        try:
            send()
            is_sent = True
        except (BrokenPipeError, ConnectionResetError):
            # clamd has closed the stream early, and its reason is waiting to be read.
            pass
        answer = _receive(sock, deadline)
        if sock.family == socket.AF_UNIX and _unread_by_peer(sock):
            is_sent = False
    except TimeoutError as error:
        raise ScanTimeoutError(deadline.seconds) from error
    except OSError as error:
        raise ScannerUnavailableError(f"the connection to clamd broke: {error}") from error
    text = answer[:-1].decode("utf-8", "replace")
    if not is_sent and not text.endswith("ERROR"):
        raise ScanError(f"clamd answered before it had read everything: {text[:500]!r}")
    return text


def _receive(sock: socket.socket, deadline: Deadline) -> bytes:
    answer = b""
    while not answer.endswith(b"\0"):
        sock.settimeout(deadline.remaining())
        data = sock.recv(4096)
        if not data:
            raise ScannerUnavailableError(
                f"clamd closed the connection in its answer: {answer[:500]!r}"
                if answer
                else "clamd closed the connection without an answer"
            )
        answer += data
        if len(answer) > _MAX_ANSWER:
            raise ScanError(f"clamd gave an endless answer: {answer[:100]!r}")
    return answer


def _send_stream(sock: socket.socket, deadline: Deadline, pieces: Iterable[bytes]) -> None:
    sock.sendall(b"zINSTREAM\0")
    for piece in pieces:
        if piece:
            sock.settimeout(deadline.remaining())
            sock.sendall(_LENGTH.pack(len(piece)) + piece)
    if select.select([sock], [], [], 0)[0]:
        raise BrokenPipeError  # an answer, before the end
    sock.sendall(_LENGTH.pack(0))


def _send_descriptor(sock: socket.socket, descriptor: int) -> None:
    sock.sendall(b"zFILDES\0")
    socket.send_fds(sock, [b"\0"], [descriptor])


def _unread_by_peer(sock: socket.socket) -> int:
    """Bytes that the other end of a Unix socket has not read."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
