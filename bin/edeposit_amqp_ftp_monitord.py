#!/usr/bin/env python3
"""Daemon that follows ProFTPD's log and sends an ``ImportRequest`` for each import."""

import os
import sys

from edeposit.amqp.service import command_line, sender_main


def make_work(args):
    from edeposit.amqp.ftp import monitor

    return monitor.prepare(args.filename)


if __name__ == "__main__":
    parser = command_line("Sends an ImportRequest for each import that an FTP user starts.")
    parser.add_argument(
        "-n",
        "--filename",
        metavar="LOG",
        type=os.path.abspath,
        help="ProFTPD's extended log; default: the setting LOG_FILE",
    )
    sys.exit(sender_main("ftp_monitor", "ftp", make_work, parser=parser))
