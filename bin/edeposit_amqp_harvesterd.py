#!/usr/bin/env python3
"""Daemon that harvests on request: puts ``edeposit.amqp.harvester`` behind RabbitMQ."""

import sys

from edeposit.amqp.service import main

if __name__ == "__main__":
    sys.exit(main("harvester"))
