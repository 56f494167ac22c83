"""Requests and answers of the calibre service, as they travel."""

from collections import namedtuple

INPUT_FORMATS = [
    "cbz",
    "cbr",
    "cbc",
    "chm",
    "djvu",
    "docx",
    "epub",
    "fb2",
    "html",
    "htmlz",
    "lit",
    "lrf",
    "mobi",
    "odt",
    "pdf",
    "prc",
    "pdb",
    "pml",
    "rb",
    "rtf",
    "snb",
    "tcr",
    "txt",
    "txtz",
    # Not in the first generation:
    "azw3",
    "azw",
]
OUTPUT_FORMATS = [
    "azw3",
    "epub",
    "fb2",
    "oeb",
    "lit",
    "lrf",
    "mobi",
    "htmlz",
    "pdb",
    "pml",
    "rb",
    "pdf",
    "rtf",
    "snb",
    "tcr",
    "txt",
    "txtz",
    "docx",
]


class ConversionRequest(
    namedtuple("ConversionRequest", ["input_format", "output_format", "b64_data"])
):
    """Request: convert an e-book.

    Attributes:
        input_format (str): one of ``INPUT_FORMATS``.
        output_format (str): one of ``OUTPUT_FORMATS``.
        b64_data (str): the e-book in base64.

    Raises:
        ValueError: a format is not supported.
    """

    __slots__ = ()

    def __new__(cls, input_format: str, output_format: str, b64_data: str) -> "ConversionRequest":
        if input_format not in INPUT_FORMATS:
            raise ValueError("Unsupported input format!")
        if output_format not in OUTPUT_FORMATS:
            raise ValueError("Unsupported output format!")
        return super().__new__(cls, input_format, output_format, b64_data)


class ConversionResponse(namedtuple("ConversionResponse", ["format", "b64_data", "protocol"])):
    """Answer to ``ConversionRequest``.

    Attributes:
        format (str): of the converted e-book.
        b64_data (str): the converted e-book in base64; ``oeb`` is a directory, packed as zip.
        protocol (str): what calibre has said while converting.
    """

    __slots__ = ()


class ConversionProgress(namedtuple("ConversionProgress", ["percent", "message"])):
    """Progress of a conversion, for callers who have asked for it.

    Attributes:
        percent (int): 0 to 100.
        message (str): what calibre is doing.
    """

    __slots__ = ()


class CancelConversion(namedtuple("CancelConversion", ["uuid"])):
    """Request: end a running conversion, which is then answered with an exception.

    Attributes:
        uuid (str): of the message that asked for the conversion.
    """

    __slots__ = ()


class ConversionCancelled(namedtuple("ConversionCancelled", ["uuid", "was_running"])):
    """Answer to ``CancelConversion``.

    Attributes:
        uuid (str): of the request.
        was_running (bool): whether this daemon ran that conversion.
    """

    __slots__ = ()
