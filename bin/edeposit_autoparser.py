#!/usr/bin/env python3
"""Learns from example pages where the values are, and writes a parser; see ``--help``."""

import sys

from edeposit.amqp.programs.extras import run

if __name__ == "__main__":
    sys.exit(run("edeposit.amqp.harvester.autoparser.program", "harvester"))
