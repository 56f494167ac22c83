"""``edeposit_amqp_tool.py`` as its users run it: arguments, streams, an exit code."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pika
import pytest

from edeposit.amqp.testing import wait_for

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "bin" / "edeposit_amqp_tool.py"

HOSTS = [
    "aleph",
    "aleph_link_export",
    "antivirus",
    "calibre",
    "downer",
    "downloader",
    "ftp",
    "harvester",
    "ltp",
    "marcxml2mods",
    "mx2mods",
    "pdfgen",
    "storage",
]

CREATED = """\
Created exchange 'antivirus'.
Creating queues:
\tCreated durable queue 'daemon'.
\tCreated durable queue 'plone'.

Routing exchanges using routing key to queues:
\tRouting exchange antivirus['request'] -> 'daemon'.
\tRouting exchange antivirus['result'] -> 'plone'.
"""


class Tool:
    """Runs the program with settings that lead to the test's virtual host."""

    def __init__(self, rabbit, vhost, directory):
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT / 'src'}:{directory}",
            "HOME": str(directory),
            "PID_DIR": str(directory / "run"),
            "LOG_TARGET": str(directory / "daemon.log"),
            "RABBITMQ_ANTIVIRUS_VIRTUALHOST": vhost,
            "RABBITMQ_ECHO_VIRTUALHOST": vhost,
            **rabbit.env(),
        }

    def __call__(self, *arguments, host=None, stdin="", timeout=60, **environment):
        """Run it to its end; ``host`` is for ``--host``."""
        if host is not None:
            arguments = ("--host", host, *arguments)
        return subprocess.run(
            [sys.executable, str(PROGRAM), *arguments],
            env={**self.environment, **environment},
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments, **options):
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments],
            env=self.environment,
            # A test run in the background has SIGINT ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **options,
            },
        )


class Broker:
    """The other side: plain pika."""

    def __init__(self, rabbit, vhost):
        self.connection = pika.BlockingConnection(
            pika.ConnectionParameters(rabbit.host, rabbit.port, vhost, heartbeat=0)
        )
        self.channel = self.connection.channel()

    def answer(self, body, exchange="antivirus", headers=None):
        """Put something into the output queue."""
        self.channel.confirm_delivery()
        self.channel.basic_publish(
            exchange,
            "result",
            body,
            pika.BasicProperties(
                content_type="application/json", headers=headers or {"UUID": "u-1"}
            ),
            mandatory=True,
        )

    def get(self, queue):
        return self.channel.basic_get(queue, auto_ack=True)

    def count(self, queue):
        return self.declared(queue).message_count

    def consumers(self, queue):
        return self.declared(queue).consumer_count

    def declared(self, queue):
        return self.channel.queue_declare(queue, passive=True).method


@pytest.fixture
def tool(rabbit, vhost, tmp_path):
    return Tool(rabbit, vhost, tmp_path)


@pytest.fixture
def broker(rabbit, vhost, tool):
    """The virtual host with the schema of antivirus in it."""
    done(tool("--create", host="antivirus"))
    broker = Broker(rabbit, vhost)
    yield broker
    with contextlib.suppress(pika.exceptions.AMQPError):
        broker.connection.close()


def done(result, stderr=""):
    """The output of a run that went well."""
    assert (result.returncode, result.stderr.decode()) == (0, stderr), result.stdout.decode()
    return result.stdout.decode()


def failed(result, stderr, code=1, stdout=""):
    """A run that failed in so many words, or in words that match a compiled expression."""
    text = result.stderr.decode()
    assert "Traceback" not in text
    if isinstance(stderr, re.Pattern):
        assert stderr.fullmatch(text), text
    else:
        assert text == stderr
    assert (result.returncode, result.stdout.decode()) == (code, stdout)


# --- list and usage -------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--host", "antivirus"], ["--host", "all"]])
def test_nothing_to_do_is_wrong_usage(tool, arguments):
    failed(tool(*arguments), re.compile(r"nothing to do: say --list or one of .*--help\n"), 2)


def test_the_version_is_told(tool):
    assert re.fullmatch(r"edeposit_amqp_tool\.py \d+\.\d+.*\n", done(tool("--version")))


def test_list_prints_the_hosts_and_wins_over_all_others(tool):
    assert done(tool("--list")).splitlines() == HOSTS
    assert done(tool("-l", "--create", "--get", host="nobody")).splitlines() == HOSTS
    assert json.loads(done(tool("--list", "--json"))) == HOSTS


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("create", []),
        ("put", ["x"]),
        ("get", []),
        ("call", ["x"]),
        ("peek", []),
        ("purge", []),
        ("parked", ["list"]),
    ],
)
def test_host_is_required(tool, option, value):
    failed(tool(f"--{option}", *value), f"--host is required parameter to --{option}\n", 2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--get"], "Can't receive all hosts!\n"),
        (["--put", "-"], "Can't send to all hosts!\n"),
        (["--call", "-"], "Can't call all hosts!\n"),
        (["--purge"], "Can't purge all hosts!\n"),
    ],
)
def test_all_hosts_at_once_is_refused_where_it_makes_no_sense(tool, arguments, text):
    failed(tool(*arguments, host="all"), text, 2)


def test_an_unknown_host_is_told_with_the_nearest(tool):
    failed(
        tool("--get", host="antivrus"), "Unknown host 'antivrus': did you mean 'antivirus'?\n", 2
    )
    failed(tool("--get", host="?"), "Unknown host '?': see --list.\n", 2)


def test_help_works_with_a_broken_configuration_and_shows_commands(tool, tmp_path):
    path = tmp_path / "edeposit" / "amqp.json"
    path.parent.mkdir()
    path.write_text('{"RABBITMQ_PORT": 5672,}')
    text = done(tool("--help"))
    assert "edeposit_amqp_tool.py --host antivirus --call 'ScanFile(" in text
    assert "exit codes:" in text
    failed(tool("--list"), re.compile(rf".*{re.escape(str(path))}.*line 1.*\n"))


def test_wrong_usage_is_exit_2(tool):
    for arguments in (["--nonsense"], ["--timeout", "soon"], ["--timeout", "nan"], ["stray"]):
        assert tool(*arguments).returncode == 2


def test_a_setting_that_is_not_known_is_a_warning_beside_the_output(tool, tmp_path):
    path = tmp_path / "edeposit" / "amqp.json"
    path.parent.mkdir()
    path.write_text('{"RABBITMQ_PORTS": "5672"}')
    path.chmod(0o600)
    result = tool("--list")
    assert (result.returncode, result.stdout.decode().split()) == (0, HOSTS)
    warning = result.stderr.decode()
    assert warning.count("\n") == 1
    assert "RABBITMQ_PORTS" in warning
    assert "RABBITMQ_PORT" in warning


# --- create ---------------------------------------------------------------------------------


def test_create_prints_exactly_this(tool):
    for _ in range(2):
        assert done(tool("--create", host="antivirus")) == CREATED


def test_create_all_creates_each(tool, rabbit, vhost):
    # Services that there are; the settings know some more names.
    hosts = ["aleph", "antivirus", "calibre", "ftp", "harvester"]
    vhosts = dict.fromkeys((f"RABBITMQ_{host.upper()}_VIRTUALHOST" for host in HOSTS), vhost)
    text = done(tool("--create", host="all", **vhosts))
    assert text.count("Creating queues:\n") == len(hosts)
    assert all(f"Created exchange '{exchange}'.\n" in text for exchange in ("search", "convert"))
    assert "update-links" not in text
    assert "Created exchange 'update-links'.\n" in done(
        tool("--create", host="aleph_link_export", **vhosts)
    )


def test_create_makes_a_missing_virtual_host(tool, rabbit):
    name = f"new-{uuid.uuid4().hex[:8]}"
    try:
        result = tool("--create", host="antivirus", RABBITMQ_ANTIVIRUS_VIRTUALHOST=name)
        assert done(result, f"Created virtual host '{name}' (management API).\n") == CREATED
    finally:
        rabbit.delete_vhost(name)


def test_create_tells_the_commands_where_it_cannot_make_the_virtual_host(tool, tmp_path):
    result = tool(
        "--create",
        host="antivirus",
        RABBITMQ_ANTIVIRUS_VIRTUALHOST="not-there",
        RABBITMQ_MANAGEMENT_URL="http://127.0.0.1:1",
        PATH=str(tmp_path),
    )
    failed(
        result,
        "Can't connect to virtuahost!\n"
        "Make sure, that virtualhost is created.\n"
        "Can't create virtual host 'not-there' from here: http://127.0.0.1:1: Connection refused;"
        " rabbitmqctl is not installed here.\n"
        "Run on the broker's machine, as root, then try again:\n"
        "\trabbitmqctl add_vhost not-there\n"
        '\trabbitmqctl set_permissions -p not-there guest ".*" ".*" ".*"\n',
    )


def test_create_reports_what_differs_and_leaves_it(tool, rabbit, vhost):
    Broker(rabbit, vhost).channel.queue_declare("daemon", durable=False)
    result = tool("--create", host="antivirus")
    failed(
        result,
        "queue 'daemon': differs: durable: have False, want True. It was left as it is.\n",
        stdout=CREATED.replace("\tCreated durable queue 'daemon'.\n", ""),
    )


def test_create_json(tool, vhost):
    assert json.loads(done(tool("--create", "--json", host="antivirus"))) == {
        "host": "antivirus",
        "virtual_host": vhost,
        "virtual_host_created": False,
        "exchange": "antivirus",
        "queues": ["daemon", "plone", "daemon.undeliverable"],
        "bindings": [
            {"queue": "daemon", "routing_key": "request"},
            {"queue": "plone", "routing_key": "result"},
        ],
        "differing": [],
    }


def test_dry_run_says_what_is_missing_and_creates_nothing(tool, rabbit, vhost):
    channel = Broker(rabbit, vhost).channel
    channel.queue_declare("plone", durable=True, arguments={"x-max-length": 5})
    lines = [
        "antivirus:",
        f"    virtual host '{vhost}': exists",
        "    exchange 'antivirus': missing",
        "    queue 'daemon': missing",
        "    queue 'plone': differs: x-max-length: have 5, want not set",
        "    queue 'daemon.undeliverable': missing",
        "    binding antivirus['request'] -> 'daemon': missing",
        "    binding antivirus['result'] -> 'plone': missing",
    ]
    for _ in range(2):
        result = tool("--create", "--dry-run", host="antivirus")
        failed(result, "", stdout="".join(f"{line}\n" for line in lines))
    result = tool("--create", "--dry-run", "--json", host="antivirus")
    assert json.loads(result.stdout)["parts"][3] == {
        "kind": "queue",
        "name": "plone",
        "state": "differs",
        "differences": [{"argument": "x-max-length", "have": 5, "want": None}],
    }


def test_dry_run_of_a_complete_schema_is_exit_0(tool, broker):
    assert "missing" not in done(tool("--create", "--dry-run", host="antivirus"))


@pytest.mark.parametrize("arguments", [[], ["--put", "-"], ["--create", "--get"]])
def test_dry_run_never_does_anything(tool, broker, arguments):
    broker.answer(b"{}")
    result = tool("--dry-run", *arguments, host="antivirus", stdin="{}")
    failed(result, "--dry-run goes with --create or --purge only\n", 2)
    assert (broker.count("daemon"), broker.count("plone")) == (0, 1)


# --- connection -----------------------------------------------------------------------------


def test_no_broker(tool):
    result = tool("--create", host="antivirus", RABBITMQ_PORT="1")
    failed(
        result,
        "Can't connect to RabbitMQ!\n"
        "can't connect to RabbitMQ at 127.0.0.1:1: Connection refused [unreachable]\n",
    )


def test_a_wrong_password_is_told_without_the_password(tool):
    result = tool("--get", host="antivirus", RABBITMQ_USER_PASSWORD="s3cret")
    assert b"s3cret" not in result.stderr
    failed(
        result,
        re.compile(r"Can't connect to RabbitMQ!\n.*refuses user 'guest'.*\[access-refused\]\n"),
    )


@pytest.mark.parametrize("action", [["--get"], ["--put", "-"], ["--peek"], ["--parked", "list"]])
def test_a_missing_virtual_host_is_an_error_with_its_repair(tool, action):
    result = tool(*action, host="antivirus", stdin="{}", RABBITMQ_ANTIVIRUS_VIRTUALHOST="not-there")
    failed(
        result,
        re.compile(
            r"Can't connect to virtuahost!\nMake sure, that virtualhost is created\.\n"
            r"RabbitMQ at .* has no virtual host 'not-there': create it with"
            r" edeposit_amqp_tool\.py --host antivirus --create \[no-vhost\]\n"
        ),
    )


def test_guest_does_not_go_over_the_network(tool):
    result = tool("--get", host="antivirus", RABBITMQ_HOST="192.0.2.1")
    failed(result, re.compile("the default account guest/guest must not be used over.*\n"))


def test_a_broker_that_does_not_answer_costs_the_timeout_only(tool, proxy):
    proxy.stall()
    for action in (["--create"], ["--put", "-"], ["--get"], ["--peek"], ["--status"]):
        started = time.monotonic()
        result = tool(
            *action, "--timeout", "1", host="antivirus", stdin="{}", RABBITMQ_PORT=str(proxy.port)
        )
        failed(result, "Timeouted!\n")
        assert time.monotonic() - started < 8


# --- put ------------------------------------------------------------------------------------


def test_put_sends_a_file_as_a_request(tool, broker, tmp_path):
    path = tmp_path / "request.json"
    path.write_text('{"a":  "žluť"}', "utf-8")
    assert done(tool("--put", str(path), host="antivirus")) == ""
    method, properties, body = broker.get("daemon")
    assert (method.exchange, method.routing_key) == ("antivirus", "request")
    assert body == path.read_bytes()
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
    assert list(properties.headers) == ["UUID"]
    assert uuid.UUID(properties.headers["UUID"]).version == 4


def test_put_reads_stdin_and_json_tells_the_uuid(tool, broker):
    first, second = (
        json.loads(done(tool("-p", "-", "--json", host="antivirus", stdin="[1]")))["UUID"]
        for _ in range(2)
    )
    assert first != second
    assert [broker.get("daemon")[1].headers["UUID"] for _ in range(2)] == [first, second]


def test_put_without_the_file(tool, tmp_path):
    failed(tool("--put", "nix.json", host="antivirus"), "Can't open 'nix.json'!\n")
    failed(tool("--put", str(tmp_path), host="antivirus"), f"Can't open '{tmp_path}'!\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1,\n  "b" 2}', "is not JSON: line 2, column 7: Expecting ':' delimiter"),
        ("", "is not JSON: line 1, column 1: Expecting value"),
        (b'"\xff"', "is not UTF-8: byte 2"),
        ('{"a": NaN}', "is not JSON: NaN is not allowed"),
        ("[" * 100_000, "cannot be read: .*recursion.*"),
        ("9" * 5000, "cannot be read: .*4300.*"),
    ],
)
def test_put_checks_that_it_is_json(tool, broker, text, reason):
    result = tool("--put", "-", host="antivirus", stdin=text)
    failed(result, re.compile(f"standard input {reason}\n"))
    assert broker.count("daemon") == 0


def test_put_no_check_sends_anything(tool, broker):
    done(tool("--put", "-", "--no-check", host="antivirus", stdin=b"{\xff"))
    assert broker.get("daemon")[2] == b"{\xff"


def test_put_that_reaches_no_queue_is_an_error(tool, broker):
    broker.channel.queue_unbind("daemon", "antivirus", "request")
    result = tool("--put", "-", host="antivirus", stdin="{}")
    failed(
        result,
        "no queue is bound to exchange 'antivirus' with routing key 'request': is the schema"
        " created? (edeposit_amqp_tool.py --host antivirus --create)\n",
    )


def test_put_without_the_schema_is_an_error(tool):
    result = tool("--put", "-", host="antivirus", stdin="{}")
    failed(result, re.compile(r"missing in virtual host .*no exchange 'antivirus'.*\n"))


def test_put_of_what_the_broker_finds_too_large(tool, broker, limit_messages):
    limit_messages(1000)
    result = tool("--put", "-", host="antivirus", stdin=json.dumps("x" * 1000))
    failed(result, "message of 1002 bytes is larger than the broker's limit of 1000\n")


def test_put_while_the_broker_takes_nothing_ends_with_the_timeout(tool, broker, rabbit):
    rabbit.ctl("set_vm_memory_high_watermark", "0.0001")
    try:
        failed(tool("--put", "-", "-t", "2", host="antivirus", stdin="{}"), "Timeouted!\n")
    finally:
        rabbit.ctl("set_vm_memory_high_watermark", "0.4")


# --- get ------------------------------------------------------------------------------------


def test_get_prints_each_message_takes_it_off_and_ends_with_the_timeout(tool, broker):
    broker.answer('{"a": "ž"}'.encode(), headers={"UUID": "u-1"})
    broker.answer(b"\xff")
    result = tool("--get", "--timeout", "3", host="antivirus")
    assert (result.returncode, result.stderr) == (1, b"Timeouted!\n")
    lines = result.stdout.decode().split("\n")
    assert lines[1:3] == lines[4:6] == ["-" * 79, ""]
    assert len(lines) == 7
    first, second = json.loads(lines[0]), json.loads(lines[3])
    assert list(first) == ["method_frame", "properties", "body"]
    assert first["method_frame"].startswith("<Basic.Deliver(")
    assert "routing_key=result" in first["method_frame"]
    assert first["properties"].startswith("<BasicProperties(")
    assert "'UUID': 'u-1'" in first["properties"]
    assert (first["body"], second["body"]) == ('{"a": "ž"}', "\\xff")
    assert broker.count("plone") == 0


def test_an_odd_header_hides_no_message(tool, broker, monkeypatch):
    class Raw(bytes):
        """A header's value, type included, as it is to be encoded."""

    encode = pika.data.encode_value

    def encode_value(pieces, value):
        if not isinstance(value, Raw):
            return encode(pieces, value)
        pieces.append(bytes(value))
        return len(value)

    monkeypatch.setattr(pika.data, "encode_value", encode_value)
    beyond_the_year_9999 = Raw(b"T" + (2**40).to_bytes(8, "big"))
    for queue in ("plone", "daemon.undeliverable"):
        headers = {"odd": beyond_the_year_9999, "UUID": "mine"}
        broker.channel.basic_publish("", queue, b"[]", pika.BasicProperties(headers=headers))
    wait_for(lambda: broker.count("daemon.undeliverable"))
    for action in (["--peek"], ["--parked", "list"], ["--parked", "show"]):
        result = tool(*action, host="antivirus")
        assert (result.returncode, b"mine" in result.stdout) == (0, True)
        assert b"a property of a message cannot be decoded and is lost" in result.stderr
        assert result.stderr.count(b"\n") == 1


def test_get_waits_for_messages_to_come(tool, broker):
    process = tool.start("--host", "antivirus", "--get", "-t", "20")
    try:
        wait_for(lambda: broker.consumers("plone") == 1, what="the tool consumes")
        broker.answer(b"late")
        assert json.loads(process.stdout.readline())["body"] == "late"
        wait_for(lambda: broker.count("plone") == 0)
    finally:
        process.kill()
        process.communicate()


def test_get_json_is_a_line_for_a_program(tool, broker):
    broker.answer(b'{"a": [1]}', headers={"UUID": "u-1", "n": 7})
    broker.answer(b"no json")
    lines = tool("--get", "--json", "-t", "3", host="antivirus").stdout.decode().splitlines()
    first, second = map(json.loads, lines)
    assert first == {
        "exchange": "antivirus",
        "routing_key": "result",
        "redelivered": False,
        "properties": {"content_type": "application/json"},
        "headers": {"UUID": "u-1", "n": 7},
        "body": {"a": [1]},
    }
    assert second["body"] == "no json"


def test_get_at_zero_seconds_times_out(tool, broker):
    broker.answer(b"stays")
    failed(tool("--get", "-t", "0", host="antivirus"), "Timeouted!\n")
    assert broker.count("plone") == 1


def test_get_of_a_missing_queue(tool):
    result = tool("--get", host="antivirus")
    failed(
        result,
        re.compile(r"missing in virtual host .*no queue 'plone'.*--host antivirus --create .*\n"),
    )


def test_get_says_when_its_queue_is_deleted(tool, broker):
    process = tool.start("--host", "antivirus", "--get")
    wait_for(lambda: broker.consumers("plone") == 1, what="the tool consumes")
    broker.channel.queue_delete("plone")
    _, stderr = process.communicate(timeout=20)
    assert stderr == b"queue 'plone' of antivirus was deleted meanwhile\n"
    assert process.returncode == 1


def test_get_says_when_the_connection_is_cut(tool, broker, proxy):
    tool.environment["RABBITMQ_PORT"] = str(proxy.port)
    process = tool.start("--host", "antivirus", "--get")
    wait_for(lambda: broker.consumers("plone") == 1, what="the tool consumes")
    proxy.cut()
    _, stderr = process.communicate(timeout=20)
    assert stderr.count(b"\n") == 1
    assert b"Traceback" not in stderr
    assert process.returncode == 1


def test_get_ends_quietly_at_ctrl_c(tool, broker):
    process = tool.start("--host", "antivirus", "--get")
    wait_for(lambda: broker.consumers("plone") == 1, what="the tool consumes")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 130


def test_what_a_closed_pipe_did_not_take_stays_in_the_queue(tool, broker):
    for number in range(10):
        broker.answer(b"%d" % number + b"x" * 300_000)
    process = tool.start("--host", "antivirus", "--get")
    line = process.stdout.readline()
    assert json.loads(line)["body"].startswith("0x")
    # Line of dashes, empty line, begin of the second message: so the first one is acked.
    rest = process.stdout.readline(), process.stdout.readline(), process.stdout.read(1)
    assert rest == (b"-" * 79 + b"\n", b"\n", b"{")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 141
    wait_for(lambda: broker.count("plone") == 9, what="what was not printed is still there")
    assert broker.get("plone")[2].startswith(b"1x")


def test_what_a_full_disk_did_not_take_stays_in_the_queue(tool, broker):
    broker.answer(b"precious")
    with open("/dev/full", "wb") as full:
        process = tool.start("--host", "antivirus", "--get", stdout=full)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (1, b"[Errno 28] No space left on device\n")
    wait_for(lambda: broker.count("plone") == 1)


def test_get_without_a_standard_output_takes_nothing(tool, broker):
    broker.answer(b"precious")
    command = 'exec "$@" >&-'
    result = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, PROGRAM, "--host", "antivirus", "--get"],
        env=tool.environment,
        capture_output=True,
        timeout=20,
        check=False,
    )
    failed(result, "There is no standard output to write to.\n")
    assert broker.count("plone") == 1


def test_create_put_and_get_run_in_this_order(tool, rabbit, vhost):
    # One queue for both directions: what is put is what is got.
    result = tool(
        "--get",
        "--put",
        "-",
        "--create",
        "-t",
        "3",
        host="antivirus",
        stdin="[1]",
        RABBITMQ_ANTIVIRUS_OUTPUT_QUEUE="daemon",
    )
    assert result.stderr == b"Timeouted!\n"
    text = result.stdout.decode()
    assert text.index("Created exchange") < text.index('"body": "[1]"')


def test_a_failed_action_ends_the_row(tool, broker):
    broker.answer(b"stays")
    result = tool("--put", "-", "--get", "-t", "5", host="antivirus", stdin="{")
    assert result.returncode == 1
    assert broker.count("plone") == 1


# --- peek and purge -------------------------------------------------------------------------


def test_peek_prints_as_get_and_leaves_everything_in_order(tool, broker):
    for number in range(50):
        broker.answer(b"%d" % number)
    for _ in range(2):
        text = done(tool("--peek", host="antivirus"))
        bodies = [json.loads(line)["body"] for line in text.split("\n")[:-1:3]]
        assert bodies == [str(number) for number in range(50)]
    lines = done(tool("--peek", "--json", host="antivirus")).splitlines()
    assert [json.loads(line)["body"] for line in lines] == list(range(50))
    wait_for(lambda: broker.count("plone") == 50)


def test_purge_without_a_terminal_needs_yes(tool, broker):
    broker.answer(b"x")
    result = tool("--purge", host="antivirus")
    failed(
        result,
        "Delete messages of antivirus: 0 from 'daemon' and 1 from 'plone'? Nothing was done: say"
        " --yes to do it without being asked.\n",
    )
    assert broker.count("plone") == 1
    assert done(tool("--purge", "--yes", host="antivirus")) == (
        "Deleted 0 messages from queue 'daemon'.\nDeleted 1 messages from queue 'plone'.\n"
    )
    assert broker.count("plone") == 0


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1)])
def test_purge_asks_at_a_terminal(tool, broker, answer, left):
    broker.answer(b"x")
    ours, its = pty.openpty()
    process = tool.start("--host", "antivirus", "--purge", "plone", stdin=its)
    os.close(its)
    question = process.stderr.read(len(b"Delete messages of antivirus: 1 from 'plone'? [y/N] "))
    assert question == b"Delete messages of antivirus: 1 from 'plone'? [y/N] "
    os.write(ours, answer)
    process.communicate(timeout=20)
    os.close(ours)
    assert process.returncode == (1 if left else 0)
    assert broker.count("plone") == left


def test_purge_of_one_queue_and_of_an_unknown_one(tool, broker):
    broker.answer(b"x")
    done(tool("--purge", "daemon", "--yes", host="antivirus"))
    result = tool("--purge", "nix", "--yes", host="antivirus")
    failed(result, "antivirus has no queue nix (it has: daemon, plone, daemon.undeliverable)\n")
    text = done(tool("--purge", "plone", "--dry-run", "--yes", host="antivirus"))
    assert text == "Would delete messages: 1 from 'plone'.\n"
    assert broker.count("plone") == 1


# --- call -----------------------------------------------------------------------------------

SERVICE = """
import os, sys, time
from collections import namedtuple

Echo = namedtuple("Echo", "value")
Shout = namedtuple("Shout", ["text", "times"])
Fail = namedtuple("Fail", "text")
Sleep = namedtuple("Sleep", "seconds")


def reactToAMQPMessage(message, send_back):
    if isinstance(message, Shout):
        for number in range(message.times):
            send_back(Echo(number))
        return Echo(message.text.upper())
    if isinstance(message, Fail):
        raise LookupError(message.text)
    if isinstance(message, Sleep):
        time.sleep(message.seconds)
    return message
"""


@pytest.fixture
def echo(tool, rabbit, vhost, tmp_path):
    """A service of somebody else's, found by its entry point, with its daemon running."""
    (tmp_path / "echo_service").mkdir()
    (tmp_path / "echo_service" / "__init__.py").write_text(SERVICE)
    info = tmp_path / "echo_service-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-service\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edeposit.amqp.services]\necho = echo_service\n")
    done(tool("--create", host="echo"))
    script = "import sys; from edeposit.amqp.service import main; sys.exit(main('echo'))"
    with open(tmp_path / "echo.err", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script, "start", "--foreground"],
            env=tool.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    broker = Broker(rabbit, vhost)
    wait_for(
        lambda: process.poll() is not None or broker.consumers("daemon"), 20, "daemon consumes"
    )
    assert process.poll() is None, (tmp_path / "echo.err").read_text()
    broker.daemon = process
    yield broker
    process.terminate()
    process.wait(20)
    broker.connection.close()


def test_call_with_an_expression_prints_the_answer_as_one(tool, echo):
    assert done(tool("--call", "Echo([1, 'ž'])", host="echo")) == "Echo(value=[1, 'ž'])\n"
    answer = json.loads(done(tool("--call", "Echo([1, 'ž'])", "--json", host="echo")))
    assert answer == {"__nt_name": "Echo", "value": [1, "ž"]}


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-2"])
def test_output_is_utf8_whatever_the_locale(tool, echo, encoding):
    result = tool("--call", "Echo('ž☃')", host="echo", PYTHONIOENCODING=encoding)
    assert done(result) == "Echo(value='ž☃')\n"


def test_call_with_a_file_or_stdin(tool, echo, tmp_path):
    path = tmp_path / "request.json"
    path.write_text('{"__nt_name": "Echo", "value": null}')
    assert done(tool("--call", str(path), host="echo")) == "Echo(value=None)\n"
    assert done(tool("--call", "-", host="echo", stdin=path.read_text())) == "Echo(value=None)\n"
    assert done(tool("--call", "-", host="echo", stdin="[1]")) == "[1]\n"


def test_call_prints_long_answers_over_several_lines(tool, echo):
    text = done(tool("--call", f"Echo(['{'a' * 60}', '{'b' * 60}'])", host="echo"))
    assert len(text.splitlines()) == 6


def test_call_shows_progress_beside_the_answer(tool, echo):
    result = tool("--call", "Shout(times=2, text='hey')", host="echo")
    progress = "progress: Echo(value=0)\nprogress: Echo(value=1)\n"
    assert done(result, progress) == "Echo(value='HEY')\n"


def test_call_answered_with_an_exception_is_exit_1(tool, echo):
    failed(tool("--call", "Fail('no such book')", host="echo"), "LookupError: no such book\n")
    result = tool("--call", "Fail('no such book')", "--json", host="echo")
    assert (result.returncode, result.stderr) == (1, b"LookupError: no such book\n")
    error = json.loads(result.stdout)["exception"]
    assert (error["name"], error["message"]) == ("LookupError", "no such book")
    assert "reactToAMQPMessage" in error["traceback"]
    assert uuid.UUID(error["uuid"])


def test_texts_of_a_service_do_not_steer_the_terminal(tool, echo):
    result = tool("--call", r"Fail('\x1b]0;x\x07')", host="echo")
    failed(result, r"LookupError: \x1b]0;x\x07" "\n")
    assert "\x1b" not in done(tool("--call", r"Echo('\x1b[2J')", host="echo"))


def test_call_without_an_answer_in_time(tool, echo):
    started = time.monotonic()
    failed(tool("--call", "Sleep(3)", "--timeout", "1", host="echo"), "Timeouted!\n")
    assert time.monotonic() - started < 8


def test_call_leaves_no_queue_behind(tool, echo, rabbit, vhost):
    done(tool("--call", "Echo(1)", host="echo"))
    queues = rabbit.ctl("-q", "list_queues", "-p", vhost, "name", "--no-table-headers").split()
    assert sorted(queues) == ["daemon", "daemon.undeliverable", "plone"]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("Ekho(1)", "column 1: unknown class 'Ekho' (there are: Echo, Fail, Shout, Sleep)\n"),
        ("Echo(open('/etc/passwd'))", "column 6: unknown class 'open' (there are: "),
        ("Echo(1, 2)", "column 1: Echo(value): too many positional arguments\n"),
        ("Echo(__import__)", "column 6: '__import__' is not understood: only class names "),
    ],
)
def test_call_names_the_mistake_in_an_expression(tool, echo, expression, text):
    failed(tool("--call", expression, host="echo"), re.compile(re.escape(text) + ".*\n?"))


def test_call_checks_a_file_unless_told_not_to(tool, echo):
    failed(
        tool("--call", "-", host="echo", stdin="{"),
        re.compile("standard input is not JSON: line 1, column 2: .*\n"),
    )
    result = tool("--call", "-", "--no-check", host="echo", stdin="{")
    failed(result, re.compile("(NotJSONError|ValueError): not JSON: .*\n"))
    failed(tool("--call", "nix.json", host="echo"), "Can't open 'nix.json'!\n")


def test_call_of_a_service_that_nobody_serves(tool, echo):
    # Also without the binding that a client makes for itself.
    echo.daemon.terminate()
    echo.daemon.wait(20)
    echo.channel.queue_delete("daemon")
    result = tool("--call", "Echo(1)", host="echo")
    failed(result, re.compile(".*NO_ROUTE.*'echo'.*'request'.*\n"))


def test_call_without_the_classes_of_the_service(tool):
    failed(
        tool("--call", "-", host="storage", stdin="{}"),
        re.compile(
            "unknown service 'storage' .*: without its classes answers cannot be read,"
            " --put and --get can be used\n"
        ),
    )


def test_call_without_a_broker_or_virtual_host(tool, echo):
    result = tool("--call", "Echo(1)", host="echo", RABBITMQ_PORT="1")
    failed(result, re.compile(r"Can't connect to RabbitMQ!\n.*\[unreachable\]\n"))
    result = tool("--call", "Echo(1)", host="echo", RABBITMQ_ECHO_VIRTUALHOST="not-there")
    failed(result, re.compile(r"Can't connect to virtuahost!\n(.*\n)+.*--host echo --create .*\n"))


def test_call_ends_quietly_at_ctrl_c_and_cleans_up(tool, echo, rabbit, vhost):
    process = tool.start("--host", "echo", "--call", "Sleep(2)")
    columns = ("-q", "list_queues", "-p", vhost, "name", "--no-table-headers")
    wait_for(lambda: "edeposit.reply" in rabbit.ctl(*columns), 20, "reply queue")
    wait_for(lambda: echo.count("daemon") == 0)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 130
    assert "edeposit.reply" not in rabbit.ctl(*columns)


# --- status ---------------------------------------------------------------------------------


def test_status_shows_queues_and_daemon(tool, echo):
    echo.answer(b"{}", exchange="echo")
    text = done(tool("--status", host="echo"))
    first, *rows = text.splitlines()
    assert first.startswith(f"echo: daemon running (pid {echo.daemon.pid}, consuming")
    assert first.endswith("; 0 parked")
    assert [row.split() for row in rows] == [
        ["queue", "ready", "unacked", "consumers"],
        ["daemon", "0", "-", "1"],
        ["plone", "1", "-", "0"],
    ]


def test_status_json(tool, echo, vhost):
    status = json.loads(done(tool("--status", "--json", host="echo")))
    assert status["daemon"]["running"] is True
    assert status["daemon"]["pid"] == echo.daemon.pid
    assert status["daemon"]["state"] == "consuming"
    del status["daemon"]
    assert status == {
        "host": "echo",
        "vhost": vhost,
        "vhost_exists": True,
        "queues": [
            {"queue": "daemon", "ready": 0, "unacked": None, "consumers": 1},
            {"queue": "plone", "ready": 0, "unacked": None, "consumers": 0},
        ],
        "parked": 0,
        "further_daemons": {},
        "problem": "",
    }


def test_status_counts_unacked_messages_where_it_can(tool, broker, rabbit, tmp_path):
    for _ in range(3):
        broker.answer(b"{}")
    broker.channel.basic_get("plone")
    environment = rabbit._environment()
    names = ("HOME", "RABBITMQ_NODENAME", "ERL_EPMD_PORT", "ERL_EPMD_ADDRESS")
    result = tool(
        "--status",
        host="antivirus",
        PATH=f"{rabbit.programs()}:{os.environ['PATH']}",
        **{name: environment[name] for name in names},
    )
    assert re.search(r"\n +plone +2 +1 +0\n", result.stdout.decode())


def test_status_of_all_hosts_is_the_default(tool, rabbit):
    result = tool("--status")
    assert (result.returncode, result.stderr) == (1, b"")  # nobody serves
    text = result.stdout.decode()
    assert text.count("daemon not running") == 5
    assert "\n    ftp_monitor: not running\n" in text
    assert "\n    harvester_periodic: not running\n" in text
    assert tool("--status", host="all").stdout.decode() == text
    rows = [json.loads(row) for row in tool("--status", "--json").stdout.splitlines()]
    assert [row["host"] for row in rows] == ["aleph", "antivirus", "calibre", "ftp", "harvester"]
    assert rows[3]["further_daemons"]["ftp_monitor"]["running"] is False


def test_status_of_a_queue_without_a_consumer_is_exit_1(tool, broker):
    result = tool("--status", host="antivirus")
    assert (result.returncode, result.stderr) == (1, b"")
    broker.channel.basic_consume("daemon", lambda *_: None)
    assert re.search(r"\n +daemon +0 +. +1\n", done(tool("--status", host="antivirus")))


def test_a_missing_permission_is_not_a_missing_virtual_host(tool, rabbit, vhost):
    rabbit.ctl("clear_permissions", "-p", vhost, "guest")
    result = tool("--get", host="antivirus")
    failed(
        result,
        re.compile(
            r"Can't connect to RabbitMQ!\nuser 'guest' lacks a permission .*\[no-permission\]\n"
        ),
    )
    result = tool("--status", host="antivirus")
    text = f"antivirus: daemon not running; no permission in virtual host '{vhost}'\n"
    failed(result, "", stdout=text)
    result = tool("--create", "--dry-run", host="antivirus")
    failed(result, re.compile(r"Can't connect to RabbitMQ!\n.*\[no-permission\]\n"))


def test_status_of_a_host_without_schema_is_exit_1(tool, vhost):
    result = tool("--status", host="antivirus")
    assert (result.returncode, result.stderr) == (1, b"")
    assert result.stdout.decode().splitlines()[0] == (
        "antivirus: daemon not running; no parking queue"
    )
    assert re.search(r"daemon +missing", result.stdout.decode())
    result = tool("--status", host="antivirus", RABBITMQ_ANTIVIRUS_VIRTUALHOST="not-there")
    failed(result, "", stdout="antivirus: daemon not running; no virtual host 'not-there'\n")


def test_status_without_a_broker(tool):
    result = tool("--status", RABBITMQ_PORT="1")
    failed(result, re.compile(r"Can't connect to RabbitMQ!\n.*\[unreachable\]\n"))


# --- parked ---------------------------------------------------------------------------------


@pytest.fixture
def parked(broker):
    """Three parked messages: two with a way to go, one without."""
    for number, key in (("1", "request"), ("2", "nowhere"), ("3", None)):
        headers = {"UUID": f"uuid-{number}", "x-edeposit-reason": f"reason {number}", "own": "x"}
        if number == "1":
            headers["x-edeposit-parked-at"] = 1_764_000_000
        if key:
            headers |= {"x-edeposit-exchange": "antivirus", "x-edeposit-routing-key": key}
        properties = pika.BasicProperties(
            "application/json", headers=headers, delivery_mode=2, message_id=f"id-{number}"
        )
        broker.channel.basic_publish("", "daemon.undeliverable", f"[{number}]", properties)
    wait_for(lambda: broker.count("daemon.undeliverable") == 3)
    return broker


def still_parked(broker):
    wait_for(lambda: broker.declared("daemon.undeliverable") is not None)
    return broker.count("daemon.undeliverable")


def test_parked_list_and_show_leave_everything(tool, parked):
    text = done(tool("--parked", "list", host="antivirus", TZ="UTC"))
    time = "2025-11-24T16:00:00+0000"
    assert [line.split("\t") for line in text.splitlines()] == [
        ["id", "UUID", "parked at", "was to go to", "size", "reason"],
        ["id-1", "uuid-1", time, "antivirus['request']", "3 bytes", "reason 1"],
        ["id-2", "uuid-2", "-", "antivirus['nowhere']", "3 bytes", "reason 2"],
        ["id-3", "uuid-3", "-", "?", "3 bytes", "reason 3"],
    ]
    head, _, second, _ = text.splitlines()
    one = done(tool("--parked", "list", "uuid-2", host="antivirus", TZ="UTC"))
    assert one == f"{head}\n{second}\n"
    shown = done(tool("--parked", "show", "id-1", host="antivirus")).splitlines()
    assert json.loads(shown[0])["body"] == "[1]"
    lines = done(tool("--parked", "list", "--json", host="antivirus")).splitlines()
    first = json.loads(lines[0])
    assert (first["id"], first["reason"], first["message"]["body"]) == ("id-1", "reason 1", [1])
    wait_for(lambda: still_parked(parked) == 3)


def test_parked_retry_sends_it_to_where_it_was_to_go(tool, parked):
    text = done(tool("--parked", "retry", "id-1", host="antivirus"))
    assert text.startswith("Sent again: id-1\t")
    method, properties, body = parked.get("daemon")
    assert (method.exchange, method.routing_key, body) == ("antivirus", "request", b"[1]")
    assert properties.headers == {"UUID": "uuid-1", "own": "x"}
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
    wait_for(lambda: still_parked(parked) == 2)


def test_parked_retry_that_reaches_nobody_stays_parked(tool, parked):
    result = tool("--parked", "retry", "id-2", host="antivirus")
    failed(result, re.compile("no queue is bound to exchange 'antivirus'.*'nowhere'.*\n"))
    result = tool("--parked", "retry", "id-3", host="antivirus")
    failed(result, "parked message id-3 does not say where it was to go\n")
    wait_for(lambda: still_parked(parked) == 3)


def test_parked_drop_asks_and_drops_what_was_named(tool, parked):
    result = tool("--parked", "drop", "uuid-2", host="antivirus")
    failed(
        result, re.compile(r"Delete parked messages of antivirus for good: uuid-2\? .*--yes.*\n")
    )
    assert still_parked(parked) == 3
    done(tool("--parked", "drop", "uuid-2", "--yes", host="antivirus"))
    wait_for(lambda: still_parked(parked) == 2)
    done(tool("--parked", "drop", "all", "--yes", host="antivirus"))
    wait_for(lambda: still_parked(parked) == 0)


def test_parked_mistakes_are_told(tool, parked):
    failed(
        tool("--parked", "look", host="antivirus"),
        "--parked knows list, show, retry, drop, not 'look'\n",
        2,
    )
    for action in ("retry", "drop"):
        failed(
            tool("--parked", action, host="antivirus"),
            f"--parked {action} needs ids (from --parked list), or 'all'\n",
            2,
        )
    failed(tool("--parked", "show", "id-9", host="antivirus"), "not parked at antivirus: id-9\n")


# --- functions for scripts ------------------------------------------------------------------


def test_the_functions_of_2015_are_there(tool, vhost):
    script = (
        "import pika\n"
        "from edeposit.amqp.tool import *\n"
        "from edeposit.amqp import tool\n"
        "assert 'antivirus' in tool.get_list_of_hosts()\n"
        "tool.create_schema('antivirus')\n"
        "tool.send_message('antivirus', '[1]', timeout=5)\n"
        "properties = pika.BasicProperties(headers={'UUID': 'mine'})\n"
        "assert tool.send_message('antivirus', b'[2]', 5, properties) == 'mine'\n"
        "connection = tool.create_blocking_connection('antivirus')\n"
        "channel = connection.channel()\n"
        "assert channel.basic_get('daemon', auto_ack=True)[2] == b'[1]'\n"
        "assert channel.basic_get('daemon', auto_ack=True)[1].headers == {'UUID': 'mine'}\n"
        "channel.basic_publish('antivirus', 'result', b'[3]')\n"
        "connection.close()\n"
        "try:\n"
        "    tool.receive('antivirus', 2)\n"
        "except TimeoutError:\n"
        "    print('time over')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=tool.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    text = done(result)
    assert text.startswith(CREATED)
    assert '"body": "[3]"' in text
    assert text.endswith("time over\n")
