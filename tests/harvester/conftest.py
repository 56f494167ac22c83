"""Settings of each test's own, and sites that the harvester is led to."""

import pytest

from edeposit.amqp.harvester import settings
from edeposit.amqp.testing import SiteServer


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch, tmp_path):
    for name in settings.get_all_constants():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HARVESTER_CACHE", str(tmp_path / "pages.sqlite"))
    monkeypatch.setenv("DUP_FILTER_DATABASE", str(tmp_path / "harvester.sqlite"))
    monkeypatch.setenv("HARVESTER_RETRIES", "0")
    settings.reload()
    yield
    monkeypatch.undo()
    settings.reload()


@pytest.fixture
def serve(monkeypatch):
    """Start a site that plays some hosts, and lead the harvester to it."""
    servers = []

    def start(hosts, **options):
        server = SiteServer(hosts, **options)
        server.__enter__()
        servers.append(server)
        for name, value in server.env().items():
            monkeypatch.setenv(name, value)
        settings.reload()
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)
