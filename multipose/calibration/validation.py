"""How good a calibration is: errors on boards that it was not fitted to, lengths that are known, and coverage."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from multipose.calibration.bundle import RigState, bend, deflection_basis, move
from multipose.calibration.influence import LeftOut
from multipose.calibration.report import BoardLengths
from multipose.camera import Camera, CameraRig
from multipose.corners import Corners
from multipose.geometry import invert_pose, rigid_fit, transform
from multipose.triangulate import triangulate

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

_COVERAGE_CELLS = 10
_CONFIDENCE = 0.95
_LONG_DIAGONAL = 0.5  # share of the board's diagonal from which on a diagonal counts
_FEWEST_CORNERS_OF_A_SHAPE = 12


def rms(residual_px: FloatArray) -> float:
    """Root of the mean of dx² + dy² over the known residuals (..., 2); NaN where there is none."""
    squared = (residual_px**2).sum(-1)
    known = squared[np.isfinite(squared)]
    return float(np.sqrt(known.mean())) if len(known) else float("nan")


def rms_interval(residual_px: FloatArray) -> tuple[float, float]:
    """95 % confidence interval of the RMS of residuals (view, frame, corner, 2), from the scatter between the frames.

    The mean square is a ratio of sums over frames (Cochran 1977, "Sampling Techniques", section 6.3), its logarithm
    taken as t-distributed. NaN with fewer than 2 frames.
    """
    squared = (residual_px**2).sum(-1)
    sums, counts = np.nansum(squared, axis=(0, 2)), np.isfinite(squared).sum((0, 2))
    sums, counts = sums[counts > 0], counts[counts > 0]
    n = len(counts)
    if n < 2 or not sums.any():
        return float("nan"), float("nan")
    mean = sums.sum() / counts.sum()
    sd = np.sqrt(n / (n - 1) * ((sums - mean * counts) ** 2).sum()) / counts.sum()
    reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1) * sd / (2 * mean))
    return float(np.sqrt(mean) * np.exp(-reach)), float(np.sqrt(mean) * np.exp(reach))


def rig_of(state: RigState, corners: Corners) -> CameraRig:
    """The cameras of a state, with the names, sizes and unit of the corners."""
    cameras = zip(corners.views, state.lenses, state.camera_from_world, strict=True)
    return CameraRig(
        tuple(Camera(name, corners.sizes[name], lens, placed) for name, lens, placed in cameras), corners.board.unit
    )


def measure_boards(corners: Corners, state: RigState, left: LeftOut, used: BoolArray) -> BoardLengths:
    """What the cameras measure on boards; where an instant could be left out, the cameras without it.

    used: (view, frame, corner).
    """
    if len(corners.views) < 2:
        return BoardLengths()
    board_xyz = bend(corners.board.corners, state.deflection)
    n_sides = corners.board.sides
    squares, diagonals, heights, bows = [], [], [], []
    for frame in np.flatnonzero((used.sum(0) >= 2).any(-1)):
        step = left.steps[frame]
        rig = rig_of(move(state, step) if np.isfinite(step).all() else state, corners)
        px = np.where(used[:, frame, :, None], corners.px[:, frame], np.nan)
        xyz = triangulate(px, rig, threads=1).position
        for found, true in zip(np.split(xyz, n_sides), np.split(board_xyz, n_sides), strict=True):
            squares.append(_side_errors(found, true, corners.board.corner_shape))
            diagonals.append(_diagonal_errors(found, true, corners.board.corner_shape))
        seen = np.isfinite(xyz).all(-1)
        if seen.sum() >= _FEWEST_CORNERS_OF_A_SHAPE and not _on_line(board_xyz[seen]):
            on_board = transform(invert_pose(rigid_fit(board_xyz[seen], xyz[seen])), xyz[seen])
            heights.append((on_board - board_xyz[seen])[:, 2])
            bows.append(_bow(board_xyz[seen], heights[-1], deflection_basis(board_xyz)[seen]))
    side, diagonal = np.concatenate(squares or [np.empty(0)]), np.concatenate(diagonals or [np.empty(0)])
    height = np.concatenate(heights or [np.empty(0)])
    known = np.array(bows).reshape(-1, 2)
    known = known[np.isfinite(known).all(-1)]
    bow = known.mean(0) if len(known) > 2 else np.full(2, np.nan)
    bow_sd = known.std(0, ddof=1) / np.sqrt(len(known)) if len(known) > 2 else np.full(2, np.nan)
    return BoardLengths(
        square_error_percent=100 * _root_mean_square(side),
        diagonal_mean_percent=100 * float(diagonal.mean()) if len(diagonal) else float("nan"),
        diagonal_rms_percent=100 * _root_mean_square(diagonal),
        diagonals=len(diagonal),
        flatness=_root_mean_square(height),
        bow=(float(bow[0]), float(bow[1])),
        bow_sd=(float(bow_sd[0]), float(bow_sd[1])),
    )


def _on_line(board_xyz: FloatArray) -> bool:
    """Whether points (n, 3) of a board lie in one row or one column."""
    return bool((np.ptp(board_xyz[:, :2], axis=0) == 0).any())


def _root_mean_square(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def _side_errors(xyz: FloatArray, board_xyz: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """(n,) relative errors of the distances of neighbouring corners (corner, 3) that are known."""
    columns, rows = shape
    errors = []
    for axis in (0, 1):
        found, true = (np.linalg.norm(np.diff(grid.reshape(rows, columns, 3), axis=axis), axis=-1).ravel()
                       for grid in (xyz, board_xyz))  # fmt: skip
        errors.append(found / true - 1)
    error = np.concatenate(errors)
    known: FloatArray = error[np.isfinite(error)]
    return known


def _diagonal_errors(xyz: FloatArray, board_xyz: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """(0 to 2,) relative errors of the longest diagonals between known corners."""
    known = np.flatnonzero(np.isfinite(xyz).all(-1))
    errors = []
    if len(known) >= 2:
        column, row = known % shape[0], known // shape[0]
        for along in (column + row, column - row):
            ends = known[[int(along.argmin()), int(along.argmax())]]
            true = float(np.linalg.norm(board_xyz[ends[1]] - board_xyz[ends[0]]))
            if true >= _LONG_DIAGONAL * np.linalg.norm(board_xyz[-1] - board_xyz[0]):
                errors.append(float(np.linalg.norm(xyz[ends[1]] - xyz[ends[0]])) / true - 1)
    return np.array(errors)


def _bow(board_xyz: FloatArray, height: FloatArray, basis: FloatArray) -> FloatArray:
    """(2,) deflections along x and y that explain heights (n,) of corners over their board; NaN where they cannot."""
    design = np.column_stack([basis, np.ones(len(height)), board_xyz[:, :2]])
    solution, _, rank, _ = np.linalg.lstsq(design, height, rcond=None)
    return np.asarray(solution[:2] if rank == design.shape[1] else np.full(2, np.nan))


def coverage(px: FloatArray, size: tuple[int, int]) -> float:
    """Share of a grid of 10 x 10 cells over the picture (width, height) that hold one of the points (n, 2)."""
    cells = np.floor((px + 0.5) / np.array(size) * _COVERAGE_CELLS).astype(int)
    cells = cells[((cells >= 0) & (cells < _COVERAGE_CELLS)).all(-1)]
    return len(np.unique(cells, axis=0)) / _COVERAGE_CELLS**2
