#!/usr/bin/env python3
"""Learns from example pages where the values are, and writes a parser; see ``--help``."""

import sys

from edeposit.amqp.harvester.autoparser.program import run

if __name__ == "__main__":
    sys.exit(run())
