"""How good a calibration is: boards that it was not fitted to, lengths that are known, and verdicts in words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import Board
from multipose.calibration.bundle import RigState, free_unknowns, minimise, residuals
from multipose.calibration.report import CameraReport, Verdict
from multipose.camera import CameraRig
from multipose.progress import SILENT, Progress
from multipose.triangulate import triangulate

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.intp]

_FEWEST_BOARDS_HELD_OUT = 4
_COVERAGE_CELLS = 10

# Limits of the verdicts.
_FEW_BOARDS = 10
_LOW_COVERAGE = 0.3
_SMALL_TILT = np.deg2rad(15)
_UNCERTAIN_FOCAL = 0.01
_MANY_REJECTED = 0.1
_HELD_OUT_RATIO = 1.5
_UNDETERMINED_FOCAL = 0.5
_TWINS_APART = 1e-3  # radians, and share of the distance to the boards
_FEWEST_THROWN = 6


def held_out_residuals(
    state: RigState,
    board_xyz: FloatArray,
    px: FloatArray,
    used: BoolArray,
    *,
    free: BoolArray,
    folds: int,
    seed: int,
    progress: Progress = SILENT,
) -> FloatArray:
    """Errors (view, frame, corner, 2) of boards that the rig was not fitted to, px; NaN for corners not used.

    The instants are dealt into `folds` groups at random. For each group the cameras are fitted to the other boards,
    then held, and of every board left out only the pose is estimated (from all views together), so each picture's error
    shows the rig and the corners' noise, not the fit. All NaN with fewer than 4 boards.

    free: which camera unknowns the fits may move, as of `free_unknowns`.
    """
    result = np.full(px.shape, np.nan)
    frames = np.flatnonzero(used.any((0, 2)))
    if len(frames) < _FEWEST_BOARDS_HELD_OUT:
        return result
    dealt = np.random.default_rng(seed).permutation(frames)
    groups = [np.sort(dealt[start :: min(folds, len(frames))]) for start in range(min(folds, len(frames)))]
    with progress.task("Fitting without some boards", total=len(groups)) as task:
        for group in groups:
            kept = used.copy()
            kept[:, group] = False
            others = minimise(state, board_xyz, px, kept, free=free, max_steps=20, tolerance=1e-7).state
            left = used & ~kept
            in_field = left & np.isfinite(residuals(others, board_xyz, px)).all(-1)
            held = free_unknowns(state.lenses, poses_move=False, lenses_move=False)
            posed = minimise(others, board_xyz, px, in_field, free=held, max_steps=30, tolerance=1e-9).state
            error = residuals(posed, board_xyz, px)
            result[left] = error[left]
            task.advance()
    return result


def rms(residual_px: FloatArray) -> float:
    """Root of the mean of dx² + dy² over the known residuals (..., 2); NaN where there is none."""
    squared = (residual_px**2).sum(-1)
    known = squared[np.isfinite(squared)]
    return float(np.sqrt(known.mean())) if len(known) else float("nan")


def square_errors(rig: CameraRig, board: Board, px: FloatArray, used: BoolArray) -> FloatArray:
    """(n,) relative errors of the sides of all squares whose two corners two or more views saw.

    Every corner is triangulated by itself; nothing tells it that the board is rigid or flat.
    """
    n_views, n_frames = px.shape[:2]
    if n_views < 2:
        return np.empty(0)
    xyz = triangulate(np.where(used[..., None], px, np.nan).reshape(n_views, -1, 2), rig).position
    columns, rows = board.corner_shape
    grid = xyz.reshape(n_frames, rows, columns, 3)
    sides = [np.linalg.norm(np.diff(grid, axis=axis), axis=-1).ravel() for axis in (1, 2)]
    error = np.concatenate(sides) / board.square - 1
    result: FloatArray = error[np.isfinite(error)]
    return result


def coverage(px: FloatArray, size: tuple[int, int]) -> float:
    """Share of a grid of 10 x 10 cells over the picture (width, height) that hold one of the points (n, 2)."""
    cells = np.floor((px + 0.5) / np.array(size) * _COVERAGE_CELLS).astype(int)
    cells = cells[((cells >= 0) & (cells < _COVERAGE_CELLS)).all(-1)]
    return len(np.unique(cells, axis=0)) / _COVERAGE_CELLS**2


def largest_tilt(camera_from_board: FloatArray) -> float:
    """The largest angle (radians) between the picture plane and the boards' planes, of poses (n, 4, 4)."""
    return float(np.arccos(np.clip(np.abs(camera_from_board[:, 2, 2]), 0, 1)).max())


def judge(name: str, report: CameraReport, focal: tuple[float, str] | None, tilt: float) -> list[Verdict]:
    """The verdicts on one camera.

    focal: the first scale of its lens, in px, and the name of this parameter; None where the lens was known before.
    tilt: of its most tilted board, radians.
    """
    verdicts = []

    def add(code: str, text: str) -> None:
        verdicts.append(Verdict(name, code, text))

    if report.boards < _FEW_BOARDS:
        add(
            "few_boards",
            f"{name} saw only {report.boards} usable boards; film it until there are {2 * _FEW_BOARDS} or more.",
        )
    if focal is not None:
        verdicts += [Verdict(name, code, text) for code, text in _judge_lens(name, report, *focal, tilt)]
    if report.rejected > _MANY_REJECTED * (report.corners + report.rejected):
        add(
            "rejected",
            f"{report.rejected} of {report.corners + report.rejected} corners of {name} were thrown out. Look for "
            "blurred pictures, a bent "
            "board, or views that are not synchronous.",
        )
    if report.held_out_rms_px > _HELD_OUT_RATIO * report.rms_px:
        add(
            "held_out",
            f"Boards that were left out have an error of {report.held_out_rms_px:.2f} px in {name}, the fitted ones "
            f"{report.rms_px:.2f} px: "
            "there are too few boards for this lens. Film more, or take a simpler lens.",
        )
    return verdicts


def judge_rig(
    rig: CameraRig, distance: float, frames: NDArray[np.int64], used: BoolArray, rejected: BoolArray
) -> list[Verdict]:
    """The verdicts that concern several cameras or single instants.

    distance: from the cameras to the boards, in the rig's unit; frames: (frame,) numbers of the instants; used,
    rejected: (view, frame, corner).
    """
    verdicts = []
    for first, second in combinations(rig, 2):
        turn = np.arccos(np.clip((np.trace(first.rotation @ second.rotation.T) - 1) / 2, -1, 1))
        apart = np.hypot(turn, np.linalg.norm(first.center - second.center) / distance)
        if apart < _TWINS_APART and first.size == second.size:
            text = (
                f"{first.name} and {second.name} stand in the same place and look the same way. Is one's video a copy "
                "of the other's?"
            )
            verdicts.append(Verdict(second.name, "twin", text))
    thrown, kept = rejected.sum(-1), used.sum(-1)
    for camera, doubtful in zip(rig, (thrown > kept) & (thrown >= _FEWEST_THROWN), strict=True):
        if doubtful.any():
            listed = ", ".join(map(str, frames[doubtful][:8])) + (" ..." if doubtful.sum() > 8 else "")
            text = (
                f"Most corners that {camera.name} saw were thrown out in frame{'s' if doubtful.sum() > 1 else ''} "
                f"{listed}: was it out of step with the others there, or the board hidden or bent?"
            )
            verdicts.append(Verdict(camera.name, "instants", text))
    return verdicts


def _judge_lens(
    name: str, report: CameraReport, focal: float, focal_name: str, tilt: float
) -> Iterator[tuple[str, str]]:
    """Code and text of what speaks against the lens that was fitted."""
    if report.coverage < _LOW_COVERAGE:
        yield (
            "coverage",
            f"The boards reach {report.coverage:.0%} of the picture of {name}; its lens is extrapolated elsewhere. "
            "Move the board into the corners of the picture, and nearer.",
        )
    if tilt < _SMALL_TILT:
        yield (
            "frontal",
            f"{name} saw all boards nearly frontal (tilted by at most {np.rad2deg(tilt):.0f} degrees), from which "
            "focal length and distance cannot be told apart. Tilt the board by 30 to 45 degrees, about both of its "
            "axes.",
        )
    share = report.sd[focal_name] / focal
    if share > _UNDETERMINED_FOCAL:
        yield (
            "undetermined",
            f"The boards do not determine the focal length of {name}. Film tilted boards at several distances.",
        )
    elif share > _UNCERTAIN_FOCAL:
        yield (
            "focal_uncertain",
            f"The focal length of {name} is known to {share:.1%} only. Film more, and more tilted, boards.",
        )
