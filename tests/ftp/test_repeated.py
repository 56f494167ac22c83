"""Requests that the broker delivers again, and users who get the name of another."""

import os
from types import SimpleNamespace

import pytest

from edeposit.amqp.ftp import api, importer, reactToAMQPMessage, request_parser, settings, userhomes
from edeposit.amqp.ftp.importer import Importer
from edeposit.amqp.ftp.spool import Spool
from edeposit.amqp.ftp.structures import AddUser, ChangePassword, RemoveUser

from .conftest import Crash, needs_root

pytestmark = needs_root

LOCK = "delete_me_to_import_files.txt"


def first(message):
    return reactToAMQPMessage(message, SimpleNamespace(redelivered=False))


def again(message):
    return reactToAMQPMessage(message, SimpleNamespace(redelivered=True))


def test_an_added_user_is_recognised(places):
    assert first(AddUser("garda", "tajne")) is True
    assert again(AddUser("garda", "tajne")) is True
    with pytest.raises(AssertionError, match="User 'garda' is already registered!"):
        again(AddUser("garda", "another"))
    with pytest.raises(AssertionError, match="User 'garda' is already registered!"):
        first(AddUser("garda", "tajne"))
    first(ChangePassword("garda", "another"))
    with pytest.raises(AssertionError, match="already registered"):
        again(AddUser("garda", "tajne"))


def test_without_the_attribute_nothing_is_repeated(places):
    first(AddUser("garda", "tajne"))
    with pytest.raises(AssertionError, match="already registered"):
        reactToAMQPMessage(AddUser("garda", "tajne"), lambda _: None)


def test_a_user_with_an_older_kind_of_hash_is_not_taken_for_ones_own(places):
    first(AddUser("garda", "tajne"))
    path = settings.LOGIN_FILE
    with open(path) as file:
        fields = file.read().split(":")
    with open(path, "w") as file:
        file.write(":".join([fields[0], "$1$abc$def", *fields[2:]]))
    with pytest.raises(AssertionError, match="already registered"):
        again(AddUser("garda", "tajne"))


def test_a_removed_user_is_recognised(places):
    with pytest.raises(AssertionError, match="Username 'garda' not found!"):
        again(RemoveUser("garda"))
    first(AddUser("garda", "tajne"))
    assert first(RemoveUser("garda")) is True
    assert again(RemoveUser("garda")) is True
    with pytest.raises(AssertionError, match="not found!"):
        first(RemoveUser("garda"))
    # This answer was right, so the same request delivered again gets it again.
    with pytest.raises(AssertionError, match="not found!"):
        again(RemoveUser("garda"))


@pytest.mark.parametrize("name", ["../etc", "", "a/b", ["a"], None, 7])
def test_odd_names_are_not_found_however_often(places, name):
    for react in (first, again):
        with pytest.raises(AssertionError, match="not found!"):
            react(RemoveUser(name))


@pytest.mark.parametrize("step", ["note_removal", "put_aside", "delete_tree"])
def test_a_removal_that_was_killed_is_finished(places, monkeypatch, step):
    first(AddUser("garda", "tajne"))
    home = places / "home" / "garda"
    (home / "a.pdf").write_bytes(b"x")
    real = getattr(userhomes, step)

    def crash(*_arguments):
        raise Crash

    monkeypatch.setattr(userhomes, step, crash)
    with pytest.raises(Crash):
        first(RemoveUser("garda"))
    monkeypatch.setattr(userhomes, step, real)
    assert again(RemoveUser("garda")) is True
    assert not home.exists()
    assert api.list_users() == []
    Spool().clean()
    assert not list((places / "home").glob("**/a.pdf"))


@pytest.mark.parametrize("step", ["make", "forget_removal"])
def test_an_addition_that_was_killed_is_finished(places, monkeypatch, step):
    real = getattr(userhomes, step)

    def crash(*arguments):
        real(*arguments)
        os._exit(9)

    child = os.fork()
    if not child:
        setattr(userhomes, step, crash)
        first(AddUser("garda", "tajne"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert again(AddUser("garda", "tajne")) is True
    assert api.list_users() == ["garda"]
    assert os.listdir(places / "home" / "garda") == [LOCK]


# --- the name of another ------------------------------------------------------------------------


def test_a_home_that_is_left_is_set_aside(places, caplog):
    first(AddUser("garda", "tajne"))
    home = places / "home" / "garda"
    (home / "private.pdf").write_bytes(b"private")
    os.truncate(settings.LOGIN_FILE, 0)
    first(AddUser("garda", "another person"))
    assert os.listdir(home) == [LOCK]
    (old,) = (places / "home").glob(".edeposit-spool/old-homes/garda-*")
    assert (old / "private.pdf").read_bytes() == b"private"
    assert (old.parent.stat().st_mode & 0o777, old.parent.stat().st_uid) == (0o700, 0)
    assert "was the home of nobody" in caplog.text


def test_a_directory_that_is_no_home_is_never_touched(places):
    other = places / "home" / "data"
    other.mkdir(0o755)
    (other / "file").write_bytes(b"x")
    with pytest.raises(AssertionError, match="exists already and is no home"):
        first(AddUser("data", "x"))
    assert os.listdir(other) == ["file"]
    assert api.list_users() == []


def test_the_home_of_another_name_is_never_touched(places):
    first(AddUser("garda", "x"))
    os.rename(places / "home" / "garda", places / "home" / "other")
    with open(settings.LOGIN_FILE) as file:
        text = file.read()
    with open(settings.LOGIN_FILE, "w") as file:
        file.write(text.replace("/home/garda:", "/home/other:"))
    with pytest.raises(AssertionError, match="is the home of user 'garda'"):
        first(AddUser("other", "x"))


@pytest.mark.parametrize("place", ["spool", "spool/", "a/b/spool"])
def test_the_spool_is_nobodys_home(places, place):
    settings.substitute_globals({"SPOOL_PATH": f"{settings.DATA_PATH}{place}"})
    Spool()
    name = place.split("/")[0]
    with pytest.raises(AssertionError, match=f"Invalid format of username '{name}'!"):
        first(AddUser(name, "x"))
    assert api.list_users() == []


def test_kept_files_of_a_removed_user_are_not_the_next_users(home, monkeypatch, caplog):
    (home / "contract.csv").write_bytes(b"bad metadata, personal")
    one = Importer(Spool())

    def fail(_entry):
        raise OSError("disk full")

    monkeypatch.setattr(request_parser, "give_home_back", fail)
    for candidate in one.unlocked():
        one.run(candidate, told_by_log=True)
    monkeypatch.undo()
    settings.substitute_globals(
        {
            "CONF_PATH": str(home.parents[1] / "etc"),
            "DATA_PATH": str(home.parent),
            "LOG_PATH": str(home.parents[1] / "log"),
            "HASH_ROUNDS": 1000,
        }
    )
    first(RemoveUser("garda"))
    first(AddUser("garda", "another person"))
    assert one.resume()
    assert os.listdir(home) == [LOCK]
    (entry,) = Spool().entries()
    assert entry.is_returned
    assert importer.Importer(Spool()).resume()
