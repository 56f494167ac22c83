"""Books in every format, made once by the real calibre, and settings of each test's own."""

import base64
import contextlib
import os
import tempfile
from pathlib import Path

import pytest

from edeposit.amqp.calibre import calibre, settings

TITLE = "Zen a umění"
SENTENCE = "Příliš žluťoučký kůň úpěl ďábelské ódy."
HTML = (
    f'<html><head><meta charset="utf-8"/><title>{TITLE}</title></head><body>'
    + "".join(f"<h1>Kapitola {number}</h1>" + f"<p>{SENTENCE}</p>" * 5 for number in range(1, 4))
    + "</body></html>"
)


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode("utf-8")).decode()


def unb64(text):
    return base64.b64decode(text)


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch, tmp_path):
    for name in settings.get_all_constants():
        monkeypatch.delenv(f"CALIBRE_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings.reload()
    yield
    monkeypatch.undo()
    settings.reload()


@pytest.fixture
def in_directory():
    """Conversions work below a directory of the test, which must be empty in the end."""
    # Not pytest's: the account that converts has to get through.
    with tempfile.TemporaryDirectory(prefix="edeposit-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        settings.substitute_globals({"TMP_PATH": name})
        yield path
        assert list(path.iterdir()) == []


def ebook_converts(directory):
    """How many processes of conversions below a directory there are, in it or where it was."""
    places = {(info.st_dev, info.st_ino) for info in map(os.stat, directory.iterdir())}
    count = 0
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"ebook-convert\0input." in (path / "cmdline").read_bytes():
                info = (path / "cwd").stat()
                count += not info.st_nlink or (info.st_dev, info.st_ino) in places
    return count


class _Books(dict):
    """Format to content; made from the HTML when first asked for."""

    def __missing__(self, name):
        if name == "txt":
            content = (f"{SENTENCE}\n\n" * 20).encode()
        elif name == "html":
            content = HTML.encode()
        else:
            content = unb64(calibre.convert("html", name, b64(HTML)).b64_data)
        self[name] = content
        return content


@pytest.fixture(scope="session")
def books():
    return _Books()
