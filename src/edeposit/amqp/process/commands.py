"""The command line that every daemon script has."""

import argparse

from edeposit.amqp import __version__
from edeposit.amqp.process.control import EXIT_USAGE

ACTIONS = ("start", "stop", "restart", "status", "reload")

_EPILOG = """\
examples:
  {program} start               start in the background; returns when it works
  {program} start --foreground  stay in the foreground (systemd, containers)
  {program} status --json       what it is doing, for programs
  {program} stop                finish the current work, then exit
  {program} stop --now          abandon the current work, then exit
{more}
exit codes:
  0 done, or running (status)       1 failed; not started; dead but pid file left (status)
  2 wrong usage                     3 not running (status)       4 not permitted, or unknown
"""


class Parser(argparse.ArgumentParser):
    """A parser of the arguments that all daemon scripts have.

    Args:
        description: what the script is for.
        more: further actions, each with its line of help.
        may_lack_action: the script can do something else as well.
    """

    def __init__(
        self,
        description: str,
        *,
        more: dict[str, str] | None = None,
        may_lack_action: bool = False,
    ) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.actions = (*ACTIONS, *(more or {}))
        self.epilog = _EPILOG.format(
            program=self.prog,
            more="".join(
                f"  {self.prog} {action:<19} {text}\n" for action, text in (more or {}).items()
            ),
        )
        self._may_lack_action = may_lack_action
        add = self.add_argument
        add("action", nargs="?", metavar="|".join(self.actions), help="what to do")
        add(
            "-f",
            "--foreground",
            action="store_true",
            help="stay in the foreground (start, restart)",
        )
        add("--json", action="store_true", help="output for programs (status, check)")
        add("--now", action="store_true", help="do not finish the current work (stop, restart)")
        add("--version", action="version", version=f"%(prog)s (edeposit.amqp {__version__})")

    def check_action(self, action: str | None) -> None:
        """Exit with the usage on one line, unless it is an action."""
        if action in self.actions or (action is None and self._may_lack_action):
            return
        self.exit(EXIT_USAGE, f"usage: {self.prog} {'|'.join(self.actions)}\n")
