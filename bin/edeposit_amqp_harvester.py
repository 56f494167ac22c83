#!/usr/bin/env python3
"""Sends the new books of publishers' pages to RabbitMQ, once or as a periodic daemon."""

import sys

from edeposit.amqp.programs.harvest import main

if __name__ == "__main__":
    sys.exit(main())
