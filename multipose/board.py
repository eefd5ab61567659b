"""Calibration boards: their geometry, and how they are drawn.

A board is a plane, z = 0. Its frame has the origin in the first inner corner, x to the right along a row of corners,
y down along a column, z away from somebody who looks at the print (OpenCV's axes). Lengths are in the board's `unit`,
which becomes the unit of the rig.

A ChArUco board may have a second print on its back, in the plane z = thickness. Its corners follow those of the
front; each side has as many as `corner_shape` says, row by row as somebody sees them who looks at that side.

All boards are drawn with the same geometry (`picture_from_board`): where the print's left edge is at x = left in the
board's frame, a board point (x, y) lies at the column `(x - left) / square * pixels_per_square + margin - 0.5`,
because pixel centres are whole numbers; and so does its row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.errors import DataError
from multipose.prints import cell_areas, checkered_areas, draw_areas, marker_cells, marker_dictionary

FloatArray: TypeAlias = NDArray[np.float64]
_MOST_SQUARES = 1000  # in a row or column
_SMALLEST_GAP = 0.02  # share of a tag's side; less is Kalibr's ratio given as a length
UNITS = ("mm", "cm", "m", "um", "in")


@dataclass(frozen=True)
class Chessboard:
    """A plain chessboard, named by its INNER corners (as OpenCV does): a board of 10 x 7 squares has 9 x 6 of them.

    columns, rows: inner corners along x and y, at least 3 each.
    square: side of a square in `unit`.
    The square at the top left of the print, outside the first corner, is black.
    """

    columns: int
    rows: int
    square: float
    unit: str = "mm"

    def __post_init__(self) -> None:
        _check_sizes(self, smallest=3, counted="inner corners")

    @property
    def corner_shape(self) -> tuple[int, int]:
        """(columns, rows) of the inner corners."""
        return self.columns, self.rows

    @property
    def sides(self) -> int:
        """How many sides are printed."""
        return 1

    @property
    def n_corners(self) -> int:
        return self.columns * self.rows

    @property
    def squares(self) -> tuple[int, int]:
        """(columns, rows) of the printed squares."""
        return self.columns + 1, self.rows + 1

    @property
    def print_area(self) -> tuple[float, float, float, float]:
        """x, y, width, height of the print in the board's frame, in `unit`."""
        return -self.square, -self.square, self.squares[0] * self.square, self.squares[1] * self.square

    @property
    def corners(self) -> FloatArray:
        """(n, 3) inner corners, row by row, in `unit`."""
        return _corner_grid(self.corner_shape, self.square)

    def picture_from_board(self, xy: FloatArray, pixels_per_square: int, margin: int) -> FloatArray:
        """Pixels (..., 2) of board points (..., 2 or 3) in the picture that `draw` makes with the same settings."""
        return _picture_from_board(self, xy, pixels_per_square, margin)

    def draw(self, pixels_per_square: int = 60, margin: int = 30) -> NDArray[np.uint8]:
        """The board as an RGB picture (h, w, 3), with a white margin in pixels."""
        return _draw(self, self.black_areas(), pixels_per_square, margin)

    def black_areas(self) -> FloatArray:
        """(n, 4) x, y, width, height of the black areas from the print's top left, in `unit`."""
        return checkered_areas(self.squares, self.square, first_black=True)

    def scaled(self, factor: float) -> Chessboard:
        """The board with all lengths multiplied."""
        return replace(self, square=factor * self.square)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `board_from_dict` reads."""
        return {
            "type": "chessboard",
            "columns": self.columns,
            "rows": self.rows,
            "square": self.square,
            "unit": self.unit,
        }

    def __str__(self) -> str:
        return f"chessboard of {self.columns} x {self.rows} inner corners, squares of {self.square:g} {self.unit}"


@dataclass(frozen=True)
class CharucoBoard:
    """A ChArUco board, named by its SQUARES (as OpenCV does): 8 x 11 squares have 7 x 10 inner corners.

    columns, rows: squares along x and y, at least 3 each.
    square, marker: sides of a square and of the printed marker in it, in `unit`.
    dictionary: "4X4_1000" or "DICT_4X4_1000".
    legacy: the pattern of OpenCV before 4.6, where a board with an even number of rows begins with a white square.
    thickness: 0 for a board with one print. Above 0 its back carries the same layout so far behind the front, in
        `unit`, with the marker numbers that follow the front's. When the board is turned about its vertical axis, the
        edges of both prints lie on each other: the back's left edge is behind the front's right edge.
    """

    columns: int
    rows: int
    square: float
    marker: float
    unit: str = "mm"
    dictionary: str = "4X4_1000"
    legacy: bool = False
    thickness: float = 0.0

    def __post_init__(self) -> None:
        _check_sizes(self, smallest=3, counted="squares")
        if not 0 < self.marker < self.square:
            raise DataError(
                f"The markers of a ChArUco board must be smaller than its squares, got marker {self.marker:g} "
                f"and square {self.square:g}."
            )
        if not 0 <= self.thickness < np.inf:
            raise DataError(
                f"The thickness of a ChArUco board is the distance between its two prints, or 0 for a board with one; "
                f"got {self.thickness!r}."
            )
        markers, needed = len(marker_dictionary(self.dictionary).bytesList), self.sides * self.n_markers
        if markers < needed:
            raise DataError(
                f"A {'two-sided ' if self.sides == 2 else ''}board of {self.columns} x {self.rows} squares needs "
                f"{needed} markers, but the dictionary {self.dictionary} has {markers}."
            )

    @property
    def corner_shape(self) -> tuple[int, int]:
        """(columns, rows) of the inner corners of one side."""
        return self.columns - 1, self.rows - 1

    @property
    def sides(self) -> int:
        """How many sides are printed."""
        return 2 if self.thickness > 0 else 1

    @property
    def n_markers(self) -> int:
        """Markers on one side."""
        return self.columns * self.rows // 2

    @property
    def n_corners(self) -> int:
        return self.sides * (self.columns - 1) * (self.rows - 1)

    @property
    def squares(self) -> tuple[int, int]:
        """(columns, rows) of the printed squares."""
        return self.columns, self.rows

    @property
    def print_area(self) -> tuple[float, float, float, float]:
        """x, y, width, height of the print in the board's frame, in `unit`."""
        return -self.square, -self.square, self.squares[0] * self.square, self.squares[1] * self.square

    @property
    def corners(self) -> FloatArray:
        """(n, 3) inner corners in `unit`, the front's and then the back's, row by row: the order of OpenCV's ids."""
        front = _corner_grid(self.corner_shape, self.square)
        return np.concatenate([front, self._from_side(front, 1)]) if self.sides == 2 else front

    @property
    def front(self) -> CharucoBoard:
        """The board without its back."""
        return replace(self, thickness=0.0)

    @property
    def first_black(self) -> bool:
        """Whether the square at the top left is black (it is, but for legacy boards with an even number of rows)."""
        return not (self.legacy and self.rows % 2 == 0)

    def picture_from_board(self, xy: FloatArray, pixels_per_square: int, margin: int, *, side: int = 0) -> FloatArray:
        """Pixels (..., 2) of board points (..., 2 or 3) in the picture that `draw` makes with the same settings."""
        self._check_side(side)
        return _picture_from_board(self, self._from_side(np.asarray(xy, dtype=float), side), pixels_per_square, margin)

    def draw(self, pixels_per_square: int = 60, margin: int = 30, *, side: int = 0) -> NDArray[np.uint8]:
        """A side of the board (0 the front, 1 the back) as an RGB picture (h, w, 3), with a white margin in pixels."""
        return _draw(self, self.black_areas(side), pixels_per_square, margin)

    def _from_side(self, points: FloatArray, side: int) -> FloatArray:
        """Points (..., 2 or 3) of the board's frame in the frame of a side, or back, which is the same.

        The back's frame is to the back what the board's is to the front: half a turn about the vertical axis that
        takes the right edge of the print to the left edge.
        """
        if side == 0:
            return points
        n = points.shape[-1]
        origin = np.array([(self.columns - 2) * self.square, 0.0, self.thickness])
        moved: FloatArray = origin[:n] + points * np.array([-1.0, 1.0, -1.0])[:n]
        return moved

    def _check_side(self, side: int) -> None:
        if side not in range(self.sides):
            raise DataError(f"The {self} has {self.sides} printed side(s), counted from 0; got side {side!r}.")

    def black_areas(self, side: int = 0) -> FloatArray:
        """(n, 4) x, y, width, height of the black areas from the top left of a side's print, in `unit`; they overlap.

        Marker i of the side lies in the i-th white square, row by row. side: 0 the front, 1 the back.

        Raises DataError for a side that is not printed.
        """
        self._check_side(side)
        dictionary = marker_dictionary(self.dictionary)
        cells = int(dictionary.markerSize) + 2
        cell, gap = self.marker / cells, (self.square - self.marker) / 2
        white = [
            (column, row)
            for row in range(self.rows)
            for column in range(self.columns)
            if ((row + column) % 2 == 0) != self.first_black
        ]
        areas = [checkered_areas(self.squares, self.square, first_black=self.first_black)]
        for number, place in enumerate(white):
            bars = cell_areas(marker_cells(dictionary, side * self.n_markers + number))
            areas.append(bars * cell + [*(np.array(place) * self.square + gap), 0, 0])
        return np.concatenate(areas)

    def scaled(self, factor: float) -> CharucoBoard:
        """The board with all lengths multiplied."""
        return replace(
            self, square=factor * self.square, marker=factor * self.marker, thickness=factor * self.thickness
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `board_from_dict` reads."""
        return {
            "type": "charuco", "columns": self.columns, "rows": self.rows, "square": self.square, "marker": self.marker,
            "unit": self.unit, "dictionary": self.dictionary, "legacy": self.legacy, "thickness": self.thickness,
        }  # fmt: skip

    def __str__(self) -> str:
        return (
            f"ChArUco board of {self.columns} x {self.rows} squares of {self.square:g} {self.unit}, "
            f"markers {self.marker:g} {self.unit}, dictionary {self.dictionary}"
            f"{', legacy pattern' if self.legacy else ''}"
            f"{f', two-sided, {self.thickness:g} {self.unit} thick' if self.sides == 2 else ''}"
        )


@dataclass(frozen=True)
class AprilGrid:
    """A grid of AprilTags as Kalibr prints it ("aprilgrid"), named by its TAGS: 6 x 5 tags have 12 x 10 corners.

    columns, rows: tags along x and y, at least 2 each.
    square: side of a tag from edge to edge of its black border, in `unit`: Kalibr's tagSize.
    spacing: white gap between two tags, in `unit`. Kalibr's tagSpacing is a share of tagSize: tagSize 0.088 and
        tagSpacing 0.3 are square = 88 and spacing = 26.4 mm.
    dictionary: the tags' family.
    first: number of the tag at the bottom left; the others follow row by row, from left to right and upwards.
    border: width of a tag's black border in cells; Kalibr prints 2, most other tools 1.

    Black squares as wide as the gap stand at the corners of all tags, so that four areas meet crosswise in each corner.
    The corners are named as on the other boards, row by row from the top left, though Kalibr's tags begin at the bottom
    left; tags are printed upright as Kalibr prints them, half a turn from OpenCV's drawing.
    """

    columns: int
    rows: int
    square: float
    spacing: float
    unit: str = "mm"
    dictionary: str = "APRILTAG_36H11"
    first: int = 0
    border: int = 2

    def __post_init__(self) -> None:
        _check_sizes(self, smallest=2, counted="tags")
        if not _SMALLEST_GAP * self.square < self.spacing < self.square:
            raise DataError(
                "The spacing of an AprilTag grid is the gap between two tags as a length, smaller than their side and "
                f"at least {_SMALLEST_GAP:.0%} of it; got spacing {self.spacing:g} and square {self.square:g}. "
                "From Kalibr's values: spacing = tagSpacing * tagSize."
            )
        for name, least in (("first", 0), ("border", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise DataError(f"{name} of an AprilGrid: expected a whole number of at least {least}, got {value!r}.")
        tags, needed = len(marker_dictionary(self.dictionary).bytesList), self.first + self.n_tags
        if tags < needed:
            raise DataError(
                f"A grid of {self.columns} x {self.rows} tags from number {self.first} on needs the numbers up to "
                f"{needed - 1}, but the dictionary {self.dictionary} has {tags}."
            )

    @property
    def n_tags(self) -> int:
        return self.columns * self.rows

    @property
    def corner_shape(self) -> tuple[int, int]:
        """(columns, rows) of the corners."""
        return 2 * self.columns, 2 * self.rows

    @property
    def sides(self) -> int:
        """How many sides are printed."""
        return 1

    @property
    def n_corners(self) -> int:
        return 4 * self.n_tags

    @property
    def corners(self) -> FloatArray:
        """(n, 3) corners of the tags, row by row over the whole grid from its top left, in `unit`."""
        x, y = (
            (np.arange(count)[:, None] * (self.square + self.spacing) + [0.0, self.square]).ravel()
            for count in (self.columns, self.rows)
        )
        grid = np.meshgrid(x, y)
        return np.stack([grid[0].ravel(), grid[1].ravel(), np.zeros(self.n_corners)], axis=-1)

    @property
    def print_area(self) -> tuple[float, float, float, float]:
        """x, y, width, height of the print with its outer black squares, in the board's frame, in `unit`."""
        width, height = (n * (self.square + self.spacing) + self.spacing for n in (self.columns, self.rows))
        return -self.spacing, -self.spacing, width, height

    def tag_corners(self, tag: int) -> NDArray[np.intp]:
        """(4,) indices into `corners` of the top left, top right, bottom right and bottom left corner of a tag.

        tag: counted from 0, for the one at the bottom left.
        """
        row, column = self.rows - 1 - tag // self.columns, tag % self.columns
        top_left = 2 * row * 2 * self.columns + 2 * column
        return top_left + np.array([0, 1, 2 * self.columns + 1, 2 * self.columns], dtype=np.intp)

    def picture_from_board(self, xy: FloatArray, pixels_per_square: int, margin: int) -> FloatArray:
        """Pixels (..., 2) of board points (..., 2 or 3) in the picture that `draw` makes with the same settings."""
        return _picture_from_board(self, xy, pixels_per_square, margin)

    def draw(self, pixels_per_square: int = 60, margin: int = 30) -> NDArray[np.uint8]:
        """The board as an RGB picture (h, w, 3), with a white margin in pixels and so many pixels for a tag's side."""
        return _draw(self, self.black_areas(), pixels_per_square, margin)

    def black_areas(self) -> FloatArray:
        """(n, 4) x, y, width, height of the black areas from the print's top left, in `unit`; they overlap."""
        dictionary = marker_dictionary(self.dictionary)
        cell = self.square / (int(dictionary.markerSize) + 2 * self.border)
        pitch = self.square + self.spacing
        y, x = np.mgrid[: self.rows + 1, : self.columns + 1]
        corners = np.stack([x.ravel(), y.ravel()], axis=-1) * pitch
        areas = [np.hstack([corners, np.full_like(corners, self.spacing)])]
        for tag in range(self.n_tags):
            place = self.corners[self.tag_corners(tag)[0], :2] + self.spacing
            cells = np.rot90(marker_cells(dictionary, self.first + tag, self.border), 2)
            areas.append(cell_areas(cells) * cell + [*place, 0, 0])
        return np.concatenate(areas)

    def scaled(self, factor: float) -> AprilGrid:
        """The board with all lengths multiplied."""
        return replace(self, square=factor * self.square, spacing=factor * self.spacing)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `board_from_dict` reads."""
        return {
            "type": "aprilgrid", "columns": self.columns, "rows": self.rows, "square": self.square,
            "spacing": self.spacing, "unit": self.unit, "dictionary": self.dictionary, "first": self.first,
            "border": self.border,
        }  # fmt: skip

    def __str__(self) -> str:
        return (
            f"AprilTag grid of {self.columns} x {self.rows} tags of {self.square:g} {self.unit}, "
            f"{self.spacing:g} {self.unit} apart, dictionary {self.dictionary}, from number {self.first}"
            f"{'' if self.border == 2 else f', border of {self.border} cells'}"
        )


Board: TypeAlias = Chessboard | CharucoBoard | AprilGrid
_KINDS: dict[str, type[Chessboard] | type[CharucoBoard] | type[AprilGrid]] = {
    "chessboard": Chessboard,
    "charuco": CharucoBoard,
    "aprilgrid": AprilGrid,
}


def board_from_dict(values: Mapping[str, Any]) -> Board:
    """The board whose `to_dict` gave `values`: "type" is "chessboard", "charuco" or "aprilgrid", the rest are the
    class's fields.

    Raises DataError where a key is missing or unknown.
    """
    kind = values.get("type")
    if kind not in _KINDS:
        raise DataError(f"There is no type of board {kind!r}: expected one of {', '.join(_KINDS)}.")
    board_class = _KINDS[kind]
    known = {field.name: field for field in dataclasses.fields(board_class)}
    given = {name: value for name, value in values.items() if name != "type"}
    unknown = sorted(set(given) - set(known))
    missing = sorted(
        name for name, field in known.items() if field.default is dataclasses.MISSING and name not in given
    )
    if unknown or missing:
        wrong = [f"unknown {name!r}" for name in unknown] + [f"missing {name!r}" for name in missing]
        raise DataError(f"Board of type {kind}: {', '.join(wrong)}; its fields are {', '.join(known)}.")
    return board_class(**given)


def _check_sizes(board: Board, smallest: int, counted: str) -> None:
    for name in ("columns", "rows"):
        value = getattr(board, name)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, np.integer))
            or not smallest <= value <= _MOST_SQUARES
        ):
            raise DataError(
                f"{name} of a {type(board).__name__} counts its {counted}: expected a whole number of at least "
                f"{smallest} and at most {_MOST_SQUARES}, got {value!r}."
            )
    if not (np.isfinite(board.square) and board.square > 0):
        raise DataError(f"The side of a square must be a positive length, got {board.square!r}.")
    if board.unit not in UNITS:
        raise DataError(f"The unit of a board must be one of {', '.join(UNITS)}, got {board.unit!r}.")


def _corner_grid(shape: tuple[int, int], square: float) -> FloatArray:
    rows, columns = np.mgrid[: shape[1], : shape[0]]
    return np.stack([columns.ravel() * square, rows.ravel() * square, np.zeros(rows.size)], axis=-1)


def _picture_from_board(board: Board, xy: FloatArray, pixels_per_square: int, margin: int) -> FloatArray:
    from_edge: FloatArray = np.asarray(xy, dtype=float)[..., :2] - np.array(board.print_area[:2])
    return from_edge / board.square * pixels_per_square + margin - 0.5


def _draw(board: Board, areas: FloatArray, pixels_per_square: int, margin: int) -> NDArray[np.uint8]:
    if pixels_per_square < 1 or margin < 0:
        raise DataError(
            f"A board is drawn with at least 1 pixel a square and a margin of at least 0, "
            f"got {pixels_per_square} and {margin}."
        )
    return draw_areas(areas, board.print_area[2:], pixels_per_square / board.square, margin)
