"""What is wrong with a publisher's metadata."""


class MetaParsingException(UserWarning):
    """The metadata cannot be read; the text is for the publisher."""
