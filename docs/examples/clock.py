"""A daemon that nobody asks: sends the time every few seconds, until it is stopped."""

import time
import uuid

from edeposit.amqp.engine.parameters import getConParams
from edeposit.amqp.senderdaemon import SenderDaemon


def work(send, stop):
    while not stop.wait(2):
        send({"now": time.time()}, str(uuid.uuid4()))


if __name__ == "__main__":
    SenderDaemon(getConParams("clock"), "clock", "result", work, name="clock").run_daemon()
