"""clamd's protocol: INSTREAM for content from memory, FILDES for a file of ours (clamd(8)).

The package ``clamd`` from PyPI sends with ``send`` in 1 KiB pieces, loses clamd's explanation of a
refused stream and knows no FILDES; the part of the protocol that is needed is small. Each call has
a socket of its own, so threads need no lock.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from edeposit.amqp.antivirus import conf_writer, settings
from edeposit.amqp.antivirus.exceptions import (
    FileTooLargeError,
    NotScannedError,
    ScanError,
    ScannerUnavailableError,
)

CHUNK = 64 * 1024
_LENGTH = struct.Struct(">I")
# Names that clamd gives to what it did not look through; neither clean nor malware.
_NOT_SCANNED = ("Heuristics.Limits.Exceeded", "Heuristics.Encrypted")
Result = dict[str, tuple[str, str]]


def scan_file(path: str) -> Result:
    """Scan a file by handing its descriptor to clamd (its content, over TCP).

    Args:
        path: of the file; only we need to be able to read it.

    Returns:
        ``{path: ("FOUND", name)}``, or ``{}`` for a clean file.

    Raises:
        AssertionError: there is no such file.
        ScanError: it was not, or not fully, scanned; ``ValueError`` like its children.
    """
    if not os.path.isfile(path):
        raise AssertionError(f"Unreachable file '{path}'.")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        check_size(path, size)
        with _connection() as sock:
            if sock.family == socket.AF_UNIX:
                answer = _command(sock, lambda: _send_descriptor(sock, file.fileno()))
            else:
                pieces = iter(lambda: file.read(CHUNK), b"")
                answer = _command(sock, lambda: _send_stream(sock, pieces))
    return parse_answer(path, answer)


def scan_stream(filename: str, pieces: Iterable[bytes]) -> Result:
    """Scan content from memory; nothing is written to disk by us.

    Args:
        filename: key of the result, and for error texts.
        pieces: the content, in order.

    Returns:
        As ``scan_file``.

    Raises:
        ScanError: it was not, or not fully, scanned.
    """
    with _connection() as sock:
        answer = _command(sock, lambda: _send_stream(sock, pieces))
    return parse_answer(filename, answer)


def version() -> str:
    """clamd's answer to VERSION: engine, database number and its date.

    Raises:
        ScannerUnavailableError: clamd cannot be reached.
    """
    with _connection() as sock:
        return _command(sock, lambda: sock.sendall(b"zVERSION\0"))


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


def has_blind_spot() -> bool:
    """Does clamd's configuration let it cut members of archives without a word?

    See ``conf_writer.has_blind_spot``; False if the configuration cannot be read.
    """
    configuration = _configuration()
    return configuration is not None and conf_writer.has_blind_spot(configuration)


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
        ScanError: clamd reports an error, or says something unknown.
    """
    text, _, status = answer.rpartition(" ")
    name = text.rpartition(": ")[2]
    if status == "OK" and not name.endswith(" FOUND"):
        return {}
    if status == "FOUND":
        if name.startswith(_NOT_SCANNED):
            raise NotScannedError(f"{filename!r} was not fully scanned: {name}")
        return {filename: ("FOUND", name)}
    raise ScanError(f"{filename!r} was not scanned, clamd says: {answer}")


@contextlib.contextmanager
def _connection() -> Iterator[socket.socket]:
    """A socket that has been connected: the Unix one, else TCP."""
    attempts: list[tuple[int, Any]] = [(socket.AF_UNIX, settings.LOCALSOCKET)]
    if settings.CLAMD_HOST:
        attempts.append((socket.AF_INET, (settings.CLAMD_HOST, settings.CLAMD_PORT)))
    reasons = []
    for family, address in attempts:
        try:
            if family == socket.AF_UNIX:
                sock = socket.socket(socket.AF_UNIX)
                sock.settimeout(settings.CONNECT_TIMEOUT)
                sock.connect(address)
            else:
                sock = socket.create_connection(address, settings.CONNECT_TIMEOUT)
        except OSError as error:
            if family == socket.AF_UNIX:
                sock.close()
            reasons.append(f"{address}: {error.strerror or error}")
            continue
        with sock:
            yield sock
        return
    raise ScannerUnavailableError(
        f"Couldn't connect to clamd server using unix/network socket. ({'; '.join(reasons)})"
    )


def _command(sock: socket.socket, send: Callable[[], None]) -> str:
    """Send a command and read its answer, all within SCAN_TIMEOUT."""
    deadline = time.monotonic() + settings.SCAN_TIMEOUT
    sock.settimeout(settings.SCAN_TIMEOUT)
    try:
        try:
            send()
        except (BrokenPipeError, ConnectionResetError):
            # clamd has closed the stream early, and its reason is waiting to be read.
            pass
        answer = b""
        while not answer.endswith(b"\0"):
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            data = sock.recv(4096)
            if not data:
                break
            answer += data
    except TimeoutError as error:
        raise ScannerUnavailableError(
            f"clamd gave no answer within {settings.SCAN_TIMEOUT:g} s"
        ) from error
    except OSError as error:
        raise ScannerUnavailableError(f"the connection to clamd broke: {error}") from error
    if not answer:
        raise ScannerUnavailableError("clamd closed the connection without an answer")
    return answer.rstrip(b"\0\n").decode("utf-8", "replace")


def _send_stream(sock: socket.socket, pieces: Iterable[bytes]) -> None:
    sock.sendall(b"zINSTREAM\0")
    for piece in pieces:
        if piece:
            sock.sendall(_LENGTH.pack(len(piece)) + piece)
    sock.sendall(_LENGTH.pack(0))


def _send_descriptor(sock: socket.socket, descriptor: int) -> None:
    sock.sendall(b"zFILDES\0")
    socket.send_fds(sock, [b"\0"], [descriptor])
