"""Calibration boards and the corners that cameras saw of them.

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
from multipose.prints import cell_areas, checkered_areas, draw_areas, marker_cells, marker_dictionary

FloatArray: TypeAlias = NDArray[np.float64]
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
        if not 0 < self.spacing < self.square:
            raise DataError(
                f"The spacing of an AprilTag grid is the gap between two tags as a length, above 0 and smaller than "
                f"their side; got spacing {self.spacing:g} and square {self.square:g}. From Kalibr's values: "
                "spacing = tagSpacing * tagSize."
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


def fuller_side(seen: NDArray[np.bool_], board: Board) -> NDArray[np.bool_]:
    """The corners seen (..., corner) without those of a board's other side: a picture shows one side alone, the one of
    which more corners are seen.
    """
    by_side = seen.reshape(*seen.shape[:-1], board.sides, -1)
    fuller = by_side.sum(-1).argmax(-1)
    kept = by_side & (np.arange(board.sides) == fuller[..., None])[..., None]
    return np.asarray(kept.reshape(seen.shape))


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
