"""Conversion of e-books by calibre's ``ebook-convert``.

What must stay true: the exit code decides, not a phrase in the output; a failure says why,
calibre's own last line first; files are decoded and encoded in pieces.
"""

import base64
import binascii
import os
import re
from pathlib import Path
from typing import IO

from edeposit.amqp.calibre import results, runner, settings
from edeposit.amqp.calibre.runner import OnProgress
from edeposit.amqp.calibre.structures import (
    INPUT_FORMATS,
    OUTPUT_FORMATS,
    ConversionResponse,
)
from edeposit.amqp.calibre.workdir import work_directory

# Of base64; a multiple of four characters is a whole number of bytes.
_PIECE = 4 * 256 * 1024
_MAX_REASON = 64 * 1024
_WHITESPACE = re.compile(r"\s+")
_NOISE = re.compile(
    r"^(QStandardPaths: |qt\.webenginecontext: |No suitable graphics backend found)"
)
# What calibre itself calls some formats.
_OUTPUT_SUFFIX = {"pml": "pmlz"}
# A link in HTML must not pull in other files.
_INPUT_OPTIONS = {"html": ["--max-levels", "0"], "htmlz": ["--max-levels", "0"]}


def convert(
    input_format: str, output_format: str, b64_data: str, on_progress: OnProgress | None = None
) -> ConversionResponse:
    """Convert an e-book.

    Args:
        input_format: one of ``INPUT_FORMATS``.
        output_format: one of ``OUTPUT_FORMATS``.
        b64_data: the e-book in base64; white space in it is skipped.
        on_progress: called with per cent and text.

    Raises:
        AssertionError: a format is not supported.
        ValueError: not base64, or larger than MAX_INPUT_SIZE.
        UserWarning: the conversion failed; the text says why.
        ConverterUnavailableError: calibre is not installed.
        OSError: the working directory cannot be made or written.
    """
    if input_format not in INPUT_FORMATS:
        raise AssertionError("Unsupported input format!")
    if output_format not in OUTPUT_FORMATS:
        raise AssertionError("Unsupported output format!")
    with work_directory() as work:
        source = work / f"input.{input_format}"
        _write_decoded(b64_data, source)
        if not source.stat().st_size and input_format != "txt":
            raise UserWarning(f"Conversion failed:\nThe {input_format} file is empty.")
        target = work / f"output.{_OUTPUT_SUFFIX.get(output_format, output_format)}"
        outcome = runner.run(
            work,
            [source.name, target.name, *_INPUT_OPTIONS.get(input_format, [])],
            # Chromium, which makes the pdf, reserves far more addresses than it uses.
            limit_address_space=output_format != "pdf",
            on_progress=on_progress,
        )
        _check(outcome, work)
        with results.opened(target, output_format) as result:
            data = _read_encoded(result)
        return ConversionResponse(output_format, data, _readable(outcome.stdout, work))


def _write_decoded(b64_data: str, path: Path) -> None:
    if not isinstance(b64_data, str):
        raise ValueError("b64_data is not a text")
    limit = settings.MAX_INPUT_SIZE
    if len(b64_data) > limit * 2 or len(b64_data) * 3 // 4 - 2 > limit * 1.1:
        raise ValueError(f"The e-book is larger than {limit} bytes.")
    text = _WHITESPACE.sub("", b64_data)
    size = 0
    # A new file, or none: never through a link that somebody has put there.
    with open(path, "xb") as file:
        for start in range(0, len(text), _PIECE):
            try:
                piece = base64.b64decode(text[start : start + _PIECE], validate=True)
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"b64_data is not base64: {error}") from error
            size += len(piece)
            if size > limit:
                raise ValueError(f"The e-book is larger than {limit} bytes.")
            file.write(piece)
        os.fchmod(file.fileno(), 0o644)  # the account that converts reads it


def _check(outcome: runner.Outcome, work: Path) -> None:
    if outcome.killed_because:
        raise UserWarning(f"Conversion failed:\n{outcome.killed_because}\n{_reason(outcome, work)}")
    if outcome.exit_code:
        raise UserWarning(f"Conversion failed:\n{_reason(outcome, work)}")


def _reason(outcome: runner.Outcome, work: Path) -> str:
    """What calibre said: its last line first, then all of it, cut at the begin."""
    text = _readable(f"{outcome.stdout}\n{outcome.stderr}", work)
    lines = text.splitlines()
    if not lines:
        return f"ebook-convert ended with code {outcome.exit_code} and said nothing."
    everything = "\n".join(lines)[-_MAX_REASON:]
    return f"{lines[-1][:1000]}\n\n{everything}"


def _readable(text: str, work: Path) -> str:
    """Without the noise of Qt and the name of the working directory."""
    for prefix in (f"{work}/", "/work/"):
        text = text.replace(prefix, "")
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not _NOISE.match(line))


def _read_encoded(file: IO[bytes]) -> str:
    pieces = []
    while piece := file.read(3 * 256 * 1024):
        pieces.append(base64.b64encode(piece).decode("ascii"))
    return "".join(pieces)
