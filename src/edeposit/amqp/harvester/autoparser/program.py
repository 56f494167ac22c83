"""The command line of ``edeposit_autoparser.py``.

Only the result goes to standard output (or into a file); reports and progress go to standard error.
A mistake of the user is one line there and exit code 1.
"""

import argparse
import contextlib
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from edeposit.amqp.harvester.autoparser.emitting import emit_python, emit_yaml
from edeposit.amqp.harvester.autoparser.examples import (
    AutoparserError,
    Example,
    load_page,
    read_configuration,
)
from edeposit.amqp.harvester.autoparser.learning import Learned, learn
from edeposit.amqp.harvester.autoparser.trials import Trial
from edeposit.amqp.harvester.source.rules import Rule

_EPILOG = """\
examples:
  edeposit_autoparser.py -c books.yaml
  edeposit_autoparser.py -c books.yaml -o lipa_cz.yaml --check other1.html other2.html
  edeposit_autoparser.py -c books.yaml --explain --pin price=3
  edeposit_autoparser.py -c books.yaml --emit python -o lipa.py --save-examples .

exit codes: 0 done; 1 the examples, the configuration or a file is wrong; 2 wrong arguments;
3 done, but a page of --check lacks a required value
"""
_NOT_CHECKED = 3


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        description="Learns from example pages where the values are, and writes a source file of "
        "the harvester or a standalone parser.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        required=True,
        help="examples: YAML, one document per page",
    )
    made.add_argument("-o", "--output", metavar="FILE", help="instead of standard output")
    made.add_argument(
        "--emit",
        choices=("yaml", "python"),
        default="yaml",
        help="a source file (default) or a module that needs only lxml",
    )
    made.add_argument("--name", help="of the source; default: that of the output or configuration")
    made.add_argument("--explain", action="store_true", help="show all rules, not only the chosen")
    made.add_argument(
        "--pin",
        metavar="NAME=NUMBER",
        action="append",
        default=[],
        help="take this rule of --explain; repeatable",
    )
    made.add_argument("--save-examples", metavar="DIR", help="keep the example pages there")
    made.add_argument(
        "--check",
        metavar="PAGE",
        nargs="+",
        default=[],
        help="files or URLs to try the rules on; they count, too",
    )
    made.add_argument("-q", "--quiet", action="store_true", help="no report")
    return made


def run(argv: Sequence[str] | None = None) -> int:
    """Runs the program.

    Args:
        argv: without the program's name; default: those of the process.

    Returns:
        The exit code.
    """
    arguments = parser().parse_args(argv)
    # Wide where nobody looks: a report in a file should not be cut to 80 columns.
    terminal = sys.stderr.isatty()
    console = Console(stderr=True, width=None if terminal else 200)
    try:
        examples = read_configuration(arguments.config)
        pages = [load_page(link) for link in arguments.check]
        learned = _learn(examples + pages, _pins(arguments.pin), console, terminal)
        saved = _save(examples, arguments.save_examples)
        text = _emitted(arguments, learned, examples, saved)
        if arguments.output:
            _write(Path(arguments.output), text.encode("utf-8"))
        else:
            sys.stdout.write(text)
    except AutoparserError as error:
        # Titles of pages may hold line ends; the message stays one line.
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    if arguments.explain:
        print_candidates(console, learned)
    if not arguments.quiet:
        print_report(console, learned)
    if pages and not print_check(console, learned, pages):
        return _NOT_CHECKED
    return 0


def _learn(
    examples: list[Example], pins: dict[str, int], console: Console, terminal: bool
) -> list[Learned]:
    if not terminal:
        return learn(examples, pins=pins)
    names = {name for example in examples for name in example.wanted}
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("learning", total=len(names))

        def advance(name: str) -> None:
            bar.update(task, advance=1, description=f"learning {name}")

        return learn(examples, pins=pins, progress=advance)


def _emitted(
    arguments: argparse.Namespace,
    learned: list[Learned],
    examples: list[Example],
    saved: dict[str, str],
) -> str:
    if arguments.emit == "python":
        return emit_python(learned, examples, saved)
    name = arguments.name or Path(arguments.output or arguments.config).stem
    beside = Path(arguments.output).parent if arguments.output else Path()
    paths = {
        link: os.path.relpath(Path(arguments.save_examples) / file, beside)
        for link, file in saved.items()
    }
    return emit_yaml(learned, examples, name, paths)


def _pins(texts: list[str]) -> dict[str, int]:
    pins = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not name or not number.isdecimal():
            raise AutoparserError(f"--pin is like price=3, not '{text}'.")
        pins[name] = int(number)
    return pins


def _save(examples: list[Example], folder: str | None) -> dict[str, str]:
    """Writes the pages; their file names by link."""
    if folder is None:
        return {}
    saved: dict[str, str] = {}
    for example in examples:
        # A link is foreign text: only letters, digits and a few signs become a file's name.
        stem = PurePosixPath(urlsplit(example.link).path).stem or "page"
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", stem)[:60].lstrip("_-") or "page"
        name = f"{stem}.html"
        if name in saved.values():
            name = f"{stem}-{hashlib.sha256(example.link.encode()).hexdigest()[:8]}.html"
        _write(Path(folder) / name, example.content)
        saved[example.link] = name
    return saved


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: a failed write keeps the old file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise AutoparserError(f"Can't write '{path}': {error.strerror}.") from error


def in_words(rule: object) -> str:
    """A rule on one line, as it could stand in a source file."""
    text = yaml.safe_dump(
        rule, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10_000
    )
    return text.removesuffix("...\n").strip()


def print_report(console: Console, learned: Sequence[Learned]) -> None:
    """One line per variable: the kind of rule, the rule, its examples, the fallbacks, notes."""
    table = Table("variable", "found by", "rule", "examples", "held back", "fallbacks", "notes")
    for item in learned:
        held = "-" if item.held_back is None else f"{item.held_back} of {item.examples}"
        table.add_row(
            escape(item.name),
            item.chosen.candidate.kind,
            _line(item.chosen),
            f"{item.examples}",
            held,
            ", ".join(trial.candidate.kind for trial in item.fallbacks) or "-",
            "; ".join(item.notes),
        )
    console.print(table)


def print_candidates(console: Console, learned: Sequence[Learned]) -> None:
    """All rules that are right in every example, numbered as ``--pin`` takes them."""
    for item in learned:
        table = Table("no.", "found by", "cost", "made from", "rule", title=escape(item.name))
        for number, trial in enumerate(item.ranked, 1):
            chosen = "*" if trial is item.chosen else "+" if trial in item.fallbacks else ""
            table.add_row(
                f"{number}{chosen}",
                trial.candidate.kind,
                str(trial.cost),
                f"{len(trial.origins)} of {item.examples}",
                _line(trial),
            )
        console.print(table)
    console.print("* chosen, + fallback. Another one: --pin NAME=NUMBER")


def print_check(console: Console, learned: Sequence[Learned], pages: Sequence[Example]) -> bool:
    """What the rules find in further pages; False when a required value is missing somewhere."""
    table = Table("page", *(escape(item.name) for item in learned))
    complete = True
    for page in pages:
        cells = []
        for item in learned:
            values = Rule.parse(item.rule_data()).find(page.page)
            values = values if item.several else values[:1]
            complete &= bool(values) or not item.required
            missing = "[red]missing[/red]" if item.required else "-"
            cells.append(escape(" | ".join(values)[:120]) if values else missing)
        table.add_row(escape(page.link), *cells)
    console.print(table)
    return complete


def _line(trial: Trial) -> str:
    return escape(in_words(trial.rule.to_dict()))
