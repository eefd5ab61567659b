"""What makes a grid of corners a chessboard: its order, its regularity, its edge."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Gray: TypeAlias = NDArray[np.uint8]

# Gray levels by which white squares must be brighter than black ones on average, for their colours to be told apart.
_CONTRAST = 8.0
# Change from one step between corners to the next, as a share of their mean, that is a break. On real boards up to 0.2.
_UNEVEN = 0.5
# Share of the places beyond the last row of corners that must look like corners, for the board to be larger than said.
_CROSSING_MOST = 0.8


def order_chessboard(gray: Gray, px: FloatArray, shape: tuple[int, int]) -> FloatArray | None:
    """The corners (n, 2) in the board's order: x to the right and y down as seen from the printed side, the first
    corner at a black square.

    Where the colours leave a choice (the board looks the same when turned), the first corner is the one nearest to the
    picture's top left; the rig decides later. None where the colours cannot be told apart.
    """
    grid = px.reshape(shape[1], shape[0], 2)
    turns = (0, 1, 2, 3) if shape[0] == shape[1] else (0, 2)
    candidates = [np.rot90(g, turn) for g in (grid, grid[:, ::-1]) for turn in turns]
    candidates = [g for g in candidates if _is_right_handed(g)]
    contrasts = [_contrast(gray, g) for g in candidates]
    black_first = [g for g, contrast in zip(candidates, contrasts, strict=True) if contrast >= _CONTRAST]
    if not black_first:
        return None
    first = min(black_first, key=lambda g: float(g[0, 0].sum()))
    return np.ascontiguousarray(first).reshape(-1, 2)


def is_uneven(px: FloatArray, shape: tuple[int, int]) -> bool:
    """Whether steps from corner to corner (n, 2) change at once, as perspective and lenses do not make them.

    The detector drops some rows and columns of a board that is larger than what it is asked for, or parts of them.
    """
    grid = px.reshape(shape[1], shape[0], 2)
    for axis in (0, 1):
        steps = np.diff(grid, axis=axis)
        lengths = np.linalg.norm(steps, axis=-1)
        change = np.linalg.norm(np.diff(steps, axis=axis), axis=-1)
        pairs = lengths.take(range(1, lengths.shape[axis]), axis) + lengths.take(range(lengths.shape[axis] - 1), axis)
        if (change > _UNEVEN * pairs / 2).any():
            return True
    return False


def continues(gray: Gray, px: FloatArray, shape: tuple[int, int]) -> bool:
    """Whether a chessboard goes on beyond the corners (n, 2) on some side: where the next row of corners would
    be, black and white squares meet crosswise as well. At the true edge they meet the white rim.
    """
    grid = px.reshape(shape[1], shape[0], 2)
    sides = (grid, grid[::-1], grid.swapaxes(0, 1), grid[:, ::-1].swapaxes(0, 1))
    contrast = abs(_contrast(gray, grid))
    return any(_crosses(gray, side, contrast) > _CROSSING_MOST for side in sides)


def _crosses(gray: Gray, grid: FloatArray, contrast: float) -> float:
    """Share of the corners one row before the first row of the grid at which four squares meet crosswise."""
    edge, inner = grid[0], grid[1]
    outer = 3 * edge - 3 * inner + grid[2]  # goes on as the first three rows do
    # Not in the middles of the squares: the outermost are often cut off.
    along, out = np.gradient(outer, axis=0) / 4, (outer - edge) / 4
    places = np.stack([[outer - out - along, outer - out + along], [outer + out - along, outer + out + along]])
    x, y = np.moveaxis(places.round().astype(int), -1, 0)
    if (x < 0).any() or (y < 0).any() or (x >= gray.shape[1]).any() or (y >= gray.shape[0]).any():
        return 0.0
    near, far = np.diff(gray[y, x].astype(float), axis=1)[:, 0]
    strong = np.minimum(np.abs(near), np.abs(far)) > contrast / 3
    return float((strong & (near * far < 0)).mean())


def _is_right_handed(grid: FloatArray) -> bool:
    right, down = np.diff(grid, axis=1).mean((0, 1)), np.diff(grid, axis=0).mean((0, 1))
    return bool(right[0] * down[1] - right[1] * down[0] > 0)


def _contrast(gray: Gray, grid: FloatArray) -> float:
    """How much brighter the squares are that would be white, if the one outside the first corner is black; gray
    levels.
    """
    middles = (grid[1:, 1:] + grid[1:, :-1] + grid[:-1, 1:] + grid[:-1, :-1]) / 4
    x = np.clip(middles[..., 0].round().astype(int), 0, gray.shape[1] - 1)
    y = np.clip(middles[..., 1].round().astype(int), 0, gray.shape[0] - 1)
    level = gray[y, x].astype(float)
    rows, columns = np.mgrid[: level.shape[0], : level.shape[1]]
    black = (rows + columns) % 2 == 0
    return float(level[~black].mean() - level[black].mean())
