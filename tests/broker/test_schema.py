"""The schema at the real broker: declared once or ten times, never changed, differences named."""

import json
import os

import pika
import pytest

from edeposit.amqp import settings
from edeposit.amqp.broker import management, schema
from edeposit.amqp.broker.administrator import AdministrationError, CannotCreateError
from edeposit.amqp.broker.schema import Difference, Finding
from edeposit.amqp.broker.sessions import BrokerError, NoConnectionError
from edeposit.amqp.errors import AMQPError

HOST = "antivirus"


@pytest.fixture(autouse=True)
def environment(rabbit, monkeypatch):
    """Settings of this test alone: its broker, no file of the user's."""
    monkeypatch.delenv("EDEPOSIT_AMQP_CONFIG", raising=False)
    use({"HOME": str(rabbit.directory), **rabbit.env()}, monkeypatch)
    yield
    monkeypatch.undo()
    settings.reload()


def use(values, monkeypatch):
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings.reload()


@pytest.fixture
def service(vhost, monkeypatch):
    """The antivirus service, in the test's virtual host."""
    use({"RABBITMQ_ANTIVIRUS_VIRTUALHOST": vhost}, monkeypatch)
    return vhost


@pytest.fixture
def channel(rabbit, service):
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(rabbit.host, rabbit.port, service)
    )
    yield connection.channel()
    connection.close()


@pytest.fixture
def new_vhost(rabbit, monkeypatch):
    """The name of a virtual host that does not exist yet."""
    name = f"new-{os.urandom(6).hex()}"
    use({"RABBITMQ_ANTIVIRUS_VIRTUALHOST": name}, monkeypatch)
    yield name
    rabbit.delete_vhost(name)


def use_rabbitmqctl(rabbit, monkeypatch):
    """As an administrator of the private node: no management API, its own rabbitmqctl."""
    environment = rabbit._environment()
    names = ("HOME", "RABBITMQ_NODENAME", "ERL_EPMD_PORT", "ERL_EPMD_ADDRESS")
    values = {name: environment[name] for name in names}
    values["PATH"] = f"{rabbit.programs()}:{environment['PATH']}"
    values["RABBITMQ_MANAGEMENT_URL"] = ""
    use(values, monkeypatch)


def listed(rabbit, vhost, what, *columns):
    rows = rabbit.ctl("-q", what, "-p", vhost, *columns, "--formatter", "json")
    return [tuple(row[column] for column in columns) for row in json.loads(rows)]


def test_the_schema_is_the_one_of_2015_and_a_parking_queue(rabbit, service):
    schema.create(HOST)
    columns = ("name", "type", "durable", "auto_delete", "internal", "arguments")
    exchanges = {row[0]: row[1:] for row in listed(rabbit, service, "list_exchanges", *columns)}
    assert exchanges["antivirus"] == ("topic", True, False, False, [])
    columns = ("name", "durable", "auto_delete", "exclusive", "arguments", "type")
    queues = {row[0]: row[1:] for row in listed(rabbit, service, "list_queues", *columns)}
    assert set(queues) == {"daemon", "daemon.undeliverable", "plone"}
    for durable, auto_delete, exclusive, arguments, kind in queues.values():
        assert (durable, auto_delete, exclusive, kind) == (True, False, False, "classic")
        # RabbitMQ 4 lists the type among the arguments, too.
        assert arguments in ([], [["x-queue-type", "longstr", "classic"]])
    columns = ("source_name", "destination_name", "routing_key", "arguments")
    bindings = [row for row in listed(rabbit, service, "list_bindings", *columns) if row[0]]
    assert sorted(map(repr, bindings)) == [
        repr(("antivirus", "daemon", "request", [])),
        repr(("antivirus", "plone", "result", [])),
    ]


def test_every_host_of_the_settings_can_be_created(rabbit, monkeypatch):
    hosts = schema.distinct_hosts()
    created = set()
    try:
        for host in hosts:
            created.add(schema.create(host).schema.vhost)
        assert all(finding.state == "exists" for host in hosts for finding in schema.compare(host))
        columns = ("source_name", "destination_name", "routing_key")
        bindings = [row for row in listed(rabbit, "aleph", "list_bindings", *columns) if row[0]]
        assert sorted(bindings) == [
            ("search", "daemon", "request"),
            ("search", "plone", "result"),
            ("update-links", "plone", "result"),
            ("update-links", "updater", "request"),
        ]
    finally:
        for vhost in created:
            rabbit.delete_vhost(vhost)
    assert "aleph_link_export" in hosts
    assert "downer" in hosts and "downloader" not in hosts


def test_one_queue_for_both_directions_keeps_both_bindings(rabbit, service, monkeypatch):
    use({"RABBITMQ_ANTIVIRUS_OUTPUT_QUEUE": "daemon"}, monkeypatch)
    schema.create(HOST)
    columns = ("source_name", "destination_name", "routing_key")
    bindings = [row for row in listed(rabbit, service, "list_bindings", *columns) if row[0]]
    assert sorted(bindings) == [
        ("antivirus", "daemon", "request"),
        ("antivirus", "daemon", "result"),
    ]
    assert {finding.state for finding in schema.compare(HOST)} == {"exists"}


def test_creating_again_changes_nothing_and_loses_nothing(rabbit, service, channel):
    schema.create(HOST)
    channel.queue_bind("daemon", "antivirus", "prefix.request")
    channel.basic_publish("antivirus", "prefix.request", b"waits")
    again = schema.create(HOST)
    assert (again.vhost_by, again.differing) == ("", [])
    assert channel.basic_get("daemon")[2] == b"waits"
    columns = ("destination_name", "routing_key")
    assert ("daemon", "prefix.request") in listed(rabbit, service, "list_bindings", *columns)


def test_a_schema_of_2015_is_complete_but_for_the_parking_queue(service, channel):
    channel.exchange_declare("antivirus", "topic", durable=True)
    for queue, key in (("daemon", "request"), ("plone", "result")):
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, "antivirus", key)
    before = schema.compare(HOST)
    assert [str(finding) for finding in before if finding.state != "exists"] == [
        "queue 'daemon.undeliverable': missing"
    ]
    assert schema.create(HOST).differing == []
    assert {finding.state for finding in schema.compare(HOST)} == {"exists"}


def test_what_is_missing_is_named_and_not_created(rabbit, service, channel):
    channel.queue_declare("plone", durable=True)
    names = [str(finding) for finding in schema.compare(HOST)]
    assert names == [
        f"virtual host '{service}': exists",
        "exchange 'antivirus': missing",
        "queue 'daemon': missing",
        "queue 'plone': exists",
        "queue 'daemon.undeliverable': missing",
        "binding antivirus['request'] -> 'daemon': missing",
        "binding antivirus['result'] -> 'plone': missing",
    ]
    assert listed(rabbit, service, "list_queues", "name") == [("plone",)]


def test_a_missing_virtual_host_is_named_and_not_created(rabbit, monkeypatch):
    use({"RABBITMQ_ANTIVIRUS_VIRTUALHOST": "not-there"}, monkeypatch)
    findings = schema.compare(HOST)
    assert findings[0] == Finding("virtual host", "not-there", "missing")
    assert {finding.state for finding in findings} == {"missing"}
    assert len(findings) == 7
    assert "not-there" not in rabbit.ctl("-q", "list_vhosts")


@pytest.mark.parametrize(
    ("declared", "differences"),
    [
        ({"durable": False}, [("durable", False, True)]),
        ({"auto_delete": True}, [("auto_delete", True, False)]),
        ({"arguments": {"x-queue-type": "quorum"}}, [("x-queue-type", "quorum", None)]),
        (
            {
                "durable": False,
                "auto_delete": True,
                "arguments": {
                    "x-message-ttl": 60000,
                    "x-dead-letter-exchange": "it's",
                    "x-max-length": 7,
                },
            },
            [
                ("auto_delete", True, False),
                ("durable", False, True),
                ("x-dead-letter-exchange", "it's", None),
                ("x-max-length", 7, None),
                ("x-message-ttl", 60000, None),
            ],
        ),
    ],
)
def test_a_queue_that_differs_is_named_argument_by_argument_and_left_alone(
    rabbit, service, channel, declared, differences
):
    channel.queue_declare("daemon", **{"durable": True, **declared})
    wanted = {Difference(*difference) for difference in differences}
    (finding,) = [item for item in schema.compare(HOST) if item.state == "differs"]
    assert (finding.kind, finding.name, set(finding.differences)) == ("queue", "daemon", wanted)
    created = schema.create(HOST)
    assert created.differing == [finding]
    # The rest is created all the same, and the queue is bound as it is.
    states = {item.name: item.state for item in schema.compare(HOST)}
    assert states.pop("daemon") == "differs"
    assert set(states.values()) == {"exists"}


@pytest.mark.parametrize(
    ("type_", "declared", "differences"),
    [
        ("direct", {}, {("type", "direct", "topic")}),
        ("topic", {"durable": False}, {("durable", False, True)}),
        (
            "fanout",
            {"internal": True, "arguments": {"alternate-exchange": "alt"}},
            {
                ("type", "fanout", "topic"),
                ("internal", True, False),
                ("alternate-exchange", "alt", None),
            },
        ),
    ],
)
def test_an_exchange_that_differs_is_named(service, channel, type_, declared, differences):
    channel.exchange_declare("antivirus", type_, **{"durable": True, **declared})
    (finding,) = [item for item in schema.compare(HOST) if item.state == "differs"]
    assert finding.kind == "exchange"
    assert set(finding.differences) == {Difference(*difference) for difference in differences}
    assert schema.create(HOST).differing == [finding]


def test_a_queue_that_somebody_has_for_himself_is_named(service, channel):
    channel.queue_declare("daemon", exclusive=True)
    (finding,) = [item for item in schema.compare(HOST) if item.state == "differs"]
    assert str(finding) == "queue 'daemon': differs: exclusive: have True, want False"


def test_a_difference_reads_well():
    findings = [
        Finding("queue", "q", "differs", (Difference("x-queue-type", "quorum", None),)),
        Finding("queue", "q", "differs", (Difference("a", 1, 2), Difference("b", None, "x"))),
    ]
    assert list(map(str, findings)) == [
        "queue 'q': differs: x-queue-type: have 'quorum', want not set",
        "queue 'q': differs: a: have 1, want 2; b: have not set, want 'x'",
    ]


def test_without_permission_the_reason_is_one_line(rabbit, service, monkeypatch):
    rabbit.ctl("add_user", "weak", "weak")
    rabbit.ctl("set_permissions", "-p", service, "weak", "", ".*", ".*")
    use({"RABBITMQ_USER_NAME": "weak", "RABBITMQ_USER_PASSWORD": "weak"}, monkeypatch)
    try:
        with pytest.raises(BrokerError, match="lacks a permission in virtual host") as caught:
            schema.create(HOST)
        assert caught.value.failure.code == "no-permission"
        assert "\n" not in str(caught.value)
    finally:
        rabbit.ctl("delete_user", "weak")


def test_an_unknown_host_is_said():
    with pytest.raises(AMQPError, match="no host 'nobody' in the settings"):
        schema.create("nobody")


# --- virtual hosts --------------------------------------------------------------------------


def test_a_missing_virtual_host_is_created_by_the_management_api(new_vhost):
    assert schema.create(HOST).vhost_by == "management API"
    assert schema.create(HOST).vhost_by == ""


def test_a_missing_virtual_host_is_created_by_rabbitmqctl(rabbit, new_vhost, monkeypatch):
    use_rabbitmqctl(rabbit, monkeypatch)
    assert schema.create(HOST).vhost_by == "rabbitmqctl"
    assert {finding.state for finding in schema.compare(HOST)} == {"exists"}


def test_an_odd_name_survives_the_management_api(rabbit, monkeypatch):
    name = "a/b c%2F žlutý"
    use({"RABBITMQ_ANTIVIRUS_VIRTUALHOST": name}, monkeypatch)
    try:
        assert schema.create(HOST).vhost_by == "management API"
        assert {finding.state for finding in schema.compare(HOST)} == {"exists"}
    finally:
        rabbit.delete_vhost(name)


def test_an_odd_name_is_not_given_to_the_shell_of_rabbitmqctl(rabbit, monkeypatch, tmp_path):
    use_rabbitmqctl(rabbit, monkeypatch)
    name = f"$(touch {tmp_path}/ran)"
    use({"RABBITMQ_ANTIVIRUS_VIRTUALHOST": name}, monkeypatch)
    with pytest.raises(CannotCreateError, match="unusual characters") as caught:
        schema.create(HOST)
    assert f"add_vhost '{name}'" in caught.value.commands[0]
    assert not (tmp_path / "ran").exists()


def test_where_nothing_helps_the_commands_are_told(monkeypatch, tmp_path):
    use(
        {
            "RABBITMQ_ANTIVIRUS_VIRTUALHOST": "not-there",
            "RABBITMQ_MANAGEMENT_URL": "http://127.0.0.1:1",
            "PATH": str(tmp_path),
        },
        monkeypatch,
    )
    with pytest.raises(CannotCreateError) as caught:
        schema.create(HOST)
    assert str(caught.value) == (
        "Can't create virtual host 'not-there' from here: http://127.0.0.1:1: Connection refused;"
        " rabbitmqctl is not installed here."
    )
    assert caught.value.commands == [
        "rabbitmqctl add_vhost not-there",
        'rabbitmqctl set_permissions -p not-there guest ".*" ".*" ".*"',
    ]


def test_permissions_that_exist_are_never_widened(rabbit, vhost, monkeypatch):
    use({"RABBITMQ_ANTIVIRUS_VIRTUALHOST": vhost}, monkeypatch)
    rabbit.ctl("set_permissions", "-p", vhost, "guest", "^$", "^$", ".*")
    rabbit.ctl("set_vhost_limits", "-p", vhost, '{"max-connections": 0}')
    for way in ("management", "rabbitmqctl"):
        if way == "rabbitmqctl":
            use_rabbitmqctl(rabbit, monkeypatch)
        # A limit is no reason to create or to grant anything.
        with pytest.raises(NoConnectionError, match="takes no more connections"):
            schema.create(HOST)
        with pytest.raises(CannotCreateError, match="has permissions in it: the broker refuses"):
            management.Administration().create_vhost(vhost)
    assert listed(rabbit, vhost, "list_permissions") == [()]
    assert rabbit.ctl("-q", "list_permissions", "-p", vhost).split()[-4:] == [
        "guest",
        "^$",
        "^$",
        ".*",
    ]


def test_permission_is_given_in_a_virtual_host_that_exists(rabbit, vhost, monkeypatch):
    use({"RABBITMQ_ANTIVIRUS_VIRTUALHOST": vhost}, monkeypatch)
    for way in ("management API", "rabbitmqctl"):
        rabbit.ctl("clear_permissions", "-p", vhost, "guest")
        if way == "rabbitmqctl":
            use_rabbitmqctl(rabbit, monkeypatch)
        assert schema.create(HOST).vhost_by == way


# --- the ways of administration -------------------------------------------------------------


def test_bindings_are_seen_by_rabbitmqctl_too(rabbit, service, monkeypatch):
    schema.create(HOST)
    use_rabbitmqctl(rabbit, monkeypatch)
    assert {finding.state for finding in schema.compare(HOST)} == {"exists"}


def test_bindings_stay_unchecked_where_nobody_can_tell(service, monkeypatch, tmp_path):
    schema.create(HOST)
    use({"RABBITMQ_MANAGEMENT_URL": "http://127.0.0.1:1", "PATH": str(tmp_path)}, monkeypatch)
    states = [finding.state for finding in schema.compare(HOST)]
    assert states == ["exists"] * 5 + ["not checked"] * 2


def test_unacked_messages_are_counted(rabbit, service, channel, monkeypatch):
    schema.create(HOST)
    for _ in range(3):
        channel.basic_publish("antivirus", "request", b"x")
    channel.basic_get("daemon")
    use_rabbitmqctl(rabbit, monkeypatch)
    assert management.Administration().unacked(service, ["daemon", "plone"]) == {
        "daemon": 1,
        "plone": 0,
        "daemon.undeliverable": 0,
    }


def test_rabbitmqctl_is_not_used_for_a_broker_on_another_port(rabbit, proxy, monkeypatch):
    use_rabbitmqctl(rabbit, monkeypatch)
    management.Rabbitmqctl()
    use({"RABBITMQ_PORT": str(proxy.port)}, monkeypatch)
    with pytest.raises(AdministrationError, match="another broker than the one on port"):
        management.Rabbitmqctl()


def test_rabbitmqctl_is_not_used_for_a_broker_elsewhere(rabbit, monkeypatch):
    use_rabbitmqctl(rabbit, monkeypatch)
    use({"RABBITMQ_HOST": "192.0.2.1", "RABBITMQ_USER_NAME": "x"}, monkeypatch)
    with pytest.raises(AdministrationError, match=r"192\.0\.2\.1 is not this machine"):
        management.Rabbitmqctl()


def test_a_derived_management_url_has_to_be_of_the_same_broker(rabbit, proxy, monkeypatch):
    monkeypatch.setattr(management, "_MANAGEMENT_PORT", rabbit.management_port)
    use({"RABBITMQ_MANAGEMENT_URL": ""}, monkeypatch)
    management.Management()
    use({"RABBITMQ_PORT": str(proxy.port)}, monkeypatch)
    with pytest.raises(AdministrationError, match="does not belong to the broker on port"):
        management.Management()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://127.0.0.1", "is not http"),
        ("http://127.0.0.1:1", "Connection refused"),
        ("http://host.invalid", "not known|failure in name resolution"),
    ],
)
def test_a_management_url_that_cannot_work_is_said(monkeypatch, url, reason):
    use({"RABBITMQ_MANAGEMENT_URL": url}, monkeypatch)
    with pytest.raises(AdministrationError, match=f"(?i){reason}"):
        management.Management()


def test_a_management_url_of_something_else_is_said(rabbit, monkeypatch):
    # The AMQP port answers HTTP with eight bytes of its own.
    use({"RABBITMQ_MANAGEMENT_URL": f"http://127.0.0.1:{rabbit.port}"}, monkeypatch)
    with pytest.raises(AdministrationError, match=f"http://127.0.0.1:{rabbit.port}"):
        management.Management()


def test_a_wrong_password_is_refused_without_a_word_of_it(rabbit, monkeypatch):
    use({"RABBITMQ_USER_NAME": "x", "RABBITMQ_USER_PASSWORD": "s3cret"}, monkeypatch)
    with pytest.raises(AdministrationError, match="401") as caught:
        management.Management()
    assert "s3cret" not in str(caught.value)


def test_no_broker_is_no_connection(monkeypatch):
    use({"RABBITMQ_PORT": "1"}, monkeypatch)
    with pytest.raises(NoConnectionError, match=r"127\.0\.0\.1:1: Connection refused"):
        schema.create(HOST)
