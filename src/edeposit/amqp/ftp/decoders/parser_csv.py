"""CSV: one pair per row, key then value.

The delimiter is not sniffed (``csv.Sniffer`` takes a blank for one): each is tried in turn, and the
first that gives a key and a value in every row is it. Quotes are ``"`` or ``'``, also mixed, which
the standard library's reader cannot do. A quoted cell may hold line breaks, as Excel writes them.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException
from edeposit.amqp.ftp.decoders.validator import check_structure

# The comma comes last, as it is the one that occurs in values.
_DELIMITERS = (";", "\t", "|", ",")
_LINE = re.compile(r"\r\n|\r|\n")
_HINT = re.compile(r"sep=(.)(?:\r\n|\r|\n)", re.IGNORECASE)  # Excel's first line
_FORMULA = re.compile(r'="(.*)"', re.DOTALL)  # Excel: do not take it for a number
_MAX_SHOWN = 200
_MAX_CELLS = 1000  # of a row; what has more is no metadata
_MAX_ROWS = 10_000
_MAX_LINE = 64 * 1024


def decode(data: str) -> dict[str, Any]:
    """Read pairs from CSV.

    Args:
        data: the text; delimiter ``;``, tab, ``|`` or ``,``; quotes ``"`` or ``'`` or none. A table
            of two rows, keys in the first and values in the second, is read as well.

    Raises:
        MetaParsingException: a row has not two cells.
    """
    if "\0" in data:
        raise MetaParsingException("Can't parse your CSV data: there is a NUL in it")
    lines = _LINE.split(data, maxsplit=_MAX_ROWS)
    if len(lines) > _MAX_ROWS:
        raise MetaParsingException(f"Can't parse your CSV data: more than {_MAX_ROWS} rows")
    if any(len(line) > _MAX_LINE for line in lines):
        raise MetaParsingException(
            f"Can't parse your CSV data: a line is longer than {_MAX_LINE} characters"
        )
    delimiters: tuple[str, ...] = _DELIMITERS
    hint = _HINT.match(data)
    if hint:
        delimiters, data = (hint[1],), data[hint.end() :]
    for delimiter in delimiters:
        for reader in (_rows, _rows_of_lines):
            pairs = _pairs(reader(data, delimiter))
            if pairs:
                return check_structure(pairs)
    for delimiter in delimiters:
        rows = [row for row in _first(_rows(data, delimiter), 3) if any(row)]
        if len(rows) == 2 and len(rows[0]) == len(rows[1]) > 2:
            return check_structure(list(zip(*rows, strict=True)))
    raise MetaParsingException(_complaint(data, delimiters))


def _pairs(rows: Iterator[list[str]]) -> list[tuple[str, str]]:
    """Keys and values; nothing if a row is neither blank nor a pair."""
    pairs = []
    for row in islice(rows, _MAX_ROWS):
        if any(row):
            pair = _pair(row)
            if pair is None:
                return []
            pairs.append(pair)
    return pairs


def _pair(row: list[str]) -> tuple[str, str] | None:
    """The two cells of a row that are not empty, or one and an empty one after it."""
    filled = [cell for cell in row if cell]
    if len(filled) == 2:
        return filled[0], filled[1]
    return (filled[0], "") if len(filled) == 1 and row.index(filled[0]) < len(row) - 1 else None


def _first(rows: Iterator[list[str]], count: int) -> list[list[str]]:
    """The first rows that are not blank."""
    found = []
    for row in rows:
        if any(row):
            found.append(row)
        if len(found) == count:
            break
    return found


def _complaint(data: str, delimiters: tuple[str, ...]) -> str:
    for number, line in enumerate(_LINE.split(data)):
        if line.strip() and not any(_pairs(_rows(line, one)) for one in delimiters):
            shown = line.strip()
            if len(shown) > _MAX_SHOWN:
                shown = f"{shown[:_MAX_SHOWN]} [... {len(shown) - _MAX_SHOWN} more characters]"
            return f"Bad number of elements - line {number}:\n\t{shown}"
    return "Can't parse your CSV data: no delimiter gives a key and a value on each line"


def _rows_of_lines(data: str, delimiter: str) -> Iterator[list[str]]:
    """Rows of a text in which no cell goes over a line end: a quote left open is a text."""
    for line in _LINE.split(data):
        yield from _rows(line, delimiter)


def _rows(data: str, delimiter: str) -> Iterator[list[str]]:
    """Rows of a text, each a list of cells without their quotes."""
    bare = re.compile(rf"[^{re.escape(delimiter)}\r\n]*")
    blanks = re.compile(r"[^\S\r\n\t]*" if delimiter == "\t" else r"[^\S\r\n]*")
    end = re.compile(rf"{blanks.pattern}(?:{re.escape(delimiter)}|\r\n|\r|\n|\Z)")
    closing = {quote: _Closings(data, quote, end) for quote in "\"'" if quote in data}
    row: list[str] = []
    position = 0
    while True:
        start = _end_of(blanks, data, position)
        quote = data[start : start + 1]
        closed = closing[quote].pop_after(start) if quote in closing else None
        if closed is None:
            stop = _end_of(bare, data, position)
            row.append(_without_formula(data[position:stop]))
        else:
            text = data[start + 1 : closed].replace(quote * 2, quote)
            row.append(_without_formula(text))
            stop = _end_of(blanks, data, closed + 1)
        if data[stop : stop + 1] == delimiter and len(row) < _MAX_CELLS:
            position = stop + 1
            continue
        yield row
        row = []
        if stop >= len(data):
            return
        position = stop + (2 if data.startswith("\r\n", stop) else 1)


def _end_of(pattern: re.Pattern[str], data: str, position: int) -> int:
    match = pattern.match(data, position)
    return match.end() if match else position


def _without_formula(text: str) -> str:
    text = text.strip()
    formula = _FORMULA.fullmatch(text)
    return formula[1].strip() if formula else text


class _Closings:
    """Where cells can be closed by one kind of quote, asked for in ascending order."""

    def __init__(self, data: str, quote: str, end: re.Pattern[str]) -> None:
        # Whole runs of quotes (possessive, so a long one is looked at once) at the end of a cell.
        self._runs = re.finditer(f"(?<!{quote}){quote}++(?={end.pattern})", data)
        self._run = next(self._runs, None)

    def pop_after(self, opening: int) -> int | None:
        """Position of the quote that closes a cell opened at a position; None: it stays open.

        What lies between is inside the cell, so nothing is looked at twice.
        """
        while self._run is not None:
            begin, end = max(self._run.start(), opening + 1), self._run.end()
            # Within a run two quotes are one of the text; an odd one at its end closes.
            if end > opening and (end - begin) % 2:
                return end - 1
            self._run = next(self._runs, None)
        return None
