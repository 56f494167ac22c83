"""Scanning with the real clamd and the real clamscan (spec/antivirus.md)."""

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile

import clamd as pypi_clamd
import pytest

from edeposit.amqp.antivirus import antivirus, settings
from edeposit.amqp.antivirus.exceptions import (
    BlindScannerError,
    FileTooLargeError,
    NotScannedError,
    ScanError,
    ScannerUnavailableError,
)
from edeposit.amqp.antivirus.wrappers import clamd as clamd_wrapper
from edeposit.amqp.antivirus.wrappers import clamscan
from edeposit.amqp.testing import EICAR, ClamdServer, wait_for

from .conftest import b64, lead_to

# "hello" in a zip with a password; none of the libraries used here writes such a file.
ENCRYPTED_ZIP = base64.b64decode(
    "UEsDBAoACQAAACZgeF0gMDo2EgAAAAYAAAAFABwAaC50eHRVVAkAA4h8BWuIfAVrdXgLAAEEAAAAAAQAAAAA1AutSpQ/"
    "gIgIW7IEsj0HrdFmUEsHCCAwOjYSAAAABgAAAFBLAQIeAwoACQAAACZgeF0gMDo2EgAAAAYAAAAFABgAAAAAAAEAAACk"
    "gQAAAABoLnR4dFVUBQADiHwFa3V4CwABBAAAAAAEAAAAAFBLBQYAAAAAAQABAEsAAABhAAAAAAA="
)


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.com", content)
    return buffer.getvalue()


@pytest.fixture(params=["clamd", "clamscan"])
def scanner(request, clamd, monkeypatch):
    """Both ways of scanning must say the same."""
    monkeypatch.setenv("ANTIVIRUS_USE_CLAMD", str(request.param == "clamd"))
    settings.reload()
    return request.param


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100_000), zipped(b"hello")])
def test_clean_is_an_empty_result(scanner, content):
    assert antivirus.save_and_scan("a.txt", b64(content)) == {}


@pytest.mark.parametrize("content", [EICAR, zipped(EICAR)], ids=["plain", "zipped"])
def test_malware_is_found(scanner, content):
    result = antivirus.save_and_scan("dir/a.com", b64(content))
    assert list(result) == ["dir/a.com"]
    status, name = result["dir/a.com"]
    assert status == "FOUND"
    assert "Test.EICAR" in name


def test_the_independent_client_agrees(clamd):
    other = pypi_clamd.ClamdUnixSocket(clamd.socket_path)
    assert (
        other.instream(io.BytesIO(EICAR))["stream"]
        == (antivirus.save_and_scan("x", b64(EICAR))["x"])
    )


def test_an_encrypted_archive_is_neither_clean_nor_malware(scanner):
    with pytest.raises(NotScannedError, match=r"Heuristics\.Encrypted"):
        antivirus.save_and_scan("secret.zip", b64(ENCRYPTED_ZIP))


def test_above_our_limit_nothing_is_sent(scanner, monkeypatch):
    monkeypatch.setenv("ANTIVIRUS_MAX_FILE_SIZE", "1000")
    settings.reload()
    assert antivirus.save_and_scan("a", b64(bytes(1000))) == {}
    with pytest.raises(FileTooLargeError) as caught:
        antivirus.save_and_scan("a.bin", b64(bytes(1001)))
    assert (caught.value.size, caught.value.limit) == (1001, 1000)
    assert "'a.bin': 1001 bytes are more than the limit of 1000" in str(caught.value)


@pytest.mark.parametrize("place", ["start", "end"])
def test_above_clamds_own_limit_is_no_clean_file(monkeypatch, place):
    big = bytes(3 * 1024 * 1024)
    content = EICAR + big if place == "start" else big + EICAR
    with ClamdServer(["MaxFileSize 2M", "StreamMaxLength 4M"]) as server:
        lead_to(monkeypatch, server)
        with pytest.raises(FileTooLargeError) as caught:
            antivirus.save_and_scan("a", b64(content))
        assert caught.value.limit == 2 * 1024 * 1024
        # Where its configuration cannot be read, clamd's own words have to do.
        monkeypatch.setenv("ANTIVIRUS_CONF_PATH", "/no/such/file")
        settings.reload()
        with pytest.raises(NotScannedError, match=r"Limits\.Exceeded"):
            antivirus.save_and_scan("a", b64(content))


def test_an_archive_whose_content_exceeds_the_limit_is_no_clean_file(monkeypatch):
    with ClamdServer(["MaxFileSize 2M", "MaxScanSize 2M"]) as server:
        lead_to(monkeypatch, server)
        with pytest.raises(NotScannedError, match=r"Limits\.Exceeded"):
            antivirus.save_and_scan("a.zip", b64(zipped(bytes(3 * 1024 * 1024) + EICAR)))


def test_limits_with_a_blind_spot_are_refused(monkeypatch):
    # clamd 1.4.6 itself says OK here: it reads 2 MB of the member and keeps silent about it.
    with ClamdServer(["MaxFileSize 2M", "MaxScanSize 60M"]) as server:
        lead_to(monkeypatch, server)
        with pytest.raises(BlindScannerError, match=r"edeposit_clamd_init\.py repairs"):
            antivirus.check_scanner()
        with pytest.raises(NotScannedError, match="largest"):
            antivirus.save_and_scan("a.zip", b64(zipped(bytes(3 * 1024 * 1024) + EICAR)))


def test_a_stream_that_clamd_refuses_gives_its_reason(monkeypatch):
    with ClamdServer(["StreamMaxLength 1M"]) as server:
        lead_to(monkeypatch, server, CONF_PATH="/no/such/file")
        with pytest.raises(ScanError, match="INSTREAM size limit exceeded"):
            antivirus.save_and_scan("a", b64(bytes(5 * 1024 * 1024)))


def test_25_mb_are_scanned(clamd):
    assert antivirus.save_and_scan("big", b64(os.urandom(25 * 1024 * 1024))) == {}


def test_memory_stays_a_small_multiple_of_the_file(clamd):
    code = """
import base64, os, resource
from edeposit.amqp.antivirus import antivirus
data = base64.b64encode(bytes(20_000_000)).decode()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert antivirus.save_and_scan("a", data) == {}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Of the 26 MB of base64 there is one copy without white space, and pieces of a MiB.
    assert int(done.stdout) * 1024 < 40_000_000


def test_over_tcp(monkeypatch, tmp_path):
    with ClamdServer(tcp=True) as server:
        lead_to(
            monkeypatch,
            server,
            LOCALSOCKET="/no/such/socket",
            CLAMD_HOST=server.host,
            CLAMD_PORT=str(server.port),
        )
        assert antivirus.save_and_scan("a", b64(b"hello")) == {}
        assert antivirus.save_and_scan("a", b64(EICAR))["a"][0] == "FOUND"
        path = tmp_path / "a.com"
        path.write_bytes(EICAR)
        assert antivirus.scan_file(str(path))[str(path)][0] == "FOUND"


def test_a_file_is_scanned_by_its_descriptor(clamd, tmp_path):
    path = tmp_path / "mine: FOUND"
    path.write_bytes(EICAR)
    path.chmod(0o600)
    assert antivirus.scan_file(str(path)) == {str(path): ("FOUND", "Test.EICAR.UNOFFICIAL")}
    path.write_bytes(b"hello")
    assert antivirus.scan_file(str(path)) == {}


def test_a_missing_file_is_unreachable(scanner):
    with pytest.raises(AssertionError, match=r"Unreachable file '/no/such/file'\."):
        antivirus.scan_file("/no/such/file")


# --- clamd in trouble -----------------------------------------------------------------------


def test_without_clamd_clamscan_is_tried(clamd, monkeypatch):
    monkeypatch.setenv("ANTIVIRUS_LOCALSOCKET", "/no/such/socket")
    settings.reload()
    assert antivirus.save_and_scan("a", b64(b"hello")) == {}
    assert antivirus.save_and_scan("a", b64(EICAR))["a"][0] == "FOUND"


def test_without_both_the_first_reason_is_said(clamd, monkeypatch, tmp_path):
    monkeypatch.setenv("ANTIVIRUS_LOCALSOCKET", "/no/such/socket")
    monkeypatch.setenv("PATH", str(tmp_path))
    settings.reload()
    with pytest.raises(
        ValueError, match=r"Couldn't connect to clamd server using unix/network socket\."
    ):
        antivirus.save_and_scan("a", b64(EICAR))


def test_clamscan_without_a_database_is_an_error_not_clean(clamd, monkeypatch, tmp_path):
    monkeypatch.setenv("ANTIVIRUS_USE_CLAMD", "false")
    monkeypatch.setenv("ANTIVIRUS_DATABASE_DIR", str(tmp_path))
    settings.reload()
    with pytest.raises(ScanError, match="exit code 2"):
        antivirus.save_and_scan("a", b64(EICAR))


def test_a_clamd_that_never_answers_is_given_up(monkeypatch, tmp_path):
    with ClamdServer() as server:
        lead_to(monkeypatch, server, SCAN_TIMEOUT="0.5")
        monkeypatch.setenv("PATH", str(tmp_path))  # and there is no clamscan
        pid = int((server.directory / "clamd.pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(ScannerUnavailableError, match=r"no answer within 0\.5 s"):
                antivirus.save_and_scan("a", b64(b"hello"))
            assert time.monotonic() - started < 3
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_clamd_that_dies_in_the_middle_is_an_error(monkeypatch, tmp_path):
    with ClamdServer() as server:
        lead_to(monkeypatch, server)
        begun = threading.Event()

        def pieces():
            yield b"x" * 1000
            begun.set()
            server.kill()
            yield b"y" * 1000

        with pytest.raises(ScannerUnavailableError):
            clamd_wrapper.scan_stream("a", pieces())
        assert begun.is_set()


def test_many_threads_scan_at_once(clamd):
    results = []

    def scan(content):
        for _ in range(10):
            results.append(bool(antivirus.save_and_scan("a", b64(content))) == (content == EICAR))

    threads = [threading.Thread(target=scan, args=(c,)) for c in (EICAR, b"hello") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 80


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", ["abc", "a===", "QUJ=QUJD", "QUJD*UJD", "QUI=QUI=", "ř" * 4, "====", None, 7, b"QUJD"]
)
def test_broken_base64_names_the_file(clamd, data):
    with pytest.raises(ValueError, match=r"'a\.txt'"):
        antivirus.save_and_scan("a.txt", data)


def test_white_space_in_base64_is_allowed(clamd):
    lines = base64.encodebytes(EICAR).decode().replace("\n", " \r\n\t")
    assert antivirus.save_and_scan("a", lines)["a"][0] == "FOUND"


def test_padding_in_the_middle_of_large_data_is_refused(clamd):
    half = b64(bytes(2_000_000)) + b64(b"x")
    with pytest.raises(ScanError):
        antivirus.save_and_scan("a", half + half)


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "../../etc/passwd", "x" * 300, "ř: FOUND", 7])
def test_the_clients_name_is_only_echoed(scanner, name):
    assert antivirus.save_and_scan(name, b64(EICAR)).keys() == {name}
    assert antivirus.save_and_scan(name, b64(b"hello")) == {}


# --- texts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", {}),
        ("\n \n", {}),
        ("/tmp/a: Eicar FOUND\n", {"/tmp/a": ("FOUND", "Eicar")}),
        ("a: b.com: X.Y FOUND", {"a: b.com": ("FOUND", "X.Y")}),
    ],
)
def test_clamscans_lines(text, result):
    assert clamscan._parse_result(text) == result


@pytest.mark.parametrize("answer", ["stream: Can't allocate memory ERROR", "", "what?", "x OK y"])
def test_any_other_answer_of_clamd_is_an_error(answer):
    with pytest.raises(ScanError):
        clamd_wrapper.parse_answer("a", answer)


def test_the_scanner_describes_itself(clamd, caplog):
    assert antivirus.describe_scanner().startswith("ClamAV ")
    wait_for(lambda: "signature database" in caplog.text, what="a hint that it is old or undated")


def test_size_limit_reads_clamds_units(monkeypatch, tmp_path):
    config = tmp_path / "clamd.conf"
    monkeypatch.setenv("ANTIVIRUS_CONF_PATH", str(config))
    settings.reload()
    for text, limit in (
        ("", settings.MAX_FILE_SIZE),
        ("StreamMaxLength 1M\n", 1024**2),
        ("StreamMaxLength 1M\nMaxFileSize 500k\n", 500 * 1024),
        ("MaxFileSize 7\n", 7),
        ("MaxFileSize 0\nStreamMaxLength 0\n", settings.MAX_FILE_SIZE),
    ):
        config.write_text(text)
        assert clamd_wrapper.size_limit() == limit


def test_a_socket_that_is_no_clamd_is_an_error(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("ANTIVIRUS_LOCALSOCKET", "/no/such/socket")
        monkeypatch.setenv("ANTIVIRUS_CLAMD_HOST", "127.0.0.1")
        monkeypatch.setenv("ANTIVIRUS_CLAMD_PORT", str(listener.getsockname()[1]))
        settings.reload()

        def hang_up():
            listener.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(ScannerUnavailableError):
            clamd_wrapper.version()
