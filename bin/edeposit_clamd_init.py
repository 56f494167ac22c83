#!/usr/bin/env python3
"""Configures clamd for the antivirus service; see ``--help``."""

import sys

from edeposit.amqp.programs.extras import run

if __name__ == "__main__":
    sys.exit(run("edeposit.amqp.antivirus.clamd_init", "antivirus"))
