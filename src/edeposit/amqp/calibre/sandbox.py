"""The sandbox of ``ebook-convert``: what it sees, its account, its limits.

An e-book is untrusted code: HTML, scripts, archives, fonts. In bubblewrap (``bwrap``) the converter
has no network, sees only its own directory and, read-only, the system's programs, and runs in a PID
namespace that ends with the daemon, so no child outlives it. Without bubblewrap there are still a
separate account, limits, and a signal when the daemon dies.
"""

import functools
import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from edeposit.amqp.calibre import settings, workdir
from edeposit.amqp.calibre.exceptions import ConverterUnavailableError

logger = logging.getLogger(__name__)

_INSIDE = "/work"
# Read-only, and only if they are there.
_SYSTEM = (
    "/usr",
    "/etc/fonts",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/mime.types",
    "/etc/magic",
    "/var/cache/fontconfig",
    "/opt/calibre",
)
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64")


def converter() -> str:
    """Path of ``ebook-convert``.

    Raises:
        ConverterUnavailableError: it is not installed.
    """
    found = shutil.which(settings.EBOOK_CONVERT)
    if found is None:
        raise ConverterUnavailableError(
            f"there is no program {settings.EBOOK_CONVERT!r}:"
            " apt-get install --no-install-recommends calibre"
        )
    return found


def command(work: Path, arguments: list[str], *, limit_address_space: bool) -> list[str]:
    """The whole command for a conversion, to be run without a shell.

    Args:
        work: the conversion's directory; the converter's working directory.
        arguments: of ``ebook-convert``; paths are relative.
        limit_address_space: not possible with Chromium (pdf), which reserves far more than it uses.

    Raises:
        ConverterUnavailableError: a program is missing.
    """
    inner = [converter(), *arguments]
    _demand_fence()
    if is_fenced():
        # Inside, because Linux (since 5.14) counts processes by user namespace.
        inner = [*_bwrap(work), "--", *_process_limit(), *inner]
    else:
        if os.geteuid() == 0:  # else it would count every process of the daemon's account
            inner = [*_process_limit(), *inner]
        inner = ["env", "-i", *(f"{k}={v}" for k, v in environment(str(work)).items()), *inner]
    return [*_limits(limit_address_space), *_account(), *inner]


def environment(work: str) -> dict[str, str]:
    """The converter's whole environment.

    Args:
        work: its directory, as it sees it.
    """
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        # Progress and errors are read: they have to be in English.
        "LC_ALL": "C.UTF-8",
        "HOME": f"{work}/home",
        "TMPDIR": f"{work}/tmp",
        "CALIBRE_CONFIG_DIRECTORY": f"{work}/config",
        "CALIBRE_TEMP_DIR": f"{work}/tmp",
        "XDG_RUNTIME_DIR": f"{work}/run",
        "XDG_CACHE_HOME": f"{work}/cache",
    }


def is_fenced() -> bool:
    """Is bubblewrap used?"""
    return settings.SANDBOX != "never" and why_not_fenced() == ""


def check() -> None:
    """Check that conversions can run, and log whether they are sandboxed.

    Raises:
        ConverterUnavailableError: they cannot, or not as ``SANDBOX`` wants it.
    """
    path = converter()
    workdir.account()
    if is_fenced():
        logger.info("converter: %s, in bubblewrap", path)
        return
    _demand_fence()
    reason = why_not_fenced() or "SANDBOX is 'never'"
    problem = _probe(lambda work: ["/usr/bin/test", "-w", str(work)])
    if problem:
        raise ConverterUnavailableError(f"{settings.RUN_AS} cannot use TMP_PATH: {problem}")
    logger.warning(
        "converter: %s, without a sandbox: e-books can reach the network and "
        "read what its account can read (%s)",
        path,
        reason,
    )


def _demand_fence() -> None:
    if settings.SANDBOX == "always" and (reason := why_not_fenced()):
        raise ConverterUnavailableError(f"SANDBOX is 'always', but there is no sandbox: {reason}")


@functools.cache
def why_not_fenced() -> str:
    """Why bubblewrap does not work here; empty if it does. Tried once in a process."""
    if shutil.which("bwrap") is None:
        return "bwrap is not installed: apt-get install bubblewrap"
    return _probe(lambda work: [*_bwrap(work), "--", "/usr/bin/true"])


def _probe(make_command: Callable[[Path], list[str]]) -> str:
    """Run something as the account that converts; returns why that fails, or an empty text."""
    try:
        with workdir.work_directory() as work:
            done = subprocess.run(
                [*_account(), *make_command(work)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                check=False,
                timeout=30,
            )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if not done.returncode:
        return ""
    return done.stderr.strip()[:300] or f"exit code {done.returncode}"


def _bwrap(work: Path) -> list[str]:
    result = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    for path in _SYSTEM:
        result += ["--ro-bind-try", path, path]
    for name in _LINKS:
        link = Path("/", name)
        if link.is_symlink():
            result += ["--symlink", os.readlink(link), str(link)]
        elif link.exists():
            result += ["--ro-bind", str(link), str(link)]
    result += ["--proc", "/proc", "--dev", "/dev"]
    size = str(settings.MAX_TMPFS)
    for path in ("/tmp", "/dev/shm"):
        result += ["--size", size, "--tmpfs", path]
    result += ["--bind", str(work), _INSIDE, "--chdir", _INSIDE]
    # Otherwise these are unbounded file systems in memory.
    result += ["--remount-ro", "/dev", "--remount-ro", "/"]
    for name, value in environment(_INSIDE).items():
        result += ["--setenv", name, value]
    return result


def _account() -> list[str]:
    entry = workdir.account()
    # The child dies with the daemon; in bubblewrap, so do all its descendants.
    result = ["setpriv", "--no-new-privs", "--pdeathsig", "KILL"]
    if entry is not None:
        result += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    return [*result, "--"]


def _process_limit() -> list[str]:
    return ["prlimit", f"--nproc={settings.MAX_PROCESSES}", "--"]


def _limits(limit_address_space: bool) -> list[str]:
    result = ["prlimit", "--core=0", f"--fsize={settings.MAX_OUTPUT_SIZE}"]
    if limit_address_space:
        result.append(f"--as={settings.MAX_MEMORY}")
    return [*result, "--"]
