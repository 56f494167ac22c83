"""What the catalogue asks about an ISBN; the reader is ``formats.isbn``."""

from typing import Any

from edeposit.amqp.formats import isbn

_CZECH = ("80", "97880")


def is_valid(text: Any) -> bool:
    """Whether a text consists of one valid ISBN; see ``formats.isbn.read`` for its spellings.

    Raises:
        ValueError: it is not a text.
    """
    if not isinstance(text, str):
        raise ValueError(f"An ISBN must be a text, not {type(text).__name__}.")
    return isbn.is_valid(text)


def is_czech(text: str) -> bool:
    """Whether a valid ISBN belongs to the Czech (and Slovak) registration group 80.

    Raises:
        ValueError: the text is not a valid ISBN.
    """
    return isbn.read(text).replace("-", "").startswith(_CZECH)


#: The first generation's name.
is_valid_isbn = is_valid
