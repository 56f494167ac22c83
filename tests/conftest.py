"""The project's own tests use its test kit as anybody else would."""

pytest_plugins = ["edeposit.amqp.testing.pytest_plugin"]


def pytest_xdist_make_scheduler(config, log):
    """Tests go to whichever worker is free; those of calibre, which count the converters that run
    on this machine, all to one."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "calibre" if "calibre" in nodeid.partition("::")[0] else nodeid

    return Scheduling(config, log)
