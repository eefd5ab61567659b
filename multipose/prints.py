"""What boards are printed from: marker dictionaries, and black areas on white."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.errors import DataError
from multipose.opencv import cv2

FloatArray: TypeAlias = NDArray[np.float64]


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


def marker_cells(dictionary: Any, number: int, border: int = 1) -> NDArray[np.bool_]:
    """Which cells (row, column) of a marker are black, with a border of so many cells, the dictionary's top up."""
    side = int(dictionary.markerSize) + 2 * border
    black: NDArray[np.bool_] = dictionary.generateImageMarker(number, side, borderBits=border) == 0
    return black


def checkered_areas(squares: tuple[int, int], square: float, first_black: bool) -> FloatArray:
    """(n, 4) x, y, width, height of the black squares among (columns, rows) of squares."""
    y, x = np.mgrid[: squares[1], : squares[0]]
    black = ((x + y) % 2 == 0) == first_black
    corners = np.stack([x[black], y[black]], axis=-1) * square
    return np.hstack([corners, np.full_like(corners, square)])


def cell_areas(black: NDArray[np.bool_]) -> FloatArray:
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


def draw_areas(areas: FloatArray, size: tuple[float, float], scale: float, margin: int) -> NDArray[np.uint8]:
    """Black areas (n, 4) on a white print of a size (width, height), as an RGB picture with a white margin in pixels.

    A pixel is black where its centre is in a black area. scale: pixels per unit of length; the print ends at the whole
    pixel after its edge.
    """
    width, height = (int(np.ceil(round(length * scale, 6))) for length in size)
    picture = np.full((height, width), 255, dtype=np.uint8)
    ends = np.hstack([areas[:, :2], areas[:, :2] + areas[:, 2:]]) * scale
    # The rounding puts edges that differ by the last digit on one side of a pixel's centre.
    for left, top, right, bottom in np.ceil(np.round(ends - 0.5, 6)).astype(int):
        picture[top:bottom, left:right] = 0
    return np.repeat(np.pad(picture, margin, constant_values=255)[..., None], 3, axis=-1)
