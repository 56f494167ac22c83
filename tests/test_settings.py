"""Settings: file, environment, and what is said about mistakes (spec/wire.md, section 2)."""

import json
import stat
import subprocess
import sys

import pytest

from edeposit.amqp import settings
from edeposit.amqp.engine.parameters import getConParams
from edeposit.amqp.errors import StartError
from edeposit.amqp.settings import SettingsError


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No settings from the machine; HOME is empty; what a test loads is forgotten after it."""
    for name in settings.get_all_constants():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("EDEPOSIT_AMQP_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(settings, "_loaded", None)


@pytest.fixture
def config(tmp_path):
    def write(content, name="edeposit/amqp.json", mode=0o600):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        path.chmod(mode)
        settings.reload()
        return path

    return write


def test_the_defaults_are_those_of_the_first_generation():
    assert settings.RABBITMQ_HOST == "127.0.0.1"
    assert settings.RABBITMQ_PORT == "5672"
    assert settings.RABBITMQ_ALEPH_EXCEPTION_KEY == "exception"
    amqp = settings.get_amqp_settings()
    entry = amqp["aleph"]
    assert {k: entry[k] for k in ("vhost", "exchange", "queues", "in_key", "out_key")} == {
        "vhost": "aleph",
        "exchange": "search",
        "queues": {"daemon": "request", "plone": "result"},
        "in_key": "request",
        "out_key": "result",
    }
    assert (amqp["aleph_link_export"]["vhost"], amqp["aleph_link_export"]["in_queue"]) == (
        "aleph",
        "updater",
    )
    assert amqp["storage"]["exchange"] == amqp["mx2mods"]["exchange"] == "export"
    assert amqp["downloader"] == amqp["downer"]
    assert amqp["marcxml2mods"] == amqp["mx2mods"]


def test_importing_reads_nothing(tmp_path):
    (tmp_path / "edeposit").mkdir()
    (tmp_path / "edeposit" / "amqp.json").write_text("{broken")
    code = "from edeposit.amqp import settings, service, client, amqpdaemon"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_home_wins_over_etc_and_the_environment_over_both(config, monkeypatch):
    config({"RABBITMQ_HOST": "from-file", "RABBITMQ_PORT": 5673, "RABBITMQ_HEARTBEAT": 5})
    assert settings.RABBITMQ_HOST == "from-file"
    assert settings.RABBITMQ_PORT == "5673"
    monkeypatch.setenv("RABBITMQ_HOST", "from-environment")
    monkeypatch.setenv("RABBITMQ_SSL", "yes")
    monkeypatch.setenv("RABBITMQ_CONFIRM_TIMEOUT", "7")
    settings.reload()
    assert settings.RABBITMQ_HOST == "from-environment"
    assert settings.RABBITMQ_SSL is True
    assert settings.RABBITMQ_CONFIRM_TIMEOUT == 7.0
    assert settings.RABBITMQ_HEARTBEAT == 5


def test_a_named_file_comes_first_and_must_exist(config, monkeypatch, tmp_path):
    config({"RABBITMQ_HOST": "home"})
    other = config({"RABBITMQ_HOST": "named"}, "other.json")
    monkeypatch.setenv("EDEPOSIT_AMQP_CONFIG", str(other))
    settings.reload()
    assert settings.RABBITMQ_HOST == "named"
    monkeypatch.setenv("EDEPOSIT_AMQP_CONFIG", str(tmp_path / "missing.json"))
    with pytest.raises(SettingsError, match=r"missing\.json"):
        settings.reload()


def test_an_unknown_key_is_reported_with_the_nearest_right_one(config):
    config({"RABBITMQ_HOTS": "x", "_private": 1, "lower": 2})
    text = "\n".join(settings.problems())
    assert "'RABBITMQ_HOTS' is ignored: did you mean RABBITMQ_HOST?" in text
    assert "'lower'" in text
    assert "amqp.json" in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{\n  'x': 1}", "line 2, column 3: not JSON"),
        ("[]", "JSON object"),
        ('{"RABBITMQ_HEARTBEAT": "5"}', "RABBITMQ_HEARTBEAT: '5' is not a whole number"),
        ('{"RABBITMQ_HEARTBEAT": true}', "True is not a whole number"),
        ('{"RABBITMQ_HEARTBEAT": -1}', "-1 is not a number from 0 to 3600"),
        ('{"RABBITMQ_PORT": 70000}', "'70000' is not a port from 1 to 65535"),
        ('{"RABBITMQ_HOST": null}', "None is not a text"),
        ('{"RABBITMQ_SSL": 1}', "1 is not true or false"),
        ('{"LOG_LEVEL": "loud"}', "one of DEBUG"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_what_would_be_right(config, content, says):
    with pytest.raises(SettingsError) as caught:
        config(content)
    assert says in str(caught.value)
    assert "amqp.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_the_environment_is_named_too(monkeypatch):
    monkeypatch.setenv("RABBITMQ_PORT", "10.0.0.1:5672")
    with pytest.raises(SettingsError, match="environment variable RABBITMQ_PORT: RABBITMQ_PORT"):
        settings.reload()
    monkeypatch.setenv("RABBITMQ_PORT", "5672")
    monkeypatch.setenv("RABBITMQ_SSL", "perhaps")
    with pytest.raises(SettingsError, match="'perhaps' is not true or false"):
        settings.reload()


def test_passwords_are_never_shown(config, monkeypatch):
    with pytest.raises(SettingsError) as caught:
        config({"RABBITMQ_USER_PASSWORD": ["hidden"]})
    assert "hidden" not in str(caught.value)


def test_a_password_file_that_others_can_read_is_a_warning(config):
    path = config({"RABBITMQ_USER_PASSWORD": "x"}, mode=0o644)
    assert any("chmod 600" in problem for problem in settings.problems())
    path.chmod(stat.S_IRUSR)
    settings.reload()
    assert settings.problems() == []


def test_a_failed_reload_keeps_the_running_values(config):
    config({"RABBITMQ_HOST": "good"})
    with pytest.raises(SettingsError):
        config("{")
    assert settings.RABBITMQ_HOST == "good"


def test_substitute_globals_checks_as_a_file_is_checked():
    settings.substitute_globals({"RABBITMQ_HOST": "elsewhere", "RABBITMQ_HOTS": 1})
    assert settings.RABBITMQ_HOST == "elsewhere"
    assert "did you mean RABBITMQ_HOST" in settings.problems()[0]
    with pytest.raises(SettingsError):
        settings.substitute_globals({"RABBITMQ_HOST": 7})


def test_equal_queue_names_lose_no_binding():
    settings.substitute_globals({"RABBITMQ_FTP_OUTPUT_QUEUE": "daemon"})
    assert settings.get_amqp_settings()["ftp"]["bindings"] == [
        ("daemon", "request"),
        ("daemon", "result"),
    ]


def test_an_unknown_constant_is_an_attribute_error():
    with pytest.raises(AttributeError):
        settings.RABBITMQ_NOTHING  # noqa: B018


def test_every_setting_is_described():
    rows = settings.describe()
    assert {name for name, *_ in rows} == set(settings.get_all_constants())
    assert all(text for *_, text in rows)


def test_a_wrong_value_affects_only_who_asks_for_that_setting(config, monkeypatch):
    # A daemon must be found and stopped although something else in the file has become wrong.
    path = config({})
    path.write_text('{"PID_DIR": "/run/here", "RABBITMQ_HEARTBEAT": "sixty"}')
    monkeypatch.setattr(settings, "_loaded", None)
    assert settings.PID_DIR == "/run/here"
    with pytest.raises(SettingsError, match="RABBITMQ_HEARTBEAT: 'sixty' is not a whole number"):
        settings.RABBITMQ_HEARTBEAT  # noqa: B018
    with pytest.raises(SettingsError, match="sixty"):  # daemons do this before they start
        settings.reload()


def test_a_broken_file_leaves_what_the_environment_says(config, monkeypatch):
    path = config({})
    path.write_text("{")
    monkeypatch.setenv("PID_DIR", "/run/there")
    monkeypatch.setattr(settings, "_loaded", None)
    assert settings.PID_DIR == "/run/there"
    with pytest.raises(SettingsError, match="not JSON"):
        settings.LOG_TARGET  # noqa: B018


def test_the_environment_mends_what_is_wrong_in_the_file(config, monkeypatch):
    monkeypatch.setenv("RABBITMQ_HEARTBEAT", "7")
    config({"RABBITMQ_HEARTBEAT": "sixty"})
    assert settings.RABBITMQ_HEARTBEAT == 7


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_the_service_links_of_kubernetes_are_ignored_and_named(config, monkeypatch, scheme):
    monkeypatch.setenv("RABBITMQ_PORT", f"{scheme}://10.0.0.5:5672")
    monkeypatch.setenv("RABBITMQ_SERVICE_HOST", "10.0.0.5")
    config({"RABBITMQ_PORT": "5673"})
    assert settings.RABBITMQ_PORT == "5673"
    (problem,) = settings.problems()
    assert "environment variable RABBITMQ_PORT is ignored" in problem
    assert "Kubernetes" in problem


@pytest.mark.parametrize(
    ("written", "level"),
    [("info", "INFO"), ("Warn", "WARNING"), (" debug ", "DEBUG"), ("critical", "ERROR")],
)
def test_log_levels_may_be_written_as_other_programs_write_them(monkeypatch, written, level):
    monkeypatch.setenv("LOG_LEVEL", written)
    settings.reload()
    assert level == settings.LOG_LEVEL


@pytest.mark.parametrize("text", ["²", "٣", "-1", "0", "65536", "5" * 5000, "", "0x10"])
def test_what_is_no_port_is_an_error_in_one_line(monkeypatch, text):
    monkeypatch.setenv("RABBITMQ_PORT", text)
    with pytest.raises(SettingsError, match="a port from 1 to 65535"):
        settings.reload()


def test_an_ipv6_host_may_have_brackets(monkeypatch):
    monkeypatch.setenv("RABBITMQ_HOST", "[::1]")
    settings.reload()
    assert settings.RABBITMQ_HOST == "::1"


@pytest.mark.parametrize("text", ["", "amqp://broker", "broker one", "[::1]:5672", "joe@broker"])
def test_what_is_no_host_is_an_error_in_one_line(monkeypatch, text):
    monkeypatch.setenv("RABBITMQ_HOST", text)
    with pytest.raises(SettingsError, match="a host name or address, without a port"):
        settings.reload()


def test_a_group_may_read_the_file_but_others_may_not(config):
    config({"RABBITMQ_USER_PASSWORD": "x"}, mode=0o640)
    assert settings.problems() == []


def test_a_key_given_twice_is_named(config):
    config('{"RABBITMQ_PORT": 5673, "RABBITMQ_PORT": 5674}')
    assert settings.RABBITMQ_PORT == "5674"
    assert any("'RABBITMQ_PORT' is given twice" in problem for problem in settings.problems())


def test_a_byte_order_mark_does_not_matter(config):
    config("\ufeff" + '{"RABBITMQ_HOST": "broker"}')
    assert settings.RABBITMQ_HOST == "broker"


def test_declared_constants_are_settings_and_nothing_else():
    assert "RABBITMQ_HOST" not in vars(settings)
    assert {"RABBITMQ_HOST", "PID_DIR", "LOG_LEVEL"} <= set(settings.get_all_constants())


# --- accounts, URL and values set at run time -------------------------------------------------


def test_a_url_replaces_host_port_account_and_tls(monkeypatch):
    monkeypatch.setenv("RABBITMQ_HOST", "ignored")
    monkeypatch.setenv("RABBITMQ_URL", "amqps://lib%40rary:p%2Fw@mq.example.org")
    settings.reload()
    assert (settings.RABBITMQ_HOST, settings.RABBITMQ_PORT) == ("mq.example.org", "5671")
    assert settings.RABBITMQ_SSL is True
    assert (settings.RABBITMQ_USER_NAME, settings.RABBITMQ_USER_PASSWORD) == ("lib@rary", "p/w")


@pytest.mark.parametrize(
    "url", ["http://u:secret@h", "amqp://", "amqp://u:secret@h:x", "amqp://u:secret@h/vhost"]
)
def test_a_wrong_url_is_named_without_its_password(monkeypatch, url):
    monkeypatch.setenv("RABBITMQ_URL", url)
    with pytest.raises(settings.SettingsError, match="RABBITMQ_URL") as caught:
        settings.reload()
    assert "secret" not in str(caught.value)


def test_a_password_comes_from_its_file_and_a_reload_reads_it_again(monkeypatch, tmp_path):
    file = tmp_path / "password"
    file.write_text("first\n", "utf-8")
    monkeypatch.setenv("RABBITMQ_USER_PASSWORD_FILE", str(file))
    settings.reload()
    assert settings.RABBITMQ_USER_PASSWORD == "first"
    file.write_text("second", "utf-8")
    settings.reload()
    assert settings.RABBITMQ_USER_PASSWORD == "second"
    file.unlink()
    with pytest.raises(settings.SettingsError, match="RABBITMQ_USER_PASSWORD_FILE"):
        settings.reload()
    assert settings.RABBITMQ_USER_PASSWORD == "second"


def test_a_value_assigned_at_run_time_counts_everywhere():
    settings.RABBITMQ_ALEPH_EXCHANGE = "elsewhere"
    try:
        assert settings.RABBITMQ_ALEPH_EXCHANGE == "elsewhere"
        assert settings.get_amqp_settings()["aleph"]["exchange"] == "elsewhere"
        with pytest.raises(settings.SettingsError):
            settings.RABBITMQ_CONCURRENCY = "many"
    finally:
        settings.reload()


def test_guest_goes_over_the_network_only_if_that_is_said(monkeypatch):
    monkeypatch.setenv("RABBITMQ_HOST", "mq.example.org")
    settings.reload()
    with pytest.raises(StartError, match="RABBITMQ_ALLOW_GUEST"):
        getConParams("x")
    monkeypatch.setenv("RABBITMQ_ALLOW_GUEST", "yes")
    settings.reload()
    assert getConParams("x").host == "mq.example.org"
