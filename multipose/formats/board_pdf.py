"""A calibration board as a PDF to print, true to scale, with its settings on it.

It is written here, rectangles and two lines of text: a library for it would add 60 MB to an installation.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np

from multipose.board import Board
from multipose.errors import DataError
from multipose.files import atomic_path

PAPERS = {
    "A4": (210.0, 297.0),
    "A3": (297.0, 420.0),
    "A2": (420.0, 594.0),
    "A1": (594.0, 841.0),
    "A0": (841.0, 1189.0),
    "letter": (215.9, 279.4),
    "tabloid": (279.4, 431.8),
}
"""Width and height in mm, upright."""
MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "in": 25.4}

_RIM = 5.0  # mm that most printers leave white
_TEXT = 12.0  # mm below the board for the text and the ruler
_RULER = 100.0
_SMALLEST_SQUARE = 0.5  # mm
_POINTS = 72 / 25.4  # a mm
_CHARACTER = 0.47  # mean width of Helvetica's characters, of its size


def write_board_pdf(board: Board, path: str | os.PathLike[str], paper: str = "A4") -> str:
    """Write a board as vector graphics, upright or across, whichever it fits.

    Below it stand its settings and a line of 100 mm to check the print with: printers scale unless told not to.

    Args:
        board: what to draw.
        path: PDF file; appears whole or not at all.
        paper: a name in PAPERS, or "WIDTHxHEIGHT" in mm.

    Returns:
        What was written, for a person.

    Raises:
        DataError: no such paper, no name of a PDF, or the board does not fit on it.
    """
    if Path(path).suffix.lower() != ".pdf":
        raise DataError(f"The board is written as a PDF; give a name that ends in .pdf, got {path}.")
    size = read_paper(paper)
    unit = MILLIMETRES[board.unit]
    if unit * board.square < _SMALLEST_SQUARE:
        raise DataError(
            f"Squares of {unit * board.square:g} mm cannot be printed. Is the board's unit right ({board.unit})?"
        )
    width, height = (unit * length for length in board.print_area[2:])
    for page in (size, size[::-1]):
        if width + 2 * _RIM <= page[0] and height + 2 * _RIM + _TEXT <= page[1]:
            break
    else:
        raise DataError(
            f"The {board} is {width:g} x {height:g} mm; with a rim and a line of text it does not fit on {paper} "
            f"({size[0]:g} x {size[1]:g} mm). Take larger paper, or smaller or fewer squares."
        )
    left, top = (page[0] - width) / 2, (page[1] - _TEXT - height) / 2
    areas = board.black_areas() * unit + [left, top, 0, 0]
    drawing = [f"{_number(x)} {_number(page[1] - y - h)} {_number(w)} {_number(h)} re f" for x, y, w, h in areas]
    drawing += _draw_below(str(board), page[1] - top - height, page[0])
    with atomic_path(path) as temporary:
        temporary.write_bytes(_make_pdf(page, "\n".join(drawing)))
    return f"{board}: {width:g} x {height:g} mm on {paper}"


def read_paper(paper: str) -> tuple[float, float]:
    """Width and height in mm of "A4" or "500x700".

    Raises:
        DataError: it is neither a name in PAPERS nor two lengths.
    """
    named = {name.lower(): size for name, size in PAPERS.items()}
    if paper.lower() in named:
        return named[paper.lower()]
    try:
        width, height = (float(length) for length in paper.lower().split("x"))
    except ValueError:
        raise DataError(f"Paper is one of {', '.join(PAPERS)}, or WIDTHxHEIGHT in mm; got {paper!r}.") from None
    if not (0 < width < np.inf and 0 < height < np.inf):
        raise DataError(f"The sides of the paper must be above 0 and finite, got {paper!r}.")
    return width, height


def _draw_below(text: str, bottom: float, page_width: float) -> list[str]:
    """The settings in one line, and under it a ruler as long as there is room for, at most 100 mm.

    bottom: of the board, mm from the page's bottom.
    """
    room = page_width - 2 * _RIM
    ruler = min(_RULER, 10 * (room // 10))
    start, end, y = (page_width - ruler) / 2, (page_width + ruler) / 2, bottom - 8
    lines = [((start, y), (end, y)), *(((x, y - 1), (x, y + 1)) for x in (start, end))]
    note = f"this line is {ruler:g} mm long: print at 100 %, and measure it"
    return [
        _write(text, bottom - 5, min(8.0, room / (_CHARACTER * len(text)) * _POINTS), page_width),
        f"{_number(0.2)} w",
        *(f"{_number(a)} {_number(b)} m {_number(c)} {_number(d)} l S" for (a, b), (c, d) in lines),
        _write(note, y - 3.5, 6.0, page_width),
    ]


def _write(text: str, y: float, points: float, page_width: float) -> str:
    """A line of text in the middle of the page, as far as its width is known."""
    x = (page_width - _CHARACTER * points / _POINTS * len(text)) / 2
    safe = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"BT /F1 {points:.2f} Tf {_number(x)} {_number(y)} Td ({safe}) Tj ET"


def _number(millimetres: float) -> str:
    return f"{millimetres * _POINTS:.4f}"


def _make_pdf(page: tuple[float, float], drawing: str) -> bytes:
    """A PDF of one page (ISO 32000-1): five objects, the table of where they begin, and the trailer."""
    content = zlib.compress(drawing.encode("latin-1", "replace"))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {_number(page[0])} {_number(page[1])}] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>".encode(),
        f"<< /Filter /FlateDecode /Length {len(content)} >>\nstream\n".encode() + content + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return file + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, table, len(objects) + 1, len(file))
    )
