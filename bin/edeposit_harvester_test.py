#!/usr/bin/env python3
"""Tries the harvester's sources without a broker: ``edeposit_amqp_harvester.py -r --dry-run``."""

import sys

from edeposit.amqp.programs.harvest import try_main

if __name__ == "__main__":
    sys.exit(try_main())
