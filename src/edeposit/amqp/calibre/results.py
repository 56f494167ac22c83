"""Reads the result of a conversion as untrusted data.

The e-book may have taken over the converter, and the daemon may run as root. What must stay true:
no link is followed, only regular files are opened, nothing is written into the conversion's
directory, and the amount read is bounded.
"""

import contextlib
import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edeposit.amqp.calibre import settings

# Opening a FIFO must not block.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NOTHING = "Conversion failed:\ncalibre has written nothing, though without an error"


@contextlib.contextmanager
def opened(target: Path, output_format: str) -> Iterator[IO[bytes]]:
    """Open the result of a conversion.

    Args:
        target: the converter's output path.
        output_format: as the client names it; ``oeb`` is packed, ``pml`` is unpacked.

    Raises:
        UserWarning: there is none, or it is empty or too large.
    """
    with contextlib.ExitStack() as stack:
        try:
            if output_format == "oeb":
                file = stack.enter_context(_packed(target))
            elif output_format == "pml":
                file = _unpacked(stack.enter_context(_regular(target)))
            else:
                file = stack.enter_context(_regular(target))
        except (OSError, zipfile.BadZipFile) as error:
            raise UserWarning(f"{_NOTHING}: {error}") from error
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if not size:
            raise UserWarning(f"{_NOTHING}.")
        _check_size(size)
        yield file


def _check_size(size: int) -> None:
    if size > settings.MAX_OUTPUT_SIZE:
        raise UserWarning(
            f"Conversion failed:\nThe result has {size} bytes, more than {settings.MAX_OUTPUT_SIZE}"
            " (MAX_OUTPUT_SIZE)."
        )


def _regular(name: Path | str, directory: int | None = None) -> IO[bytes]:
    descriptor = os.open(name, _FLAGS, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{os.path.basename(name)} is no file")
    return open(descriptor, "rb")


def _packed(directory: Path) -> IO[bytes]:
    """The files of a directory as a zip, in no file that has a name."""
    result = tempfile.TemporaryFile()  # noqa: SIM115  (returned open)
    total = 0
    root = os.open(directory, _FLAGS | os.O_DIRECTORY)
    try:
        with zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, directories, names, descriptor in os.fwalk(".", dir_fd=root):
                directories.sort()
                for name in sorted(names):
                    with contextlib.suppress(OSError), _regular(name, descriptor) as file:
                        total += os.fstat(file.fileno()).st_size
                        _check_size(total)
                        archive.writestr(os.path.normpath(f"{path}/{name}"), file.read())
            if not archive.namelist():
                raise OSError(f"{directory.name} is an empty directory")
    except BaseException:
        result.close()
        raise
    finally:
        os.close(root)
    return result


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    """The text in a PML archive."""
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.filename.lower().endswith(".pml"):
                _check_size(info.file_size)
                return io.BytesIO(archive.read(info))
    return io.BytesIO()
