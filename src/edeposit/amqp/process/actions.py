"""What the commands ``start``, ``stop``, ``status`` and the like do with a daemon."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edeposit.amqp import settings
from edeposit.amqp.errors import StartError
from edeposit.amqp.process import background, children, directory, logs, streams
from edeposit.amqp.process.commands import Parser
from edeposit.amqp.process.control import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_UNKNOWN,
    Control,
    complain,
)
from edeposit.amqp.process.pidfile import PidFile

logger = logging.getLogger(__name__)


class DaemonActions:
    """A daemon as its commands see it; arguments and attributes as of ``DaemonRunnerWrapper``."""

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
        self._directory: Path | None = None
        self._control: Control | None = None
        self._report = background.Report()

    # --- settings, read when they are needed --------------------------------------------------

    @property
    def directory(self) -> Path:
        """Where pid and status file are.

        Raises:
            StartError: neither PID_DIR nor a home directory says where.
        """
        if self._directory is None:
            self._directory = directory.private_directory(self._configured_directory)
        return self._directory

    @property
    def _configured_directory(self) -> str:
        return _lenient("PID_DIR", "") if self._pid_dir is None else self._pid_dir

    @property
    def pidfile_path(self) -> str:
        """Path of the pid file."""
        return str(self.pidfile.path)

    @property
    def stop_timeout(self) -> float:
        """Seconds that the current work gets at stop."""
        return _lenient("STOP_TIMEOUT", 30.0) if self._stop_timeout is None else self._stop_timeout

    @property
    def pidfile(self) -> PidFile:
        """The pid file."""
        return self._own_control.pidfile

    @property
    def _own_control(self) -> Control:
        if self._control is None:
            self._control = Control(self.name, self.directory)
        return self._control

    def _find_running(self) -> Control:
        """The daemon where it runs, although another user or systemd has started it.

        Raises:
            StartError: it does not run where we may look, and there is a place where we may not.
        """
        own = self._own_control
        if self._configured_directory or own.pidfile.is_locked():
            return own
        for place in directory.other_directories():
            control = Control(self.name, place)
            if place != self.directory and control.pidfile.is_locked():
                return control
        return own

    # --- to be overridden ---------------------------------------------------------------------

    def onStopFail(self) -> None:
        """Called by ``stop`` when nothing runs."""
        print("There is no running instance to be stopped.")

    def onIsRunning(self) -> None:
        """Called by ``start`` when the daemon runs already."""
        print("It looks like a daemon is already running!")

    def isRunning(self) -> bool:
        """Does a process hold the pid file?"""
        return self.pidfile.is_locked()

    # --- actions; each returns an exit code ---------------------------------------------------

    def run_daemon(self, action: str | None = None) -> None:
        """Do an action and end the program with its exit code. Not to be overridden.

        Args:
            action: one of ``start``, ``stop``, ``restart``, ``status``, ``reload``; default: what
                the program's arguments say, ``-f`` and ``--help`` included.
        """
        parser = Parser(f"The daemon {self.name!r}.")
        if action is None:
            args = parser.parse_args()
        else:  # other arguments are the program's own
            given = sys.argv[1:] if sys.argv[1:2] == [action] else [action]
            args, _ = parser.parse_known_args(given)
        parser.check_action(args.action)
        try:
            sys.exit(self.do(args.action, foreground=args.foreground, now=args.now, json=args.json))
        except (StartError, settings.SettingsError) as error:
            sys.exit(self._complain(str(error)))
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)

    def do(
        self, action: str, *, foreground: bool = False, now: bool = False, json: bool = False
    ) -> int:
        """Do an action.

        Args:
            action: one of ``commands.ACTIONS``.
            foreground: ``start`` and ``restart`` stay in this process.
            now: ``stop`` and ``restart`` let the running daemon abandon its work.
            json: ``status`` for programs.

        Returns:
            The exit code.

        Raises:
            StartError: it cannot be done.
            SettingsError: a setting is wrong.
        """
        if action == "status":
            return self.status(as_json=json)
        if action == "reload":
            return self.reload()
        if action == "stop":
            return self.stop(now=now)
        settings.check()  # before anything is stopped
        if action == "restart" and self.isRunning():
            code = self.stop(now=now)
            if self.isRunning():
                return code
        return self.foreground() if foreground else self.start()

    def start(self) -> int:
        """Start in the background; returns when the daemon works, or has said why it does not."""
        if threading.active_count() > 1:
            names = ", ".join(t.name for t in threading.enumerate()[1:])
            return self._complain(f"threads are running already, a fork would lose them: {names}")
        try:
            settings.check()
            directory.make_private(self.directory)
            if self.isRunning():
                self.onIsRunning()
                return EXIT_FAILURE
        except (StartError, settings.SettingsError) as error:
            return self._complain(str(error))
        message = background.start(self._run_detached)
        if message is None:
            target = self._log_target or settings.LOG_TARGET or logs.default_path(self.name)
            return self._complain(f"it died before it was ready; see {target}")
        if "ready" in message:
            print(f"{self.name} started with pid {message['ready']}.")
            for problem in settings.problems():
                self._complain(problem)
            return EXIT_OK
        if "running" in message:
            self.onIsRunning()
            return EXIT_FAILURE
        return self._complain(str(message.get("failed")))

    def foreground(self) -> int:
        """Run here, with pid file, until a signal ends it; logs go to stderr if not set."""
        streams.open_missing()
        try:
            settings.check()
            directory.make_private(self.directory)
        except (StartError, settings.SettingsError) as error:
            return self._complain(str(error))
        code = self._run_locked("stderr", self.onIsRunning, self._complain, redirect=False)
        children.let_others_end()
        return code

    def stop(self, *, now: bool = False) -> int:
        """Stop the running daemon, wait for its end, and say how it ended.

        Args:
            now: let it abandon its work.
        """
        try:
            code = self._find_running().stop(self.stop_timeout, now=now)
        except StartError as error:
            return self._complain(str(error), EXIT_UNKNOWN)
        if code is None:
            self.onStopFail()
            return EXIT_OK
        return code

    def restart(self) -> int:
        """Stop the daemon if it runs, then start it."""
        return self.do("restart")

    def status(self, as_json: bool = False) -> int:
        """Print whether it runs, and what it is doing.

        Args:
            as_json: one JSON object on one line instead of text.
        """
        try:
            looked_in = (
                "" if self._configured_directory else f"{self.directory}, {directory.SYSTEM}"
            )
            return self._find_running().status(as_json=as_json, looked_in=looked_in)
        except StartError as error:
            return self._complain(f"unknown: {error}", EXIT_UNKNOWN)

    def reload(self) -> int:
        """Have the running daemon reopen its logs and read its settings again (SIGHUP).

        Raises:
            SettingsError: the settings are wrong; the daemon is left alone.
        """
        settings.reload()
        try:
            return self._find_running().reload()
        except StartError as error:
            return self._complain(str(error), EXIT_UNKNOWN)

    # --- inside -------------------------------------------------------------------------------

    def _run_guarded(self, complain: Callable[[str], Any]) -> int:
        """The work; returns the exit code. Errors before it is ready are complained of."""
        raise NotImplementedError

    def _run_detached(self, report: background.Report) -> int:
        self._report = report
        return self._run_locked(
            "",
            lambda: report.send({"running": True}),
            lambda reason: report.send({"failed": reason}),
            redirect=True,
        )

    def _run_locked(
        self,
        default_target: str,
        on_running: Callable[[], None],
        complain: Callable[[str], Any],
        *,
        redirect: bool,
    ) -> int:
        """Take the pid file, run, and release it when nothing of the daemon is left."""
        others = children.descendants(os.getpid())
        try:
            if not self.pidfile.acquire():
                on_running()
                return EXIT_FAILURE
        except StartError as error:
            complain(str(error))
            return EXIT_FAILURE
        try:
            self._own_control.remove_stop_mark()
            self._open_log(default_target, redirect=redirect)
            code = self._run_guarded(complain)
        except StartError as error:
            complain(str(error))
            code = EXIT_FAILURE
        finally:
            ended = children.end_descendants(spare=others)
            if ended:
                logger.info("ended %d processes that the work had left", ended)
            self.pidfile.release()
            self._own_control.remove_stop_mark()
            logs.close()
        return code

    def _open_log(self, default: str, *, redirect: bool) -> None:
        target = settings.LOG_TARGET if self._log_target is None else self._log_target
        level = self._log_level or settings.LOG_LEVEL
        logs.configure(target or default, level, self.name, redirect=redirect)
        for problem in settings.problems():
            logger.warning("%s", problem)

    def _complain(self, reason: str, code: int = EXIT_FAILURE) -> int:
        return complain(self.name, reason, code)


def _lenient(name: str, default: Any) -> Any:
    """A setting that stop and status need: a broken configuration must not keep them off."""
    try:
        return getattr(settings, name)
    except settings.SettingsError as error:
        logger.warning("%s; %s is taken to be the default", error, name)
        return default
