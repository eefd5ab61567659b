"""The printed board is the board: read back from the PDF's drawing commands, and found in what they draw."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from multipose.board import AprilGrid, Board, CharucoBoard, Chessboard
from multipose.calibration.patterns import board_finder
from multipose.errors import DataError
from multipose.formats.board_pdf import read_paper, write_board_pdf

POINTS_PER_MM = 72 / 25.4


def read_pages(path: Path) -> tuple[tuple[float, float], list[str]]:
    """Size of the pages (mm), and what draws each."""
    data = path.read_bytes()
    boxes = set(re.findall(rb"/MediaBox \[([\d. ]+)\]", data))
    streams = re.findall(rb"/FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", data, re.S)
    (box,) = boxes
    _, _, width, height = (float(value) / POINTS_PER_MM for value in box.split())
    assert f"/Count {len(streams)} ".encode() in data
    return (width, height), [zlib.decompress(stream).decode("latin-1") for stream in streams]


def black_areas(drawing: str, page_height: float) -> np.ndarray:
    """The filled rectangles (n, 4) of a page: x, y from the top, width, height in mm."""
    found = re.findall(r"([-\d.]+) ([-\d.]+) ([-\d.]+) ([-\d.]+) re f", drawing)
    areas = np.array(found, dtype=float) / POINTS_PER_MM
    areas[:, 1] = page_height - areas[:, 1] - areas[:, 3]
    return areas


def paint(areas: np.ndarray, page: tuple[float, float], scale: int) -> np.ndarray:
    """A gray picture of a page (mm) with so many px a mm."""
    picture = np.full((round(page[1] * scale), round(page[0] * scale)), 255, np.uint8)
    for left, top, w, h in np.round(areas * scale).astype(int):
        picture[top : top + h, left : left + w] = 0
    return picture


@pytest.mark.parametrize(
    ("board", "paper", "page"),
    [
        (Chessboard(9, 6, 25.0), "A4", (297, 210)),
        (Chessboard(6, 9, 2.5, unit="cm"), "A4", (210, 297)),
        (CharucoBoard(8, 11, 24.0, 18.75), "A4", (210, 297)),
        (CharucoBoard(5, 4, 1.0, 0.7, unit="in", dictionary="4X4_50"), "letter", (215.9, 279.4)),
        (CharucoBoard(7, 6, 20.0, 15.0, dictionary="5X5_100", legacy=True), "200x170", (200, 170)),
        (AprilGrid(4, 5, 35.0, 10.0, first=40), "A4", (210, 297)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_print_is_true_to_scale_and_found(
    board: Board, paper: str, page: tuple[float, float], tmp_path: Path
) -> None:
    write_board_pdf(board, tmp_path / "board.pdf", paper)
    size, (drawing,) = read_pages(tmp_path / "board.pdf")
    areas = black_areas(drawing, size[1])
    np.testing.assert_allclose(size, page, atol=0.01)
    low, high = areas[:, :2].min(0), (areas[:, :2] + areas[:, 2:]).max(0)
    side = board.square * {"mm": 1, "cm": 10, "in": 25.4}[board.unit]
    x, y, width, height = np.array(board.print_area) * side / board.square
    np.testing.assert_allclose(high - low, [width, height], atol=0.01)
    assert (low >= 5 - 0.01).all()
    assert (high <= np.array(page) - 5 + 0.01).all()
    scale = 4  # px per mm
    sight = board_finder(board).find(paint(areas, page, scale))
    assert sight.reason == ""
    expected = low + board.corners[:, :2] * (side / board.square) - [x, y]
    np.testing.assert_allclose((sight.px + 0.5) / scale, expected, atol=0.3)


def test_a_two_sided_board_has_two_pages_that_say_how_they_belong_together(tmp_path: Path) -> None:
    board = CharucoBoard(7, 9, 24.0, 18.0, dictionary="5X5_100", thickness=5.0)
    text = write_board_pdf(board, tmp_path / "board.pdf")
    assert "two pages" in text
    page, drawings = read_pages(tmp_path / "board.pdf")
    assert len(drawings) == 2
    places = []
    for side, (drawing, name) in enumerate(zip(drawings, ("FRONT", "BACK"), strict=True)):
        assert f"({name}." in drawing
        assert drawing.count(" l S") == 3 + 8  # the ruler, and two marks at each corner of the print
        areas = black_areas(drawing, page[1])
        places.append(np.r_[areas[:, :2].min(0), (areas[:, :2] + areas[:, 2:]).max(0)])
        sight = board_finder(board).find(paint(areas, page, 4)).px.reshape(2, -1, 2)
        assert np.isnan(sight[1 - side]).all()
        sheet = places[side][:2] + board.front.corners[:, :2] + board.square  # each side as seen from before it
        np.testing.assert_allclose((sight[side] + 0.5) / 4, sheet, atol=0.3)
    np.testing.assert_allclose(places[0], places[1], atol=0.001)


def test_boards_larger_than_the_paper_and_other_papers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"300 x 210 mm.*does not fit on A4"):
        write_board_pdf(Chessboard(9, 6, 30.0), tmp_path / "board.pdf")
    assert not (tmp_path / "board.pdf").exists()
    with pytest.raises(DataError, match="cannot be printed"):
        write_board_pdf(Chessboard(9, 6, 0.025), tmp_path / "board.pdf")
    with pytest.raises(DataError, match=r"ends in \.pdf"):
        write_board_pdf(Chessboard(9, 6, 25.0), tmp_path / "board.png")
    assert read_paper("a3") == (297, 420)
    for paper in ("A9", "10", "x20", "0x20", "infxinf", "nanx20"):
        with pytest.raises(DataError, match="aper"):
            read_paper(paper)
