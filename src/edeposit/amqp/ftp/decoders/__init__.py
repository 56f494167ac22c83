"""Publishers' metadata: CSV, JSON, XML and YAML, all saying the same things of a book."""

import os
from typing import TYPE_CHECKING

from edeposit.amqp.ftp.decoders import charset, parser_csv, parser_json, parser_xml, parser_yaml
from edeposit.amqp.ftp.decoders.fields import Field, FieldParser, canonical_isbn, is_valid_isbn
from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException

if TYPE_CHECKING:
    from edeposit.amqp.aleph.datastructures.epublication import EPublication

__all__ = [
    "SUPPORTED_FILES",
    "Field",
    "FieldParser",
    "MetaParsingException",
    "as_text",
    "canonical_isbn",
    "is_valid_isbn",
    "parse_meta",
]

SUPPORTED_FILES = {
    "csv": parser_csv.decode,
    "json": parser_json.decode,
    "xml": parser_xml.decode,
    "yaml": parser_yaml.decode,
    "yml": parser_yaml.decode,
}


def parse_meta(filename: str, data: str | bytes) -> "EPublication":
    """Read a file of metadata.

    Args:
        filename: its suffix tells the format.
        data: its content; bytes are decoded as ``charset.as_text`` says.

    Raises:
        MetaParsingException: unknown suffix, broken content, missing or wrong fields.
    """
    name = os.path.basename(filename)
    if "." not in name:
        raise MetaParsingException(f"Can't recognize type of your metadata ('{filename}')!")
    suffix = _suffix(name)
    if suffix not in SUPPORTED_FILES:
        raise MetaParsingException(f"Can't parse file of type '{suffix}'!")
    text = charset.as_text(suffix, data) if isinstance(data, bytes) else data
    parser = FieldParser()
    for key, value in SUPPORTED_FILES[suffix](text.removeprefix("\ufeff")).items():
        parser.process(key, value)
    return parser.get_epublication()


def as_text(filename: str, data: bytes) -> str:
    """The text of a file of metadata.

    Raises:
        MetaParsingException: its charset is not known.
    """
    return charset.as_text(_suffix(filename), data)


def _suffix(filename: str) -> str:
    return filename.rpartition(".")[2].lower()
