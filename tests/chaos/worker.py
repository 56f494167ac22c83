"""The daemon of the campaign: does what the message says, and notes each run of its handler.

Environment: CHAOS_VHOST, CHAOS_NAME, CHAOS_RUNS (a file that gets a line for each run: the daemon's
name and the request's number).
"""

import os
import sys
import time
from collections import namedtuple

from edeposit.amqp.amqpdaemon import AMQPDaemon, getConParams

Work = namedtuple("Work", "number what argument")
Done = namedtuple("Done", "number")

runs = -1


def react(message, send_back):
    # One write each, so that lines of several threads and a SIGKILL cannot mix.
    os.write(runs, f"{os.environ['CHAOS_NAME']} {message.number}\n".encode("ascii"))
    if message.what == "raise":
        raise ValueError("as asked")
    if message.what == "exit":
        sys.exit(3)
    if message.what == "sleep":
        time.sleep(message.argument)
    if message.what == "print":
        print("x" * int(message.argument), flush=True)
    if message.what == "big":
        return {"number": message.number, "fill": "x" * int(message.argument)}
    if message.what == "progress":
        for number in range(int(message.argument)):
            send_back(Done(number))
    return Done(message.number)


class Worker(AMQPDaemon):
    def onStart(self):
        # Here, not before: becoming a daemon closes every file.
        global runs
        runs = os.open(os.environ["CHAOS_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


if __name__ == "__main__":
    Worker(
        getConParams(os.environ["CHAOS_VHOST"]),
        "daemon",
        "chaos",
        "result",
        react,
        [Work, Done],
        name=os.environ["CHAOS_NAME"],
        concurrency=2,
    ).run_daemon("start")
