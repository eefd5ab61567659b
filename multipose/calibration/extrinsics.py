"""From views calibrated alone to one rig: pair poses, their average over the rig, board poses, and the order of a
chessboard's corners.

Two ambiguities are settled here by what the views say together. A planar pose has two solutions, and the corners of a
chessboard whose columns and rows are both even or both odd look the same when the board is turned by half (a quarter,
if square and even). For two views every combination of these choices at every common instant proposes a pose of one
camera relative to the other; the true combinations agree over the instants, the wrong ones scatter, so the pose with
the most support wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import Board, Chessboard
from multipose.calibration.bundle import RigState, residuals
from multipose.calibration.intrinsics import ViewFit
from multipose.errors import CalibrationError
from multipose.geometry import (
    average_rotations,
    invert_pose,
    pose,
    rotation_from_vector,
    transform,
    vector_from_rotation,
)

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

# Two proposals of a pair pose support each other within about this (radians, and share of the boards' distance).
_SUPPORT_SCALE = 0.05
_AGREEMENT = 0.15
_FRAMES_PER_PAIR = 60
_AVERAGING_ROUNDS = 15
_WRONG_PAIR = 3.0  # times the median error of the pairs
# A view's error on a board counts up to this share of the board's extent in its picture, so that one bad view cannot
# choose the pose.
_ERROR_CAP = 0.25


@dataclass(frozen=True, eq=False)
class Pair:
    """What two views say about their relative pose.

    shared: instants at which both see the board; agreeing: those that support `second_from_first` (4, 4).
    middle: (3,) middle of the agreeing boards in the first view's frame.
    """

    shared: int
    agreeing: int
    second_from_first: FloatArray
    middle: FloatArray


@dataclass(frozen=True, eq=False)
class Joined:
    """A rig put together.

    state: one board pose per frame, NaN where no view saw the board.
    px: (view, frame, corner, 2) the corners in an order that all views share.
    pairs: by indices (first, second) of the views.
    """

    state: RigState
    px: FloatArray
    pairs: dict[tuple[int, int], Pair]


def board_symmetries(board: Board) -> tuple[NDArray[np.intp], FloatArray]:
    """Turns of the board under which its picture stays the same.

    Returns orders (turn, corner), with `px[order]` the corners under the turned naming, and poses (turn, 4, 4) that
    take a board point named without the turn to its name with it. The first turn is none.
    """
    if not isinstance(board, Chessboard):
        return np.arange(board.n_corners)[None], np.eye(4)[None]
    columns, rows = board.corner_shape
    quarter = np.arange(board.n_corners).reshape(rows, columns)
    turns = [0]
    if (columns + rows) % 2 == 0:
        turns = [0, 2]
    if columns == rows and columns % 2 == 0:
        turns = [0, 1, 2, 3]
    orders = np.stack([np.rot90(quarter, turn).ravel() for turn in turns])
    xyz = board.corners
    poses = []
    for order, turn in zip(orders, turns, strict=True):
        angle = turn * np.pi / 2
        cosine, sine = round(np.cos(angle)), round(np.sin(angle))
        rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=float)
        if not np.allclose((xyz[1] - xyz[0]) @ rotation.T, xyz[np.argsort(order)[1]] - xyz[np.argsort(order)[0]]):
            rotation = rotation.T
        poses.append(pose(rotation, xyz[np.argsort(order)[0]] - rotation @ xyz[0]))
    return orders, np.stack(poses)


def join_views(
    board: Board, views: tuple[str, ...], px: FloatArray, used: BoolArray, fits: list[ViewFit], min_shared: int
) -> Joined:
    """Put views that were calibrated alone into one rig, in the frame of the first view.

    Raises CalibrationError naming the groups of views that fewer than `min_shared` agreeing boards connect.
    """
    orders, turns = board_symmetries(board)
    pairs = {
        (a, b): _relate(fits[a], fits[b], turns, board)
        for a, b in combinations(range(len(views)), 2)
    }  # fmt: skip
    camera_from_world = average_pairs(_chain(views, pairs, min_shared), pairs, min_shared)
    lenses = tuple(fit.lens for fit in fits)
    world_from_board, choice = place_boards(board.corners, px, used, fits, camera_from_world, orders, turns)
    ordered = np.take_along_axis(px, orders[choice][..., None], axis=2)
    return Joined(RigState(lenses, camera_from_world, world_from_board), ordered, pairs)


def _relate(first: ViewFit, second: ViewFit, turns: FloatArray, board: Board) -> Pair:
    common = np.flatnonzero(np.isfinite(first.rms_px[:, 0]) & np.isfinite(second.rms_px[:, 0]))
    if not len(common):
        return Pair(0, 0, np.full((4, 4), np.nan), np.full(3, np.nan))
    frames = common
    if len(common) > _FRAMES_PER_PAIR:
        frames = common[np.linspace(0, len(common) - 1, _FRAMES_PER_PAIR).round().astype(int)]
    a, b = first.camera_from_board[frames], second.camera_from_board[frames]
    # (frame, solution of the second, solution of the first, turn): every proposal, with NaN where a solution is
    # missing.
    proposals = b[:, :, None, None] @ turns @ invert_pose(a)[:, None, :, None]
    trust = _trust(second, frames)[:, :, None, None] * _trust(first, frames)[:, None, :, None] * np.ones(len(turns))
    flat, weight = proposals.reshape(-1, 4, 4), trust.ravel()
    owner = np.repeat(np.arange(len(frames)), flat.shape[0] // len(frames))
    known = np.isfinite(flat).all((1, 2)) & (weight > 0)
    flat, weight, owner = flat[known], weight[known], owner[known]
    extent = np.linalg.norm(board.corners.max(0))
    scale = max(
        float(np.median(np.linalg.norm(np.concatenate([a[:, 0, :3, 3], b[:, 0, :3, 3]]), axis=-1))), float(extent)
    )
    distance = _distances(flat, flat, scale)
    support = weight / (1 + (distance / _SUPPORT_SCALE) ** 2)
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    best = int(np.argmax(np.maximum.reduceat(support, starts, axis=1).sum(1) * np.sqrt(weight)))
    nearest = np.minimum.reduceat(np.where(weight > 0, distance[best], np.inf), starts)
    members = [
        start + int(np.argmin(distance[best, start:end]))
        for start, end, near in zip(starts, [*starts[1:], len(owner)], nearest, strict=True)
        if near < _AGREEMENT
    ]
    share = len(members) / len(frames)
    rotation = average_rotations(flat[members, :3, :3])
    mean = pose(rotation, np.median(flat[members, :3, 3], axis=0))
    agreeing = np.unique(owner[members])
    middle = np.median(transform(a[agreeing, 0], board.corners.mean(0)), axis=0)
    return Pair(len(common), round(share * len(common)), mean, middle)


def _trust(fit: ViewFit, frames: NDArray[np.intp]) -> FloatArray:
    """(frame, 2) weight of a planar pose: its smaller error over its own, so that a clearly worse solution counts
    little.
    """
    rms = fit.rms_px[frames]
    floor = max(float(np.nanmedian(fit.rms_px[:, 0])), 1e-6)
    return np.nan_to_num((rms[:, :1] + floor) / (rms + floor), nan=0.0)


def _distances(a: FloatArray, b: FloatArray, scale: float) -> FloatArray:
    """(n, m) root of squared angle (radians) plus squared relative shift between poses (n, 4, 4) and (m, 4, 4)."""
    trace = a[:, :3, :3].reshape(-1, 9) @ b[:, :3, :3].reshape(-1, 9).T
    angle = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    shift = np.linalg.norm(a[:, None, :3, 3] - b[None, :, :3, 3], axis=-1) / scale
    result: FloatArray = np.hypot(angle, shift)
    return result


def _chain(views: tuple[str, ...], pairs: dict[tuple[int, int], Pair], min_shared: int) -> FloatArray:
    """`camera_from_world` (view, 4, 4) along the maximum spanning tree (Prim), weighted by agreeing boards; the first
    view is the world.
    """
    poses = np.full((len(views), 4, 4), np.nan)
    poses[0] = np.eye(4)
    reached = [0]
    while len(reached) < len(views):
        edges = [
            (pairs[min(a, b), max(a, b)].agreeing, -a, -b)
            for a in reached
            for b in range(len(views))
            if b not in reached
        ]
        agreeing, a, b = max(edges)
        a, b = -a, -b
        if agreeing < min_shared:
            raise CalibrationError(_unconnected(views, pairs, min_shared))
        pair = pairs[min(a, b), max(a, b)]
        b_from_a = pair.second_from_first if a < b else invert_pose(pair.second_from_first)
        poses[b] = b_from_a @ poses[a]
        reached.append(b)
    return poses


def average_pairs(camera_from_world: FloatArray, pairs: dict[tuple[int, int], Pair], min_shared: int) -> FloatArray:
    """The poses (view, 4, 4) moved to agree best with all pairs that enough boards support; the first stays.

    By reweighted least squares, first of the rotations and then, given these, of where the cameras see the boards:
    in the first rounds with least absolute deviations, then with weights that leave a wrong pair none (Chatterjee &
    Govindu 2013, "Efficient and Robust Large-Scale Rotation Averaging"). Boards count as weights.
    """
    rotation, shift = camera_from_world[:, :3, :3].copy(), camera_from_world[:, :3, 3].copy()
    edges = [(a, b, pair) for (a, b), pair in pairs.items() if pair.agreeing >= min_shared]
    if not edges:
        return camera_from_world
    for number in range(2 * _AVERAGING_ROUNDS):
        turns = [rotation[b] @ rotation[a].T for a, b, _ in edges]
        errors = [
            vector_from_rotation(pair.second_from_first[:3, :3] @ turn.T)
            for turn, (_, _, pair) in zip(turns, edges, strict=True)
        ]
        steps = _balance(edges, turns, np.array(errors), number >= _AVERAGING_ROUNDS, len(rotation))
        rotation = rotation_from_vector(steps) @ rotation
    turns = [rotation[b] @ rotation[a].T for a, b, _ in edges]
    for number in range(2 * _AVERAGING_ROUNDS):
        # Where the second camera has the middle of the boards, measured and by the poses: a pair knows that best.
        errors = [
            transform(pair.second_from_first, pair.middle) - turn @ (pair.middle - shift[a]) - shift[b]
            for turn, (a, b, pair) in zip(turns, edges, strict=True)
        ]
        shift = shift + _balance(edges, turns, np.array(errors), number >= _AVERAGING_ROUNDS, len(shift))
    return pose(rotation, shift)


def _balance(
    edges: list[tuple[int, int, Pair]], turns: list[FloatArray], errors: FloatArray, redescending: bool, n_views: int
) -> FloatArray:
    """Steps (view, 3) that lessen the edges' errors (edge, 3); `turns` are the rotations second_from_first."""
    sizes = np.linalg.norm(errors, axis=-1)
    boards = np.array([pair.agreeing for _, _, pair in edges], dtype=float)
    usual = max(float(np.median(sizes)), float(np.finfo(float).eps))
    weights = boards / (1 + (sizes / (_WRONG_PAIR * usual)) ** 2) ** 2 if redescending else boards / (usual + sizes)
    system, right = np.zeros((3 * n_views, 3 * n_views)), np.zeros(3 * n_views)
    for (a, b, _), turn, error, weight in zip(edges, turns, errors, weights, strict=True):
        jacobian = np.zeros((3, 3 * n_views))
        jacobian[:, 3 * a : 3 * a + 3] = -turn
        jacobian[:, 3 * b : 3 * b + 3] = np.eye(3)
        system += weight * jacobian.T @ jacobian
        right += weight * jacobian.T @ error
    steps = np.zeros(3 * n_views)
    steps[3:] = np.linalg.solve(system[3:, 3:], right[3:])
    return steps.reshape(n_views, 3)


def _unconnected(views: tuple[str, ...], pairs: dict[tuple[int, int], Pair], min_shared: int) -> str:
    groups: list[set[int]] = [{view} for view in range(len(views))]
    for (a, b), pair in pairs.items():
        if pair.agreeing >= min_shared:
            joined = [group for group in groups if a in group or b in group]
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    groups.sort(key=min)
    named = "; ".join("{" + ", ".join(views[view] for view in sorted(group)) + "}" for group in groups)
    across = [
        f"{views[a]} and {views[b]} see {pair.shared} boards together, of which {pair.agreeing} agree on their "
        "relative pose"
        for (a, b), pair in pairs.items()
        if not any(a in group and b in group for group in groups) and pair.shared
    ]
    evidence = (
        ". Between the groups: " + "; ".join(across)
        if across
        else ". No board is seen by views of two groups at one instant"
    )
    disagree = any(pair.shared >= min_shared > pair.agreeing for pair in pairs.values())
    advice = (
        "Boards that disagree come from views that are not synchronous, from a mirrored view, or from a camera or "
        "board size mixed up"
        if disagree
        else f"Film the board where views of two groups see it at the same time, at {min_shared} or more instants"
    )
    return f"The views are not connected; they form {len(groups)} groups: {named}{evidence}. {advice}."


def place_boards(
    board_xyz: FloatArray,
    px: FloatArray,
    used: BoolArray,
    fits: list[ViewFit],
    camera_from_world: FloatArray,
    orders: NDArray[np.intp],
    turns: FloatArray,
) -> tuple[FloatArray, NDArray[np.intp]]:
    """The pose of every board (frame, 4, 4) that all views together support best, and the turn (view, frame) of each
    view's naming.
    """
    n_views, n_frames = px.shape[:2]
    world_from_board = np.full((n_frames, 4, 4), np.nan)
    choice = np.zeros((n_views, n_frames), dtype=np.intp)
    lowest = np.full(n_frames, np.inf)
    caps = _ERROR_CAP * _extents(px, used)
    lenses = tuple(fit.lens for fit in fits)
    named = [np.take_along_axis(px, np.broadcast_to(order, px.shape[:3])[..., None], axis=2) for order in orders]
    known = [np.take_along_axis(used, np.broadcast_to(order, used.shape), axis=2) for order in orders]
    for view, solution in np.ndindex(n_views, 2):
        guess = invert_pose(camera_from_world[view]) @ fits[view].camera_from_board[:, solution]
        frames = np.flatnonzero(np.isfinite(guess).all((1, 2)))
        if not len(frames):
            continue
        state = RigState(lenses, camera_from_world, guess[frames])
        errors = np.stack(
            [
                _capped(state, board_xyz, p[:, frames], k[:, frames], caps[:, frames])
                for p, k in zip(named, known, strict=True)
            ]
        )  # (turn, view, frame)
        score = errors.min(0).sum(0)
        better = score < lowest[frames] * (1 - 1e-9)
        chosen = frames[better]
        lowest[chosen] = score[better]
        world_from_board[chosen] = guess[chosen]
        choice[:, chosen] = errors.argmin(0)[:, better]
    return world_from_board, choice


def _extents(px: FloatArray, used: BoolArray) -> FloatArray:
    """(view, frame) diagonal of the used corners' bounding box, px; 0 where there are none."""
    low = np.where(used[..., None], px, np.inf).min(2)
    high = np.where(used[..., None], px, -np.inf).max(2)
    return np.where(used.any(-1), np.linalg.norm(np.where(np.isfinite(high - low), high - low, 0.0), axis=-1), 0.0)


def _capped(state: RigState, board_xyz: FloatArray, px: FloatArray, used: BoolArray, caps: FloatArray) -> FloatArray:
    """(view, frame) median error of the used corners, px, at most the cap; 0 where a view saw nothing."""
    distance = np.linalg.norm(residuals(state, board_xyz, px), axis=-1)
    distance = np.where(used & np.isfinite(distance), distance, np.where(used, np.inf, np.nan))
    result = np.zeros(distance.shape[:2])
    seen = used.any(-1)
    result[seen] = np.nanmedian(distance[seen], axis=-1)
    return np.minimum(result, caps)
