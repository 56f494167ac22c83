"""Options and charsets that a request names, every format calibre takes, cancelling, the limits."""

import base64
import subprocess
import threading
import types
import zipfile
from io import BytesIO

import pytest

from edeposit.amqp import calibre as service
from edeposit.amqp.calibre import options, runner, sandbox, settings, workdir
from edeposit.amqp.calibre.calibre import convert
from edeposit.amqp.calibre.exceptions import ConverterUnavailableError
from edeposit.amqp.calibre.structures import (
    INPUT_FORMATS,
    OUTPUT_FORMATS,
    CancelConversion,
    ConversionCancelled,
    ConversionRequest,
)
from edeposit.amqp.testing import wait_for

from .conftest import HTML, SENTENCE, b64, ebook_converts, unb64

# No tool of this machine writes them: not tried with a book, only for their options.
CANNOT_BE_MADE = {"cbr", "chm", "djvu", "prc", "azw", "odt"}
# calibre 6 reads or writes them with errors of its own.
BROKEN = {"snb", "tcr"}


def asking(**attributes):
    """A ``send_back`` of a request with these attributes."""
    attributes = {"parameters": {}, "uuid": "u-1", **attributes}
    return types.SimpleNamespace(is_wanted=False, **attributes)


def comic():
    png = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
    )
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("1.png", png)
    return out.getvalue()


def comics():
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("comics.txt", "one.cbz:One\n")
        archive.writestr("one.cbz", comic())
    return out.getvalue()


def rocket_book():
    """calibre cannot read its own of other than ASCII."""
    return unb64(convert("html", "rb", b64("<h1>One</h1><p>Two</p>")).b64_data)


@pytest.mark.parametrize("source", sorted(set(INPUT_FORMATS) - CANNOT_BE_MADE - BROKEN))
def test_every_input_format_is_read(books, source):
    made = {"cbz": comic, "cbc": comics, "rb": rocket_book}
    content = made[source]() if source in made else books[source]
    target = "epub" if source in ("cbz", "cbc") else "txt"
    assert convert(source, target, b64(content)).b64_data


@pytest.mark.parametrize("target", sorted(set(OUTPUT_FORMATS) - BROKEN))
def test_every_output_format_is_written(books, target):
    assert books[target] if target not in ("txt", "html") else convert("html", target, b64(HTML))


@pytest.mark.parametrize("source", INPUT_FORMATS)
def test_every_input_format_is_known_to_the_converter(source):
    assert "input-encoding" in options.known_options(sandbox.converter(), source, "epub")


def test_a_link_in_any_format_that_follows_links_is_not_followed():
    assert options.arguments("html", "epub")[:2] == ["--max-levels", "0"]
    assert options.arguments("htmlz", "epub") == []


def test_a_charset_of_the_input_can_be_named():
    words = "Nobody can guess that these bytes are those of a mainframe."
    wrong = convert("txt", "txt", b64(words.encode("cp500")))
    right = convert("txt", "txt", b64(words.encode("cp500")), charset="CP500")
    assert words not in unb64(wrong.b64_data).decode()
    assert words in unb64(right.b64_data).decode()
    for charset in ("no-such", "hex", "--cover=/etc/passwd", 7):
        with pytest.raises(ValueError, match=r"The charset .* is not known"):
            convert("txt", "txt", b64("x"), charset=charset)


def test_options_of_a_request_reach_the_converter():
    for wanted in ({"title": "--cover"}, '{"title": "--cover"}'):
        request = ConversionRequest("html", "epub", b64(HTML))
        response = service.reactToAMQPMessage(request, asking(parameters={"options": wanted}))
        with zipfile.ZipFile(BytesIO(unb64(response.b64_data))) as book:
            assert "<dc:title>--cover</dc:title>" in book.read("content.opf").decode()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"cover": "/etc/passwd"}, "'cover' is not allowed"),
        ({"title=x --cover": "/etc/passwd"}, "is not allowed"),
        ({"paper-size": "a4"}, "no option 'paper-size' from html to epub"),
        ({"title": True}, "short text"),
        ({"title": "x" * 201}, "short text"),
        ({"title": "a\nb"}, "cannot be printed"),
        ({"pretty-print": "yes"}, "no value"),
        ('["title"]', "not a table"),
        ("{", "not JSON"),
        (7, "not a table"),
    ],
)
def test_other_options_are_refused(wanted, words):
    request = ConversionRequest("html", "epub", b64(HTML))
    with pytest.raises(ValueError, match=words):
        service.reactToAMQPMessage(request, asking(parameters={"options": wanted}))


def test_markdown_pulls_in_no_local_file_without_the_sandbox(tmp_path):
    settings.substitute_globals({"SANDBOX": "never"})
    secret = tmp_path / "secret.svg"
    secret.write_text("<svg xmlns='http://www.w3.org/2000/svg'><text>precious</text></svg>")
    for path in (secret, *secret.parents[:-1]):
        path.chmod(0o755)
    text = f"# Title\n\n![x](file://{secret})\n\n![x]({secret})\n\n" * 3
    archive = BytesIO(unb64(convert("txt", "htmlz", b64(text)).b64_data))
    with zipfile.ZipFile(archive) as book:
        assert not any(b"precious" in book.read(name) for name in book.namelist())
    with pytest.raises(ValueError, match="not allowed without the sandbox"):
        convert("txt", "htmlz", b64(text), options={"formatting-type": "markdown"})


def test_the_sandbox_is_the_default_and_nothing_runs_without_it(monkeypatch):
    assert settings.SANDBOX == "always"
    monkeypatch.setattr(sandbox, "why_not_fenced", lambda: "there is none")
    with pytest.raises(ConverterUnavailableError, match="there is none"):
        convert("html", "epub", b64(HTML))


def in_fence(script):
    with workdir.work_directory() as work:
        command = sandbox.command(work, [], limit_address_space=True)
        at = command.index(sandbox.converter())
        done = subprocess.run(
            [*command[:at], "bash", "-c", script],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
    return done.stdout + done.stderr


@pytest.mark.parametrize("directory", ["/tmp", "/dev/shm"])
def test_memory_as_files_is_bounded(directory):
    settings.substitute_globals({"MAX_TMPFS": 2**20})
    out = in_fence(f"head -c 3000000 /dev/zero > {directory}/x; stat -c %s {directory}/x")
    assert "No space left on device" in out
    assert "1048576" in out


@pytest.mark.parametrize("directory", ["/", "/dev", "/usr"])
def test_nothing_can_be_written_beside(directory):
    assert "Read-only file system" in in_fence(f"touch {directory}/x")


def test_the_number_of_processes_is_bounded():
    settings.substitute_globals({"MAX_PROCESSES": 30})
    out = in_fence("for i in $(seq 60); do sleep 1 & done; ls -d /proc/[0-9]* | wc -l")
    assert "Resource temporarily unavailable" in out


def test_a_conversion_is_cancelled_by_its_uuid(in_directory):
    large = "<html><body>" + "".join(f"<h1>{n}</h1><p>{SENTENCE * 40}</p>" for n in range(2000))
    outcome = []

    def work():
        request = ConversionRequest("html", "epub", b64(large))
        with pytest.raises(UserWarning, match=r"Conversion failed:\nit was cancelled") as caught:
            service.reactToAMQPMessage(request, asking(uuid="u-7"))
        outcome.append(caught.value)

    thread = threading.Thread(target=work)
    thread.start()
    wait_for(lambda: "u-7" in runner._running, what="it converts")
    other = service.reactToAMQPMessage(CancelConversion("u-8"), asking())
    assert other == ConversionCancelled("u-8", False)
    mine = service.reactToAMQPMessage(CancelConversion("u-7"), asking())
    assert mine == ConversionCancelled("u-7", True)
    thread.join(20)
    assert len(outcome) == 1
    wait_for(lambda: ebook_converts(in_directory) == 0, what="no converter is left")
    assert runner._running == {}


def test_a_large_book_gets_more_time(monkeypatch):
    times = []

    def run(work, arguments, **how):
        times.append(how["timeout"])
        raise OSError("not needed")

    monkeypatch.setattr(runner, "run", run)
    settings.substitute_globals({"TIMEOUT": 10.0})
    for size in (1, 10 * 1024**2, 30 * 1024**2):
        with pytest.raises(OSError, match="not needed"):
            convert("txt", "txt", b64(bytes(size)))
    assert times == [10, 10, 30]
