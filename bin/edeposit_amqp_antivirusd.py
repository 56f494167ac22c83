#!/usr/bin/env python3
"""Daemon of the virus scanner: puts ``edeposit.amqp.antivirus`` behind RabbitMQ."""

import sys

from edeposit.amqp.service import main

if __name__ == "__main__":
    sys.exit(main("antivirus"))
