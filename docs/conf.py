"""Sphinx configuration; the settings table is written from the settings' own declaration."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "src"))

import edeposit.amqp  # noqa: E402

project = "edeposit.amqp"
author = "the edeposit.amqp authors"
project_copyright = "2014-2026, the edeposit.amqp authors"
version = release = edeposit.amqp.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# As fields, not as objects of their own: autodoc lists the members of namedtuples already.
napoleon_use_ivar = True
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "edeposit.amqp"
html_static_path = ["static"]
html_css_files = ["own.css"]
nitpicky = False


def _cell(value: object) -> str:
    text = str(value).replace("\n", " ").replace("|", "\\|").replace("*", "\\*")
    return text or "(empty)"


def _table(rows: list[tuple[str, str, object, str]], prefix: str = "") -> str:
    lines = [
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 30 10 15 45",
        "",
        "   * - Name",
        "     - Type",
        "     - Default",
        "     - Meaning",
    ]
    for name, kind, default, text in rows:
        lines += [
            f"   * - ``{prefix}{name}``",
            f"     - {_cell(kind)}",
            f"     - ``{default!r}``",
            f"     - {_cell(text)}",
        ]
    return "\n".join(lines) + "\n"


def write_settings(_app: object) -> None:
    """Write the settings tables that the pages include, from the settings' declarations."""
    from edeposit.amqp import settings
    from edeposit.amqp.aleph import settings as aleph
    from edeposit.amqp.antivirus import settings as antivirus
    from edeposit.amqp.calibre import settings as calibre
    from edeposit.amqp.ftp import settings as ftp
    from edeposit.amqp.harvester import settings as harvester

    tables = {
        "settings.inc": _table(settings.describe()),
        "aleph_settings.inc": _table(aleph.describe()),
        "antivirus_settings.inc": _table(antivirus.describe(), "ANTIVIRUS_"),
        "calibre_settings.inc": _table(calibre.describe(), "CALIBRE_"),
        "ftp_settings.inc": _table(ftp.describe(), "FTP_"),
        "harvester_settings.inc": _table(harvester.describe()),
    }
    directory = HERE / "_build"
    directory.mkdir(exist_ok=True)
    for name, text in tables.items():
        target = directory / name
        if not target.exists() or target.read_text("utf-8") != text:
            target.write_text(text, "utf-8")


def setup(app: object) -> None:
    """Hook the table's writing into the build."""
    app.connect("builder-inited", write_settings)  # type: ignore[attr-defined]
