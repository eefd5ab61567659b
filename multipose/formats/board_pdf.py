"""A calibration board as a PDF to print, true to scale, with its settings on it.

It is written here, rectangles and a few lines of text: a library for it would add 60 MB to an installation. A two-sided
board has a page for each side.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import Board, CharucoBoard
from multipose.errors import DataError
from multipose.files import atomic_path

FloatArray: TypeAlias = NDArray[np.float64]

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
_MARK = (1.0, 4.0)  # mm from the print where the marks at its corners begin and end
_MOUNTING = (
    "FRONT. Mount the back behind it as if the board were turned about its vertical axis: both tops up, corner marks "
    "on corner marks.",
    "BACK. Its left edge lies behind the right edge of the front. Measure the distance between the prints: it is the "
    "thickness.",
)
_CHARACTER = 0.47  # mean width of Helvetica's characters, of its size


def write_board_pdf(board: Board, path: str | os.PathLike[str], paper: str = "A4") -> str:
    """Write a board as vector graphics, upright or across, whichever it fits.

    Below it stand its settings and a line of 100 mm to check the print with: printers scale unless told not to. Of a
    two-sided board the front is on the first page and the back on the second, with marks at the corners of the prints;
    both say how they belong together.

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
    pages = []
    for side, black in enumerate(_black_areas(board)):
        areas = black * unit + [left, top, 0, 0]
        drawing = [f"{_number(x)} {_number(page[1] - y - h)} {_number(w)} {_number(h)} re f" for x, y, w, h in areas]
        bottom = page[1] - top - height
        drawing += _draw_below(str(board), bottom, page[0])
        if board.sides == 2:
            drawing += _draw_marks(left, bottom, width, height)
            drawing.append(_write_fitted(_MOUNTING[side], bottom + height + 2, 8.0, page[0]))
        pages.append("\n".join(drawing))
    with atomic_path(path) as temporary:
        temporary.write_bytes(_make_pdf(page, pages))
    both = ", two pages: front and back" if board.sides == 2 else ""
    return f"{board}: {width:g} x {height:g} mm on {paper}{both}"


def _black_areas(board: Board) -> list[FloatArray]:
    """The black areas (n, 4) of each side."""
    if isinstance(board, CharucoBoard):
        return [board.black_areas(side) for side in range(board.sides)]
    return [board.black_areas()]


def _draw_marks(left: float, bottom: float, width: float, height: float) -> list[str]:
    """Marks that go on from the edges of the print at its corners; mm from the page's bottom left."""
    drawing = [f"{_number(0.1)} w"]
    for x, outward in ((left, -1), (left + width, 1)):
        for y, upward in ((bottom, -1), (bottom + height, 1)):
            near, far = _MARK
            drawing.append(_line((x + outward * near, y), (x + outward * far, y)))
            drawing.append(_line((x, y + upward * near), (x, y + upward * far)))
    return drawing


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    return f"{_number(start[0])} {_number(start[1])} m {_number(end[0])} {_number(end[1])} l S"


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
        _write_fitted(text, bottom - 5, 8.0, page_width),
        f"{_number(0.2)} w",
        *(_line(start, end) for start, end in lines),
        _write(note, y - 3.5, 6.0, page_width),
    ]


def _write_fitted(text: str, y: float, points: float, page_width: float) -> str:
    """A line of text in the middle of the page, made smaller where it would be too long."""
    room = page_width - 2 * _RIM
    return _write(text, y, min(points, room / (_CHARACTER * len(text)) * _POINTS), page_width)


def _write(text: str, y: float, points: float, page_width: float) -> str:
    """A line of text in the middle of the page, as far as its width is known."""
    x = (page_width - _CHARACTER * points / _POINTS * len(text)) / 2
    safe = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"BT /F1 {points:.2f} Tf {_number(x)} {_number(y)} Td ({safe}) Tj ET"


def _number(millimetres: float) -> str:
    return f"{millimetres * _POINTS:.4f}"


def _make_pdf(page: tuple[float, float], drawings: list[str]) -> bytes:
    """A PDF (ISO 32000-1) of pages of one size: catalogue, pages and font, two objects for each page, the table of
    where all begin, and the trailer.
    """
    numbers = range(4, 4 + 2 * len(drawings), 2)  # of the pages' objects
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(drawings)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, drawing in zip(numbers, drawings, strict=True):
        content = zlib.compress(drawing.encode("latin-1", "replace"))
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {_number(page[0])} {_number(page[1])}] /Contents "
            f"{number + 1} 0 R /Resources << /Font << /F1 3 0 R >> >> >>".encode(),
            f"<< /Filter /FlateDecode /Length {len(content)} >>\nstream\n".encode() + content + b"\nendstream",
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
