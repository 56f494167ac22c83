"""The project's own tests use its test kit as anybody else would."""

import hypothesis
import pytest

# Tests assert nothing about time; a loaded machine is no failure.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

pytest_plugins = ["edeposit.amqp.testing.pytest_plugin"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Hostile texts are logged; what a worker reports has to be UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8"))
        for name, text in report.sections
    ]
    return report


@pytest.fixture
def limit_messages(rabbit):
    """A function that sets the size (bytes) of the largest message the running broker takes."""

    def limit(size):
        # RabbitMQ reads it from the one or the other place, by its version.
        rabbit.ctl(
            "eval",
            f"application:set_env(rabbit, max_message_size, {size}),"
            f" persistent_term:put(max_message_size, {size}).",
        )

    before = rabbit.ctl("eval", "rabbit_misc:get_env(rabbit, max_message_size, 16777216).")
    yield limit
    limit(int(before))


def pytest_xdist_make_scheduler(config, log):
    """Tests go to whichever worker is free; those of calibre, which count the converters that run
    on this machine, all to one."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "calibre" if "calibre" in nodeid.partition("::")[0] else nodeid

    return Scheduling(config, log)
