"""What key points say about changes of the cameras' poses: the normal equations, points and offsets eliminated.

A view v sees key point k of an instant at `project_v(X) + P_v change_v + offset_vk + noise`. The 3D point X is free;
`change_v` (6,) is a turn about the camera's axes (radians) and a shift (unit) that take its frame as calibrated to its
frame now; the offset is what people and networks mean by this key point in this view.

A camera that moved displaces the picture coherently, by a field that depends on the place; an offset is the same
wherever its key point goes, but differs from key point to key point. Offsets are random effects: independent, of mean
zero, with heavy tails (Student's t), their spread in each view learned from the recording. What a network means by a
haunch also changes, slowly, as the animal turns: each offset has a drift, a few cosines over the recording, whose
spread is learned likewise, and is nothing where offsets are constant. So a displacement that all key points of a view
share is weighed against the spread of the offsets, and one that varies over the volume against drift and noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.geometry import skew
from multipose.triangulate import triangulate
from multipose.triangulate.offsets import autocorrelation_time

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.int64]

GATE = 6.0  # standard deviations of the noise that a view may be off and still count
SMALLEST_GATE_PX = 3.0
_SMALLEST_NOISE_PX = 0.05
_FEWEST_POINTS = 10
_MEDIAN_RAYLEIGH = 1.1774
_TAIL = 5.0  # degrees of freedom of Student's t, of the noise and of the offsets
_PRIOR_SPREAD_PX, _PRIOR_NUMBERS = 2.0, 4.0  # what is believed of the offsets' spread beforehand, as so many offsets
_PRIOR_DRIFT_PX = 0.3
_ALIKE = 2.0  # so many key points count as one: neighbouring body parts share their offsets
_COSINES = 4
_FRAMES_OF_A_COSINE = 15  # at least
_SPREAD_TURNS = 30
_SINGULAR = 1e12
_UNDETERMINED = 1e-7
_NOTHING = 1e-30
# Of a camera that seems to fit, and of one that seems to have moved: standard deviation beforehand of
_ANCHOR_TURN = (np.deg2rad(1.0), np.deg2rad(20.0))  # its turn
_ANCHOR_SHIFT = (0.02, 0.4)  # its shift, as a share of its distance from the key points
# neither of which displaces the picture by more than this share of its diagonal: under a long lens, far away, 1 degree
# is a thousand pixels
_ANCHOR_PICTURE = (0.03, 0.5)


@dataclass(frozen=True, eq=False)
class Sightings:
    """Key points, flat: px (view, n, 2); weight (view, n), 0 where one does not count; numbers (n,) of key point and
    instant."""

    px: FloatArray
    weight: FloatArray
    keypoint: IntArray
    time: IntArray

    @property
    def n_keypoints(self) -> int:
        """How many numbers of key points there may be."""
        return int(self.keypoint.max()) + 1

    @property
    def course(self) -> FloatArray:
        """(instant, C) how an offset may go over the recording: constant, then cosines, each of mean square 1."""
        n = int(self.time.max()) + 1
        order = np.arange(1 + min(_COSINES, n // _FRAMES_OF_A_COSINE))
        waves: FloatArray = np.cos(np.pi * order * (np.arange(n)[:, None] + 0.5) / n)
        return waves * np.where(order, np.sqrt(2), 1.0)


@dataclass(frozen=True, eq=False)
class OffsetPrior:
    """What is known of the offsets: the precision (K, 2CV) of each in 1/px², and their spread (C, V) per coordinate.

    believed_px: (C,) spread before anything was looked at. alike: so many key points count as one.
    """

    precision: FloatArray
    spread_px: FloatArray
    believed_px: FloatArray
    alike: float

    def cautious(self) -> OffsetPrior:
        """The same with less precision, because neighbouring body parts may share their offsets."""
        return replace(self, precision=self.precision / self.alike)

    @classmethod
    def vague(cls, seen: Sightings, offsets_known: bool) -> OffsetPrior:
        """Before anything was looked at. offsets_known: whether they were taken off, so that only errors are left."""
        n_courses = seen.course.shape[1]
        constant = _PRIOR_DRIFT_PX if offsets_known else _PRIOR_SPREAD_PX
        believed = np.where(np.arange(n_courses) == 0, constant, _PRIOR_DRIFT_PX)
        spread = np.repeat(believed[:, None], len(seen.px), axis=1)
        precision = np.tile(np.repeat(1 / spread.ravel() ** 2, 2), (seen.n_keypoints, 1))
        return cls(precision, spread, believed, 1.0 if offsets_known else _ALIKE)


@dataclass(frozen=True, eq=False)
class _Part:
    """The points of one key point: time (n,), course (n, C) of offsets then, weights M (n, 2V, 2V) without what their
    3D points explain, derivatives P (n, 2V, 6V), residuals (n, 2V) with the offsets put back, px."""

    time: IntArray
    course: FloatArray
    weight: FloatArray
    by_pose: FloatArray
    residual: FloatArray

    def unexplained(self, offsets: FloatArray, step: FloatArray) -> FloatArray:
        """Weighted residuals (n, 2V) after offsets (2CV,) and a step (6V,)."""
        shift = self.course @ offsets.reshape(self.course.shape[1], self.weight.shape[1])
        result: FloatArray = np.einsum("nij,nj->ni", self.weight, self.residual - shift - self.by_pose @ step)
        return result

    def over_course(self, values: FloatArray) -> FloatArray:
        """Sums (2CV, ...) of values (n, 2V, ...) over the points, times the course of each offset."""
        summed: FloatArray = np.tensordot(self.course, values, (0, 0))
        return summed.reshape(self.course.shape[1] * self.weight.shape[1], *values.shape[2:])


@dataclass(frozen=True, eq=False)
class Normals:
    """Normal equations of V cameras' pose changes and K key points' offsets, linearised at a rig.

    Each key point has 2CV offsets: a constant and cosines (C), views (V), x and y.
    pose_pose (6V, 6V), offset_pose (K, 2CV, 6V), offset_offset (K, 2CV, 2CV), pose_right (6V,), offset_right (K, 2CV).
    noise_px (V,): of one coordinate of a view. displaced (V, 6, 6): a change c displaces the picture by
    sqrt(cᵀ displaced c) px (RMS). depth (V,): mean distance of the points along the camera's axis. diagonal (V,) of the
    picture, px.
    """

    parts: tuple[_Part, ...]
    pose_pose: FloatArray
    offset_pose: FloatArray
    offset_offset: FloatArray
    pose_right: FloatArray
    offset_right: FloatArray
    noise_px: FloatArray
    displaced: FloatArray
    depth: FloatArray
    diagonal: FloatArray


@dataclass(frozen=True, eq=False)
class Reduced:
    """What is left for the pose changes: matrix (6V, 6V), right (6V,). offset_covariance (K, 2CV, 2CV) given the poses;
    leverage (K, 2CV, 6V): by how much the offsets follow a change. The variance of the errors was taken as
    `correlation` times that of independent ones."""

    matrix: FloatArray
    right: FloatArray
    offset_covariance: FloatArray
    leverage: FloatArray
    correlation: float

    def offsets(self, normals: Normals, step: FloatArray) -> FloatArray:
        """The offsets (K, 2CV) after a step (6V,) of the poses."""
        alone = np.einsum("kij,kj->ki", self.offset_covariance, normals.offset_right / self.correlation)
        result: FloatArray = alone - self.leverage @ step
        return result


def linearise(seen: Sightings, rig: CameraRig, offsets: FloatArray, gate: float) -> Normals:
    """The normal equations at a rig and offsets (K, 2CV); a view farther off than `gate` px is left out.

    Raises:
        DataError: the views agree on hardly any point.
    """
    n_views, n_keypoints = len(rig), seen.n_keypoints
    course = seen.course
    by_instant = np.tensordot(offsets.reshape(n_keypoints, course.shape[1], n_views, 2), course, (1, 1))
    shift = by_instant[seen.keypoint, :, :, seen.time].transpose(1, 0, 2)
    found = triangulate(seen.px - shift, rig, confidence=seen.weight, max_error_px=gate, threads=1)
    known = np.flatnonzero(np.isfinite(found.position[:, 0]))
    if len(known) < _FEWEST_POINTS:
        raise DataError(
            f"The views agree on {len(known)} of {seen.px.shape[1]} points only: their rays meet behind the cameras or "
            "nowhere. Do the rig and the key points belong together, after the same crop, flip, turn and scale?"
        )
    residual = seen.px[:, known] - rig.project(found.position[known])
    weight, noise = _weigh(residual - shift[:, known], seen.weight[:, known] > 0)
    by_position, by_pose = _derivatives(rig, found.position[known])
    flat = {
        "weight": np.repeat(weight.T, 2, axis=1),
        "residual": np.where(weight[..., None] > 0, residual, 0.0).transpose(1, 0, 2).reshape(len(known), -1),
        "by_position": by_position.transpose(1, 0, 2, 3).reshape(len(known), 2 * n_views, 3),
    }
    parts = []
    for keypoint in range(n_keypoints):
        rows = np.flatnonzero(seen.keypoint[known] == keypoint)
        own = {name: values[rows] for name, values in flat.items()}
        parts.append(
            _Part(
                seen.time[known][rows],
                course[seen.time[known][rows]],
                _without_points(own["weight"], own["by_position"]),
                _block_diagonal(by_pose[:, rows]),
                own["residual"],
            )
        )
    weighted = [part.weight @ part.by_pose for part in parts]
    used = (weight > 0).astype(float)
    return Normals(
        parts=tuple(parts),
        pose_pose=sum(
            (np.tensordot(part.by_pose, one, ((0, 1), (0, 1))) for part, one in zip(parts, weighted, strict=True)),
            np.zeros((6 * n_views, 6 * n_views)),
        ),
        offset_pose=np.stack([part.over_course(one) for part, one in zip(parts, weighted, strict=True)]),
        offset_offset=np.stack([_offsets_among_themselves(part) for part in parts]),
        pose_right=sum(
            (np.tensordot(one, part.residual, ((0, 1), (0, 1))) for part, one in zip(parts, weighted, strict=True)),
            np.zeros(6 * n_views),
        ),
        offset_right=np.stack(
            [part.over_course(np.einsum("nij,nj->ni", part.weight, part.residual)) for part in parts]
        ),
        noise_px=noise,
        displaced=np.einsum("vn,vnij,vnik->vjk", used, by_pose, by_pose, optimize=True)
        / np.maximum(used.sum(1), 1)[:, None, None],
        depth=np.array([np.abs(camera.depth(found.position[known])).mean() for camera in rig]),
        diagonal=np.array([np.hypot(*camera.size) for camera in rig]),
    )


def reduce(normals: Normals, prior: OffsetPrior, correlation: float) -> Reduced:
    """Eliminate the offsets."""
    mixed, right = normals.offset_pose / correlation, normals.offset_right / correlation
    size = prior.precision.shape[1]
    covariance = np.linalg.inv(normals.offset_offset / correlation + prior.precision[:, :, None] * np.eye(size))
    leverage: FloatArray = covariance @ mixed
    matrix: FloatArray = normals.pose_pose / correlation - np.tensordot(mixed, leverage, ((0, 1), (0, 1)))
    rest: FloatArray = normals.pose_right / correlation - np.tensordot(leverage, right, ((0, 1), (0, 1)))
    return Reduced((matrix + matrix.T) / 2, rest, np.asarray(covariance, np.float64), leverage, correlation)


def anchor(normals: Normals, held: BoolArray) -> FloatArray:
    """Precision (6V,) of the changes being zero, beforehand: larger for the cameras held (V,) than for the others.

    It holds the world, and what the key points leave open; beside what they determine it is nothing.
    """
    turn = np.where(held, *_ANCHOR_TURN)
    shift = np.where(held, *_ANCHOR_SHIFT) * normals.depth
    sd: FloatArray = np.repeat(np.stack([turn, shift], axis=1), 3, axis=1)
    px = np.sqrt(np.maximum(np.einsum("vii->vi", normals.displaced), _NOTHING))  # by a change of 1
    widest = np.where(held, *_ANCHOR_PICTURE) * normals.diagonal
    return np.asarray(1 / np.minimum(sd, widest[:, None] / px).ravel() ** 2)


def solve(reduced: Reduced, weight: FloatArray, total: FloatArray, free: BoolArray) -> tuple[FloatArray, FloatArray]:
    """The step (6V,) of the free cameras (V,) and the covariance (6V, 6V), zero for the others.

    total: (6V,) the changes so far; weight: (6V,) the precision of their being zero, as of `anchor`.
    """
    columns = np.repeat(free, 6)
    inverse = np.linalg.inv((reduced.matrix + np.diag(weight))[np.ix_(columns, columns)])
    step, covariance = np.zeros(len(columns)), np.zeros(reduced.matrix.shape)
    step[columns] = inverse @ (reduced.right - weight * total)[columns]
    covariance[np.ix_(columns, columns)] = inverse
    return step, covariance


def learn_offsets(
    normals: Normals, prior: OffsetPrior, correlation: float, weight: FloatArray, total: FloatArray, free: BoolArray
) -> OffsetPrior:
    """The offsets' spread in every view by expectation maximisation (restricted maximum likelihood: the poses unknown).

    The views' spreads are drawn together a little, and weight, total and free are as in `solve`.
    """
    n_courses, n_views = prior.spread_px.shape
    shape = (len(prior.precision), n_courses, n_views, 2)
    present = np.einsum("kii->ki", normals.offset_offset).reshape(shape)[..., 0] > 0
    for _ in range(_SPREAD_TURNS):
        reduced = reduce(normals, prior, correlation)
        step, covariance = solve(reduced, weight, total, free)
        variance = np.einsum("kii->ki", reduced.offset_covariance) + np.einsum(
            "kia,kia->ki", reduced.leverage @ covariance, reduced.leverage
        )
        square = (reduced.offsets(normals, step) ** 2 + variance).reshape(shape).mean(-1)
        tail = np.where(present, (_TAIL + 2) / (_TAIL + 2 * square / prior.spread_px**2), 0.0)
        summed, numbers = (tail * square).sum(0), present.sum(0)
        common = (summed.sum(1) + _PRIOR_NUMBERS * prior.believed_px**2) / (numbers.sum(1) + _PRIOR_NUMBERS)
        spread = np.sqrt((summed + _PRIOR_NUMBERS * common[:, None]) / (numbers + _PRIOR_NUMBERS))
        settled = np.abs(spread - prior.spread_px).max() < 1e-3 * spread.max()
        precision = np.repeat(np.where(present, tail, 1.0) / spread**2, 2, axis=-1)
        prior = replace(prior, precision=precision.reshape(prior.precision.shape), spread_px=spread)
        if settled:
            break
    return prior


def error_correlation(normals: Normals, reduced: Reduced, step: FloatArray) -> float:
    """How many times more the key points' evidence varies than if all errors were independent; at least 1.

    The scores of the pose changes (the offsets eliminated) are summed over the key points of each instant; their
    variance, in units in which independent errors have 1, times the autocorrelation time of the residuals (summed until
    the autocorrelation is below 0.05) is one answer. The other is the variance of the scores summed over all instants
    of each key point, which knows of errors that last however long. The larger counts.
    """
    offsets = reduced.offsets(normals, step)
    n_times = 1 + max(int(part.time.max(initial=0)) for part in normals.parts)
    score, left = np.zeros((n_times, len(step))), np.zeros((n_times, len(offsets), len(step) // 3))
    by_keypoint = np.zeros((len(offsets), len(step)))
    expected = normals.pose_pose.copy()
    for i, (part, leverage) in enumerate(zip(normals.parts, reduced.leverage, strict=True)):
        mixed, own = normals.offset_pose[i], normals.offset_offset[i]
        one = part.unexplained(offsets[i], step)
        over_course = (part.course[:, :, None] * one[:, None]).reshape(len(one), len(leverage))
        own_score = np.einsum("nia,ni->na", part.by_pose, one) - over_course @ leverage
        np.add.at(score, part.time, own_score)
        by_keypoint[i] = own_score.sum(0)
        np.add.at(left[:, i], part.time, one)
        expected += leverage.T @ own @ leverage - leverage.T @ mixed - mixed.T @ leverage
    value, vector = np.linalg.eigh((expected + expected.T) / 2)
    determined = value > _UNDETERMINED * value[-1]
    whiten = vector[:, determined] / np.sqrt(value[determined])
    between = float(((score @ whiten) ** 2).sum()) / int(determined.sum())
    within = float(((by_keypoint @ whiten) ** 2).sum()) / int(determined.sum())
    return max(1.0, between * autocorrelation_time(left.reshape(n_times, -1)), within)


def _offsets_among_themselves(part: _Part) -> FloatArray:
    """Normal equations (2CV, 2CV) of a key point's offsets."""
    size = part.weight.shape[1] * part.course.shape[1]
    squares = np.einsum("nc,nd->ncd", part.course, part.course)
    summed: FloatArray = np.tensordot(squares, part.weight, (0, 0))  # (C, C, 2V, 2V)
    return summed.transpose(0, 2, 1, 3).reshape(size, size)


def _weigh(residual: FloatArray, there: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Weights (view, n) in 1/px² by Student's t, each view by its own noise (view,); residual (view, n, 2)."""
    there = there & np.isfinite(residual).all(-1)
    distance = np.where(there, np.linalg.norm(residual, axis=-1), np.nan)
    noise = np.array(
        [np.median(row[use]) / _MEDIAN_RAYLEIGH if use.any() else 1.0 for row, use in zip(distance, there, strict=True)]
    )
    noise = np.maximum(noise, _SMALLEST_NOISE_PX)
    relative = np.where(there, distance / noise[:, None], np.inf)
    weight = np.where(relative < 2 * GATE, (_TAIL + 2) / (_TAIL + relative**2) / noise[:, None] ** 2, 0.0)
    weight[:, (weight > 0).sum(0) < 2] = 0.0
    return weight, noise


def _derivatives(rig: CameraRig, position: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of the pixels by the world position (view, n, 2, 3) and by the pose change (view, n, 2, 6)."""
    by_position, by_pose = [], []
    for camera in rig:
        own = position @ camera.rotation.T + camera.translation
        by_own = np.nan_to_num(camera.lens.jacobian(own)[1])
        by_position.append(by_own @ camera.rotation)
        by_pose.append(np.concatenate([-by_own @ skew(own), by_own], axis=-1))
    return np.stack(by_position), np.stack(by_pose)


def _block_diagonal(by_pose: FloatArray) -> FloatArray:
    """(view, n, 2, 6) -> (n, 2 view, 6 view)."""
    n_views, n = by_pose.shape[:2]
    result = np.zeros((n, n_views, 2, n_views, 6))
    for view in range(n_views):
        result[:, view, :, view] = by_pose[view]
    return result.reshape(n, 2 * n_views, 6 * n_views)


def _without_points(weight: FloatArray, by_position: FloatArray) -> FloatArray:
    """Weights (n, 2V, 2V) of residuals, what a move of the 3D point explains projected out; zero where it is not
    determined. weight (n, 2V), by_position (n, 2V, 3)."""
    weighted = weight[..., None] * by_position
    inner = np.swapaxes(by_position, 1, 2) @ weighted
    solvable = np.linalg.cond(inner) < _SINGULAR
    inner[~solvable] = np.eye(3)
    result = weight[..., None] * np.eye(weight.shape[1]) - weighted @ np.linalg.solve(
        inner, np.swapaxes(weighted, 1, 2)
    )
    result[~solvable] = 0.0
    return np.asarray(result)
