"""The errors of the calibre service that are its own.

What a client sees of a failed conversion is a plain ``UserWarning``, as in the first generation.
"""


class ConverterUnavailableError(Exception):
    """``ebook-convert``, its account or its sandbox is not there; the text says what to install."""
