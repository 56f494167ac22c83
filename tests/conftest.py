"""The project's own tests use its test kit as anybody else would."""

pytest_plugins = ["edeposit.amqp.testing.pytest_plugin"]
