"""``DaemonRunnerWrapper``: a Unix process that starts, says so, and stops. Knows no AMQP.

``start`` returns when the daemon reports that it works, or prints why it does not. In the new
process the order is: take the pid file's lock, open the log, install signal handlers, run
``body()``. At the end: ``onExit()``, end the children, release the pid file, write the log.

One daemon, one pid file: it is locked as long as the process lives, see ``process.pidfile``. Beside
it ``<name>.status`` has what the daemon last said of itself, see ``process.statusfile``.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from edeposit.amqp import settings
from edeposit.amqp.errors import StartError
from edeposit.amqp.process import logs, notify
from edeposit.amqp.process import signals as signals_module
from edeposit.amqp.process.actions import DaemonActions
from edeposit.amqp.process.control import EXIT_FAILURE, EXIT_OK

logger = logging.getLogger(__name__)


class DaemonRunnerWrapper(DaemonActions):
    """A daemon process. Override ``body()``.

    Args:
        pid_filename: name of pid file, status file and log, without a suffix.
        pid_dir: directory of pid and status file; None = setting PID_DIR.
        log_target: see ``logs.configure``; None = setting LOG_TARGET.
        log_level: None = setting LOG_LEVEL.
        stop_timeout: seconds that the current work gets at stop; None = setting STOP_TIMEOUT.

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

    def __init__(self, pid_filename: str, **options: Any) -> None:
        super().__init__(pid_filename, **options)
        self._signals: signals_module.SignalInbox | None = None
        self._is_ready = False
        self._has_exited = False
        self._last_watchdog = 0.0

    @property
    def signals(self) -> signals_module.SignalInbox:
        """The inbox of recorded signals; made at first use, in the process that uses it."""
        if self._signals is None:
            self._signals = signals_module.SignalInbox()
        return self._signals

    # --- to be overridden ---------------------------------------------------------------------

    def body(self) -> None:
        """The work; called on the main thread of the daemon. Ended by a signal, or by returning.

        Raises:
            StartError: before ``ready()``: the daemon cannot work, ``start`` prints the text.
        """
        raise NotImplementedError("body() must be overridden")

    def onExit(self) -> None:
        """Called once when ``body()`` has ended, whatever ended it. Overriders call this too."""
        logger.info("%s is shutting down.", type(self).__name__)

    def onReload(self) -> None:
        """Called after SIGHUP, when logs are reopened and the settings read again."""

    def run(self) -> None:
        """Run ``body()`` in this process: no fork, no pid file, streams untouched.

        Raises:
            BaseException: whatever ``body()`` raises, after ``onExit()``.
        """
        self.signals.install(stop_raises=not self.handles_signals)
        failed = True
        try:
            if not self.handles_signals:
                self.signals.watch(self.handle_reload)
            if not self.reports_ready:
                self.ready()
            self.body()
            failed = False
        finally:
            notify.notify("STOPPING=1")
            try:
                self._exit(failed)
            finally:
                self.signals.restore()

    # --- for body() ---------------------------------------------------------------------------

    def ready(self, status: str = "") -> None:
        """The daemon works: lets ``start`` return, tells the supervisor. Only the first call acts.

        Args:
            status: short text for the supervisor.
        """
        if self._is_ready:
            return
        self._is_ready = True
        if self._control is not None and self.pidfile.is_held:
            self._control.status_file.write_ready()
        self._report.send({"ready": os.getpid()})
        notify.notify(f"READY=1\nSTATUS={status}" if status else "READY=1")

    def set_state(self, state: str, **details: Any) -> None:
        """Tell what the daemon is doing, for ``status``, ``stop`` and the supervisor.

        Args:
            state: one word; the status says since when it is the state.
            details: further JSON values.
        """
        notify.notify(f"STATUS={state}")
        if self._control is not None and self.pidfile.is_held:
            self._control.status_file.write(state, details)

    def handle_reload(self) -> None:
        """Reopen the logs and read the settings again; on failure the old ones stay."""
        if self._is_ready:
            notify.notify_reloading()
        try:
            logs.reopen()
            settings.reload()
            logs.set_level(self._log_level or settings.LOG_LEVEL)
            self.onReload()
            logger.info("reloaded")
        except Exception as error:
            logger.error("reload failed, the running configuration stays: %s", error)
        if self._is_ready:  # READY=1 would say so
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

    def _run_guarded(self, complain: Callable[[str], Any]) -> int:
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

    def _exit(self, has_failed: bool) -> None:
        if self._has_exited:
            return
        self._has_exited = True
        try:
            self.onExit()
        except BaseException:
            if not has_failed:
                raise
            # The first error is the one that says what happened.
            logger.exception("onExit() has failed as well")
