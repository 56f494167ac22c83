"""The set-up script, tried with the real server."""

import ftplib
import grp
import io
import os
import pwd
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from edeposit.amqp.ftp import api, proftpd_conf, proftpd_init, settings
from edeposit.amqp.testing import ProftpdServer
from edeposit.amqp.testing._tls import make_certificates

from .conftest import lead_to, needs_root

pytestmark = needs_root

INIT = Path(__file__).parents[2] / "bin" / "edeposit_proftpd_init.py"


def init(*arguments):
    """Run the script; returns (exit code, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, str(INIT), "--no-group", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def debian(places, monkeypatch):
    """A copy of Debian's configuration, as the package has installed it."""
    etc = places / "etc"
    for path in Path("/etc/proftpd").glob("*.conf"):
        shutil.copy(path, etc)
    (etc / "conf.d").mkdir()
    for path in etc.glob("*.conf"):
        text = path.read_text("utf-8").replace("/etc/proftpd", str(etc))
        path.write_text(text.replace("/var/log/proftpd", str(places / "log")), "utf-8")
    lead_to(monkeypatch, {"FTP_PROFTPD_PIDFILE": places / "proftpd.pid"})
    return etc


def taken_uids():
    return {entry.pw_uid for entry in pwd.getpwall()} | {0}


def snapshot(directory):
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mode)
        for path in directory.rglob("*")
        if not path.name.endswith(".lock")
    }


def test_debians_configuration_is_set_up_twice_changing_nothing_more(debian, places):
    before = snapshot(places)
    code, out, _ = init("--dry-run")
    assert code == 0
    assert "+AuthOrder mod_auth_file.c" in out
    assert snapshot(places) == before
    code, out, error = init()
    assert (code, out) == (0, "")
    assert "clear text" in error
    main = (debian / "proftpd.conf").read_text("utf-8")
    assert "\n#edeposit# Umask 022 022\n" in main
    assert "\nMaxInstances" in main
    assert (debian / "proftpd.conf_").read_bytes() == before[str(debian / "proftpd.conf")][0]
    assert (debian / "modules.conf").read_bytes() == before[str(debian / "modules.conf")][0]
    assert (places / "home").stat().st_mode & 0o777 == 0o755
    assert (debian / "ftpd.passwd").stat().st_mode & 0o777 == 0o600
    after = snapshot(places)
    assert init()[0] == 0
    assert init("--dry-run")[1] == ""
    assert snapshot(places) == after


def test_a_clean_configuration(debian):
    assert init("-o")[0] == 0
    text = (debian / "proftpd.conf").read_text("utf-8")
    assert text.startswith("# Written by edeposit_proftpd_init.py.")
    assert init("-o", "--dry-run")[1] == ""


def test_lines_of_the_first_generation_are_replaced(debian):
    path = debian / "proftpd.conf"
    old = (
        f'AuthUserFile {debian}/old.passwd\nLogFormat paths "%f, %u, %m, %{{%s}}t"\n'
        'ExtendedLog /var/log/x.log WRITE paths\nLogFormat mine "%h"\n'
        "ExtendedLog /tmp/m ALL mine\n<VirtualHost 127.0.0.9>\n  Umask 077\n</VirtualHost>\n"
    )
    (debian / "old.passwd").touch(0o600)
    path.write_text(path.read_text("utf-8") + old, "utf-8")
    assert init()[0] == 0
    text = path.read_text("utf-8")
    assert f"#edeposit# AuthUserFile {debian}/old.passwd" in text
    assert '#edeposit# LogFormat paths "' in text
    assert "#edeposit# ExtendedLog /var/log/x.log WRITE paths" in text
    assert '\nLogFormat mine "%h"\nExtendedLog /tmp/m ALL mine\n' in text
    assert "\n  Umask 077\n" in text


def test_a_configuration_that_is_broken_already_is_left_alone(debian, places):
    (debian / "ftpd.passwd").touch(0o600)
    (debian / "proftpd.conf").write_text("Nonsense on\n")
    before = snapshot(places)
    code, _, error = init()
    assert code == 1
    assert "ProFTPD refuses the present configuration: " in error
    assert "Nonsense" in error
    assert "Traceback" not in error
    assert snapshot(places) == before


def test_a_result_that_is_refused_is_taken_back(debian, places, monkeypatch):
    (debian / "ftpd.passwd").touch(0o600)
    monkeypatch.setattr(proftpd_conf, "own_text", lambda *_: "Nonsense on\n")
    before = snapshot(debian)
    with pytest.raises(AssertionError, match="ProFTPD refuses the new configuration"):
        proftpd_init.main(make_group=False)
    after = snapshot(debian)
    assert {k: v for k, v in after.items() if not k.endswith("_")} == before


def test_without_proftpd_it_says_so(monkeypatch):
    monkeypatch.setenv("FTP_CONF_PATH", "/nowhere/proftpd")
    code, _, error = init()
    assert code == 1
    assert error == ("Can't find '/nowhere/proftpd/' - it looks like ProFTPD is not installed!\n")


def test_a_number_of_somebody_else_is_refused(debian, monkeypatch):
    monkeypatch.setenv("FTP_PROFTPD_USERS_GID", "1")
    assert "uid 1 belongs to 'daemon'" in init()[2]


def test_the_group_gets_a_name(debian, monkeypatch):
    number = next(n for n in range(61000, 62000) if all(g.gr_gid != n for g in grp.getgrall()))
    monkeypatch.setattr(proftpd_init, "_GROUP", f"edeposit-{number}")
    settings.substitute_globals({"PROFTPD_USERS_GID": number})
    try:
        proftpd_init.main()
        proftpd_init.main()
        assert grp.getgrgid(number).gr_name == f"edeposit-{number}"
    finally:
        subprocess.run(["groupdel", f"edeposit-{number}"], check=True)
    number = next(g.gr_gid for g in grp.getgrall() if g.gr_gid not in taken_uids())
    settings.substitute_globals({"PROFTPD_USERS_GID": number})
    with pytest.raises(AssertionError, match=f"gid {number} belongs to group "):
        proftpd_init.main()


def test_modules_in_files_are_loaded_only_where_there_are_such_files(tmp_path, monkeypatch):
    """Debian 13 has in files of their own what Debian 12 has in the server."""
    monkeypatch.setattr(proftpd_conf, "MODULES", str(tmp_path))
    assert "LoadModule" not in proftpd_conf.own_text()
    for name in ("mod_ls", "mod_xfer", "mod_delay"):
        (tmp_path / f"{name}.so").touch()
    for text in (proftpd_conf.own_text(), proftpd_conf.clean_text("/x")):
        for name in ("mod_ls", "mod_xfer", "mod_delay"):
            assert f"<IfModule !{name}.c>\n  LoadModule {name}.c\n</IfModule>\n" in text
        assert text.index("LoadModule") < text.index("Umask" if "Umask" in text else "ServerName")


def test_the_administrators_own_limit_stays(debian):
    path = debian / "proftpd.conf"
    assert init()[0] == 0
    assert "\nMaxInstances" in path.read_text("utf-8")
    assert "MaxInstances 30\n" in (debian / "conf.d" / "edeposit.conf").read_text("utf-8")


def test_modes_are_right_under_the_umask_of_a_daemon(debian, places):
    (places / "log").rmdir()
    assert init()[0] == 0
    for path, mode in (("home", 0o755), ("log", 0o755), ("etc/conf.d/edeposit.conf", 0o644)):
        assert (places / path).stat().st_mode & 0o777 == mode


def test_quotas_are_offered(debian, places):
    assert init("--quota", "5")[0] == 0
    text = (debian / "conf.d" / "edeposit.conf").read_text("utf-8")
    assert "  QuotaDefault user false hard 5242880 0 0 0 0 0\n" in text
    assert (debian / "edeposit-quota.tally").exists()
    assert init("--quota", "5", "--dry-run")[1] == ""
    assert init()[0] == 0
    assert (debian / "edeposit.conf_").read_text("utf-8") == text
    assert os.listdir(debian / "conf.d") == ["edeposit.conf"]
    assert "Quota" not in (debian / "conf.d" / "edeposit.conf").read_text("utf-8")
    for size in ("0", "-1", "x"):
        assert init("--quota", size)[0] == 2


# --- the server with the result ---------------------------------------------------------------


@pytest.fixture
def configured(monkeypatch, tmp_path):
    """A server that runs with what the script has written."""
    include = tmp_path / "edeposit.conf"
    server = ProftpdServer(include=include)
    lead_to(monkeypatch, server.env())
    include.write_text(proftpd_conf.own_text())
    with server:
        api.add_user("garda", "tajne")
        yield server


def test_users_log_in_and_accounts_of_the_system_do_not(configured):
    session = configured.login("garda", "tajne")
    session.storbinary("STOR a.pdf", io.BytesIO(b"x"))
    session.mkd("d")
    home = configured.data_path / "garda"
    assert (home / "a.pdf").stat().st_mode & 0o777 == 0o660
    assert (home / "d").stat().st_mode & 0o777 == 0o770
    with pytest.raises(ftplib.error_perm):
        configured.login("root", "")
    lines = configured.log_file.read_text("utf-8").splitlines()
    assert any(line.startswith(f"226, {home}/a.pdf, garda, STOR, ") for line in lines)


@pytest.mark.parametrize(
    "command",
    [
        "SITE CHMOD 777 a.pdf",
        "SITE SYMLINK a.pdf b.pdf",
        "SITE CPFR a.pdf",
        "SITE MKDIR x",
        "DELE .ftpaccess",
        "MKD a\rb",
        "MKD a\x01b",
    ],
)
def test_what_could_lead_out_of_a_home_is_denied(configured, command):
    session = configured.login("garda", "tajne")
    session.storbinary("STOR a.pdf", io.BytesIO(b"x"))
    # ftplib itself would refuse the control characters.
    session.sock.sendall(command.encode() + b"\r\n")
    with pytest.raises(ftplib.error_perm):
        session.voidresp()
    assert sorted(os.listdir(configured.data_path / "garda")) == ["a.pdf", settings.LOCK_FILENAME]


def test_a_filter_against_expensive_listings_is_set(configured):
    session = configured.login("garda", "tajne")
    with pytest.raises(ftplib.error_perm, match="Forbidden"):
        session.sendcmd("NLST */../*/../*/../*")


def test_the_number_of_sessions_is_a_setting(places):
    settings.substitute_globals({"MAX_SESSIONS": 2})
    assert "\nMaxInstances 2\n" in proftpd_conf.own_text()


def test_a_quota_counts_what_is_in_the_home(monkeypatch, tmp_path):
    """Also after the monitor has taken what was there."""
    include = tmp_path / "edeposit.conf"
    server = ProftpdServer(include=include)
    lead_to(monkeypatch, server.env())
    quota = proftpd_init._quota(1)
    include.write_text(proftpd_conf.own_text(None, quota))
    server.config_path.mkdir(parents=True)
    proftpd_init._make_quota_tables(quota)
    with server:
        api.add_user("garda", "tajne")
        session = server.login("garda", "tajne")
        session.storbinary("STOR a.pdf", io.BytesIO(b"x" * 600_000))
        with pytest.raises(ftplib.error_perm, match="552"):
            session.storbinary("STOR b.pdf", io.BytesIO(b"x" * 600_000))
        (server.data_path / "garda" / "a.pdf").unlink()
        session = server.login("garda", "tajne")
        session.storbinary("STOR b.pdf", io.BytesIO(b"x" * 600_000))


def test_with_tls_nothing_goes_in_clear_text(monkeypatch, tmp_path):
    certificates = make_certificates(tmp_path / "tls")
    files = tuple(map(str, certificates.servers["good"]))
    include = tmp_path / "edeposit.conf"
    server = ProftpdServer(include=include)
    lead_to(monkeypatch, server.env())
    certificate = proftpd_init._certificate(*files)
    assert certificate.kind == "EC"
    include.write_text(proftpd_conf.own_text(certificate))
    with server:
        api.add_user("garda", "tajne")
        with pytest.raises(ftplib.error_perm, match="550"):
            server.login("garda", "tajne")
        context = ssl.create_default_context(cafile=str(certificates.ca_file))
        session = ftplib.FTP_TLS(context=context)
        session.connect("127.0.0.1", server.port)
        session.login("garda", "tajne")
        session.prot_p()
        session.storbinary("STOR a.pdf", io.BytesIO(b"x"))
        assert (server.data_path / "garda" / "a.pdf").read_bytes() == b"x"
        assert isinstance(session.sock, ssl.SSLSocket)
