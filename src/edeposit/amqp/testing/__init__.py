"""Real servers for tests: a private RabbitMQ, a proxy that breaks connections, a private clamd.

Everything listens on 127.0.0.1 on free ports, lives in a temporary directory and ends with the
program that started it. ``pytest_plugin`` has the fixtures. Needs the Debian packages
``rabbitmq-server`` and, for ``ClamdServer``, ``clamav-daemon``.
"""

from edeposit.amqp.testing._clamd import EICAR, ClamdServer
from edeposit.amqp.testing._node import RabbitNode
from edeposit.amqp.testing._proxy import Proxy
from edeposit.amqp.testing._waiting import wait_for

__all__ = ["EICAR", "ClamdServer", "Proxy", "RabbitNode", "wait_for"]
