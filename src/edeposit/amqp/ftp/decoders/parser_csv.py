"""CSV: one pair per line, key then value.

The delimiter is not sniffed (``csv.Sniffer`` takes a blank for one): each is tried in turn, and the
first that gives two cells on every line is it.
"""

from edeposit.amqp.ftp.decoders.meta_exceptions import MetaParsingException
from edeposit.amqp.ftp.decoders.validator import check_structure

# The comma comes last, as it is the one that occurs in values.
_DELIMITERS = (";", "\t", "|", ",")
_QUOTES = "\"'"


def decode(data: str) -> dict[str, object]:
    """Read pairs from CSV.

    Args:
        data: the text; delimiter ``;``, tab, ``|`` or ``,``; quotes ``"`` or ``'`` or none.

    Raises:
        MetaParsingException: a line has not two cells.
    """
    lines = data.splitlines()
    if "\0" in data:
        raise MetaParsingException("Can't parse your CSV data: there is a NUL in it")
    for delimiter in _DELIMITERS:
        rows = [_cells(line, delimiter) for line in lines]
        if any(rows) and all(len(row) in (0, 2) for row in rows):
            return check_structure([row for row in rows if row])
    for number, line in enumerate(lines):
        if line.strip() and all(len(_cells(line, d)) != 2 for d in _DELIMITERS):
            raise MetaParsingException(f"Bad number of elements - line {number}:\n\t{line.strip()}")
    raise MetaParsingException(
        "Can't parse your CSV data: no delimiter gives a key and a value on each line"
    )


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells that are not empty; a delimiter inside quotes does not count."""
    cells: list[str] = []
    cell = quote = ""
    for char in line:
        if quote:
            cell += char
            if char == quote:
                quote = ""
        elif char == delimiter:
            cells.append(cell)
            cell = ""
        else:
            # A quote opens a quoted cell only at its begin: an apostrophe inside is text.
            if char in _QUOTES and not cell.strip():
                quote = char
            cell += char
    if quote:  # never closed: the quote was text after all
        return [text for text in map(_unquoted, line.split(delimiter)) if text]
    return [text for text in map(_unquoted, [*cells, cell]) if text]


def _unquoted(cell: str) -> str:
    text = cell.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        quote = text[0]
        return text[1:-1].replace(quote * 2, quote).strip()
    return text
