"""A small Aleph server for people who have none: demos, tests, development.

``python -m edeposit.amqp.aleph.simulator`` serves a catalogue of works in the public domain, or a
folder of MARC records in XML, over the operations that the service uses: find, present,
ill_get_set, ill_get_doc, find_doc, the page of bases, and the export form. It listens on
127.0.0.1 unless it is told otherwise, and forgets everything when it ends.
"""

from edeposit.amqp.aleph.simulator.catalogue import Catalogue
from edeposit.amqp.aleph.simulator.server import AlephSimulator

__all__ = ["AlephSimulator", "Catalogue"]
