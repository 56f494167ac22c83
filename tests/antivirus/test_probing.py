"""clamd is asked what it looks into, by samples; what it passes over is no clean file."""

import email.message
import io
import socket
import threading

import pytest

from edeposit.amqp import antivirus as service
from edeposit.amqp.antivirus import antivirus, probing, samples, settings
from edeposit.amqp.antivirus.exceptions import (
    BlindScannerError,
    NotScannedError,
    ScanError,
    ScannerUnavailableError,
    ScanTimeoutError,
)
from edeposit.amqp.antivirus.wrappers import clamd as wrapper
from edeposit.amqp.testing import EICAR, ClamdServer

from .conftest import b64, lead_to
from .test_containers import NOISE, mail, pdf, tarred, zipped

BLIND = {
    "AlertExceedsMax no": (["AlertExceedsMax no"], "AlertExceedsMax"),
    "AlertEncrypted no": (["AlertEncrypted no"], "AlertEncrypted"),
    "ScanArchive no": (["ScanArchive no"], "ScanArchive"),
    "ScanMail no": (["ScanMail no"], "ScanMail"),
    "ScanPDF no": (["ScanPDF no"], "ScanPDF"),
    "ScanOLE2 no": (["ScanOLE2 no"], "ScanOLE2"),
    "MaxFiles, no alert": (["AlertExceedsMax no", "MaxFiles 20"], "MaxFiles"),
    "MaxFileSize": (["MaxFileSize 20M", "MaxScanSize 200M"], "MaxFileSize"),
}


@pytest.mark.parametrize("name", BLIND)
def test_a_blind_clamd_is_refused_at_the_start(monkeypatch, name):
    config, words = BLIND[name]
    with ClamdServer(config) as server:
        lead_to(monkeypatch, server, CONF_PATH="/no/such/file")
        with pytest.raises(BlindScannerError, match=words):
            service.on_start()


def test_a_clamd_without_signatures_is_refused_always(monkeypatch):
    with ClamdServer() as server:
        lead_to(monkeypatch, server, BLIND_SCANNER="warn")
        server.kill()
        (server.database / "local.ndb").unlink()
        (server.database / "local.hdb").write_text(f"{'0' * 32}:68:Nothing\n")
        server.start()
        with pytest.raises(BlindScannerError, match="EICAR"):
            service.on_start()


def test_a_clamd_that_looks_into_all_is_taken(clamd, caplog):
    caplog.set_level("INFO")
    service.on_start()
    assert "scanner: ClamAV" in caplog.text


@pytest.mark.parametrize(
    ("config", "blind", "seen"),
    [
        ("ScanMail no", mail(NOISE), zipped({"a": NOISE})),
        ("ScanPDF no", pdf("plain"), zipped({"a": NOISE})),
        ("ScanOLE2 no", samples.ole2().replace(b"\x1f\x8b", b"xx"), pdf("plain")),
        ("ScanArchive no", tarred(NOISE), b"hello"),
        ("AlertEncrypted no", zipped({"a": NOISE}), pdf("plain")),
    ],
)
def test_with_a_setting_such_content_is_an_error(monkeypatch, caplog, config, blind, seen):
    with ClamdServer([config]) as server:
        lead_to(monkeypatch, server, BLIND_SCANNER="warn")
        service.on_start()
        assert "clamd calls clean without a look" in caplog.text
        with pytest.raises(NotScannedError, match="clamd does not look into it"):
            antivirus.save_and_scan("a", b64(blind))
        assert antivirus.save_and_scan("a", b64(seen)) == {}


def test_without_alerts_what_is_within_the_limits_is_scanned(monkeypatch):
    with ClamdServer(["AlertExceedsMax no", "MaxFiles 20", "MaxRecursion 5"]) as server:
        lead_to(monkeypatch, server, BLIND_SCANNER="warn")
        few = zipped({str(n): NOISE for n in range(9)})
        assert antivirus.save_and_scan("a", b64(few)) == {}
        for data in (zipped({str(n): NOISE for n in range(40)}), samples.nested(8)):
            with pytest.raises(NotScannedError, match="clamd does not look into it"):
                antivirus.save_and_scan("a", b64(data))


def test_a_size_that_is_a_lie_costs_no_more_than_the_limit(clamd, monkeypatch):
    asked = []
    monkeypatch.setattr(
        probing.Sight, "_ask", lambda self, kind, size, deadline: asked.append(size)
    )
    sight = probing.Sight(clamd_identity())
    for size in (2**63, 2**40, float("inf")):
        assert not sight.sees("largest", antivirus.Deadline(5), size)
        assert not sight.sees("members", antivirus.Deadline(5), size)
    assert max(asked) == 200 * 1024**2


def clamd_identity():
    return probing.clamd.Identity("ClamAV", 1)


def test_a_restarted_clamd_is_asked_again(monkeypatch):
    with ClamdServer() as server:
        lead_to(monkeypatch, server)
        service.on_start()
        data = zipped({"a": NOISE})
        assert antivirus.save_and_scan("a", b64(data)) == {}
        server.kill()
        with open(server.config_file, "a") as file:
            file.write("ScanArchive no\n")
        server.start()
        with pytest.raises(NotScannedError, match="blind-archive"):
            antivirus.save_and_scan("a", b64(data))


def test_it_is_asked_again_after_a_time(clamd, monkeypatch):
    first = probing.current()
    assert probing.current() is first
    monkeypatch.setattr(first, "_asked", first._asked - settings.PROBE_INTERVAL)
    assert probing.current() is not first


# --- evidence -------------------------------------------------------------------------------


def test_a_clean_answer_carries_its_evidence(clamd, caplog):
    caplog.set_level("INFO")

    def send_back(_progress):
        pass

    send_back.headers = {}
    answer = service.reactToAMQPMessage(service.ScanFile("a.txt", b64(b"hello")), send_back)
    assert answer == service.ScanResult("a.txt", {})
    headers = send_back.headers
    assert headers["scan-engine"].startswith("ClamAV ")
    assert headers["scan-signatures"]
    assert headers["scan-time"].endswith("+00:00")
    assert headers["scan-time"] in caplog.text


# --- a clamd that does not behave -----------------------------------------------------------


class Pretender:
    """Speaks clamd's protocol but for the answer to a stream."""

    def __init__(self, answer, before_reading=False):
        self.answer, self.before_reading = answer, before_reading

    def __enter__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()
        settings.substitute_globals(
            {
                "LOCALSOCKET": "/no/such/socket",
                "CLAMD_HOST": "127.0.0.1",
                "SCAN_TIMEOUT": 5.0,
                "CLAMD_PORT": self.server.getsockname()[1],
                "DATABASE_DIR": "/no/such/directory",
            }
        )
        return self

    def __exit__(self, *exc_info):
        self.server.close()

    def serve(self):
        while True:
            try:
                connection = self.server.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        with connection, connection.makefile("rb") as file:
            command = b""
            while not command.endswith(b"\0"):
                command += file.read(1) or b"\0"
            if command == b"zVERSION\0":
                connection.sendall(b"ClamAV 1.4.6\0")
                return
            while not self.before_reading and (size := int.from_bytes(file.read(4), "big")):
                file.read(size)
            connection.sendall(self.answer)
            if self.before_reading:
                connection.recv(1)


def test_the_pretender_can_say_ok(clean_settings):
    with Pretender(b"stream: OK\0"):
        assert antivirus.save_and_scan("a", b64(b"hello")) == {}


@pytest.mark.parametrize(
    "answer",
    [
        b"stream: (null) FOUND\0",
        b"stream: A FOUND\nstream: OK\0",
        b"stream: OK\nstream: OK\0",
        b"stream: OK\0stream: A FOUND\0",
        b"stream: OK",
        b"stream: OK\n",
        b"1: stream: OK\0",
        b"stream: Excluded OK\0",
        b"OK\0",
        b"stream: \0",
        b"\0",
        b"",
        b"stream: Eicar FOU\0",
        b"UNKNOWN COMMAND\0",
        b"x" * 100_000,
        b"stream: Oversized.Zip FOUND\0",
        b"stream: Encrypted.Zip FOUND\0",
        b"stream: Heuristics.Limits.Exceeded FOUND\0",
    ],
)
def test_any_other_answer_is_an_error(clean_settings, answer):
    with Pretender(answer), pytest.raises(ScanError):
        antivirus.save_and_scan("a", b64(b"hello"))


def test_an_answer_before_the_stream_was_read_is_none(clean_settings):
    with Pretender(b"stream: OK\0", before_reading=True), pytest.raises(ScanError, match="before"):
        wrapper.scan_stream("a", iter([NOISE] * 10_000))


def test_the_same_over_a_unix_socket_and_for_a_short_one(clean_settings, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def answer():
            connection = server.accept()[0]
            connection.sendall(b"stream: OK\0")
            connection.settimeout(5)
            done.wait(5)
            connection.close()

        done = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        settings.substitute_globals({"LOCALSOCKET": path})
        with pytest.raises(ScanError, match="before it had read everything"):
            wrapper.scan_stream("a", [b"x"])
        done.set()
        thread.join()


def test_the_limit_of_time_is_for_the_whole_scan(clean_settings):
    def drip():
        for _ in range(100):
            threading.Event().wait(0.1)
            yield b"x"

    with Pretender(b"stream: OK\0"):
        settings.substitute_globals({"SCAN_TIMEOUT": 0.5})
        with pytest.raises(ScanTimeoutError, match=r"within 0\.5 s"):
            wrapper.scan_stream("a", drip())


def test_after_the_limit_of_time_clamscan_is_not_tried(clamd):
    settings.substitute_globals({"SCAN_TIMEOUT": 0.01, "MAX_FILE_SIZE": 10**8})
    with pytest.raises(ScanTimeoutError):
        antivirus.save_and_scan("a", b64(bytes(30_000_000)))


def test_a_mail_is_recognised_and_a_text_is_not():
    message = email.message.EmailMessage()
    message["Subject"], message["From"] = "x", "a@b"
    for data, formats in ((message.as_bytes(), {"mail"}), (b"From the sea: a poem\n", set())):
        walk = antivirus.Walk(antivirus.Deadline(5), 100)
        walk.look(io.BytesIO(data))
        assert walk.formats == formats


def test_malware_needs_no_probes(clamd):
    assert antivirus.save_and_scan("a", b64(EICAR))["a"][0] == "FOUND"
    settings.substitute_globals({"LOCALSOCKET": "/no/such/socket"})
    with pytest.raises(ScannerUnavailableError):
        probing.current()
