"""Conversion of e-books by calibre's ``ebook-convert``.

What must stay true: the exit code decides, not a phrase in the output; a failure says why,
calibre's own last line first; files are decoded and encoded in pieces.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edeposit.amqp.calibre import results, runner, settings
from edeposit.amqp.calibre.options import arguments
from edeposit.amqp.calibre.runner import OnProgress
from edeposit.amqp.calibre.structures import (
    INPUT_FORMATS,
    OUTPUT_FORMATS,
    ConversionResponse,
)
from edeposit.amqp.calibre.workdir import work_directory
from edeposit.amqp.formats.base64text import Base64Error, Base64Text, encoded

# Bytes of an e-book that TIMEOUT is for.
_USUAL_SIZE = 10 * 1024**2
_MAX_REASON = 64 * 1024
_NOISE = re.compile(
    r"^(QStandardPaths: |qt\.webenginecontext: |No suitable graphics backend found)"
)
# What calibre itself calls some formats.
_OUTPUT_SUFFIX = {"pml": "pmlz"}


def convert(
    input_format: str,
    output_format: str,
    b64_data: str,
    on_progress: OnProgress | None = None,
    *,
    charset: str = "",
    options: Mapping[str, Any] | None = None,
    job: str = "",
) -> ConversionResponse:
    """Convert an e-book.

    Args:
        input_format: one of ``INPUT_FORMATS``.
        output_format: one of ``OUTPUT_FORMATS``.
        b64_data: the e-book in base64; white space in it is skipped.
        on_progress: called with percentage and text.
        charset: of the input; empty: calibre finds it out.
        options: of ``ebook-convert``, without dashes, with their values (True for those without);
            those in ALLOWED_OPTIONS.
        job: a name by which ``runner.cancel`` ends the conversion.

    Raises:
        AssertionError: a format is not supported.
        ValueError: not base64, larger than MAX_INPUT_SIZE, or an option that is not allowed.
        UserWarning: the conversion failed; the text says why.
        ConverterUnavailableError: calibre or its sandbox is not installed.
        OSError: the working directory cannot be made or written.
    """
    if input_format not in INPUT_FORMATS:
        raise AssertionError("Unsupported input format!")
    if output_format not in OUTPUT_FORMATS:
        raise AssertionError("Unsupported output format!")
    content = _content(b64_data)
    suffix = _OUTPUT_SUFFIX.get(output_format, output_format)
    more = arguments(input_format, suffix, charset, options)
    with work_directory() as work:
        source = work / f"input.{input_format}"
        _write(content, source)
        if not content.size and input_format != "txt":
            raise UserWarning(f"Conversion failed:\nThe {input_format} file is empty.")
        target = work / f"output.{suffix}"
        outcome = runner.run(
            work,
            [source.name, target.name, *more],
            # Chromium, which makes the pdf, reserves far more addresses than it uses.
            limit_address_space=output_format != "pdf",
            on_progress=on_progress,
            timeout=settings.TIMEOUT * max(1.0, content.size / _USUAL_SIZE),
            job=job,
        )
        _check(outcome, work)
        with results.opened(target, output_format) as result:
            data = encoded(result)
        return ConversionResponse(output_format, data, _readable(outcome.stdout, work))


def _content(b64_data: str) -> Base64Text:
    try:
        content = Base64Text(b64_data)
        size = content.size
    except Base64Error as error:
        raise ValueError(f"b64_data is {error}") from error
    if size > settings.MAX_INPUT_SIZE:
        raise ValueError(f"The e-book is larger than {settings.MAX_INPUT_SIZE} bytes.")
    return content


def _write(content: Base64Text, path: Path) -> None:
    # A new file, or none: never through a link that somebody has put there.
    with open(path, "xb") as file:
        try:
            for piece in content:
                file.write(piece)
        except Base64Error as error:
            raise ValueError(f"b64_data is {error}") from error
        os.fchmod(file.fileno(), 0o644)  # the account that converts reads it


def _check(outcome: runner.Outcome, work: Path) -> None:
    if outcome.killed_because:
        raise UserWarning(f"Conversion failed:\n{outcome.killed_because}\n{_reason(outcome, work)}")
    if outcome.exit_code:
        raise UserWarning(f"Conversion failed:\n{_reason(outcome, work)}")


def _reason(outcome: runner.Outcome, work: Path) -> str:
    """calibre's output: the last line first, then all of it, cut at the start."""
    text = _readable(f"{outcome.stdout}\n{outcome.stderr}", work)
    lines = text.splitlines()
    if not lines:
        return f"ebook-convert exited with code {outcome.exit_code} and printed nothing."
    everything = "\n".join(lines)[-_MAX_REASON:]
    return f"{lines[-1][:1000]}\n\n{everything}"


def _readable(text: str, work: Path) -> str:
    """The text without noise of Qt and names of the working directory."""
    for prefix in (f"{work}/", "/work/"):
        text = text.replace(prefix, "")
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not _NOISE.match(line))
