#!/usr/bin/env python3
"""Sets up, looks into and tries out the services of edeposit.amqp; see ``--help``."""

import sys

from edeposit.amqp.tool import main

if __name__ == "__main__":
    sys.exit(main())
