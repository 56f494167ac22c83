"""Programs that need an extra: without it they say so in one line."""

import importlib
import os
import sys

from edeposit.amqp import __version__


def run(module: str, extra: str, function: str = "run") -> int:
    """Run a program.

    Args:
        module: its module, imported here.
        extra: of edeposit.amqp, which brings what the module needs.
        function: of the module; returns the exit code.

    Returns:
        The exit code.
    """
    program = os.path.basename(sys.argv[0])
    if sys.argv[1:] == ["--version"]:
        print(f"{program} (edeposit.amqp {__version__})")
        return 0
    try:
        main = getattr(importlib.import_module(module), function)
    except ImportError as error:
        print(f"{program}: {error}: install the extra {extra!r} as well", file=sys.stderr)
        return 1
    return int(main() or 0)
