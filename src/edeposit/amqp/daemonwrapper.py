"""``DaemonRunnerWrapper``: a Unix process that starts, says so, and stops. Knows no AMQP.

``start`` returns when the daemon reports that it works, or prints why it does not. The order is:
fork, detach (python-daemon's ``DaemonContext``), take the pid file's lock, open the log, install
signal handlers, run ``body()``. Threads, connections and log files come after the last fork.

One daemon, one pid file: it is held by ``flock`` as long as the process lives, see ``pidfile``.
Beside it stands ``<name>.status``, JSON with the last state the daemon told, from which ``status``
reads what it is doing and ``stop`` how it ended.
"""

import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import daemon as python_daemon

from edeposit.amqp import settings
from edeposit.amqp.errors import StartError
from edeposit.amqp.process import logs, notify
from edeposit.amqp.process import signals as signals_module
from edeposit.amqp.process.control import (
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_USAGE,
    Control,
    StatusFile,
    complain,
)
from edeposit.amqp.process.pidfile import PidFile, make_private, private_directory

logger = logging.getLogger(__name__)

ACTIONS = ("start", "stop", "restart", "status", "reload")

_UMASK = 0o027


class DaemonRunnerWrapper:
    """A daemon process. Override ``body()``.

    Args:
        pid_filename: name of pid file, status file and log, without a suffix.
        pid_dir: directory of pid and status file; None = setting PID_DIR.
        log_target: see ``logs.configure``; None = setting LOG_TARGET.
        log_level: None = setting LOG_LEVEL.
        stop_timeout: seconds that the work at hand gets at stop; None = setting STOP_TIMEOUT.

    Attributes:
        stdin_path, stdout_path, stderr_path: ``/dev/null``; kept from the first generation.
        pidfile_path: of the pid file.
        pidfile_timeout: kept from the first generation, not used: nothing waits for a pid file.
        reports_ready: class attribute; True if ``body()`` calls ``ready()`` itself.
        handles_signals: class attribute; True if ``body()`` watches ``signals``. Otherwise SIGTERM
            raises ``SystemExit`` in it.
    """

    reports_ready = False
    handles_signals = False

    def __init__(
        self,
        pid_filename: str,
        *,
        pid_dir: str | None = None,
        log_target: str | None = None,
        log_level: str | None = None,
        stop_timeout: float | None = None,
    ) -> None:
        self.stdin_path = self.stdout_path = self.stderr_path = "/dev/null"
        self.pidfile_timeout = 5
        self.name = pid_filename.replace("/", "_")
        self._pid_dir = pid_dir
        self._log_target = log_target
        self._log_level = log_level
        self._stop_timeout = stop_timeout
        self._signals: signals_module.SignalInbox | None = None
        self._pidfile: PidFile | None = None
        self._ready_pipe: int | None = None
        self._is_ready = False
        self._has_exited = False
        self._last_watchdog = 0.0

    # --- settings, read when they are needed --------------------------------------------------

    @property
    def directory(self) -> Path:
        """Where pid and status file are."""
        return private_directory(
            _lenient("PID_DIR", "") if self._pid_dir is None else self._pid_dir
        )

    @property
    def pidfile_path(self) -> str:
        """Path of the pid file."""
        return str(self.directory / f"{self.name}.pid")

    @property
    def stop_timeout(self) -> float:
        """Seconds that the work at hand gets at stop."""
        return _lenient("STOP_TIMEOUT", 30.0) if self._stop_timeout is None else self._stop_timeout

    @property
    def signals(self) -> signals_module.SignalInbox:
        """The inbox of recorded signals; made at first use, in the process that uses it."""
        if self._signals is None:
            self._signals = signals_module.SignalInbox()
        return self._signals

    @property
    def pidfile(self) -> PidFile:
        """The pid file."""
        if self._pidfile is None:
            self._pidfile = PidFile(Path(self.pidfile_path))
        return self._pidfile

    @property
    def _control(self) -> Control:
        status_file = StatusFile(self.directory / f"{self.name}.status")
        return Control(self.name, self.pidfile, status_file)

    # --- to be overridden ---------------------------------------------------------------------

    def body(self) -> None:
        """The work; called on the main thread of the daemon. Ended by a signal, or by returning.

        Raises:
            StartError: before ``ready()``: the daemon cannot work, ``start`` prints the text.
        """
        raise NotImplementedError("body() must be overridden")

    def onStopFail(self) -> None:
        """Called by ``stop`` when nothing runs."""
        print("There is no running instance to be stopped.")

    def onIsRunning(self) -> None:
        """Called by ``start`` when the daemon runs already."""
        print("It looks like a daemon is already running!")

    def onExit(self) -> None:
        """Called once when ``body()`` has ended, whatever ended it. Overriders call this too."""
        logger.info("%s is shutting down.", type(self).__name__)

    def onReload(self) -> None:
        """Called after SIGHUP, when logs are reopened and the settings read again."""

    def isRunning(self) -> bool:
        """Does a process hold the pid file?"""
        return self.pidfile.is_locked()

    # --- actions; each returns an exit code ---------------------------------------------------

    def run_daemon(self, action: str | None = None) -> None:
        """Do an action and leave the program with its exit code. Not to be overridden.

        Args:
            action: one of ``start``, ``stop``, ``restart``, ``status``, ``reload``; default: the
                program's first argument.
        """
        if action is None:
            action = sys.argv[1] if len(sys.argv) > 1 else ""
        if action not in ACTIONS:
            program = os.path.basename(sys.argv[0])
            print(f"usage: {program} {'|'.join(ACTIONS)}", file=sys.stderr)
            sys.exit(EXIT_USAGE)
        try:
            sys.exit(getattr(self, action)())
        except (StartError, settings.SettingsError) as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            sys.exit(EXIT_FAILURE)

    def run(self) -> None:
        """Run ``body()`` in this process: no fork, no pid file, streams untouched.

        Raises:
            BaseException: whatever ``body()`` raises, after ``onExit()``.
        """
        self.signals.install(stop_raises=not self.handles_signals)
        try:
            if not self.handles_signals:
                self.signals.watch(self.handle_reload)
            if not self.reports_ready:
                self.ready()
            self.body()
        finally:
            notify.notify("STOPPING=1")
            try:
                if not self._has_exited:
                    self._has_exited = True
                    self.onExit()
            finally:
                self.signals.restore()

    def start(self) -> int:
        """Start in the background; returns when the daemon works, or has said why it does not."""
        if threading.active_count() > 1:
            names = ", ".join(t.name for t in threading.enumerate()[1:])
            return self._complain(f"threads are running already, a fork would lose them: {names}")
        try:
            settings.check()
        except settings.SettingsError as error:
            return self._complain(str(error))
        make_private(self.directory)
        if self.isRunning():
            self.onIsRunning()
            return EXIT_FAILURE
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        signals_module.block()
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            self._detach(writer)
        os.close(writer)
        signals_module.unblock()
        os.waitpid(child, 0)  # the first child; it ends as soon as it has forked again
        return self._await_ready(reader)

    def foreground(self) -> int:
        """Run here, with pid file, until a signal ends it; logs go to stderr if not set."""
        try:
            settings.check()
            make_private(self.directory)
            if not self.pidfile.acquire():
                self.onIsRunning()
                return EXIT_FAILURE
            self._open_log("stderr", redirect=False)
        except (StartError, settings.SettingsError) as error:
            return self._complain(str(error))
        try:
            return self._run_guarded(self._complain)
        finally:
            self.pidfile.release()

    def stop(self) -> int:
        """Stop the running daemon, wait for its end, and say how it ended."""
        code = self._control.stop(self.stop_timeout)
        if code is None:
            self.onStopFail()
            return EXIT_OK
        return code

    def restart(self) -> int:
        """Stop the daemon if it runs, then start it."""
        if self.isRunning():
            code = self.stop()
            if self.isRunning():
                return code
        return self.start()

    def status(self, as_json: bool = False) -> int:
        """Print whether it runs, and what it is doing.

        Args:
            as_json: one JSON object on one line instead of text.
        """
        return self._control.status(as_json=as_json)

    def reload(self) -> int:
        """Have the running daemon reopen its logs and read its settings again (SIGHUP).

        Raises:
            SettingsError: the settings are wrong; the daemon is left alone.
        """
        settings.reload()
        return self._control.reload()

    # --- for body() ---------------------------------------------------------------------------

    def ready(self, status: str = "") -> None:
        """The daemon works: lets ``start`` return, tells the supervisor. Only the first call acts.

        Args:
            status: short text for the supervisor.
        """
        if self._is_ready:
            return
        self._is_ready = True
        self._report({"ready": os.getpid()})
        notify.notify(f"READY=1\nSTATUS={status}" if status else "READY=1")

    def set_state(self, state: str, **details: Any) -> None:
        """Tell what the daemon is doing, for ``status``, ``stop`` and the supervisor.

        Args:
            state: one word.
            details: further JSON values.
        """
        notify.notify(f"STATUS={state}")
        if self.pidfile.is_held:
            self._control.status_file.write(state, details)

    def handle_reload(self) -> None:
        """Reopen the logs and read the settings again; on failure the old ones stay."""
        notify.notify_reloading()
        try:
            logs.reopen()
            settings.reload()
            logs.set_level(self._log_level or settings.LOG_LEVEL)
            self.onReload()
            logger.info("reloaded")
        except Exception as error:
            logger.error("reload failed, the running configuration stays: %s", error)
        notify.notify("READY=1")

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between two calls of ``notify_watchdog`` that the supervisor wants, or None."""
        return notify.watchdog_interval()

    def notify_watchdog(self) -> None:
        """A sign of life for the supervisor; cheap enough to be called once a second."""
        interval = self.watchdog_interval
        now = time.monotonic()
        if interval is not None and now - self._last_watchdog >= min(interval / 2, 10):
            self._last_watchdog = now
            notify.notify("WATCHDOG=1")

    # --- inside -------------------------------------------------------------------------------

    def _detach(self, writer: int) -> None:
        """In the first child: become the daemon, work, and end the process."""
        code = EXIT_FAILURE
        try:
            # The context's own defaults are umask 0 and a SIGTERM that raises anywhere.
            context = python_daemon.DaemonContext(
                umask=_UMASK,
                working_directory="/",
                detach_process=True,
                signal_map={},
                files_preserve=[writer],
            )
            context.open()
            self._ready_pipe = writer
            os.set_inheritable(writer, False)
            code = self._run_detached()
        except BaseException as error:
            self._report({"failed": f"{type(error).__name__}: {error}"})
            logger.critical("the daemon failed", exc_info=True)
        finally:
            logging.shutdown()
            # Not sys.exit: the starting program's own cleanup belongs to its parent.
            os._exit(code)

    def _run_detached(self) -> int:
        try:
            if not self.pidfile.acquire():
                self._report({"running": True})
                return EXIT_FAILURE
            self._open_log("", redirect=True)
        except StartError as error:
            self._report({"failed": str(error)})
            self.pidfile.release()
            return EXIT_FAILURE
        try:
            return self._run_guarded(self._report_failure)
        finally:
            self.pidfile.release()

    def _run_guarded(self, complain: Any) -> int:
        """``run()``, with every way of ending turned into an exit code and a log line."""
        try:
            self.run()
        except StartError as error:
            logger.error("cannot start: %s", error)
            # What was ignored may well be the cause.
            complain("; ".join([str(error), *settings.problems()]))
            return EXIT_FAILURE
        except KeyboardInterrupt:
            return EXIT_OK
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else EXIT_OK
        except Exception as error:
            logger.critical("the daemon ends with an error", exc_info=True)
            if not self._is_ready:
                complain(f"{type(error).__name__}: {error}")
            return EXIT_FAILURE
        return EXIT_OK

    def _open_log(self, default: str, *, redirect: bool) -> None:
        target = settings.LOG_TARGET if self._log_target is None else self._log_target
        level = self._log_level or settings.LOG_LEVEL
        logs.configure(target or default, level, self.name, redirect=redirect)
        for problem in settings.problems():
            logger.warning("%s", problem)

    def _report(self, message: dict[str, Any]) -> None:
        """Answer the waiting ``start``."""
        if self._ready_pipe is not None:
            pipe, self._ready_pipe = self._ready_pipe, None
            try:
                os.write(pipe, json.dumps(message).encode("utf-8"))
            except BrokenPipeError:
                logger.info("the starting program has not waited")
            os.close(pipe)

    def _report_failure(self, reason: str) -> None:
        self._report({"failed": reason})

    def _await_ready(self, reader: int) -> int:
        with open(reader, "rb") as pipe:
            answer = pipe.read()
        try:
            message = json.loads(answer)
        except ValueError:
            target = self._log_target or settings.LOG_TARGET or logs.default_path(self.name)
            return self._complain(f"it died before it was ready; see {target}")
        if "ready" in message:
            print(f"{self.name} started with pid {message['ready']}.")
            for problem in settings.problems():
                print(f"{self.name}: {problem}", file=sys.stderr)
            return EXIT_OK
        if "running" in message:
            self.onIsRunning()
            return EXIT_FAILURE
        return self._complain(str(message.get("failed")))

    def _complain(self, reason: str) -> int:
        return complain(self.name, reason)


def _lenient(name: str, default: Any) -> Any:
    """A setting that stop and status need: a broken configuration must not keep them off."""
    try:
        return getattr(settings, name)
    except settings.SettingsError as error:
        logger.warning("%s; %s is taken to be the default", error, name)
        return type(default)(os.environ.get(name) or default)
