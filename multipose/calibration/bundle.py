"""Bundle adjustment: cameras and rigid board poses that make the corners' reprojection errors smallest.

Levenberg-Marquardt on the squared (or Huber's) reprojection error with the lenses' analytic derivatives; the damping
follows the gain ratio (Madsen, Nielsen & Tingleff 2004, "Methods for Non-Linear Least Squares Problems", section 3.2),
which along curved valleys needs a third of the steps of fixed factors. A board seen
at an instant is one rigid body with six unknowns; the boards are eliminated from every linear system by the Schur
complement, so that the system to solve has only the cameras' unknowns (Triggs et al. 2000, "Bundle Adjustment: A Modern
Synthesis", section 6.1).

Unknowns of a camera, in this order: a small rotation and a translation applied on the left of `camera_from_world`
(radians, unit), then the parameters of its lens. After all cameras come the deflections of the board, if it may be
bent. What may move is a basis: a matrix (U, F) whose columns are the independent moves of the U unknowns. Unknowns that
are held have zero rows, and lenses of views that are parts of one camera's picture move together along one column
(`free_unknowns`). The pose of the first camera is held, which fixes the world.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.geometry import pose, rotation_from_vector
from multipose.lens import Lens

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
_LARGEST_DAMPING = 1e10
_STRONGEST_RELIEF = 1 / 30  # of the damping, after a step that gained what was expected
# Keeps the pose of a board of which only corners on one line are used solvable, and changes nothing that counts else.
_LEAST_DAMPING = 1e-10


@dataclass(frozen=True, eq=False)
class RigState:
    """What bundle adjustment changes.

    lenses: one per view.
    camera_from_world: (view, 4, 4).
    world_from_board: (frame, 4, 4).
    deflection: (0,) for a flat board; (2,) how far the board's middle stands out of its plane along z when it is bent
        along x and along y, in the unit.
    """

    lenses: tuple[Lens, ...]
    camera_from_world: FloatArray
    world_from_board: FloatArray
    deflection: FloatArray = field(default_factory=lambda: np.empty(0))

    def select(self, frames: NDArray[np.intp]) -> RigState:
        """The state with some of the boards only."""
        return replace(self, world_from_board=self.world_from_board[frames])

    def project(self, board_xyz: FloatArray) -> FloatArray:
        """Pixels (view, frame, corner, 2) of board points (corner, 3) on all boards in all views."""
        turned = bend(board_xyz, self.deflection) @ np.swapaxes(self.world_from_board[:, :3, :3], -1, -2)
        world = turned + self.world_from_board[:, None, :3, 3]
        cameras = zip(self.lenses, self.camera_from_world, strict=True)
        return np.stack([lens.project(world @ camera[:3, :3].T + camera[:3, 3]) for lens, camera in cameras])


@dataclass(frozen=True, eq=False)
class Normals:
    """The linear system of one step, the boards' poses apart. Sizes: U common unknowns, 6 of each board's pose."""

    common: FloatArray  # (U, U)
    boards: FloatArray  # (frame, 6, 6)
    mixed: FloatArray  # (frame, U, 6)
    common_gradient: FloatArray  # (U,)
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


@dataclass(frozen=True, eq=False)
class LensShare:
    """The lens of a view that is a part of the same camera's picture as another view, the leader.

    by_leader: (parameters of its lens, parameters of the leader's) derivative; cutting, flipping, turning and scaling
        a picture change the parameters linearly.
    """

    view: int
    leader: int
    by_leader: FloatArray


def offsets(lenses: Sequence[Lens]) -> list[int]:
    """Where the unknowns of each camera begin among all cameras' unknowns, and at the end their number."""
    return list(itertools.accumulate((6 + len(lens.param_names) for lens in lenses), initial=0))


def free_unknowns(
    lenses: Sequence[Lens],
    held: Sequence[Sequence[str]] | None = None,
    *,
    shared: Sequence[LensShare] = (),
    deflections: int = 0,
    poses_move: bool = True,
) -> FloatArray:
    """The basis (U, F) of what may move: all poses but the first, and all lens parameters but those `held`, named per
    view.

    shared: views whose lens follows another view's; `held` counts for that other view.
    deflections: how many deflections of the board the state has.
    """
    starts = offsets(lenses)
    free = np.ones(starts[-1] + deflections, dtype=bool)
    followed = {share.view: share for share in shared}
    for view, lens in enumerate(lenses):
        if view == 0 or not poses_move:
            free[starts[view] : starts[view] + 6] = False
        if view in followed:
            free[starts[view] + 6 : starts[view + 1]] = False
        for name in held[view] if held is not None else ():
            free[starts[view] + 6 + lens.param_names.index(name)] = False
    basis = np.eye(len(free))
    for view, share in followed.items():
        rows = slice(starts[view] + 6, starts[view + 1])
        basis[rows, starts[share.leader] + 6 : starts[share.leader + 1]] = share.by_leader
    return basis[:, free]


def boards_only(state: RigState) -> FloatArray:
    """The basis (U, 0) with which cameras and board's shape stay, and only the boards' poses move."""
    return np.empty((offsets(state.lenses)[-1] + len(state.deflection), 0))


def bend(board_xyz: FloatArray, deflection: FloatArray) -> FloatArray:
    """Board points (corner, 3) of a flat board moved along z to where a bent one has them."""
    if not len(deflection):
        return board_xyz
    bent = board_xyz.copy()
    bent[:, 2] += deflection_basis(board_xyz) @ deflection
    return bent


def deflection_basis(board_xyz: FloatArray) -> FloatArray:
    """(corner, 2) z of the points when the board is bent by one unit along x or along y: parabolas that are one in the
    middle and zero at the edges, as in mrcal (Kogan 2021, "calobject-warp").
    """
    low, high = board_xyz[:, :2].min(0), board_xyz[:, :2].max(0)
    parabolas: FloatArray = 1 - ((2 * board_xyz[:, :2] - low - high) / (high - low)) ** 2
    return parabolas


def minimise(
    state: RigState,
    board_xyz: FloatArray,
    px: FloatArray,
    used: BoolArray,
    *,
    free: FloatArray,
    huber_px: float = np.inf,
    max_steps: int = 60,
    tolerance: float = 1e-9,
) -> Fit:
    """Move the free unknowns until the error of the used corners is smallest.

    px: (view, frame, corner, 2); used: (view, frame, corner), only corners that `state` projects to a pixel may be
        used.
    free: (U, F) what may move, of `free_unknowns`.
    huber_px: error from which on a corner counts linearly only.
    tolerance: relative change of the cost below which to stop.
    """
    damping, growth = 1e-4, 2.0
    cost, normals = _linearise(state, board_xyz, px, used, huber_px)
    converged = False
    step_number = 0
    while step_number < max_steps and not converged:
        step_number += 1
        step = _solve(normals, free, damping)
        if step is not None:
            trial = move(state, *step)
            trial_cost = _cost(trial, board_xyz, px, used, huber_px)
        if step is None or not trial_cost <= cost:
            damping *= growth
            growth *= 2
            if damping > _LARGEST_DAMPING:
                converged = True  # no step however small lowers the cost: this is the minimum to rounding
            continue
        gain = (cost - trial_cost) / max(_expected_gain(normals, *step, damping), np.finfo(float).tiny)
        converged = cost - trial_cost <= tolerance * cost
        state = trial
        damping = max(damping * max(_STRONGEST_RELIEF, 1 - (2 * gain - 1) ** 3), _LEAST_DAMPING)
        growth = 2.0
        if not converged:
            cost, normals = _linearise(state, board_xyz, px, used, huber_px)
        else:
            cost = trial_cost
    return Fit(state, float(cost), step_number, converged)


def reduced_normals(
    state: RigState, board_xyz: FloatArray, px: FloatArray, used: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Second derivative (U, U) of half the squared error by the common unknowns, the boards' poses eliminated, and the
    negative gradient (U,).
    """
    _, normals = _linearise(state, board_xyz, px, used, np.inf)
    schur, right, _ = _reduce(normals, _LEAST_DAMPING)
    return schur, right


def invert_determined(normals: FloatArray) -> FloatArray:
    """The inverse of a symmetric matrix; directions that it does not determine get a huge, finite value."""
    diagonal = np.diag(normals)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(normals * scale[:, None] * scale)
    values = np.maximum(values, len(values) * np.finfo(float).eps)
    inverse: FloatArray = ((vectors / values) @ vectors.T) * scale[:, None] * scale
    return inverse


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
    n_frames, n_bends = len(state.world_from_board), len(state.deflection)
    starts = offsets(state.lenses)
    n_common = starts[-1] + n_bends
    # Board points turned into the world's axes but not yet shifted, (frame, corner, 3): the arms of the boards'
    # rotations.
    turned = bend(board_xyz, state.deflection) @ np.swapaxes(state.world_from_board[:, :3, :3], -1, -2)
    common = np.zeros((n_common, n_common))
    mixed = np.zeros((n_frames, n_common, 6))
    boards = np.zeros((n_frames, 6, 6))
    common_gradient = np.zeros(n_common)
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
        c = 6 + by_lens.shape[-1]
        n = c + n_bends
        rows = np.empty((*mask.shape, 2, n + 6))
        rows[..., :3] = _cross(swung[:, :, None], by_point)
        rows[..., 3:6] = by_point
        rows[..., 6:c] = by_lens
        if n_bends:
            out = by_world @ state.world_from_board[frames, None, :3, 2, None]  # px per unit along the board's z
            rows[..., c:n] = out * deflection_basis(board_xyz)[:, None]
        rows[..., n : n + 3] = _cross(turned[frames][:, :, None], by_world)
        rows[..., n + 3 :] = by_world
        rows[~mask] = 0.0  # also clears the NaN of corners outside the lens's field
        rows *= weight[..., None, None]
        jacobian = rows.reshape(len(frames), -1, n + 6)
        transposed = np.swapaxes(jacobian, -1, -2)
        products = transposed @ jacobian
        gradient = (transposed @ (error * weight[..., None]).reshape(len(frames), -1, 1))[..., 0]
        part = np.r_[starts[view] : starts[view + 1], starts[-1] : n_common]
        common[np.ix_(part, part)] += products[:, :n, :n].sum(0)
        common_gradient[part] += gradient[:, :n].sum(0)
        mixed[np.ix_(frames, part)] += products[:, :n, n:]
        boards[frames] += products[:, n:, n:]
        board_gradient[frames] += gradient[:, n:]
    return cost, Normals(common, boards, mixed, common_gradient, board_gradient)


def _cross(vectors: FloatArray, rows: FloatArray) -> FloatArray:
    """Cross product over the last axis (several times faster than numpy.cross on small vectors)."""
    a, b, c = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    x, y, z = rows[..., 0], rows[..., 1], rows[..., 2]
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=-1)


def _reduce(normals: Normals, damping: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Schur complement (U, U), its right side (U,), and the inverses (frame, 6, 6) of the boards' blocks; unused boards
    have inverse 0.
    """
    diagonal = np.einsum("fii->fi", normals.boards)
    seen = diagonal.any(-1)
    damped = normals.boards + np.eye(6) * np.where(seen[:, None], damping * diagonal, 1.0)[:, None, :]
    inverse = np.linalg.inv(damped) * seen[:, None, None]
    eliminated = normals.mixed @ inverse
    n = normals.common.shape[0]
    wide = np.swapaxes(eliminated, 0, 1).reshape(n, -1) @ np.swapaxes(normals.mixed, 0, 1).reshape(n, -1).T
    schur = normals.common + np.diag(damping * np.diag(normals.common)) - wide
    right = normals.common_gradient - np.einsum("fci,fi->c", eliminated, normals.board_gradient)
    return schur, right, inverse


def _solve(normals: Normals, free: FloatArray, damping: float) -> tuple[FloatArray, FloatArray] | None:
    """Steps of the common unknowns (U,) and boards (frame, 6); None where the damped system is not positive
    definite.
    """
    try:
        schur, right, inverse = _reduce(normals, damping)
    except np.linalg.LinAlgError:  # a board of which too few corners are left in the lens's field
        return None
    step = np.zeros(len(right))
    if free.shape[1]:
        system = free.T @ schur @ free
        diagonal = np.diag(system)
        if not (diagonal > 0).all():
            return None
        scale = 1 / np.sqrt(diagonal)
        try:
            lower = np.linalg.cholesky(system * scale[:, None] * scale)
        except np.linalg.LinAlgError:
            return None
        step = free @ (scale * np.linalg.solve(lower.T, np.linalg.solve(lower, (free.T @ right) * scale)))
    board_step = np.einsum("fij,fj->fi", inverse, normals.board_gradient - np.einsum("fci,c->fi", normals.mixed, step))
    return step, board_step


def _expected_gain(normals: Normals, common_step: FloatArray, board_step: FloatArray, damping: float) -> float:
    """By what a step lowers the squared error if the linear system is right."""
    gain = common_step @ (damping * np.diag(normals.common) * common_step + normals.common_gradient)
    boards = damping * np.einsum("fii->fi", normals.boards) * board_step + normals.board_gradient
    return float(gain + (board_step * boards).sum())


def move(state: RigState, common_step: FloatArray, board_step: FloatArray | None = None) -> RigState:
    """The state with its common unknowns (U,) and its boards (frame, 6) moved."""
    starts = offsets(state.lenses)
    lenses, cameras = [], []
    for view, lens in enumerate(state.lenses):
        part = common_step[starts[view] : starts[view + 1]]
        lenses.append(move_lens(lens, part[6:]))
        cameras.append(_moved_poses(state.camera_from_world[view], part[:6]))
    boards = state.world_from_board if board_step is None else _moved_poses(state.world_from_board, board_step)
    return RigState(tuple(lenses), np.stack(cameras), boards, state.deflection + common_step[starts[-1] :])


def move_lens(lens: Lens, step: FloatArray) -> Lens:
    """The lens with its parameters moved by `step`; scales that would fall below a tenth of their value stop there."""
    if not step.any():
        return lens  # with what it has already computed of itself
    params = lens.params + step
    params[:2] = np.maximum(params[:2], 0.1 * lens.params[:2])
    return lens.with_params(params)


def _moved_poses(poses: FloatArray, step: FloatArray) -> FloatArray:
    """Poses (..., 4, 4) with the rotation turned on the left by step[..., :3] and the translation shifted by step[...,
    3:].
    """
    return pose(rotation_from_vector(step[..., :3]) @ poses[..., :3, :3], poses[..., :3, 3] + step[..., 3:])
