"""Learns where the values are in the pages of a site, from examples, and writes a source file or
a standalone parser.

``learn`` is the whole of it as a library; :mod:`.program` is the command line.
"""

from edeposit.amqp.harvester.autoparser.examples import AutoparserError, Example, Wanted
from edeposit.amqp.harvester.autoparser.learning import Learned, learn

__all__ = ["AutoparserError", "Example", "Learned", "Wanted", "learn"]
