"""Which cameras of a rig have moved, and by how much, from key points alone.

All cameras are set free: points, offsets and pose changes are solved in turns (`pose_changes`). The seven numbers that
key points cannot tell (place, turn and scale of the world) are held by the cameras that seem to fit. Then every set of
up to four cameras that leaves two is tried as the moved ones: the changes of all others are set to zero, and the sum of
squares rises. The set with the smallest rise plus a price per camera is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import stats

from multipose.calibration.pose_changes import (
    GATE,
    SMALLEST_GATE_PX,
    BoolArray,
    FloatArray,
    Normals,
    OffsetPrior,
    Reduced,
    Sightings,
    anchor,
    error_correlation,
    learn_offsets,
    linearise,
    reduce,
    solve,
)
from multipose.camera import CameraRig
from multipose.geometry import pose, rotation_from_vector, vector_from_rotation

_CHANCE = 1e-5
_FEWEST_DEGREES = 8.0
_TURNS = 25
_CONVERGED_PX = 0.02
_LARGEST_SET = 4


@dataclass(frozen=True, eq=False)
class Motion:
    """Pose changes of V cameras that explain key points.

    rig: with its poses so changed. moved: numbers of the cameras that cannot be as they were calibrated.
    rivals: other sets, as large, that explain the key points as well.
    change: (V, 6), covariance: (V, 6, 6) as in `pose_changes`; of a camera that was not found to have moved, the change
    if it alone had moved too; NaN where that cannot be told.
    statistic: (V,) how much worse the key points are explained where a camera counts as unmoved instead of moved;
    chi-square of 6 degrees where it fits. unexplained: the same for all cameras that were not found to have moved.
    displacement_px: (V,) RMS of the displacement of the picture's points by the change.
    noise_px: (V,) of one coordinate. offset_spread_px: (V,) of the offsets, per coordinate.
    correlation: by which the frames' information was divided because their errors are alike.
    price: what the statistic of a camera must exceed for it to count as moved.
    """

    rig: CameraRig
    moved: tuple[int, ...]
    rivals: tuple[tuple[int, ...], ...]
    change: FloatArray
    covariance: FloatArray
    statistic: FloatArray
    unexplained: float
    displacement_px: FloatArray
    noise_px: FloatArray
    offset_spread_px: FloatArray
    correlation: float
    price: float

    @property
    def more_moved(self) -> bool:
        """Whether more cameras moved than can be told apart, so that fewer than two fit each other."""
        return len(self.moved) == _most_moved(len(self.statistic)) and self.unexplained > self.price


def find_motion(
    seen: Sightings, rig: CameraRig, noise_px: float, *, offsets_known: bool = False, free: Sequence[int] | None = None
) -> Motion:
    """The cameras that moved, and their pose changes.

    Args:
        seen: key points in the rig's views.
        rig: the cameras as calibrated.
        noise_px: roughly how far views disagree, per coordinate.
        offsets_known: whether the offsets were taken off, so that only their errors are left.
        free: these cameras moved, and no others; by default it is found out.
    """
    n_views = len(rig)
    moved: tuple[int, ...] = () if free is None else tuple(free)
    may_move = np.ones(n_views, bool) if free is None else _mask(free, n_views)
    prior = OffsetPrior.vague(seen, offsets_known)
    offsets = np.zeros(prior.precision.shape)
    correlation, now = 1.0, rig
    gate = max(SMALLEST_GATE_PX, GATE * noise_px)
    for _ in range(_TURNS):
        normals = linearise(seen, now, offsets, gate)
        total = pose_change(rig, now).ravel()
        weight = anchor(normals, ~_mask(moved, n_views))
        prior = learn_offsets(normals, prior, correlation, weight, total, may_move)
        reduced = reduce(normals, prior.cautious(), correlation)
        step, _ = solve(reduced, weight, total, may_move)
        correlation = error_correlation(normals, reduced, step)
        reduced = reduce(normals, prior.cautious(), correlation)
        step, _ = solve(reduced, weight, total, may_move)
        last, offsets = offsets, reduced.offsets(normals, step)
        now = moved_rig(now, step.reshape(-1, 6))
        gate = max(SMALLEST_GATE_PX, GATE * float(np.median(normals.noise_px)))
        costs = _Costs(normals, reduced, total, price(seen.n_keypoints, n_views))
        chosen = moved if free is not None else _choose(costs)[0]
        shifted = max(displacement(normals, step).max(), np.abs(offsets - last).max())
        if shifted < _CONVERGED_PX and chosen == moved:
            break
        moved = chosen
    return _conclude(now, normals, costs, moved, prior, correlation)


def price(n_keypoints: int, n_views: int) -> float:
    """What one more moved camera costs, in units of the sum of squares.

    Six times what Fisher's F exceeds once in 100,000 times, of 6 degrees of freedom and of as many as tell the offsets'
    spread in a view (K key points in V views leave K (2V - 3) numbers over). benchmarks/checking.py measures the false
    alarms.
    """
    degrees = max(n_keypoints * (2 * n_views - 3) / n_views, _FEWEST_DEGREES)
    return float(6 * stats.f.isf(_CHANCE, 6, degrees))


def moved_rig(rig: CameraRig, change: FloatArray) -> CameraRig:
    """The rig with every camera's pose changed (V, 6)."""
    cameras = [
        replace(camera, camera_from_world=pose(rotation_from_vector(one[:3]), one[3:]) @ camera.camera_from_world)
        for camera, one in zip(rig, change, strict=True)
    ]
    return replace(rig, cameras=tuple(cameras))


def pose_change(rig: CameraRig, other: CameraRig) -> FloatArray:
    """The changes (V, 6) that make a rig's poses those of another."""
    rows = []
    for old, new in zip(rig, other, strict=True):
        turn = new.rotation @ old.rotation.T
        rows.append(np.concatenate([vector_from_rotation(turn), new.translation - turn @ old.translation]))
    return np.stack(rows)


def displacement(normals: Normals, change: FloatArray) -> FloatArray:
    """(V,) px, RMS over the points of each view, of changes (6V,)."""
    each = change.reshape(-1, 6)
    squares: FloatArray = np.einsum("vi,vij,vj->v", each, normals.displaced, each)
    return np.sqrt(np.maximum(squares, 0.0))


class _Costs:
    """Sums of squares when only some cameras have moved, relative to none having moved."""

    def __init__(self, normals: Normals, reduced: Reduced, total: FloatArray, price: float) -> None:
        """total: (6V,) the changes at which the equations were linearised."""
        self.n_views, self.price = len(total) // 6, price
        self._matrix = reduced.matrix + np.diag(anchor(normals, np.zeros(self.n_views, bool)))
        self._right = reduced.right + reduced.matrix @ total

    def explained(self, moved: Sequence[int]) -> float:
        """By how much the sum of squares falls."""
        columns = np.repeat(_mask(moved, self.n_views), 6)
        return float(self._right[columns] @ self._change(columns))

    def change(self, moved: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        """The changes (6V,) and their covariance (6V, 6V), zero for the others."""
        columns = np.repeat(_mask(moved, self.n_views), 6)
        change, covariance = np.zeros(len(columns)), np.zeros(self._matrix.shape)
        change[columns] = self._change(columns)
        covariance[np.ix_(columns, columns)] = np.linalg.inv(self._matrix[np.ix_(columns, columns)])
        return change, covariance

    def _change(self, columns: BoolArray) -> FloatArray:
        return np.asarray(np.linalg.solve(self._matrix[np.ix_(columns, columns)], self._right[columns]))


def _choose(costs: _Costs) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The set of moved cameras, and rivals of the same size that explain the key points as well."""
    sets = [
        chosen for size in range(_most_moved(costs.n_views) + 1) for chosen in combinations(range(costs.n_views), size)
    ]
    value = {chosen: costs.explained(chosen) - costs.price * len(chosen) for chosen in sets}
    best = max(sets, key=value.__getitem__)
    rivals = [
        other
        for other in sets
        if other != best and len(other) == len(best) and value[other] > value[best] - costs.price / 2
    ]
    return best, tuple(rivals)


def _conclude(
    rig: CameraRig, normals: Normals, costs: _Costs, moved: tuple[int, ...], prior: OffsetPrior, correlation: float
) -> Motion:
    n_views = costs.n_views
    explained, everything = costs.explained(moved), costs.explained(range(n_views))
    statistic = np.full(n_views, np.nan)
    change, covariance = np.full((n_views, 6), np.nan), np.full((n_views, 6, 6), np.nan)
    for view in range(n_views):
        together = sorted({*moved, view})
        without = [other for other in moved if other != view]
        statistic[view] = costs.explained(together) - costs.explained(without)
        if n_views - len(together) >= 2:
            all_changes, all_covariances = costs.change(together)
            own = slice(6 * view, 6 * view + 6)
            change[view], covariance[view] = all_changes[own], all_covariances[own, own]
    return Motion(
        rig=rig,
        moved=moved,
        rivals=_choose(costs)[1] if moved else (),
        change=change,
        covariance=covariance,
        statistic=statistic,
        unexplained=everything - explained,
        displacement_px=displacement(normals, change.ravel()),
        noise_px=normals.noise_px,
        offset_spread_px=prior.spread_px[0],
        correlation=correlation,
        price=costs.price,
    )


def _most_moved(n_views: int) -> int:
    """How many cameras may be found to have moved: two must be left to say so."""
    return max(0, min(n_views - 2, _LARGEST_SET))


def _mask(views: Sequence[int], n_views: int) -> BoolArray:
    return np.isin(np.arange(n_views), list(views))
