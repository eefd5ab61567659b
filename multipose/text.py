"""Text files and tables as people really save them: Excel, PowerShell, Notepad, R, and spreadsheets of other countries.

Read are UTF-8 with or without byte order mark, UTF-16 and UTF-32 with one; cells separated by commas, semicolons or
tabs, quoted or not; decimal commas where commas do not separate cells; blank rows and rows of empty cells are skipped.
Everything else is refused with the file, the row and what to do.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from multipose.documents import MOST_TABLE, read_document
from multipose.errors import FormatError

_DELIMITERS = (",", ";", "\t")
_WHOLE = re.compile(r"([+-]?\d+)(\.0*)?")
_MOST_DIGITS = 19
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a table that hold anything.

    Args:
        path: the file, for messages.
        cells: of each row, without the white space around them.
        lines: of each row the line in the file on which it ends, from 1.
        delimiter: what separates cells.
    """

    path: Path
    cells: list[list[str]]
    lines: list[int]
    delimiter: str

    def decimal(self, cell: str) -> str:
        """A cell whose decimal comma is a point, where commas do not separate cells."""
        return cell.replace(",", ".") if self.delimiter != "," and _DECIMAL_COMMA.fullmatch(cell) else cell

    def columns(self) -> dict[str, list[str]]:
        """The columns by the names in the first row; empty columns without a name, as spreadsheets add, are left out.

        Raises:
            FormatError: there is no row, a row has another number of cells, or a name stands twice.
        """
        if not self.cells:
            raise FormatError(f"{self.path} is empty; a first row with the names of the columns is needed.")
        header = self.cells[0]
        width = len(header)
        for line, row in zip(self.lines[1:], self.cells[1:], strict=True):
            if (len(row) != width and any(row[width:])) or len(row) < width:
                raise FormatError(f"{self.path}, line {line}: {len(row)} cells, but {width} columns.")
        doubled = sorted({name for name in header if name and header.count(name) > 1})
        if doubled:
            raise FormatError(f"{self.path}: the column {doubled[0]!r} stands twice.")
        body = self.cells[1:]
        return {name: [row[i] for row in body] for i, name in enumerate(header) if name or any(row[i] for row in body)}


def read_rows(path: str | os.PathLike[str]) -> Rows:
    """Read a table of text.

    Raises:
        FormatError: as of `read_document`, or quotes are not closed.
    """
    place = Path(path)
    text = read_document(place, MOST_TABLE)
    skipped = 0
    hint = re.match(r"sep=(.)\r?\n", text)  # Excel's own way to say it
    if hint:
        text, skipped = text[hint.end() :], 1
    delimiter = hint[1] if hint else _guess_delimiter(text)
    cells, lines = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            stripped = [cell.strip() for cell in row]
            if any(stripped):
                cells.append(stripped)
                lines.append(reader.line_num + skipped)
    except csv.Error as error:
        raise FormatError(f"{place}, line {reader.line_num + skipped}: cannot be read as a table ({error}).") from error
    return Rows(place, cells, lines, delimiter)


def whole_number(cell: str) -> int | None:
    """A cell as a whole number of 64 bits ("7", "-7", or "7.0" as a spreadsheet makes it), None where it is none."""
    match = _WHOLE.fullmatch(cell.strip())
    if match is None or len(match[1].lstrip("+-0")) > _MOST_DIGITS:  # of thousands of digits Python makes no number
        return None
    value = int(match[1])
    return value if abs(value) < 2**63 else None


def _guess_delimiter(text: str) -> str:
    """What separates the most cells of the first line that holds any; a comma if nothing does."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    counts: Sequence[int] = [len(next(csv.reader([first], delimiter=sign), [])) for sign in _DELIMITERS]
    return _DELIMITERS[counts.index(max(counts))]
