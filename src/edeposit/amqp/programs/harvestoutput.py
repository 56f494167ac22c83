"""Output of the harvester's programs: tables and progress for people, lines of JSON for programs.

Texts come from foreign pages: control characters must not reach the terminal.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from edeposit.amqp.programs.actions import printable
from edeposit.amqp.serializers import serialize


def print_sources(names: Iterable[str], wanted: Sequence[str], as_json: bool) -> None:
    """The sources, those that are harvested marked."""
    for name in names:
        if as_json:
            print(json.dumps({"source": name, "harvested": name in wanted}))
        else:
            print(f"{'*' if name in wanted else ' '} {name}")


def print_books(books: Iterable[Any], as_json: bool) -> None:
    """Books, each with an empty line after it, or as a line of JSON."""
    for book in books:
        message = book.to_namedtuple()
        if as_json:
            print(serialize(message), flush=True)
            continue
        rows = [("title", message.title), ("price", message.price)]
        rows += [("publisher", message.publisher)]
        rows += [("author", author.name) for author in message.authors]
        rows += message.optionals._asdict().items() if message.optionals is not None else ()
        for name, value in rows:
            if value not in (None, False):
                print(f"{name}: {printable(str(value))}")
        print(flush=True)


def print_reports(reports: Sequence[Any], as_json: bool) -> None:
    """What became of the books of each source; errors go to stderr."""
    for report in reports:
        if as_json:
            print(json.dumps(report._asdict(), ensure_ascii=False))
            continue
        print(report)
        print_errors(report.source, report.errors)
    if as_json or any(report.sent for report in reports):
        return
    if reports:
        print("There is nothing new; nothing was sent.")
    else:
        print("No source was harvested: none is enabled, and HARVESTER_SOURCES names none.")


def print_errors(source: str, errors: Iterable[Any]) -> None:
    """Errors of a source, on stderr."""
    for error in errors:
        print(printable(f"{source}: {error}"), file=sys.stderr, flush=True)


def print_checks(checks: Sequence[Any], as_json: bool) -> None:
    """A self-test as a table; without a terminal only what is wrong."""
    if as_json:
        for check in checks:
            print(json.dumps(check._asdict(), ensure_ascii=False))
        return
    console = Console()
    if not console.is_terminal:
        checks = [check for check in checks if not check.ok]
        if not checks:
            return
        console = Console(width=200)
    table = Table("source", "where", "field", "expected", "found", "")
    for check in checks:
        cells = (check.source, check.where, check.field, check.expected, check.found)
        verdict = "ok" if check.ok else "WRONG"
        table.add_row(
            *(Text(printable(str(cell))) for cell in cells),
            Text(verdict, style="" if check.ok else "bold red"),
        )
    console.print(table)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """Bars, one a source, on a terminal; otherwise nothing."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, known: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], completed=done, total=known)

        yield show
