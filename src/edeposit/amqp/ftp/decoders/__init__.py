"""Publishers' metadata: CSV, JSON, XML and YAML, all saying the same things of a book."""

import os
from typing import TYPE_CHECKING

from edeposit.amqp.ftp.decoders import parser_csv, parser_json, parser_xml, parser_yaml
from edeposit.amqp.ftp.decoders.fields import Field, FieldParser, canonical_isbn, is_valid_isbn
from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException

if TYPE_CHECKING:
    from edeposit.amqp.aleph.datastructures.epublication import EPublication

__all__ = [
    "SUPPORTED_FILES",
    "Field",
    "FieldParser",
    "MetaParsingException",
    "canonical_isbn",
    "is_valid_isbn",
    "parse_meta",
]

SUPPORTED_FILES = {
    "csv": parser_csv.decode,
    "json": parser_json.decode,
    "xml": parser_xml.decode,
    "yaml": parser_yaml.decode,
}


def parse_meta(filename: str, data: str | bytes) -> "EPublication":
    """Read a file of metadata.

    Args:
        filename: its suffix tells the format.
        data: its content, in UTF-8.

    Raises:
        MetaParsingException: unknown suffix, broken content, missing or wrong fields.
    """
    name = os.path.basename(filename)
    if "." not in name:
        raise MetaParsingException(f"Can't recognize type of your metadata ('{filename}')!")
    suffix = name.rsplit(".", 1)[1].lower()
    if suffix not in SUPPORTED_FILES:
        raise MetaParsingException(f"Can't parse file of type '{suffix}'!")
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MetaParsingException(f"It is not UTF-8: {error}") from error
    parser = FieldParser()
    for key, value in SUPPORTED_FILES[suffix](data.removeprefix("\ufeff")).items():
        parser.process(key, value)
    return parser.get_epublication()
