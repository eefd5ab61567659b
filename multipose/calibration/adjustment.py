"""Adjusting cameras and boards together, robustly: rounds in which corners that lie too far off are thrown out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import Board
from multipose.calibration.bundle import RigState, minimise, residuals

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

# A corner is thrown out beyond this many standard deviations (per coordinate, from the median error of its view): the
# chance for a good corner with Gaussian noise is exp(-5.5² / 2) = 3e-7.
_OUTLIER_SD = 5.5
_HUBER_SD = 3.0
_MOST_ROUNDS = 8
_RAYLEIGH_MEDIAN = np.sqrt(2 * np.log(2))
# Noise below this is not believed: perfect corners would all be outliers of each other's rounding.
_SMALLEST_SD_PX = 1e-4


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Where the adjustment ended.

    used, rejected: (view, frame, corner) corners that it rests on, and usable ones that were thrown out.
    rounds: corners thrown out so far, after each round.
    """

    state: RigState
    used: BoolArray
    rejected: BoolArray
    rounds: tuple[int, ...]


def adjust_rig(
    state: RigState,
    board: Board,
    px: FloatArray,
    usable: BoolArray,
    free: FloatArray,
    *,
    reject_outliers: bool = True,
    min_corners: int = 6,
) -> Adjusted:
    """Bundle adjustment in rounds: robustly, throwing out what lies too far off until nothing changes, then by plain
    least squares.

    state: where to start; boards whose pose is NaN take no part.
    usable: (view, frame, corner); px and free as of `minimise`.
    reject_outliers: throw out corners beyond 5.5 standard deviations of their view.
    min_corners: boards of which a view keeps fewer corners, or only corners on one line, are thrown out there.
    """
    board_xyz = board.corners
    known = np.asarray(np.isfinite(state.world_from_board).all((1, 2)))
    placed = usable & known[None, :, None]
    state = replace(
        state, world_from_board=np.where(np.isfinite(state.world_from_board), state.world_from_board, np.eye(4))
    )
    rounds = []
    error = residuals(state, board_xyz, px)
    # The first fit starts from rough poses: it is robust against whatever is far off, and precise only to the next
    # round.
    used = placed & np.isfinite(error).all(-1)
    for _ in range(_MOST_ROUNDS):
        sd = _noise(error, used)
        huber = max(_HUBER_SD * float(np.median(sd)), 10 * _SMALLEST_SD_PX)
        state = minimise(state, board_xyz, px, used, free=free, huber_px=huber, tolerance=1e-6).state
        error = residuals(state, board_xyz, px)
        in_field = placed & np.isfinite(error).all(-1)
        sd = _noise(error, used & in_field)
        distance = np.linalg.norm(error, axis=-1)
        near = in_field & ~(distance > _OUTLIER_SD * sd[:, None, None]) if reject_outliers else in_field
        grid = as_grid(near, board)
        near &= plane_seen(grid, min_corners)[..., None]
        rounds.append(int((placed & ~near).sum()))
        if np.array_equal(near, used):
            break
        used = near
    state = minimise(state, board_xyz, px, used, free=free, tolerance=1e-12).state
    return Adjusted(state, used, usable & ~used, tuple(rounds))


def _noise(error: FloatArray, used: BoolArray) -> FloatArray:
    """(view,) standard deviation of a corner's coordinate, from the median distance, px."""
    distance = np.linalg.norm(error, axis=-1)
    medians = [np.median(distance[view][used[view]]) if used[view].any() else np.inf for view in range(len(used))]
    return np.asarray(np.maximum(np.array(medians) / _RAYLEIGH_MEDIAN, _SMALLEST_SD_PX))


def as_grid(mask: BoolArray, board: Board) -> BoolArray:
    """(view, frame, row, column) of corners (view, frame, corner) on one side; the rows of the other follow, empty."""
    return mask.reshape(*mask.shape[:2], -1, board.corner_shape[0])


def plane_seen(grid: BoolArray, min_corners: int) -> BoolArray:
    """(view, frame) enough corners of the grid (view, frame, row, column) are there, and in two rows and columns or
    more.
    """
    several = (grid.any(-1).sum(-1) >= 2) & (grid.any(-2).sum(-1) >= 2)
    result: BoolArray = (grid.sum((-1, -2)) >= max(min_corners, 4)) & several
    return result
