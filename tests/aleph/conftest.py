"""The simulator, and settings that lead to it."""

import pytest

from edeposit.amqp.aleph import settings
from edeposit.amqp.aleph.simulator import AlephSimulator, Catalogue


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch, tmp_path):
    for name in settings.get_all_constants():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings.reload()
    yield
    monkeypatch.undo()
    settings.reload()


@pytest.fixture(scope="session")
def works():
    return Catalogue.of_works()


@pytest.fixture
def simulator(works):
    with AlephSimulator(works) as simulator:
        settings.substitute_globals(
            {"ALEPH_URL": simulator.url, "ALEPH_EXPORT_URL": simulator.export_url}
        )
        yield simulator
