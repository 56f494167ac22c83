#!/usr/bin/env python3
"""Tries the harvester's sources without a broker: ``edeposit_amqp_harvester.py -r --dry-run``."""

import sys

from edeposit.amqp.programs.extras import run

if __name__ == "__main__":
    sys.exit(run("edeposit.amqp.programs.harvest", "harvester", "try_main"))
