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
html_theme = "alabaster"
html_theme_options = {"description": "Python functions as Unix daemons behind RabbitMQ"}
nitpicky = False


def _cell(value: object) -> str:
    text = str(value).replace("\n", " ").replace("|", "\\|").replace("*", "\\*")
    return text or "(empty)"


def write_settings(_app: object) -> None:
    """Write ``_build/settings.inc``, which ``operations.rst`` includes."""
    from edeposit.amqp import settings

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
    for name, kind, default, text in settings.describe():
        shown = repr(default)
        lines += [
            f"   * - ``{name}``",
            f"     - {_cell(kind)}",
            f"     - ``{shown}``",
            f"     - {_cell(text)}",
        ]
    target = HERE / "_build" / "settings.inc"
    target.parent.mkdir(exist_ok=True)
    text = "\n".join(lines) + "\n"
    if not target.exists() or target.read_text("utf-8") != text:
        target.write_text(text, "utf-8")


def setup(app: object) -> None:
    """Hook the table's writing into the build."""
    app.connect("builder-inited", write_settings)  # type: ignore[attr-defined]
