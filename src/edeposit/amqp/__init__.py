"""Python functions as Unix daemons behind RabbitMQ.

Importing this package opens nothing and reads nothing; each layer is a module of its own (see
``docs/architecture``). ``edeposit`` itself is an implicit namespace package, so that other
distributions can put their modules beside this one.
"""

__version__ = "2.0.0"
