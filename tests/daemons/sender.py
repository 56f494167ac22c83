"""A daemon that sends numbers, for the tests of ``SenderDaemon``; environment: SENDER_*."""

import os
import sys

from edeposit.amqp.engine.parameters import getConParams
from edeposit.amqp.errors import MessageTooLargeError
from edeposit.amqp.senderdaemon import SenderDaemon


def work(send, stop):
    what = os.environ.get("SENDER_WHAT", "count")
    if what == "fail":
        raise RuntimeError("as it was told")
    if what == "return":
        send("only", "u-only")
        return
    if what == "large":
        try:
            send("x" * 3_000_000, "u-large")
        except MessageTooLargeError as error:
            send(f"{error.limit}", "u-small")
    if what == "unserializable":
        send(object(), "u-bad")
    number = 0
    while not stop.wait(0.01):
        send(number, f"u-{number}")
        number += 1


if __name__ == "__main__":
    daemon = SenderDaemon(
        getConParams(os.environ["SENDER_VHOST"]), "echo", "result", work, name="sender"
    )
    sys.exit(daemon.foreground() if sys.argv[1] == "run" else daemon.run_daemon(sys.argv[1]))
