#!/usr/bin/env python3
"""Configures ProFTPD for the ftp service; see ``--help``."""

import sys

from edeposit.amqp.programs.extras import run

if __name__ == "__main__":
    sys.exit(run("edeposit.amqp.ftp.proftpd_init", "ftp"))
