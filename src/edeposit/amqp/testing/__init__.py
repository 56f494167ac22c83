"""Real servers for tests: RabbitMQ, a proxy that breaks connections, clamd, ProFTPD, web sites.

Everything listens on 127.0.0.1 on free ports, lives in a temporary directory and ends with the
program that started it. ``pytest_plugin`` has the fixtures. Needs the Debian packages
``rabbitmq-server`` and, for ``ClamdServer``, ``clamav-daemon``, for ``ProftpdServer``,
``proftpd-core``.
"""

from edeposit.amqp.testing._clamd import EICAR, ClamdServer
from edeposit.amqp.testing._node import RabbitNode
from edeposit.amqp.testing._proftpd import ProftpdServer
from edeposit.amqp.testing._proxy import Proxy
from edeposit.amqp.testing._site import SiteServer
from edeposit.amqp.testing._waiting import wait_for

__all__ = ["EICAR", "ClamdServer", "ProftpdServer", "Proxy", "RabbitNode", "SiteServer", "wait_for"]
