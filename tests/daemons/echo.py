"""The daemon that the integration tests run: does what the message says.

Environment: ECHO_VHOST, ECHO_QUEUE, ECHO_KEY, ECHO_NAME, ECHO_CONCURRENCY, ECHO_PREFETCH, ECHO_RUNS
(a file that gets a line for each run of the handler), ECHO_IDLE_MOST, ECHO_SEND_WHEN
(send a message from a thread at SIGUSR1), and the settings of edeposit.amqp.
"""

import ctypes
import logging
import multiprocessing
import os
import re
import sys
import threading
import time
import uuid as uuid_module
from collections import namedtuple

from pika import BasicProperties

from edeposit.amqp.amqpdaemon import AMQPDaemon, getConParams
from edeposit.amqp.engine import consumer

Echo = namedtuple("Echo", "value")
Do = namedtuple("Do", "what argument")


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no text today")


class Unprintable(type):
    def __repr__(cls):
        raise RuntimeError("no name today")

    __str__ = __repr__


class BadMetaclassError(Exception, metaclass=Unprintable):
    pass


def send(exchange="echo", routing_key="result", message="sent", uuid=None, **properties):
    daemon.sendMessage(exchange, routing_key, message, BasicProperties(**properties), uuid)


def send_outside():
    daemon.sendMessage("echo", "result", "important")
    logging.info("sent outside of a handler")


def deep(levels):
    if levels:
        deep(levels - 1)
    raise ValueError("x" * 300_000)


def note_run(message):
    path = os.environ.get("ECHO_RUNS")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{message!r}\n")


def react(message, send_back):
    note_run(message)
    if isinstance(message, Echo):
        return message
    if not isinstance(message, Do):
        return message
    what, argument = message
    if what == "raise":
        raise ValueError(argument)
    if what == "raise-two":
        raise OSError(2, argument)
    if what == "unprintable":
        raise UnprintableError
    if what == "exit":
        sys.exit(argument)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "deep":
        deep(argument)
    if what == "unserializable":
        return {1, 2}
    if what == "none":
        return None
    if what == "sleep":
        time.sleep(argument)
    if what == "progress":
        for number in range(argument):
            send_back(Echo(number))
    if what == "progress-thread":
        thread = threading.Thread(target=send_back, args=(Echo("from a thread"),))
        thread.start()
        thread.join()
    if what == "big":
        return "x" * argument
    if what == "redelivered":
        if argument and not send_back.redelivered:
            time.sleep(argument)
        return send_back.redelivered
    if what == "bad-metaclass":
        raise BadMetaclassError
    if what == "send":
        send(**argument)
    if what == "send-twice":
        properties = BasicProperties(headers={"n": 0})
        daemon.sendMessage("echo", "result", "routable", properties)
        daemon.sendMessage("echo", argument, "unroutable", properties)
        properties.headers["n"] = 1
    if what == "send-uuid-object":
        send(correlation_id=uuid_module.uuid4())
    if what == "abort":
        os.abort()
    if what == "fork":
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        if argument == "terminate":
            child.terminate()
            child.join(10)
            return child.exitcode
        time.sleep(600)
    if what == "print":
        print(argument)
        print(argument, file=sys.stderr)
    if what == "kill-thread":
        # The exception is raised when the thread next wakes up, outside of this handler.
        kill = ctypes.pythonapi.PyThreadState_SetAsyncExc
        me = ctypes.c_ulong(threading.get_ident())
        threading.Timer(0.3, lambda: kill(me, ctypes.py_object(SystemExit))).start()
    if what == "hold-gil":
        # Catastrophic backtracking in C code: no other thread gets a turn meanwhile.
        re.match(r"(a+)+$", "a" * argument + "b")
    return message


daemon = None


def main():
    global daemon
    daemon = AMQPDaemon(
        getConParams(os.environ["ECHO_VHOST"]),
        os.environ.get("ECHO_QUEUE", "daemon"),
        "echo",
        os.environ.get("ECHO_KEY", "result"),
        react,
        globals(),
        name=os.environ.get("ECHO_NAME", "echo"),
        concurrency=int(os.environ.get("ECHO_CONCURRENCY", "0")) or None,
        prefetch=int(os.environ.get("ECHO_PREFETCH", "0")) or None,
    )
    if "ECHO_IDLE_MOST" in os.environ:
        consumer._IDLE_MOST = float(os.environ["ECHO_IDLE_MOST"])
    if "ECHO_SEND_WHEN" in os.environ:
        daemon.onReload = lambda: threading.Thread(target=send_outside).start()
    if sys.argv[1:] == ["run"]:
        daemon.foreground()
    else:
        daemon.run_daemon()


if __name__ == "__main__":
    main()
