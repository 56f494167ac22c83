"""Conversions by the real ebook-convert: formats, bad input, hostile input, limits."""

import io
import os
import re
import subprocess
import threading
import time
import zipfile
from pathlib import Path

import pypdf
import pytest

from edeposit.amqp import calibre as service
from edeposit.amqp.calibre import processes, results, runner, sandbox, settings, workdir
from edeposit.amqp.calibre.calibre import convert
from edeposit.amqp.calibre.exceptions import ConverterUnavailableError
from edeposit.amqp.calibre.structures import (
    INPUT_FORMATS,
    OUTPUT_FORMATS,
    ConversionProgress,
    ConversionRequest,
    ConversionResponse,
)
from edeposit.amqp.serializers import deserialize, serialize
from edeposit.amqp.serializers.errors import SerializationError
from edeposit.amqp.service import class_table
from edeposit.amqp.testing import wait_for

from .conftest import HTML, SENTENCE, b64, ebook_converts, unb64


def text_of(data, name):
    """The text of a book, read without calibre."""
    if name == "txt":
        return data.decode("utf-8")
    if name == "pdf":
        return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pages = [archive.read(n).decode() for n in archive.namelist() if "htm" in n]
    return "\n".join(re.sub(r"<[^>]+>", "", page) for page in pages)


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["epub", "txt", "pdf"])
@pytest.mark.parametrize("source", ["txt", "html", "epub", "mobi", "azw3", "pdf"])
def test_the_text_of_a_book_survives(books, source, output):
    response = convert(source, output, b64(books[source]))
    assert response.format == output
    text = " ".join(text_of(unb64(response.b64_data), output).split())
    # Line ends and hyphens of a pdf are its own.
    words = ("žluťoučký", "ďábelské") if "pdf" in (source, output) else (SENTENCE,)
    for word in words:
        assert word in text
    assert f"{output.upper()} output written to output.{output}" in response.protocol


@pytest.mark.parametrize(
    "output", ["fb2", "lrf", "htmlz", "pdb", "rb", "rtf", "snb", "txtz", "docx"]
)
def test_further_formats_are_written(books, output):
    assert len(unb64(convert("html", output, b64(books["html"])).b64_data)) > 200


def test_oeb_is_a_directory_and_comes_as_zip(books):
    response = convert("html", "oeb", b64(books["html"]))
    with zipfile.ZipFile(io.BytesIO(unb64(response.b64_data))) as archive:
        assert "content.opf" in archive.namelist()


def test_pml_is_the_text_of_calibres_archive(books):
    assert "Kapitola" in unb64(convert("html", "pml", b64(books["html"])).b64_data).decode("cp1252")


def test_same_format_and_empty_text_are_fine(books):
    assert convert("epub", "epub", b64(books["epub"])).format == "epub"
    assert zipfile.is_zipfile(io.BytesIO(unb64(convert("txt", "epub", "").b64_data)))


def test_base64_of_the_first_generation_has_line_breaks(books):
    text = b64(books["html"])
    lines = "\n".join(text[i : i + 80] for i in range(0, len(text), 80)) + "\n"
    assert convert("html", "txt", lines).b64_data == convert("html", "txt", text).b64_data


def test_the_protocol_names_no_directory_of_ours(books, in_directory):
    for fence in ("auto", "never"):
        settings.substitute_globals({"SANDBOX": fence})
        protocol = convert("html", "epub", b64(books["html"])).protocol
        assert "/work" not in protocol
        assert str(in_directory) not in protocol


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["EPUB", "../x", "", "exe", None, "epub "])
def test_other_formats_are_refused(name):
    with pytest.raises(ValueError, match="Unsupported input format!"):
        ConversionRequest(name, "epub", "")
    with pytest.raises(ValueError, match="Unsupported output format!"):
        ConversionRequest("epub", name, "")
    with pytest.raises(AssertionError, match="Unsupported input format!"):
        convert(name, "epub", "")
    with pytest.raises(AssertionError, match="Unsupported output format!"):
        convert("epub", name, "")


@pytest.mark.parametrize("data", ["?", "abc", "ab=c", "é", "====", None, b"YQ==", 7])
def test_what_is_not_base64_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"b64_data is not"):
        convert("html", "epub", data)


@pytest.mark.parametrize(
    ("source", "content", "words"),
    [
        ("epub", b"this is no zip", "Not a ZIP file|not a zip|BadZipfile|[Zz]ip"),
        ("mobi", b"x" * 1000, "."),
        ("pdf", b"<h1>html</h1>", "."),
        ("docx", b"PK\x03\x04", "."),
        ("epub", b"", "The epub file is empty"),
    ],
)
def test_input_that_is_not_what_it_claims_is_told(in_directory, source, content, words):
    with pytest.raises(UserWarning, match=r"^Conversion failed:\n") as caught:
        convert(source, "epub", b64(content))
    assert re.search(words, str(caught.value))
    assert len(str(caught.value)) < 70_000


def test_a_corrupt_book_is_told(books, in_directory):
    broken = bytearray(books["epub"])
    broken[200:-300] = os.urandom(len(broken) - 500)
    with pytest.raises(UserWarning, match=r"^Conversion failed:\n\S"):
        convert("epub", "txt", b64(bytes(broken)))


def test_the_last_line_of_calibre_comes_first(in_directory):
    with pytest.raises(UserWarning) as caught:
        convert("docx", "epub", b64(b"nonsense"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "Conversion failed:"
    assert lines[1] == lines[-1]
    assert "Traceback" not in lines[1]


# --- results of a converter that was taken over ------------------------------------------------


def planted(directory, kind, target):
    directory.mkdir(exist_ok=True)
    path = directory / "output"
    if kind == "link":
        path.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    return path


@pytest.mark.parametrize("output", ["epub", "oeb", "pml"])
@pytest.mark.parametrize("kind", ["link", "link to a directory", "fifo", "directory", "nothing"])
def test_a_planted_result_is_refused(tmp_path, kind, output):
    secret = tmp_path / "secrets"
    secret.mkdir()
    (secret / "shadow").write_text("precious")
    target = secret if kind == "link to a directory" else secret / "shadow"
    path = planted(tmp_path / "work", kind.partition(" ")[0], target)
    with pytest.raises(UserWarning, match=r"^Conversion failed:\ncalibre has written nothing, "):
        results.opened(path, output).__enter__()


def test_links_in_a_directory_are_left_out_and_nothing_is_written_beside(tmp_path):
    book = tmp_path / "work" / "output.oeb"
    (book / "text").mkdir(parents=True)
    (book / "content.opf").write_text("fine")
    (book / "text" / "1.html").write_text("fine")
    (book / "passwd").symlink_to("/etc/passwd")
    (book / "etc").symlink_to("/etc")
    os.mkfifo(book / "pipe")
    (book.parent / "oeb.zip").symlink_to(tmp_path / "victim")
    with results.opened(book, "oeb") as file:
        assert zipfile.ZipFile(file).namelist() == ["content.opf", "text/1.html"]
    assert not (tmp_path / "victim").exists()
    settings.substitute_globals({"MAX_OUTPUT_SIZE": 7})
    with pytest.raises(UserWarning, match=r"has 8 bytes, more than 7 \(MAX_OUTPUT_SIZE\)"):
        results.opened(book, "oeb").__enter__()


def test_a_process_that_closes_its_streams_and_hangs_is_ended(in_directory):
    settings.substitute_globals({"TIMEOUT": 1.0, "SANDBOX": "never"})
    hanging = in_directory / "hang"
    hanging.write_text("#!/bin/sh\nexec >&- 2>&-\nsleep 1000\n")
    hanging.chmod(0o755)
    settings.substitute_globals({"EBOOK_CONVERT": str(hanging)})
    try:
        with workdir.work_directory() as work:
            outcome = runner.run(work, ["in", "out"])
        assert outcome.killed_because == "it was ended after 1 s (TIMEOUT)"
    finally:
        hanging.unlink()


# --- limits -------------------------------------------------------------------------------------

LARGE = "<html><body>" + "".join(f"<h1>{n}</h1><p>{SENTENCE * 40}</p>" for n in range(3000))


def test_a_conversion_that_takes_too_long_is_ended_with_its_children(in_directory):
    settings.substitute_globals({"TIMEOUT": 2.0})
    started = time.monotonic()
    with pytest.raises(
        UserWarning, match=r"Conversion failed:\nit was ended after 2 s \(TIMEOUT\)"
    ):
        convert("html", "pdf", b64(LARGE))
    assert time.monotonic() - started < 30
    wait_for(lambda: ebook_converts(in_directory) == 0, what="no converter is left")


@pytest.mark.parametrize("fence", ["auto", "never"])
def test_the_end_of_the_daemon_ends_conversions(in_directory, fence, monkeypatch):
    settings.substitute_globals({"SANDBOX": fence})
    monkeypatch.setattr(runner, "_ending", threading.Event())
    failures = []

    def work():
        try:
            convert("html", "epub", b64(LARGE))
        except UserWarning as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_for(lambda: ebook_converts(in_directory) > 0, what="it converts")
    service.on_exit()
    thread.join(20)
    assert not thread.is_alive()
    assert len(failures) == 1
    wait_for(lambda: ebook_converts(in_directory) == 0, what="no converter is left")
    with pytest.raises(OSError, match="the daemon ends"):
        convert("html", "epub", b64(HTML))


def zip_bomb(members, size):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">'
            '<rootfiles><rootfile full-path="content.opf" '
            'media-type="application/oebps-package+xml"/></rootfiles></container>',
        )
        for number in range(members):
            with archive.open(f"{number}.html", "w", force_zip64=True) as member:
                for _ in range(size // 2**20):
                    member.write(b"\0" * 2**20)
    return out.getvalue()


@pytest.mark.parametrize(("members", "size"), [(1, 2**29), (30, 2**24)], ids=["one", "many"])
def test_a_zip_bomb_is_bounded(in_directory, members, size):
    settings.substitute_globals(
        {"MAX_OUTPUT_SIZE": 20 * 2**20, "MAX_WORK_SIZE": 60 * 2**20, "TIMEOUT": 60.0}
    )
    largest = 0
    done = threading.Event()

    def watch():
        nonlocal largest
        while not done.wait(0.05):
            largest = max(largest, workdir.size_of(in_directory))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(UserWarning, match=r"^Conversion failed:\n"):
            convert("epub", "txt", b64(zip_bomb(members, size)))
    finally:
        done.set()
        watcher.join()
    assert largest < 400 * 2**20


def test_memory_is_bounded(in_directory):
    settings.substitute_globals({"MAX_MEMORY": 64 * 2**20})
    with pytest.raises(UserWarning, match=r"MAX_MEMORY|MemoryError|[Mm]emory|Conversion failed"):
        convert("html", "epub", b64(HTML))
    with pytest.raises(UserWarning, match=r"MAX_MEMORY"):
        convert("html", "pdf", b64(HTML))


def test_sizes_are_bounded(books, in_directory):
    settings.substitute_globals({"MAX_INPUT_SIZE": 1000})
    for size in (1001, 100_000):
        with pytest.raises(ValueError, match="larger than 1000 bytes"):
            convert("html", "txt", b64(b"x" * size))
    settings.substitute_globals({"MAX_INPUT_SIZE": 10**6, "MAX_OUTPUT_SIZE": 2000})
    with pytest.raises(UserWarning, match="Conversion failed"):
        convert("html", "epub", b64(books["html"]))


def test_endless_output_is_cut_in_the_middle():
    text = runner._Text()
    for _ in range(100):
        text.add(b"x" * 100_000)
    text.add(b"the end")
    assert len(str(text)) < 1_100_000
    assert str(text).endswith("the end")
    assert " bytes ...]" in str(text)


def test_processes_that_leave_the_group_are_ended_too():
    process = subprocess.Popen(
        ["sh", "-c", "setsid sleep 1000 & setsid sh -c 'trap \"\" TERM; sleep 1001' & wait"],
        start_new_session=True,
    )
    wait_for(lambda: len(processes.descendants(process.pid)) >= 4, what="all have started")
    pids = processes.descendants(process.pid)
    assert processes.memory_of(process.pid) > 0
    processes.end(process)
    alive = [
        pid
        for pid in pids
        if Path(f"/proc/{pid}/cmdline").exists()
        and b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert alive == []


# --- the sandbox --------------------------------------------------------------------------------


def in_fence(tmp_path, *arguments):
    """Run a program as the converter would be run."""
    with workdir.work_directory() as work:
        command = sandbox.command(work, [], limit_address_space=True)
        at = command.index(sandbox.converter())
        done = subprocess.run(
            [*command[:at], *arguments], cwd=work, capture_output=True, text=True, check=False
        )
    return done.stdout + done.stderr


def test_inside_there_is_no_network_no_foreign_file_and_no_root(tmp_path):
    secret = Path("/tmp/edeposit-secret.html")
    secret.write_text("precious")
    try:
        assert "uid=65534" in in_fence(tmp_path, "id") or os.geteuid()
        # Interfaces that lead out have had traffic; those of an empty namespace have not.
        links = in_fence(tmp_path, "cat", "/proc/net/dev")
        counters = dict(line.split(":") for line in links.splitlines() if ":" in line)
        assert "lo" in {name.strip() for name in counters}
        assert all(set(numbers.split()) == {"0"} for numbers in counters.values())
        for path in (str(secret), "/etc/passwd", "/root", "/home", str(tmp_path)):
            assert "No such file" in in_fence(tmp_path, "cat", path)
        assert "Read-only file system" in in_fence(tmp_path, "touch", "/usr/x")
        environment = in_fence(tmp_path, "env")
        assert "HOME=/work/home" in environment
        assert "PYTEST" not in environment
    finally:
        secret.unlink()


@pytest.mark.parametrize("fence", ["auto", "never"])
def test_html_cannot_pull_in_files(in_directory, fence):
    settings.substitute_globals({"SANDBOX": fence})
    secret = in_directory / "secret.html"
    secret.write_text("<html><body><p>precious</p></body></html>")
    secret.chmod(0o644)
    page = (
        "<html><body><p>start</p>"
        '<a href="../secret.html">x</a><a href="/etc/passwd">y</a>'
        f'<a href="file://{secret}">z</a><img src="file:///etc/passwd"/>'
        f'<iframe src="{secret}"></iframe><object data="../secret.html"></object></body></html>'
    )
    try:
        for output in ("epub", "pdf"):
            data = unb64(convert("html", output, b64(page)).b64_data)
            text = text_of(data, output)
            assert "start" in text
            assert "precious" not in text
            assert "root:" not in text
    finally:
        secret.unlink()


def test_a_sandbox_can_be_demanded(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    sandbox.why_not_fenced.cache_clear()
    try:
        settings.substitute_globals({"EBOOK_CONVERT": "/usr/bin/ebook-convert"})
        assert not sandbox.is_fenced()
        settings.substitute_globals({"SANDBOX": "always"})
        with pytest.raises(ConverterUnavailableError, match="apt-get install bubblewrap"):
            service.on_start()
    finally:
        sandbox.why_not_fenced.cache_clear()


def test_without_calibre_the_package_is_named(monkeypatch):
    settings.substitute_globals({"EBOOK_CONVERT": "ebook-convert-missing"})
    with pytest.raises(ConverterUnavailableError, match=r"apt-get install .*calibre"):
        service.on_start()


def test_root_does_not_convert():
    settings.substitute_globals({"RUN_AS": "root"})
    with pytest.raises(ConverterUnavailableError, match="RUN_AS"):
        service.on_start()


def test_what_a_killed_daemon_left_is_swept_and_nothing_else(in_directory):
    abandoned = in_directory / "edeposit-calibre-abandoned"
    (abandoned / "tmp").mkdir(parents=True)
    with workdir.work_directory() as mine:
        service.on_start()
        assert mine.exists()
        assert not abandoned.exists()


# --- the service --------------------------------------------------------------------------------


def test_the_wire_forms():
    table = class_table("calibre")
    request = deserialize(
        '{"__nt_name": "ConversionRequest", "input_format": "html", "output_format": "txt",'
        f' "b64_data": "{b64("<p>Ahoj</p>")}"}}',
        table,
    )
    response = service.reactToAMQPMessage(request, print)
    assert isinstance(response, ConversionResponse)
    assert unb64(response.b64_data).decode().strip() == "Ahoj"
    assert deserialize(serialize(response), table) == response
    with pytest.raises((ValueError, SerializationError), match="Unsupported input format!"):
        deserialize(
            '{"__nt_name": "ConversionRequest", "input_format": "exe", "output_format": "txt",'
            ' "b64_data": ""}',
            table,
        )


def test_other_requests_are_a_value_error():
    with pytest.raises(ValueError, match="Unknown type of request: '"):
        service.reactToAMQPMessage(ConversionResponse("a", "b", "c"), print)


def test_progress_is_sent_to_who_wants_it():
    sent = []

    def send_back(progress):
        sent.append(progress)

    request = ConversionRequest("html", "epub", b64(HTML))
    service.reactToAMQPMessage(request, send_back)
    assert sent == []
    send_back.is_wanted = True
    service.reactToAMQPMessage(request, send_back)
    assert all(isinstance(one, ConversionProgress) for one in sent)
    percents = [one.percent for one in sent]
    assert percents == sorted(set(percents))
    assert percents[0] <= 34 <= percents[-1] <= 100
    assert sent[0].message.startswith("Converting input")


def test_progress_that_cannot_be_sent_does_not_end_the_conversion():
    def send_back(_progress):
        raise OSError("no broker")

    send_back.is_wanted = True
    request = ConversionRequest("html", "txt", b64(HTML))
    assert service.reactToAMQPMessage(request, send_back).format == "txt"


def test_the_lists_of_the_first_generation_are_kept():
    assert " ".join(INPUT_FORMATS).startswith(
        "cbz cbr cbc chm djvu docx epub fb2 html htmlz lit lrf mobi odt pdf prc pdb pml rb rtf snb"
        " tcr txt txtz"
    )
    assert " ".join(OUTPUT_FORMATS).startswith(
        "azw3 epub fb2 oeb lit lrf mobi htmlz pdb pml rb pdf rtf snb tcr txt txtz"
    )
