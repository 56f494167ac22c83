"""Errors of the calibre service.

What a client sees of a failed conversion is a plain ``UserWarning``, as in the first generation.
"""


class ConverterUnavailableError(Exception):
    """``ebook-convert``, its account or its sandbox is missing; the text says what to install."""
