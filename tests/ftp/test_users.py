"""Users: the AuthUserFile, homes, passwords; and what must never happen."""

import ftplib
import io
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from edeposit.amqp import ftp as service
from edeposit.amqp.ftp import api, passwd_reader, settings
from edeposit.amqp.ftp.structures import (
    FLAGS,
    AddUser,
    ChangePassword,
    GetUserSettings,
    ListRegisteredUsers,
    RemoveUser,
    SetUserSettings,
    Userlist,
    UserSettings,
)
from edeposit.amqp.service import class_table

from .conftest import needs_root

pytestmark = needs_root


def react(message):
    return service.reactToAMQPMessage(message, lambda _progress: None)


def refused(server, username, password):
    with pytest.raises(ftplib.error_perm, match="530"):
        server.login(username, password)
    return True


# --- with the real server -----------------------------------------------------------------


def test_a_user_logs_in_uploads_and_is_locked_into_the_home(server):
    assert react(AddUser("garda", "tajné heslo")) is True
    session = server.login("garda", "tajné heslo")
    assert session.pwd() == "/"
    assert session.nlst() == [settings.LOCK_FILENAME]
    session.storbinary("STOR kniha.pdf", io.BytesIO(b"%PDF"))
    home = server.data_path / "garda"
    assert (home / "kniha.pdf").read_bytes() == b"%PDF"
    assert stat.S_IMODE(home.stat().st_mode) == 0o770
    assert (home.stat().st_uid, home.stat().st_gid) == (2000, 2000)
    with pytest.raises(ftplib.error_perm):
        session.retrlines("RETR ../../etc/passwd")


def test_changed_passwords_count_at_once_and_removal_ends_sessions(server):
    react(AddUser("garda", "a"))
    old = server.login("garda", "a")
    assert react(ChangePassword("garda", "b")) is True
    assert refused(server, "garda", "a")
    assert refused(server, "garda", "")
    server.login("garda", "b").quit()
    assert react(RemoveUser("garda")) is True
    assert refused(server, "garda", "b")
    assert not (server.data_path / "garda").exists()
    with pytest.raises((EOFError, OSError, ftplib.Error)):
        old.nlst()
    assert [path.name for path in Path(settings.SPOOL_PATH).iterdir()] == ["removed-users"]


def test_accounts_of_the_system_cannot_log_in(server):
    assert refused(server, "root", "root")
    assert refused(server, "proftpd", "")


def test_ten_thousand_rounds_and_more_are_understood(server, monkeypatch):
    settings.substitute_globals({"HASH_ROUNDS": 100_000})
    react(AddUser("garda", "tajne"))
    assert "$6$rounds=100000$" in server.login_file.read_text("ascii")
    server.login("garda", "tajne").quit()


# --- names --------------------------------------------------------------------------------

BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "-x",
    ".x",
    "a b",
    "a:b",
    "a\n",
    "a\nb",
    "a\0",
    "ž",
    "a" * 33,
    "a" * 100_000,
    None,
    7,
    ["a"],
    "name\r",
    "$(id)",
    "*",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name)[:20])
def test_a_name_that_could_lead_elsewhere_is_refused(places, name):
    marker = places / "home" / "other"
    marker.mkdir()
    with pytest.raises(AssertionError, match="Invalid format of username '"):
        api.add_user(name, "x")
    with pytest.raises(AssertionError, match="not found!"):
        api.remove_user(name)
    assert marker.exists()
    assert os.listdir(places / "home") == ["other"]


def test_a_name_of_the_system_is_refused(places):
    with pytest.raises(AssertionError, match="Invalid format of username 'root'!"):
        api.add_user("root", "x")


@pytest.mark.parametrize("name", ["garda", "A.b-c_1", "0", "_", "a" * 32])
def test_a_good_name_is_taken(places, name):
    api.add_user(name, "x")
    assert api.list_users() == [name]


def test_users_come_once_and_must_be_there(places):
    api.add_user("garda", "x")
    with pytest.raises(AssertionError, match="User 'garda' is already registered!"):
        api.add_user("garda", "y")
    for call in (lambda: api.remove_user("b"), lambda: api.change_password("b", "x")):
        with pytest.raises(AssertionError, match="Username 'b' not found!"):
            call()


@pytest.mark.parametrize("password", ["", None])
def test_an_empty_password_is_refused(places, password):
    with pytest.raises(AssertionError, match=r"Password is reqired!"):
        api.add_user("garda", password)
    assert api.list_users() == []
    assert os.listdir(places / "home") == []


@pytest.mark.parametrize("password", ["a\nb", "a\rb", "a\0b", "x" * 513])
def test_a_password_that_no_client_can_send_is_refused_without_being_told(places, password):
    with pytest.raises(ValueError, match="password") as caught:
        api.add_user("garda", password)
    assert password not in str(caught.value)


def test_passwords_are_in_no_text(places, caplog):
    caplog.set_level("DEBUG")
    api.add_user("garda", "velmitajne")
    api.change_password("garda", "jestetajnejsi")
    shown = caplog.text + repr(AddUser("g", "velmitajne")) + repr(ChangePassword("g", "jestetaj"))
    assert "tajne" not in shown
    assert "jestetaj" not in shown
    assert "$6$" not in shown


def test_only_root_may(places, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for call in (api.list_users, lambda: api.add_user("a", "b"), lambda: api.remove_user("a")):
        with pytest.raises(AssertionError, match="You have to be root to run function '"):
            call()


# --- nothing outside the homes ----------------------------------------------------------------


@pytest.mark.parametrize(
    "home", ["/etc", "{data}", "{data}/", "{data}/..", "{data}/a/b", "{data}/x/"]
)
def test_a_home_elsewhere_is_never_deleted(places, home):
    data = settings.DATA_PATH.rstrip("/")
    (places / "home" / "x").mkdir()
    (places / "home" / "a" / "b").mkdir(parents=True)
    line = f"garda:$6$x:2000:2000::{home.format(data=data)}:/bin/false\n"
    Path(settings.LOGIN_FILE).write_text(line, "ascii")
    with pytest.raises(AssertionError, match="is not in "):
        api.remove_user("garda")
    assert (places / "home" / "a" / "b").exists()
    assert Path(settings.LOGIN_FILE).read_text("ascii") == line


def test_a_home_that_is_a_link_is_never_followed(places):
    victim = places / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    (places / "home" / "garda").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        api.add_user("garda", "x")
    assert api.list_users() == []
    line = f"garda:$6$x:2000:2000::{settings.DATA_PATH}garda:/bin/false\n"
    Path(settings.LOGIN_FILE).write_text(line, "ascii")
    with pytest.raises(AssertionError, match="symbolic link"):
        api.remove_user("garda")
    assert (victim / "file").read_text() == "precious"


def test_links_inside_a_removed_home_are_removed_not_followed(places):
    victim = places / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    api.add_user("garda", "x")
    (places / "home" / "garda" / "link").symlink_to(victim)
    api.remove_user("garda")
    assert (victim / "file").exists()
    assert not (places / "home" / "garda").exists()


def test_recursive_chmod_touches_neither_links_nor_hard_links(places):
    victim = places / "victim"
    victim.write_text("x")
    victim.chmod(0o600)
    api.add_user("garda", "x")
    home = places / "home" / "garda"
    (home / "soft").symlink_to(victim)
    os.link(victim, home / "hard")
    (home / "own").write_text("x")
    api.recursive_chmod(str(home), 0o755)
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert victim.stat().st_uid == 0
    assert stat.S_IMODE((home / "own").stat().st_mode) == 0o755


# --- half a user ------------------------------------------------------------------------------


def test_a_failure_leaves_no_half_user(places, monkeypatch):
    def fail(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(passwd_reader.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        api.add_user("garda", "x")
    monkeypatch.undo()
    assert not (places / "home" / "garda").exists()
    assert os.listdir(places / "etc") == ["ftpd.passwd.lock"]


# --- the file -------------------------------------------------------------------------------


def test_mode_owner_and_foreign_lines_of_the_file_stay(places):
    path = Path(settings.LOGIN_FILE)
    path.write_bytes(b"# my users\n\nold:$1$x:1:1:t\xe9st:/home/old:/bin/false\n#end\n")
    path.chmod(0o400)
    os.chown(path, 1234, 4321)
    api.add_user("garda", "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
    api.remove_user("garda")
    assert path.read_bytes() == (b"# my users\n\nold:$1$x:1:1:t\xe9st:/home/old:/bin/false\n#end\n")


def test_a_readable_file_is_closed_for_others(places):
    path = Path(settings.LOGIN_FILE)
    path.touch(0o644)
    path.chmod(0o644)
    api.add_user("garda", "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_broken_line_is_named(places):
    Path(settings.LOGIN_FILE).write_text("#c\na:b:c\n")
    with pytest.raises(AssertionError, match=r"Bad number of fields in '.*', at line 2!"):
        api.list_users()


def _add_many(prefix, count):
    for number in range(count):
        api.add_user(f"{prefix}{number}", "x")


def test_two_writers_lose_nobody(places):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_add_many, args=(name, 25)) for name in "abcd"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(api.list_users()) == 100
    assert len(list((places / "home").glob("[a-d]*"))) == 100


@pytest.mark.parametrize("value", ["a:b", "a\nb", "a\rb"])
def test_what_would_break_the_file_is_refused(places, value):
    user = passwd_reader.Entry("$6$x", "1", "1", value, "/h", "/s")._asdict()
    users = {"a": user}
    with pytest.raises(ValueError, match="full_name"):
        passwd_reader.save_users(users)
    user |= {"full_name": "", "pass_hash": ""}
    with pytest.raises(ValueError, match="hash is empty"):
        passwd_reader.save_users(users)
    assert passwd_reader.load_users() == {}


def test_save_users_is_the_reverse_of_load_users(places):
    api.add_user("a", "x")
    api.add_user("b", "y")
    users = passwd_reader.load_users()
    copy = str(places / "copy")
    passwd_reader.save_users(users, copy)
    assert passwd_reader.load_users(copy) == users
    del users["a"]
    passwd_reader.save_users(users, copy)
    assert list(passwd_reader.load_users(copy)) == ["b"]


# --- a user's own flags -----------------------------------------------------------------------


def test_flags_are_stored_and_default_to_the_common_ones(places):
    api.add_user("garda", "x")
    assert react(GetUserSettings("garda")) == UserSettings("garda", True, True, True, True, True)
    wanted = SetUserSettings("garda", True, False, True, False, True)
    assert react(wanted) == UserSettings(*wanted)
    assert ":tftft:" in Path(settings.LOGIN_FILE).read_text("ascii")
    settings.substitute_globals({"ISBN_PAIRING": False})
    assert react(GetUserSettings("garda")) == UserSettings(*wanted)


@pytest.mark.parametrize(
    ("stored", "flags"),
    [
        ("", {}),
        ("t", {FLAGS[0]: True}),
        ("Tx", {FLAGS[0]: True, FLAGS[1]: False}),
        ("TFTFTZZZ", dict(zip(FLAGS, (True, False, True, False, True), strict=True))),
    ],
)
def test_short_and_odd_flags(places, stored, flags):
    Path(settings.LOGIN_FILE).write_text(f"a:$6$x:1:1:{stored}:/h:/s\n")
    assert passwd_reader.read_user_config("a") == flags


def test_flags_of_nobody_are_a_key_error(places):
    for message in (GetUserSettings("nobody"), SetUserSettings("nobody", *[True] * 5)):
        with pytest.raises(KeyError, match="nobody"):
            react(message)


@pytest.mark.parametrize("value", ["t", None, 1, [], "no"])
def test_a_flag_is_true_or_false(places, value):
    api.add_user("garda", "x")
    with pytest.raises(ValueError, match="SAME_DIR_PAIRING"):
        react(SetUserSettings("garda", True, value, True, True, True))


def test_a_user_can_only_switch_off():
    assert settings.conf_merger({}, "ISBN_PAIRING") is True
    assert settings.conf_merger({"ISBN_PAIRING": False}, "ISBN_PAIRING") is False
    settings.substitute_globals({"ISBN_PAIRING": False})
    assert settings.conf_merger({"ISBN_PAIRING": True}, "ISBN_PAIRING") is False
    with pytest.raises(NameError, match=r"Unknown variable 'ISBN'\."):
        settings.conf_merger({}, "ISBN")


def test_requests_and_their_classes(places):
    api.add_user("b", "x")
    api.add_user("a", "x")
    assert react(ListRegisteredUsers()) == Userlist(["a", "b"])
    with pytest.raises(ValueError, match="Unknown type of request: '"):
        react(Userlist([]))
    assert {
        "AddUser",
        "RemoveUser",
        "ChangePassword",
        "ListRegisteredUsers",
        "Userlist",
        "SetUserSettings",
        "GetUserSettings",
        "UserSettings",
        "ImportRequest",
        "DataPair",
        "MetadataFile",
        "EbookFile",
        "EPublication",
    } == set(class_table("ftp"))


def test_all_kinds_of_settings_can_be_overridden(monkeypatch, tmp_path):
    (tmp_path / "edeposit").mkdir()
    (tmp_path / "edeposit" / "ftp.json").write_text(
        '{"CONF_PATH": "/srv/conf", "LOG_PATH": "/srv/log", "ISBN_PAIRING": false,'
        ' "PROFTPD_USERS_GID": 3000, "MODULES_FILE": "/m"}'
    )
    settings.reload()
    assert settings.CONF_PATH == "/srv/conf/"
    assert settings.CONF_FILE == "/srv/conf/proftpd.conf"
    assert settings.LOGIN_FILE == "/srv/conf/ftpd.passwd"
    assert settings.LOG_FILE == "/srv/log/extended.log"
    assert settings.MODULES_FILE == "/m"
    assert settings.ISBN_PAIRING is False
    assert settings.PROFTPD_USERS_GID == 3000
    with pytest.raises(settings.SettingsError, match="ISBN_PAIRING"):
        settings.substitute_globals({"ISBN_PAIRING": "yes"})
