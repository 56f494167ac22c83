#!/usr/bin/env python3
"""Puts programs, units and manual where the system looks for them; see ``--help``."""

import sys

from edeposit.amqp.programs.install import run

if __name__ == "__main__":
    sys.exit(run())
