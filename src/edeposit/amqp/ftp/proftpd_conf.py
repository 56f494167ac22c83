"""The text of ProFTPD's configuration: what the service needs, in a file of its own.

The distribution's file is only changed where it contradicts: of a directive that is there twice
ProFTPD takes the first, so the administrator's line is commented out, never deleted.
"""

import os
import re
from typing import NamedTuple

from edeposit.amqp.ftp import settings

# Old lines of the first generation, in the administrator's file.
_OLD_LOG = re.compile(r"^\s*(ExtendedLog\s.*\spaths|LogFormat\s+(paths|edeposit)\s.*)\s*$", re.I)
_MARK = "#edeposit# "
MODULES = "/usr/lib/proftpd"  # of Debian, and ProFTPD's ModulePath there
_NEEDED_MODULES = ("mod_ls", "mod_xfer", "mod_delay")
_OURS = {
    "authuserfile",
    "authorder",
    "requirevalidshell",
    "rootlogin",
    "defaultroot",
    "umask",
    "allowoverwrite",
    "allowstorerestart",
    "showsymlinks",
    "usereversedns",
    "wtmplog",
    "pathdenyfilter",
}


class Certificate(NamedTuple):
    """A certificate of the server.

    Attributes:
        file: path of the certificate (PEM).
        key_file: path of its key (PEM).
        kind: ``RSA`` or ``EC``.
    """

    file: str
    key_file: str
    kind: str


class Quota(NamedTuple):
    """A limit of what one home may hold.

    Attributes:
        size: MiB.
        limit_table: path of mod_quotatab's table of limits; it stays empty, all homes are equal.
        tally_table: path of its table of what is used.
    """

    size: int
    limit_table: str
    tally_table: str


def module_lines(*names: str) -> list[str]:
    """Directives that load modules, if they are not part of the server and not loaded yet.

    Debian 12 has mod_ls, mod_xfer and mod_delay in the server, Debian 13 in files of their own.
    """
    return [
        line
        for name in names
        if os.path.exists(f"{MODULES}/{name}.so")
        for line in (f"<IfModule !{name}.c>", f"  LoadModule {name}.c", "</IfModule>")
    ]


def own_text(tls: Certificate | None = None, quota: Quota | None = None) -> str:
    """The service's own file, ``conf.d/edeposit.conf``.

    Args:
        tls: the server's certificate; None: without TLS.
        quota: of each home; None: without.
    """
    lines = [
        "# Written by edeposit_proftpd_init.py; changes are overwritten by its next run.",
        *module_lines(*_NEEDED_MODULES),
        f"AuthUserFile {settings.LOGIN_FILE}",
        "# Only users of that file: no account of the system can log in.",
        "AuthOrder mod_auth_file.c",
        "RequireValidShell off",
        "RootLogin off",
        "DefaultRoot ~",
        "Umask 007 007",
        "AllowOverwrite on",
        "AllowStoreRestart on",
        "ShowSymlinks off",
        "UseReverseDNS off",
        "WtmpLog off",
        "# A process serves each session.",
        f"MaxInstances {settings.MAX_SESSIONS}",
        "# Listing with several wildcards costs the server minutes.",
        r"DenyFilter \*.*/",
        "# A line break in a name could forge lines of the log; .ftpaccess is configuration.",
        r'PathDenyFilter "(\\.ftpaccess$)|[[:cntrl:]]"',
        "# The response code first: a deletion counts only if it has succeeded.",
        'LogFormat edeposit "%s, %f, %u, %m, %{%s}t"',
        f"ExtendedLog {settings.LOG_FILE} WRITE edeposit",
        "# Links could lead out of the homes.",
        "<IfModule mod_site_misc.c>",
        "  SiteMiscEngine off",
        "</IfModule>",
        "<IfModule mod_copy.c>",
        "  CopyEngine off",
        "</IfModule>",
        "<Limit SITE_CHMOD>",
        "  DenyAll",
        "</Limit>",
    ]
    if tls is not None:
        lines += [
            "<IfModule !mod_tls.c>",
            "  LoadModule mod_tls.c",
            "</IfModule>",
            "<IfModule mod_tls.c>",
            "  TLSEngine on",
            "  TLSRequired on",
            "  TLSProtocol TLSv1.2 TLSv1.3",
            f"  TLS{tls.kind}CertificateFile {tls.file}",
            f"  TLS{tls.kind}CertificateKeyFile {tls.key_file}",
            "  # Many clients cannot resume the session for the data connection.",
            "  TLSOptions NoSessionReuseRequired",
            "</IfModule>",
        ]
    if quota is not None:
        lines += [
            *module_lines("mod_quotatab", "mod_quotatab_file"),
            "<IfModule mod_quotatab_file.c>",
            "  QuotaEngine on",
            "  # What the monitor has taken no longer counts, from the next login on.",
            "  QuotaOptions ScanOnLogin",
            f"  QuotaLimitTable file:{quota.limit_table}",
            f"  QuotaTallyTable file:{quota.tally_table}",
            f"  QuotaDefault user false hard {quota.size * 1024 * 1024} 0 0 0 0 0",
            "</IfModule>",
        ]
    return "\n".join(lines) + "\n"


def clean_text(include: str) -> str:
    """A whole ``proftpd.conf`` to begin with, of core directives only.

    Args:
        include: path of the service's own file.
    """
    return "\n".join(
        [
            "# Written by edeposit_proftpd_init.py.",
            *module_lines(*_NEEDED_MODULES),
            'ServerName "edeposit"',
            "ServerType standalone",
            "Port 21",
            "User proftpd",
            "Group nogroup",
            f"PidFile {settings.PROFTPD_PIDFILE}",
            "TimeoutNoTransfer 600",
            "TimeoutStalled 600",
            "TimeoutIdle 1200",
            f"SystemLog {settings.LOG_PATH}proftpd.log",
            f"TransferLog {settings.LOG_PATH}xferlog",
            f"Include {include}",
            "",
        ]
    )


def adapt(text: str, include: str) -> str:
    """Make the administrator's configuration agree with the service's own file.

    Args:
        text: of ``proftpd.conf``.
        include: path of the service's own file.

    Returns:
        The new text; of an adapted one, the same.
    """
    lines = []
    depth = 0
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("</"):
            depth -= 1
        elif stripped.startswith("<"):
            depth += 1
        name = stripped.split(None, 1)[0].lower() if stripped else ""
        contradicts = depth == 0 and (name in _OURS or _OLD_LOG.match(line))
        lines.append(_MARK + line if contradicts else line)
    if not any(_includes(line, include) for line in lines):
        lines.append(f"Include {include}")
    return "\n".join(lines) + "\n"


def _includes(line: str, path: str) -> bool:
    words = line.split(None, 1)
    if len(words) != 2 or words[0].lower() != "include":
        return False
    included = words[1].strip().strip('"')
    directory = path.rpartition("/")[0]
    return included in (path, directory, f"{directory}/", f"{directory}/*", f"{directory}/*.conf")
