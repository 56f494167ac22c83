"""Settings of the defaults, state and cache below the test's own directory."""

import pytest

from edeposit.amqp.harvester import settings


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An own home directory; no setting comes from outside."""
    for name in settings.get_all_constants():
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings.reload()
    yield tmp_path
    monkeypatch.undo()
    settings.reload()
