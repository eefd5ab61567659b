"""Bundle adjustment: cameras and rigid board poses that make the corners' reprojection errors smallest.

Levenberg-Marquardt on the squared (or Huber's) reprojection error with the lenses' analytic derivatives. A board seen
at an instant is one rigid body with six unknowns; the boards are eliminated from every linear system by the Schur
complement, so that the system to solve has only the cameras' unknowns (Triggs et al. 2000, "Bundle Adjustment: A Modern
Synthesis", section 6.1).

Unknowns of a camera, in this order: a small rotation and a translation applied on the left of `camera_from_world`
(radians, unit), then the parameters of its lens. The pose of the first camera is held, which fixes the world;
parameters that are not free are held too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.geometry import pose, rotation_from_vector
from multipose.lens import Lens

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
POSE_NAMES = ("rotation_x", "rotation_y", "rotation_z", "translation_x", "translation_y", "translation_z")
_LARGEST_DAMPING = 1e10


@dataclass(frozen=True, eq=False)
class RigState:
    """What bundle adjustment changes.

    lenses: one per view.
    camera_from_world: (view, 4, 4).
    world_from_board: (frame, 4, 4).
    """

    lenses: tuple[Lens, ...]
    camera_from_world: FloatArray
    world_from_board: FloatArray

    def project(self, board_xyz: FloatArray) -> FloatArray:
        """Pixels (view, frame, corner, 2) of board points (corner, 3) on all boards in all views."""
        turned = board_xyz @ np.swapaxes(self.world_from_board[:, :3, :3], -1, -2)
        world = turned + self.world_from_board[:, None, :3, 3]
        cameras = zip(self.lenses, self.camera_from_world, strict=True)
        return np.stack([lens.project(world @ camera[:3, :3].T + camera[:3, 3]) for lens, camera in cameras])


@dataclass(frozen=True, eq=False)
class Normals:
    """The linear system of one step, the boards apart. Sizes: C unknowns of all cameras, 6 of each board."""

    cameras: FloatArray  # (C, C), block diagonal
    boards: FloatArray  # (frame, 6, 6)
    mixed: FloatArray  # (frame, C, 6)
    camera_gradient: FloatArray  # (C,)
    board_gradient: FloatArray  # (frame, 6)


@dataclass(frozen=True, eq=False)
class Fit:
    """Where bundle adjustment ended.

    cost: sum of the squared errors (or of Huber's loss of them), px².
    iterations: steps tried.
    converged: the last step changed the cost by less than the tolerance.
    """

    state: RigState
    cost: float
    iterations: int
    converged: bool


def offsets(lenses: Sequence[Lens]) -> list[int]:
    """Where the unknowns of each camera begin among all cameras' unknowns, and at the end their number."""
    return list(itertools.accumulate((6 + len(lens.param_names) for lens in lenses), initial=0))


def free_unknowns(
    lenses: Sequence[Lens],
    held: Sequence[Sequence[str]] | None = None,
    *,
    poses_move: bool = True,
    lenses_move: bool = True,
) -> BoolArray:
    """(C,) which camera unknowns may move: all poses but the first, and all lens parameters but those `held`, named per
    view.
    """
    starts = offsets(lenses)
    free = np.ones(starts[-1], dtype=bool)
    for view, lens in enumerate(lenses):
        if view == 0 or not poses_move:
            free[starts[view] : starts[view] + 6] = False
        if not lenses_move:
            free[starts[view] + 6 : starts[view + 1]] = False
        for name in held[view] if held is not None else ():
            free[starts[view] + 6 + lens.param_names.index(name)] = False
    return free


def minimise(
    state: RigState,
    board_xyz: FloatArray,
    px: FloatArray,
    used: BoolArray,
    *,
    free: BoolArray,
    huber_px: float = np.inf,
    max_steps: int = 60,
    tolerance: float = 1e-9,
) -> Fit:
    """Move the free unknowns until the error of the used corners is smallest.

    px: (view, frame, corner, 2); used: (view, frame, corner), only corners that `state` projects to a pixel may be
        used.
    huber_px: error from which on a corner counts linearly only.
    tolerance: relative change of the cost below which to stop.
    """
    free_index = np.flatnonzero(free)
    damping = 1e-4
    cost, normals = _linearise(state, board_xyz, px, used, huber_px)
    converged = False
    step_number = 0
    while step_number < max_steps and not converged:
        step_number += 1
        step = _solve(normals, free_index, damping)
        if step is not None:
            trial = _moved(state, *step)
            trial_cost = _cost(trial, board_xyz, px, used, huber_px)
        if step is None or not trial_cost <= cost:
            damping *= 10
            if damping > _LARGEST_DAMPING:
                converged = True  # no step however small lowers the cost: this is the minimum to rounding
            continue
        converged = cost - trial_cost <= tolerance * cost
        state = trial
        damping = max(damping / 10, 1e-12)
        if not converged:
            cost, normals = _linearise(state, board_xyz, px, used, huber_px)
        else:
            cost = trial_cost
    return Fit(state, float(cost), step_number, converged)


def reduced_normals(state: RigState, board_xyz: FloatArray, px: FloatArray, used: BoolArray) -> FloatArray:
    """(C, C) second derivative of half the squared error by the cameras' unknowns, the boards eliminated."""
    _, normals = _linearise(state, board_xyz, px, used, np.inf)
    schur, _, _ = _reduce(normals, 0.0)
    return schur


def residuals(state: RigState, board_xyz: FloatArray, px: FloatArray) -> FloatArray:
    """(view, frame, corner, 2) seen minus projected, px; NaN where not seen or where the lens sees nothing."""
    return px - state.project(board_xyz)


def _cost(state: RigState, board_xyz: FloatArray, px: FloatArray, used: BoolArray, huber_px: float) -> float:
    error = (residuals(state, board_xyz, px) ** 2).sum(-1)[used]
    if not np.isfinite(error).all():
        return np.inf  # a used corner left the lens's valid field
    return float(_huber_loss(error, huber_px).sum())


def _huber_loss(squared: FloatArray, huber_px: float) -> FloatArray:
    return (
        squared
        if np.isinf(huber_px)
        else np.where(squared > huber_px**2, 2 * huber_px * np.sqrt(squared) - huber_px**2, squared)
    )


def _linearise(
    state: RigState, board_xyz: FloatArray, px: FloatArray, used: BoolArray, huber_px: float
) -> tuple[float, Normals]:
    """Cost and linear system at `state`. Batched over the boards of a view: every board is a block of 2 x corner rows,
    zero where unused.
    """
    n_frames = len(state.world_from_board)
    starts = offsets(state.lenses)
    # Board points turned into the world's axes but not yet shifted, (frame, corner, 3): the arms of the boards'
    # rotations.
    turned = board_xyz @ np.swapaxes(state.world_from_board[:, :3, :3], -1, -2)
    cameras = np.zeros((starts[-1], starts[-1]))
    mixed = np.zeros((n_frames, starts[-1], 6))
    boards = np.zeros((n_frames, 6, 6))
    camera_gradient = np.zeros(starts[-1])
    board_gradient = np.zeros((n_frames, 6))
    cost = 0.0
    for view, lens in enumerate(state.lenses):
        frames = np.flatnonzero(used[view].any(-1))
        if not len(frames):
            continue
        rotation, shift = state.camera_from_world[view, :3, :3], state.camera_from_world[view, :3, 3]
        swung = (turned[frames] + state.world_from_board[frames, None, :3, 3]) @ rotation.T
        projected, by_point, by_lens = lens.jacobian(swung + shift)
        mask = used[view, frames]
        error = np.where(mask[..., None], px[view, frames] - projected, 0.0)
        squared = (error**2).sum(-1)
        cost += float(_huber_loss(squared, huber_px).sum())
        weight = mask.astype(float)
        if np.isfinite(huber_px):
            weight *= np.sqrt(huber_px / np.maximum(np.sqrt(squared), huber_px))
        by_world = by_point @ rotation
        n = 6 + by_lens.shape[-1]
        rows = np.empty((*mask.shape, 2, n + 6))
        rows[..., :3] = _cross(swung[:, :, None], by_point)
        rows[..., 3:6] = by_point
        rows[..., 6:n] = by_lens
        rows[..., n : n + 3] = _cross(turned[frames][:, :, None], by_world)
        rows[..., n + 3 :] = by_world
        rows[~mask] = 0.0  # also clears the NaN of corners outside the lens's field
        rows *= weight[..., None, None]
        jacobian = rows.reshape(len(frames), -1, n + 6)
        transposed = np.swapaxes(jacobian, -1, -2)
        products = transposed @ jacobian
        gradient = (transposed @ (error * weight[..., None]).reshape(len(frames), -1, 1))[..., 0]
        part = slice(starts[view], starts[view + 1])
        cameras[part, part] = products[:, :n, :n].sum(0)
        camera_gradient[part] = gradient[:, :n].sum(0)
        mixed[frames, part] = products[:, :n, n:]
        boards[frames] += products[:, n:, n:]
        board_gradient[frames] += gradient[:, n:]
    return cost, Normals(cameras, boards, mixed, camera_gradient, board_gradient)


def _cross(vectors: FloatArray, rows: FloatArray) -> FloatArray:
    """Cross product over the last axis (several times faster than numpy.cross on small vectors)."""
    a, b, c = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    x, y, z = rows[..., 0], rows[..., 1], rows[..., 2]
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=-1)


def _reduce(normals: Normals, damping: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Schur complement (C, C), its right side (C,), and the inverses (frame, 6, 6) of the boards' blocks; unused boards
    have inverse 0.
    """
    diagonal = np.einsum("fii->fi", normals.boards)
    seen = diagonal.any(-1)
    damped = normals.boards + np.eye(6) * np.where(seen[:, None], damping * diagonal, 1.0)[:, None, :]
    inverse = np.linalg.inv(damped) * seen[:, None, None]
    eliminated = normals.mixed @ inverse
    n = normals.cameras.shape[0]
    wide = np.swapaxes(eliminated, 0, 1).reshape(n, -1) @ np.swapaxes(normals.mixed, 0, 1).reshape(n, -1).T
    schur = normals.cameras + np.diag(damping * np.diag(normals.cameras)) - wide
    right = normals.camera_gradient - np.einsum("fci,fi->c", eliminated, normals.board_gradient)
    return schur, right, inverse


def _solve(normals: Normals, free: NDArray[np.intp], damping: float) -> tuple[FloatArray, FloatArray] | None:
    """Steps of the cameras (C,) and boards (frame, 6); None where the damped system is not positive definite."""
    schur, right, inverse = _reduce(normals, damping)
    step = np.zeros(len(right))
    if len(free):
        diagonal = np.diag(schur)[free]
        if not (diagonal > 0).all():
            return None
        scale = 1 / np.sqrt(diagonal)
        try:
            lower = np.linalg.cholesky(schur[np.ix_(free, free)] * scale[:, None] * scale)
        except np.linalg.LinAlgError:
            return None
        step[free] = scale * np.linalg.solve(lower.T, np.linalg.solve(lower, right[free] * scale))
    board_step = np.einsum("fij,fj->fi", inverse, normals.board_gradient - np.einsum("fci,c->fi", normals.mixed, step))
    return step, board_step


def _moved(state: RigState, camera_step: FloatArray, board_step: FloatArray) -> RigState:
    starts = offsets(state.lenses)
    lenses, cameras = [], []
    for view, lens in enumerate(state.lenses):
        part = camera_step[starts[view] : starts[view + 1]]
        lenses.append(move_lens(lens, part[6:]))
        cameras.append(_moved_poses(state.camera_from_world[view], part[:6]))
    return replace(
        state, lenses=tuple(lenses), camera_from_world=np.stack(cameras),
        world_from_board=_moved_poses(state.world_from_board, board_step),
    )  # fmt: skip


def move_lens(lens: Lens, step: FloatArray) -> Lens:
    """The lens with its parameters moved by `step`; scales that would fall below a tenth of their value stop there."""
    params = lens.params + step
    params[:2] = np.maximum(params[:2], 0.1 * lens.params[:2])
    return lens.with_params(params)


def _moved_poses(poses: FloatArray, step: FloatArray) -> FloatArray:
    """Poses (..., 4, 4) with the rotation turned on the left by step[..., :3] and the translation shifted by step[...,
    3:].
    """
    return pose(rotation_from_vector(step[..., :3]) @ poses[..., :3, :3], poses[..., :3, 3] + step[..., 3:])
