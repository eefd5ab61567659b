"""The constant disagreement of a key point between views.

People (and the networks they train) do not click the same place of a body in every view: the "haunch" seen from the
back is not the one seen from the side. Such an error does not average out over frames. Here it is a constant offset
in px per key point and view, estimated together with the 3D points.

**Gauge.** Offsets that one shift of the 3D point would make in all views cannot be told from that shift: 3 numbers
per key point are free. They are chosen such that the sum of the offsets' lengths is least: where most views mean the
same place and one does not, the offset is that one view's, and the others have none. Taking the offsets off makes the
views agree; where exactly on the body they then agree is a convention, what most views say.

With V views 2V - 3 numbers per key point are estimated: two views show only the offset across their epipolar lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.camera import Camera, CameraRig
from multipose.errors import DataError
from multipose.tracks import check_keypoints2d
from multipose.triangulate.points import FloatArray, triangulate
from multipose.triangulate.reconstruction import MIN_CONFIDENCE, Observations, check_names, observations

_TURNS = 30
_CONVERGED_PX = 1e-4
_SETTLED_PX = 0.05
_BELIEVING_TURNS = 10  # at most so many turns believe every view
_GATE = 6.0  # standard deviations
_SMALLEST_GATE_PX = 3.0
_MEDIAN_RAYLEIGH = 1.1774  # median length of a 2D normal error of standard deviation 1
_FEWEST_FRAMES = 10
_MOST_FRAMES = 2000  # of a key point, evenly spread: errors last for many frames, so more would add little
_UNDETERMINED = 1e-6  # least relative eigenvalue of a combination of offsets that counts as determined
_HUBER = 1.5  # standard deviations
_SMALL_PX = 0.5  # offsets well below it are made small in the mean of squares, larger ones in the mean
_GAUGE_TURNS = 200


@dataclass(frozen=True, eq=False)
class _KeypointOffsets:
    """Offsets of one key point: values and their standard deviations (view, 2), frames used, autocorrelation time."""

    offset: FloatArray
    sd: FloatArray
    n_frames: int
    correlation: float


def estimate_offsets(
    keypoints: xr.Dataset,
    rig: CameraRig,
    *,
    min_confidence: float = MIN_CONFIDENCE,
    max_error_px: float | None = None,
    threads: int | None = None,
) -> xr.Dataset:
    """The constant offset of each key point in each view, in px, with its standard deviation.

    The 3D points and the offsets are solved in turns: points from the 2D points less their offsets, offsets from the
    residuals, each frame's residuals projected off what a move of its 3D point would explain, with Huber's weights. At
    first every view is believed, since one that is always off by much is what is sought; when the offsets have nearly
    settled, views that are off in single frames are left out of these. The individuals of a recording share their
    offsets: they are a habit of whoever labels.

    The standard deviations follow from the scatter of the frames; since errors last for many frames, their variance is
    multiplied by the autocorrelation time of the residuals (`correlation_frames`).

    Args:
        keypoints: Keypoints2D.
        rig: cameras with the names of the key points' views.
        min_confidence: 2D points below it are left out.
        max_error_px: a view farther off than this, its offset taken off, is left out of a frame; by default 6 times the
            standard deviation of the key point's residuals, and at least 3 px.
        threads: how many to use.

    Returns:
        A dataset with `offset` and `sd` (view, keypoint, space) in px, NaN where fewer than 10 frames determine them;
        `n_frames` (keypoint); `correlation_frames` (keypoint). An offset is seen minus expected position.

    Raises:
        DataError: as `reconstruct`.
    """
    seen = observations(keypoints, rig, min_confidence)
    check_names(seen, threads)
    n_times, n_individuals, n_keypoints = seen.shape
    n_views = len(seen.rig)
    found = []
    for keypoint in range(n_keypoints):
        # rows of this key point, one individual after the other, so that neighbours are neighbours in time
        rows = np.arange(n_times * n_individuals * n_keypoints).reshape(seen.shape)[:, :, keypoint].T.ravel()
        rows = rows[seen.usable[:, rows].sum(axis=0) >= 2]
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_FRAMES)).astype(int))]
        found.append(_solve(seen, rows, max_error_px, threads))
    names = [str(name) for name in keypoints["keypoint"].values]
    place = ("view", "keypoint", "space")
    return xr.Dataset(
        {
            "offset": (place, np.stack([one.offset for one in found], axis=1).reshape(n_views, n_keypoints, 2)),
            "sd": (place, np.stack([one.sd for one in found], axis=1).reshape(n_views, n_keypoints, 2)),
            "n_frames": ("keypoint", np.array([one.n_frames for one in found])),
            "correlation_frames": ("keypoint", np.array([one.correlation for one in found])),
        },
        coords={"view": list(seen.rig.names), "keypoint": names, "space": ["x", "y"]},
        attrs={"kind": "offsets2d", "unit": "px", "min_confidence": float(min_confidence)},
    )


def remove_offsets(keypoints: xr.Dataset, offsets: xr.Dataset) -> xr.Dataset:
    """The key points with their offsets taken off; where an offset is unknown (NaN) the position stays as it is.

    Raises:
        DataError: the offsets lack a view or a key point.
    """
    check_keypoints2d(keypoints)
    for dim in ("view", "keypoint"):
        wanted, known = ([str(name) for name in dataset[dim].values] for dataset in (keypoints, offsets))
        lacking = [name for name in wanted if name not in known]
        if lacking:
            raise DataError(
                f"There are no offsets for the {dim} {', '.join(lacking)}; the offsets have {', '.join(known)}, the "
                f"key points {', '.join(wanted)}. Estimate the offsets from key points of the same names."
            )
    shift = offsets["offset"].fillna(0.0).sel(view=keypoints["view"], keypoint=keypoints["keypoint"])
    position = (keypoints["position"] - shift).transpose(*keypoints["position"].dims)
    return keypoints.assign(position=position.assign_attrs(keypoints["position"].attrs))


def _solve(seen: Observations, rows: NDArray[np.int64], limit: float | None, threads: int | None) -> _KeypointOffsets:
    """The offsets of one key point from its rows (points in time)."""
    n_views = len(seen.rig)
    offset = np.zeros((n_views, 2))
    unknown = np.full((n_views, 2), np.nan)
    if len(rows) < _FEWEST_FRAMES:
        return _KeypointOffsets(unknown, unknown, len(rows), float("nan"))
    px = seen.px[:, rows]
    covariance = None if seen.covariance is None else seen.covariance[:, rows]
    gate = np.inf
    for turn in range(_TURNS):
        points = triangulate(
            px - offset[:, None],
            seen.rig,
            confidence=seen.weight[:, rows],
            covariance=covariance,
            max_error_px=gate,
            threads=threads,
        )
        solved = np.flatnonzero(np.isfinite(points.position[:, 0]))
        if len(solved) < _FEWEST_FRAMES:
            return _KeypointOffsets(unknown, unknown, len(solved), float("nan"))
        used = points.inlier[:, solved]
        views = np.flatnonzero(used.sum(axis=1) >= _FEWEST_FRAMES)
        position = points.position[solved]
        by_position = np.stack([_by_position(seen.rig.cameras[view], position) for view in views])
        residual = (px[:, solved] - offset[:, None] - seen.rig.project(position))[views]
        distance = np.linalg.norm(residual[used[views]], axis=-1)
        scale = max(float(np.median(distance)) / _MEDIAN_RAYLEIGH, 1e-9)
        scores = _Scores.of(residual, by_position, used[views], scale)
        step = scores.step()
        offset[views] += step
        moved = float(np.abs(step).max(initial=0.0))
        if gate == np.inf and (moved < _SETTLED_PX or turn >= _BELIEVING_TURNS):
            gate = max(_SMALLEST_GATE_PX, _GATE * scale) if limit is None else limit
        elif moved < _CONVERGED_PX:
            break
    pull = _precision(seen, rows[solved])[views] @ by_position
    covariance_of_step, correlation = scores.covariance(np.where(used[views][..., None, None], pull, 0.0))
    value, sd = unknown.copy(), unknown.copy()
    gauge = _gauge(offset[views], by_position.mean(axis=1))
    variance = np.diag(gauge @ covariance_of_step @ gauge.T).reshape(-1, 2)
    chosen = (gauge @ offset[views].ravel()).reshape(-1, 2)
    value[views] = np.where(np.isfinite(variance), chosen, np.nan)
    sd[views] = np.sqrt(variance)
    return _KeypointOffsets(value, sd, len(solved), correlation)


def _by_position(camera: Camera, position: FloatArray) -> FloatArray:
    """Derivatives (n, 2, 3) of a view's pixels by the world position; zero where the view cannot see it."""
    _, by_point, _ = camera.lens.jacobian(position @ camera.rotation.T + camera.translation)
    return np.nan_to_num(by_point @ camera.rotation)


def _precision(seen: Observations, rows: NDArray[np.int64]) -> FloatArray:
    """How `triangulate` weighs the 2D points of some rows: confidence / covariance (view, n, 2, 2), in 1 / px²."""
    confidence = np.where(seen.weight[:, rows] > 0, seen.weight[:, rows], 0.0)[..., None, None]
    if seen.covariance is None:
        return confidence * np.eye(2)
    covariance = seen.covariance[:, rows]
    known = np.isfinite(covariance).all(axis=(-2, -1), keepdims=True)
    return confidence * np.linalg.inv(np.where(known, covariance, np.eye(2)))


@dataclass(frozen=True, eq=False)
class _Scores:
    """What each frame says of the offsets: its residuals with Huber's weights, projected off what a move of its 3D
    point would explain.

    residual (n, 2 view), 0 where a view is not used; weight (n, 2 view); by_position (n, 2 view, 3); fit
    (n, 3, 2 view), the move of the point that weighted residuals ask for; projected (n, 2 view, 2 view), the weights
    less the part that the move explains; determined (2 view, m), orthonormal combinations of offsets that the frames
    determine; loose (2 view,), whether a number takes part in others.
    """

    residual: FloatArray
    weight: FloatArray
    by_position: FloatArray
    fit: FloatArray
    projected: FloatArray
    determined: FloatArray
    loose: NDArray[np.bool_]

    @classmethod
    def of(cls, residual: FloatArray, by_position: FloatArray, used: NDArray[np.bool_], scale: float) -> _Scores:
        """residual (view, n, 2), by_position (view, n, 2, 3), used (view, n); scale: standard deviation, px."""
        residual = np.where(used[..., None], residual, 0.0)
        distance = np.maximum(np.linalg.norm(residual, axis=-1), 1e-12)
        weight = np.repeat(np.where(used, np.minimum(1.0, _HUBER * scale / distance), 0.0).T, 2, axis=1)
        J = _by_frame(by_position)
        WJ = weight[..., None] * J
        fit = _fit(J, WJ)
        projected = weight[..., None] * np.eye(weight.shape[1]) - WJ @ fit
        basis = _gauge_basis(J.mean(axis=0))
        eigenvalue, vector = np.linalg.eigh(basis.T @ projected.sum(axis=0) @ basis)
        known = eigenvalue > _UNDETERMINED * eigenvalue[-1]
        loose = np.abs(basis @ vector[:, ~known]).max(axis=1, initial=0.0) > 1e-3
        return cls(_by_frame(residual), weight, J, fit, projected, basis @ vector[:, known], loose)

    def step(self) -> FloatArray:
        """Change of the offsets (view, 2)."""
        return (self.determined @ self._reduced_step()).reshape(-1, 2)

    def covariance(self, pull: FloatArray) -> tuple[FloatArray, float]:
        """Covariance of the offsets (2 view, 2 view), and the autocorrelation time of the scores in frames.

        The sandwich of an M-estimate: the scatter of the frames' scores between inverses of the derivative of their
        sum by the offsets. Where Huber's function bends, that is less than the weights: they fall as residuals grow.

        pull (view, n, 2, 3): derivatives by the position times the precisions by which the points were triangulated.
        """
        n = len(self.residual)
        left = self._of_residuals(self.residual - self.determined @ self._reduced_step())
        # by how much a weight beyond the bend falls, times what is left beside the weighted point
        r = self.residual.reshape(n, -1, 2)
        falling = np.where(self.weight < 1.0, self.weight, 0.0)[:, ::2] / np.maximum((r**2).sum(axis=-1), 1e-24)
        beside = self.residual - np.einsum("nij,njk,nk->ni", self.by_position, self.fit, self.residual, optimize=True)
        seen = self.determined - self.by_position @ (_fit(self.by_position, _by_frame(pull)) @ self.determined)
        along = falling[..., None] * np.einsum("nvi,nvik->nvk", r, seen.reshape(*r.shape, -1))
        bend = beside[..., None] * np.repeat(along, 2, axis=1)
        bend -= np.swapaxes(self.fit, -1, -2) @ (np.swapaxes(self.by_position, -1, -2) @ bend)
        derivative = self._normal() - self.determined.T @ bend.sum(axis=0)
        moved = np.linalg.solve(derivative, left.T).T
        correlation = autocorrelation_time(moved)
        covariance = self.determined @ (moved.T @ moved) @ self.determined.T * correlation * n / max(n - 1, 1)
        covariance[self.loose] = np.nan
        covariance[:, self.loose] = np.nan
        return covariance, correlation

    def _of_residuals(self, residual: FloatArray) -> FloatArray:
        """(n, m) of residuals (n, 2 view)."""
        return np.asarray(np.einsum("nij,nj->ni", self.projected, residual) @ self.determined)

    def _normal(self) -> FloatArray:
        normal: FloatArray = self.determined.T @ self.projected.sum(axis=0) @ self.determined
        return normal

    def _reduced_step(self) -> FloatArray:
        step: FloatArray = np.linalg.solve(self._normal(), self._of_residuals(self.residual).sum(axis=0))
        return step


def _fit(by_position: FloatArray, pull: FloatArray) -> FloatArray:
    """The move of a point (n, 3, 2 view) that residuals ask for, weighted as in pull = weights * by_position."""
    inverse = np.linalg.pinv(np.swapaxes(by_position, -1, -2) @ pull, rcond=1e-12, hermitian=True)
    fit: FloatArray = inverse @ np.swapaxes(pull, -1, -2)
    return fit


def _by_frame(values: FloatArray) -> FloatArray:
    """(view, n, 2, ...) as (n, 2 view, ...)."""
    return np.swapaxes(values, 0, 1).reshape(values.shape[1], -1, *values.shape[3:])


def _gauge_basis(by_position: FloatArray) -> FloatArray:
    """Orthonormal columns (2 view, 2 view - 3) of offsets that no shift of the 3D point makes."""
    u, _, _ = np.linalg.svd(by_position)
    basis: FloatArray = u[:, 3:]
    return basis


def _gauge(offset: FloatArray, by_position: FloatArray) -> FloatArray:
    """The matrix (2 view, 2 view) that takes from offsets (view, 2) the shift of the 3D point which leaves the least
    sum of their lengths (pseudo-Huber loss, Weiszfeld's iteration); by_position (view, 2, 3)."""
    J = by_position.reshape(-1, 3)
    matrix = np.eye(len(J))
    left = offset.ravel()
    for _ in range(_GAUGE_TURNS):
        length = np.linalg.norm(left.reshape(-1, 2), axis=1)
        weight = np.repeat(1 / np.hypot(length, max(_SMALL_PX, float(np.median(length)))), 2)
        matrix = np.eye(len(J)) - J @ np.linalg.pinv(np.sqrt(weight)[:, None] * J) * np.sqrt(weight)
        before, left = left, matrix @ offset.ravel()
        if np.abs(left - before).max() < _CONVERGED_PX:
            break
    return matrix


def autocorrelation_time(series: FloatArray) -> float:
    """1 + 2 * the summed autocorrelation of rows (n, k) up to its first value below 0.05, at least 1."""
    n = len(series)
    power = float((series**2).sum()) / n
    if power == 0:
        return 1.0
    total = 1.0
    for lag in range(1, n // 4):
        value = float((series[:-lag] * series[lag:]).sum()) / (n - lag) / power
        if value < 0.05:
            break
        total += 2 * value
    return total
