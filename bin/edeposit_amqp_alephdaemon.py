#!/usr/bin/env python3
"""Daemon of the library catalogue: puts ``edeposit.amqp.aleph`` behind RabbitMQ."""

import sys

from edeposit.amqp.service import main

if __name__ == "__main__":
    sys.exit(main("aleph"))
