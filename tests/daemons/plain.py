"""A daemon without AMQP for the process tests; PLAIN_MODE says how it behaves."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

from edeposit.amqp.daemonwrapper import DaemonRunnerWrapper
from edeposit.amqp.errors import StartError

MODE = os.environ.get("PLAIN_MODE", "")
logger = logging.getLogger("plain")


class Plain(DaemonRunnerWrapper):
    reports_ready = MODE in ("refuse", "crash-early", "exit-early", "wait-for-file", "fork-early")
    handles_signals = MODE == "own-loop"

    def body(self):
        if MODE == "refuse":
            raise StartError("the moon is not\nfull")
        if MODE == "crash-early":
            raise KeyError("surprise")
        if MODE == "exit-early":
            os._exit(7)
        if MODE == "wait-for-file":
            while not os.path.exists(os.environ["PLAIN_FILE"]):
                time.sleep(0.01)
            self.ready()
        if MODE in ("fork", "fork-early"):
            if not os.fork():
                time.sleep(600)
                os._exit(0)
            self.ready()
        if MODE == "slow-end":
            try:
                time.sleep(600)
            finally:
                time.sleep(float(os.environ["PLAIN_SECONDS"]))
                with open(os.environ["PLAIN_FILE"], "w", encoding="utf-8") as file:
                    file.write("finished")
        if MODE == "fail-twice":
            raise ValueError("the first error")
        if MODE == "return":
            return
        if MODE == "raise":
            raise ValueError("after it was ready")
        if MODE == "abort":
            os.abort()
        if MODE == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.Popen(["sleep", "600"], start_new_session=True)
            self.set_state("stubborn")
        if MODE == "print":
            print("printed žluťoučký")
            subprocess.run(["echo", "from a child"], check=True)
        if MODE == "lines":
            for number in range(int(os.environ["PLAIN_LINES"])):
                logger.info("line %d.", number)
                time.sleep(0.0005)
            self.set_state("written")
        if MODE == "files":
            with open(os.environ["PLAIN_FILE"], "w", encoding="utf-8") as file:
                file.write("x")
        if MODE == "own-loop":
            self.loop()
            return
        while True:
            time.sleep(60)

    def loop(self):
        import select

        while True:
            select.select([self.signals.fileno()], [], [])
            for number in self.signals.drain():
                logger.debug("signal %d", number)
                if number == signal.SIGTERM:
                    return

    def onExit(self):
        with open(os.environ["PLAIN_EXITS"], "a", encoding="utf-8") as file:
            file.write("exit\n")
        if MODE == "fail-twice":
            raise KeyError("the second error")
        super().onExit()

    def onReload(self):
        logger.info("onReload was called")


def main():
    daemon = Plain("plain")
    if MODE == "thread-before":
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
    if sys.argv[1:] == ["stop-now"]:
        sys.exit(daemon.stop(now=True))
    if sys.argv[1] == "foreground":
        sys.exit(daemon.foreground())
    if sys.argv[1] == "run":
        daemon.run()
    elif sys.argv[1] == "status-json":
        sys.exit(daemon.status(as_json=True))
    else:
        daemon.run_daemon()


if __name__ == "__main__":
    main()
