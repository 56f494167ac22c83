#!/usr/bin/env python3
"""Daemon of the FTP users: puts ``edeposit.amqp.ftp`` behind RabbitMQ."""

import sys

from edeposit.amqp.service import main

if __name__ == "__main__":
    sys.exit(main("ftp"))
