"""What each instant's board contributes to a rig: the cameras as they would be without it, and how far the errors of a
board hang together.

Around the minimum, the cameras without an instant are one Newton step away, with the linear system of which this
instant's part has been taken (Cook & Weisberg 1982, "Residuals and Influence in Regression", section 2.2, for the
linear case). That spares fitting the rig anew for every instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.calibration.bundle import (
    RigState,
    boards_only,
    invert_determined,
    minimise,
    move,
    reduced_normals,
    residuals,
)
from multipose.progress import SILENT, Progress

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

_FEWEST_INSTANTS = 4  # with fewer boards none can be left out
_POSE_STEPS = 30


@dataclass(frozen=True, eq=False)
class LeftOut:
    """The rig without each of its instants in turn.

    residuals: (view, frame, corner, 2) seen minus projected, px, of each instant's corners by the cameras without it;
        of the board only its pose is estimated, from all views together. NaN for corners that were not used, and
        everywhere with fewer than 4 instants.
    steps: (frame, U) what leaving out the instant adds to the common unknowns; NaN where it was not left out.
    inflation: by what the variance of the cameras exceeds that of independent corners, at least 1.
    """

    residuals: FloatArray
    steps: FloatArray
    inflation: float


def leave_instants_out(
    state: RigState, board_xyz: FloatArray, px: FloatArray, used: BoolArray, free: FloatArray,
    *, progress: Progress = SILENT,
) -> LeftOut:  # fmt: skip
    """Leave out every instant once; `state` is the minimum, the other arguments are those of `minimise`.

    The inflation compares the parts of the gradient that come from single boards with what corners that err
    independently would make of them. Boards' parts cancel out in the sum; their scatter, measured by the covariance of
    the cameras, is P - sum of tr((S⁻¹ S_f)²) variances of a corner if corners are independent (P free unknowns, S the
    linear system, S_f the board's part of it), and more if the corners of a board err together: the factor that a
    bootstrap over boards finds on average, without its chance.
    """
    left = LeftOut(np.full(px.shape, np.nan), np.full((px.shape[1], len(free)), np.nan), 1.0)
    frames = np.flatnonzero(used.any((0, 2)))
    if len(frames) < _FEWEST_INSTANTS:
        return left
    parts = [reduced_normals(state.select(frame), board_xyz, px[:, frame], used[:, frame]) for frame in frames[:, None]]
    systems = np.stack([free.T @ system @ free for system, _ in parts])
    gradients = np.stack([free.T @ gradient for _, gradient in parts])
    whole, total = systems.sum(0), gradients.sum(0)
    with progress.task("Leaving out one instant at a time", total=len(frames)) as task:
        for frame, system, gradient in zip(frames, systems, gradients, strict=True):
            step = free @ (invert_determined(whole - system) @ (total - gradient))
            left.steps[frame] = step
            left.residuals[:, frame] = _board_residuals(
                move(state.select(np.array([frame])), step), board_xyz, px[:, [frame]], used[:, [frame]]
            )[:, 0]
            task.advance()
    return LeftOut(left.residuals, left.steps, _inflation(state, board_xyz, px, used, systems, gradients))


def _board_residuals(state: RigState, board_xyz: FloatArray, px: FloatArray, used: BoolArray) -> FloatArray:
    """Residuals of the used corners after the boards have found their best poses; the cameras are held."""
    in_field = used & np.isfinite(residuals(state, board_xyz, px)).all(-1)
    posed = minimise(
        state, board_xyz, px, in_field, free=boards_only(state), max_steps=_POSE_STEPS, tolerance=1e-9
    ).state
    return np.where(used[..., None], residuals(posed, board_xyz, px), np.nan)


def _inflation(
    state: RigState, board_xyz: FloatArray, px: FloatArray, used: BoolArray, systems: FloatArray, gradients: FloatArray
) -> float:
    """By what the scatter of the boards' gradients exceeds that of independent corners, at least 1."""
    error = residuals(state, board_xyz, px)[used]
    n_free = gradients.shape[1]
    freedom = error.size - n_free - 6 * len(gradients)
    if not n_free or freedom <= 0:
        return 1.0
    inverse = invert_determined(systems.sum(0))
    found = np.einsum("fi,ij,fj->", gradients, inverse, gradients)
    relative = inverse @ systems
    expected = n_free - np.einsum("fij,fji->", relative, relative)
    return max(1.0, float(found / (expected * (error**2).sum() / freedom))) if expected > 0 else 1.0
