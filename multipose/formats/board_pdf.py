"""A calibration board as a PDF to print, true to scale, with its settings on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from multipose.board import Board
from multipose.errors import DataError
from multipose.files import atomic_path

if TYPE_CHECKING:
    from fpdf import FPDF

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
        DataError: no such paper, or the board does not fit on it.
    """
    from fpdf import FPDF  # here, for it takes 0.2 s that nothing else should wait for

    size = read_paper(paper)
    scale = MILLIMETRES[board.unit] * board.square
    columns, rows = board.squares
    width, height = columns * scale, rows * scale
    for page in (size, size[::-1]):
        if width + 2 * _RIM <= page[0] and height + 2 * _RIM + _TEXT <= page[1]:
            break
    else:
        raise DataError(
            f"The {board} is {width:g} x {height:g} mm; with a rim and a line of text it does not fit on {paper} "
            f"({size[0]:g} x {size[1]:g} mm). Take larger paper, or smaller or fewer squares."
        )
    pdf = FPDF(unit="mm", format=page)
    pdf.set_auto_page_break(False)
    pdf.add_page()
    left, top = (page[0] - width) / 2, (page[1] - _TEXT - height) / 2
    pdf.set_fill_color(0)
    for x, y, w, h in board.black_areas() * MILLIMETRES[board.unit]:
        pdf.rect(left + x, top + y, w, h, style="F")
    _write_below(pdf, str(board), top + height, page[0])
    with atomic_path(path) as temporary:
        pdf.output(str(temporary))
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
    if not (width > 0 and height > 0):
        raise DataError(f"The sides of the paper must be above 0, got {paper!r}.")
    return width, height


def _write_below(pdf: FPDF, text: str, bottom: float, page_width: float) -> None:
    """The settings in one line, and under it a ruler as wide as there is room for, at most 100 mm."""
    room = page_width - 2 * _RIM
    pdf.set_font("Helvetica", size=8)
    pdf.set_font_size(8 * min(1.0, room / pdf.get_string_width(text)))
    pdf.text((page_width - pdf.get_string_width(text)) / 2, bottom + 5, text)
    ruler = min(_RULER, 10 * (room // 10))
    start, y = (page_width - ruler) / 2, bottom + 8
    pdf.set_line_width(0.2)
    pdf.line(start, y, start + ruler, y)
    for x in (start, start + ruler):
        pdf.line(x, y - 1, x, y + 1)
    pdf.set_font_size(6)
    note = f"this line is {ruler:g} mm long: print at 100 %, and measure it"
    pdf.text((page_width - pdf.get_string_width(note)) / 2, y + 3.5, note)
