"""Fixtures for tests with a real broker: ``rabbit``, ``vhost``, ``proxy``.

Use it with ``pytest_plugins = ["edeposit.amqp.testing.pytest_plugin"]`` in ``conftest.py``.
"""

import uuid
from collections.abc import Iterator

import pytest

from edeposit.amqp.testing import Proxy, RabbitNode


@pytest.fixture(scope="session")
def rabbit() -> Iterator[RabbitNode]:
    """A private RabbitMQ node, one for the whole run."""
    with RabbitNode() as node:
        yield node


@pytest.fixture
def vhost(rabbit: RabbitNode) -> Iterator[str]:
    """The name of a fresh virtual host, deleted afterwards."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    rabbit.add_vhost(name)
    yield name
    rabbit.delete_vhost(name)


@pytest.fixture
def proxy(rabbit: RabbitNode) -> Iterator[Proxy]:
    """A fault proxy before the node."""
    with Proxy(rabbit.host, rabbit.port) as proxy:
        yield proxy
