"""A private clamd, and settings that lead to it."""

import base64

import pytest

from edeposit.amqp.antivirus import settings
from edeposit.amqp.testing import ClamdServer


def b64(data):
    return base64.b64encode(data).decode("ascii")


@pytest.fixture(scope="session")
def shared_clamd():
    with ClamdServer(["StreamMaxLength 40M"]) as server:
        yield server


def lead_to(monkeypatch, server, **more):
    """Set the service's environment for a clamd."""
    values = {
        "LOCALSOCKET": server.socket_path,
        "CONF_PATH": str(server.config_file),
        "DATABASE_DIR": str(server.database),
        **more,
    }
    for name, value in values.items():
        monkeypatch.setenv(f"ANTIVIRUS_{name}", value)
    settings.reload()


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch, tmp_path):
    for name in settings.get_all_constants():
        monkeypatch.delenv(f"ANTIVIRUS_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings.reload()
    yield
    monkeypatch.undo()
    settings.reload()


@pytest.fixture
def clamd(shared_clamd, monkeypatch):
    lead_to(monkeypatch, shared_clamd)
    return shared_clamd
