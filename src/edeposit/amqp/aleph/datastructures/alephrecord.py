"""A record of the catalogue and what is read from it."""

import logging
from collections import namedtuple
from typing import Any

from edeposit.amqp.aleph.datastructures.eperiodical import EPeriodical
from edeposit.amqp.aleph.datastructures.epublication import EPublication
from edeposit.amqp.aleph.datastructures.semanticinfo import EPeriodicalSemanticInfo, SemanticInfo
from edeposit.amqp.aleph.exceptions import AlephException
from edeposit.amqp.aleph.marcxml import MarcRecord, as_record
from edeposit.amqp.aleph.xmltext import decode

logger = logging.getLogger(__name__)


class AlephRecord(
    namedtuple(
        "AlephRecord",
        "base library docNumber xml parsed_info semantic_info",
        defaults=[None, None],
    )
):
    """A record of the catalogue.

    Building one parses nothing, as any message may name this class. ``read`` fills both infos; an
    info that a record came without is read from ``xml`` each time it is asked for.

    Attributes:
        base (str): where it was found; None for a document asked for by its number.
        library (str): such as ``CZE01``.
        docNumber (str): with its zeros; ``-1`` if it is not known.
        xml (str): the server's reply; of bytes or a parsed record, the text is kept.
        parsed_info: ``EPublication`` or ``EPeriodical``; None if the record is deleted or
            unreadable.
        semantic_info: ``SemanticInfo`` or ``EPeriodicalSemanticInfo``; None if the record is
            unreadable.
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
        if isinstance(xml, MarcRecord):
            xml = xml.xml
        elif isinstance(xml, bytes):
            xml = decode(xml)
        return super().__new__(cls, base, library, docNumber, xml, parsed_info, semantic_info)

    @classmethod
    def read(
        cls, base: str | None, library: str, docNumber: str, xml: str | bytes | MarcRecord
    ) -> "AlephRecord":
        """A record with both infos. What cannot be read stays None, which is logged."""
        semantic_info, parsed_info = None, None
        try:
            xml = as_record(xml)
            continuing = xml.is_continuing
            semantic_class = EPeriodicalSemanticInfo if continuing else SemanticInfo
            semantic_info = semantic_class.from_xml(xml)
            parsed_info = (EPeriodical if continuing else EPublication).from_xml(xml)
        except AlephException as error:
            logger.warning("record %s of %s cannot be read: %s", docNumber, library, error)
        return cls(base, library, docNumber, xml, parsed_info, semantic_info)

    @property
    def parsed_info(self) -> Any:
        return self._info("parsed_info")

    @property
    def semantic_info(self) -> Any:
        return self._info("semantic_info")

    def _info(self, name: str) -> Any:
        position = self._fields.index(name)
        if self[position] is None and self.xml:
            return self.read(self.base, self.library, self.docNumber, self.xml)[position]
        return self[position]
