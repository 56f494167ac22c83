"""A found record with what was read from it."""

import logging
from collections import namedtuple
from typing import Any

from edeposit.amqp.aleph.datastructures.eperiodical import EPeriodical
from edeposit.amqp.aleph.datastructures.epublication import EPublication
from edeposit.amqp.aleph.datastructures.semanticinfo import EPeriodicalSemanticInfo, SemanticInfo
from edeposit.amqp.aleph.exceptions import AlephException
from edeposit.amqp.aleph.marcxml import MarcRecord, as_record

logger = logging.getLogger(__name__)


class AlephRecord(
    namedtuple(
        "AlephRecord",
        ["base", "library", "docNumber", "xml", "parsed_info", "semantic_info"],
        defaults=[None, None],
    )
):
    """A record of the catalogue.

    Attributes:
        base (str): where it was found; None for a document asked for by its number.
        library (str): such as ``CZE01``.
        docNumber (str): with its zeros; ``-1`` if it is not known.
        xml (str): the server's reply; a parsed record may be given, its text is kept.
        parsed_info: ``EPublication`` or ``EPeriodical``; read from ``xml`` if it is not given.
        semantic_info: ``SemanticInfo`` or ``EPeriodicalSemanticInfo``; likewise.

    Making one never fails over the content of ``xml``: what cannot be read stays None.
    """

    __slots__ = ()

    def __new__(
        cls,
        base: str | None,
        library: str,
        docNumber: str,
        xml: Any,
        parsed_info: Any = None,
        semantic_info: Any = None,
    ) -> "AlephRecord":
        if xml and (parsed_info is None or semantic_info is None):
            try:
                record = as_record(xml)
                continuing = record.is_continuing
                if semantic_info is None:
                    semantic = EPeriodicalSemanticInfo if continuing else SemanticInfo
                    semantic_info = semantic.from_xml(record)
                if parsed_info is None:
                    parsed_info = (EPeriodical if continuing else EPublication).from_xml(record)
            except AlephException as error:
                logger.warning("record %s of %s cannot be read: %s", docNumber, library, error)
        if isinstance(xml, MarcRecord):
            xml = xml.xml
        elif isinstance(xml, bytes):
            xml = xml.decode("utf-8", "replace")
        return super().__new__(cls, base, library, docNumber, xml, parsed_info, semantic_info)
