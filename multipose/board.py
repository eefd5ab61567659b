"""Calibration boards and the corners that cameras saw of them.

A board is a plane, z = 0. Its frame has the origin in the first inner corner, x to the right along a row of corners,
y down along a column, z away from somebody who looks at the print (OpenCV's axes). Lengths are in the board's `unit`,
which becomes the unit of the rig.

Both boards are drawn with the same geometry (`picture_from_board`): a board point (x, y) lies at the pixel
`((x / square + 1) * pixels_per_square + margin - 0.5, (y / square + 1) * pixels_per_square + margin - 0.5)`,
because the first inner corner is one square away from the printed edge and pixel centres are whole numbers.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.errors import DataError, FormatError
from multipose.excerpt import Excerpt, excerpt_from_dict
from multipose.files import SCHEMA_VERSION, atomic_path, check_schema
from multipose.opencv import cv2

FloatArray: TypeAlias = NDArray[np.float64]
UNITS = ("mm", "cm", "m", "um", "in")


def dictionary_names() -> tuple[str, ...]:
    """Names of the marker dictionaries that this OpenCV knows, without the prefix `DICT_`, e.g. "4X4_1000"."""
    names = {name.removeprefix("DICT_").upper() for name in dir(cv2.aruco) if name.startswith("DICT_")}
    return tuple(sorted(names))


def marker_dictionary(name: str) -> Any:
    """OpenCV's dictionary of that name ("4X4_1000" or "DICT_4X4_1000").

    Raises DataError for a name that OpenCV does not know.
    """
    plain = name.upper().removeprefix("DICT_")
    if plain not in dictionary_names():
        raise DataError(f"There is no marker dictionary {name!r}; known are {', '.join(dictionary_names())}.")
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{plain}"))


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
    def n_corners(self) -> int:
        return self.columns * self.rows

    @property
    def squares(self) -> tuple[int, int]:
        """(columns, rows) of the printed squares."""
        return self.columns + 1, self.rows + 1

    @property
    def corners(self) -> FloatArray:
        """(n, 3) inner corners, row by row, in `unit`."""
        return _corner_grid(self.corner_shape, self.square)

    def picture_from_board(self, xy: FloatArray, pixels_per_square: int, margin: int) -> FloatArray:
        """Pixels (..., 2) of board points (..., 2 or 3) in the picture that `draw` makes with the same settings."""
        return _picture_from_board(xy, self.square, pixels_per_square, margin)

    def draw(self, pixels_per_square: int = 60, margin: int = 30) -> NDArray[np.uint8]:
        """The board as an RGB picture (h, w, 3), with a white margin in pixels."""
        return _draw(self, pixels_per_square, margin)

    def black_areas(self) -> FloatArray:
        """(n, 4) x, y, width, height of the black areas from the print's top left, in `unit`."""
        return _black_squares(self.squares, self.square, first_black=True)

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
    """

    columns: int
    rows: int
    square: float
    marker: float
    unit: str = "mm"
    dictionary: str = "4X4_1000"
    legacy: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self, smallest=3, counted="squares")
        if not 0 < self.marker < self.square:
            raise DataError(
                f"The markers of a ChArUco board must be smaller than its squares, got marker {self.marker:g} "
                f"and square {self.square:g}."
            )
        markers, needed = len(marker_dictionary(self.dictionary).bytesList), self.columns * self.rows // 2
        if markers < needed:
            raise DataError(
                f"A board of {self.columns} x {self.rows} squares needs {needed} markers, "
                f"but the dictionary {self.dictionary} has {markers}."
            )

    @property
    def corner_shape(self) -> tuple[int, int]:
        """(columns, rows) of the inner corners."""
        return self.columns - 1, self.rows - 1

    @property
    def n_corners(self) -> int:
        return (self.columns - 1) * (self.rows - 1)

    @property
    def squares(self) -> tuple[int, int]:
        """(columns, rows) of the printed squares."""
        return self.columns, self.rows

    @property
    def corners(self) -> FloatArray:
        """(n, 3) inner corners, row by row, in `unit`: the order of OpenCV's corner ids."""
        return _corner_grid(self.corner_shape, self.square)

    @property
    def first_black(self) -> bool:
        """Whether the square at the top left is black (it is, but for legacy boards with an even number of rows)."""
        return not (self.legacy and self.rows % 2 == 0)

    def picture_from_board(self, xy: FloatArray, pixels_per_square: int, margin: int) -> FloatArray:
        """Pixels (..., 2) of board points (..., 2 or 3) in the picture that `draw` makes with the same settings."""
        return _picture_from_board(xy, self.square, pixels_per_square, margin)

    def draw(self, pixels_per_square: int = 60, margin: int = 30) -> NDArray[np.uint8]:
        """The board as an RGB picture (h, w, 3), with a white margin in pixels."""
        return _draw(self, pixels_per_square, margin)

    def black_areas(self) -> FloatArray:
        """(n, 4) x, y, width, height of the black areas from the print's top left, in `unit`; they overlap.

        Marker i lies in the i-th white square, row by row.
        """
        dictionary = marker_dictionary(self.dictionary)
        cells = int(dictionary.markerSize) + 2
        cell, gap = self.marker / cells, (self.square - self.marker) / 2
        white = [
            (column, row)
            for row in range(self.rows)
            for column in range(self.columns)
            if ((row + column) % 2 == 0) != self.first_black
        ]
        areas = [_black_squares(self.squares, self.square, first_black=self.first_black)]
        for number, place in enumerate(white):
            bars = _bars(dictionary.generateImageMarker(number, cells) == 0)
            areas.append(bars * cell + [*(np.array(place) * self.square + gap), 0, 0])
        return np.concatenate(areas)

    def scaled(self, factor: float) -> CharucoBoard:
        """The board with all lengths multiplied."""
        return replace(self, square=factor * self.square, marker=factor * self.marker)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `board_from_dict` reads."""
        return {
            "type": "charuco", "columns": self.columns, "rows": self.rows, "square": self.square, "marker": self.marker,
            "unit": self.unit, "dictionary": self.dictionary, "legacy": self.legacy,
        }  # fmt: skip

    def __str__(self) -> str:
        return (
            f"ChArUco board of {self.columns} x {self.rows} squares of {self.square:g} {self.unit}, "
            f"markers {self.marker:g} {self.unit}, dictionary {self.dictionary}"
            f"{', legacy pattern' if self.legacy else ''}"
        )


Board: TypeAlias = Chessboard | CharucoBoard
_KINDS: dict[str, type[Chessboard] | type[CharucoBoard]] = {"chessboard": Chessboard, "charuco": CharucoBoard}


def board_from_dict(values: Mapping[str, Any]) -> Board:
    """The board whose `to_dict` gave `values`: "type" is "chessboard" or "charuco", the rest are the class's fields.

    Raises DataError where a key is missing or unknown.
    """
    fields = dict(values)
    kind = fields.pop("type", None)
    if kind not in _KINDS:
        raise DataError(f"There is no type of board {kind!r}: expected one of {', '.join(_KINDS)}.")
    board_class = _KINDS[kind]
    known = board_class.__dataclass_fields__
    unknown, missing = sorted(set(fields) - set(known)), sorted({"columns", "rows", "square"} - set(fields))
    if kind == "charuco" and "marker" not in fields:
        missing.append("marker")
    if unknown or missing:
        wrong = [f"unknown {name!r}" for name in unknown] + [f"missing {name!r}" for name in missing]
        raise DataError(f"Board of type {kind}: {', '.join(wrong)}; its fields are {', '.join(known)}.")
    return board_class(**fields)


@dataclass(frozen=True, eq=False)
class Corners:
    """Board corners that the views saw at common instants.

    board: the board.
    views: names of the views, in the order of axis 0 of `px`.
    sizes: picture size (width, height) of each view.
    frames: (frame,) numbers of the instants; the same number means the same instant in all views.
    px: (view, frame, corner, 2) pixels of the views, in the order of `board.corners`; NaN = not seen.
    reasons: (view, frame) of str, why a frame gave no corners ("" where it gave some, and where nothing is known).
    diagnoses: for a view without any board, what was tried and what would work.
    excerpts: which part of a camera's picture each view shows; views that are left out show the whole of their own.
    """

    board: Board
    views: tuple[str, ...]
    sizes: dict[str, tuple[int, int]]
    frames: NDArray[np.int64]
    px: FloatArray
    reasons: NDArray[np.object_]
    diagnoses: dict[str, str] = field(default_factory=dict)
    excerpts: dict[str, Excerpt] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.views)) != len(self.views) or not self.views:
            raise DataError(f"Corners need at least one view, and names that differ, got {self.views}.")
        expected = (len(self.views), len(self.frames), self.board.n_corners, 2)
        if self.px.shape != expected:
            raise DataError(f"Corners px (view, frame, corner, 2) should have shape {expected}, got {self.px.shape}.")
        if self.reasons.shape != expected[:2]:
            raise DataError(f"Reasons (view, frame) should have shape {expected[:2]}, got {self.reasons.shape}.")
        if set(self.sizes) != set(self.views):
            raise DataError(f"Sizes are given for the views {sorted(self.sizes)}, expected {sorted(self.views)}.")
        if len(np.unique(self.frames)) != len(self.frames):
            raise DataError("A frame number occurs twice among the instants of the corners.")
        whole = {name: Excerpt(name, size, (0, 0, *size)) for name, size in self.sizes.items()}
        object.__setattr__(self, "excerpts", whole | self.excerpts)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(view, frame, corner): both coordinates are known."""
        return np.asarray(np.isfinite(self.px).all(axis=-1))

    def counts(self) -> NDArray[np.int64]:
        """(view, frame) number of corners seen."""
        return np.asarray(self.seen.sum(axis=-1), dtype=np.int64)

    def select(
        self, views: tuple[str, ...] | list[str] | None = None, frames: NDArray[Any] | list[int] | None = None
    ) -> Corners:
        """The corners of some views (in the order given) and some instants (numbers as in `frames`).

        Raises DataError for a view or instant that is not there.
        """
        names = self.views if views is None else tuple(views)
        numbers = self.frames if frames is None else np.asarray(frames, dtype=np.int64)
        unknown = [name for name in names if name not in self.views]
        if unknown:
            raise DataError(f"No view {', '.join(unknown)} among the corners; there are {', '.join(self.views)}.")
        place = {int(number): i for i, number in enumerate(self.frames)}
        absent = [int(number) for number in numbers if int(number) not in place]
        if absent:
            raise DataError(
                f"No instant {absent[0]} among the corners ({len(absent)} such of {len(numbers)} asked for)."
            )
        v = np.array([self.views.index(name) for name in names], dtype=int)
        f = np.array([place[int(number)] for number in numbers], dtype=int)
        return Corners(
            board=self.board, views=names, sizes={name: self.sizes[name] for name in names}, frames=self.frames[f],
            px=self.px[np.ix_(v, f)], reasons=self.reasons[np.ix_(v, f)],
            diagnoses={name: text for name, text in self.diagnoses.items() if name in names},
            excerpts={name: self.excerpts[name] for name in names},
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the corners to an .npz file (atomically)."""
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                schema_version=SCHEMA_VERSION,
                board=json.dumps(self.board.to_dict()),
                views=np.array(self.views),
                sizes=np.array([self.sizes[name] for name in self.views]),
                frames=self.frames,
                px=self.px,
                reasons=self.reasons.astype(str),
                diagnoses=json.dumps(self.diagnoses),
                excerpts=json.dumps({name: excerpt.to_dict() for name, excerpt in self.excerpts.items()}),
            )

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Corners:
        """Read what `save` wrote. Raises FormatError for another kind of file."""
        needed = {"schema_version", "board", "diagnoses", "views", "sizes", "frames", "px", "reasons"}
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as data:
                values = {name: data[name] for name in data.files}
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise FormatError(f"{path}: not a readable file of board corners ({error})") from error
        if not needed <= set(values):
            raise FormatError(
                f"{path}: not a file of board corners, it lacks {', '.join(sorted(needed - set(values)))}"
            )
        check_schema(values["schema_version"].item(), path)
        views = tuple(str(name) for name in values["views"])
        return Corners(
            board=board_from_dict(json.loads(str(values["board"]))),
            views=views,
            sizes={name: (int(w), int(h)) for name, (w, h) in zip(views, values["sizes"], strict=True)},
            frames=values["frames"].astype(np.int64),
            px=values["px"].astype(np.float64),
            reasons=values["reasons"].astype(object),
            diagnoses=json.loads(str(values["diagnoses"])),
            excerpts={name: excerpt_from_dict(item) for name, item in json.loads(str(values["excerpts"])).items()}
            if "excerpts" in values
            else {},
        )


def _check_sizes(board: Board, smallest: int, counted: str) -> None:
    for name in ("columns", "rows"):
        value = getattr(board, name)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < smallest:
            raise DataError(
                f"{name} of a {type(board).__name__} counts its {counted}: expected a whole number of at least "
                f"{smallest}, got {value!r}."
            )
    if not (np.isfinite(board.square) and board.square > 0):
        raise DataError(f"The side of a square must be a positive length, got {board.square!r}.")
    if board.unit not in UNITS:
        raise DataError(f"The unit of a board must be one of {', '.join(UNITS)}, got {board.unit!r}.")


def _corner_grid(shape: tuple[int, int], square: float) -> FloatArray:
    rows, columns = np.mgrid[: shape[1], : shape[0]]
    return np.stack([columns.ravel() * square, rows.ravel() * square, np.zeros(rows.size)], axis=-1)


def _picture_from_board(xy: FloatArray, square: float, pixels_per_square: int, margin: int) -> FloatArray:
    return (np.asarray(xy, dtype=float)[..., :2] / square + 1) * pixels_per_square + margin - 0.5


def _black_squares(squares: tuple[int, int], square: float, first_black: bool) -> FloatArray:
    y, x = np.mgrid[: squares[1], : squares[0]]
    black = ((x + y) % 2 == 0) == first_black
    corners = np.stack([x[black], y[black]], axis=-1) * square
    return np.hstack([corners, np.full_like(corners, square)])


def _bars(black: NDArray[np.bool_]) -> FloatArray:
    """(n, 4) x, y, width, height of the longest bars along and down a grid of cells, which cover its black cells.

    Both ways, so that no seam between cells is left where a printer or a screen draws them one by one.
    """
    bars = []
    for grid, order in ((black, [1, 0, 3, 2]), (black.T, [0, 1, 2, 3])):
        edges = np.diff(np.pad(grid, ((0, 0), (1, 1))).astype(int), axis=1)
        rows, starts = np.nonzero(edges == 1)
        ends = np.nonzero(edges == -1)[1]
        bars.append(np.stack([rows, starts, np.ones_like(rows), ends - starts], axis=-1)[:, order])
    return np.concatenate(bars).astype(float)


def _draw(board: Board, pixels_per_square: int, margin: int) -> NDArray[np.uint8]:
    """Black where a pixel's centre is in a black area."""
    if pixels_per_square < 1 or margin < 0:
        raise DataError(
            f"A board is drawn with at least 1 pixel a square and a margin of at least 0, "
            f"got {pixels_per_square} and {margin}."
        )
    columns, rows = board.squares
    picture = np.full((rows * pixels_per_square, columns * pixels_per_square), 255, dtype=np.uint8)
    areas = board.black_areas() * (pixels_per_square / board.square)
    # The rounding puts edges that differ by the last digit on one side of a pixel's centre.
    edges = np.ceil(np.round(np.hstack([areas[:, :2], areas[:, :2] + areas[:, 2:]]) - 0.5, 6)).astype(int)
    for left, top, right, bottom in edges:
        picture[top:bottom, left:right] = 0
    return np.repeat(np.pad(picture, margin, constant_values=255)[..., None], 3, axis=-1)
