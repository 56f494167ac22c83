#!/usr/bin/env python3
"""Daemon of the e-book conversion: puts ``edeposit.amqp.calibre`` behind RabbitMQ."""

import sys

from edeposit.amqp.service import main

if __name__ == "__main__":
    sys.exit(main("calibre"))
