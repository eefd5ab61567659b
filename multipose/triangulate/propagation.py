"""Points with their errors, and what becomes of the errors in sums, differences, slopes and functions of points.

Three kinds of error are carried side by side: the noise of each point, independent of the others', as a covariance; the
part of the noise by which the points of an individual are off together, as three moves of each; and the calibration's
error, common to all points, as moves along its independent errors (`RigCovariance.moves`). Moves are added with their
signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.errors import DataError
from multipose.triangulate.rig_covariance import RigCovariance

FloatArray = NDArray[np.float64]

_TOGETHER = 0.2  # correlation of the errors of neighbouring key points that networks found (docs/uncertainty.md)


@dataclass(frozen=True, eq=False)
class UncertainPoints:
    """Points (or vectors) with their errors.

    position: (n, point, 3); covariance: (n, point, 3, 3) of the noise of each point by itself; together: (n, point, 3,
    3) moves of the noise that points have in common; moves: (n, point, 3, error) of the calibration, with no errors
    where it is taken as exact. NaN where unknown.
    """

    position: FloatArray
    covariance: FloatArray
    together: FloatArray
    moves: FloatArray

    def pick(self, places: Sequence[int]) -> UncertainPoints:
        """The points at these places."""
        chosen = list(places)
        return UncertainPoints(
            self.position[:, chosen], self.covariance[:, chosen], self.together[:, chosen], self.moves[:, chosen]
        )

    def combine(self, weights: Sequence[float]) -> UncertainPoints:
        """One point, the sum of all with these weights."""
        w = np.asarray(weights, dtype=np.float64)
        return UncertainPoints(
            np.einsum("k,nki->ni", w, self.position)[:, None],
            np.einsum("k,nkij->nij", w**2, self.covariance)[:, None],
            np.einsum("k,nkir->nir", w, self.together)[:, None],
            np.einsum("k,nkir->nir", w, self.moves)[:, None],
        )

    def variances(self, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        """First-order variances (n,), of noise and calibration, of a function with this gradient (n, point, 3)."""
        noise = np.einsum("nki,nkij,nkj->n", gradient, self.covariance, gradient)
        noise += (np.einsum("nki,nkir->nr", gradient, self.together) ** 2).sum(-1)
        return noise, (np.einsum("nki,nkir->nr", gradient, self.moves) ** 2).sum(-1)

    def spread(self) -> FloatArray:
        """(n, point, 3, 3) covariance of all kinds of error together."""
        both = np.concatenate([self.together, self.moves], axis=-1)
        return np.asarray(self.covariance + both @ np.swapaxes(both, -1, -2))


def uncertain_points(tracks: xr.Dataset, calibration: RigCovariance | None) -> UncertainPoints:
    """The points of Trajectories3D, flat over time and individual: (time * individual, keypoint, ...).

    Errors of points that networks or people found correlate between the key points of an individual by 0.2.
    """
    point = ("time", "individual", "keypoint")
    position = tracks["position"].transpose(*point, "space").values
    covariance = tracks["covariance"].transpose(*point, "space", "space_").values
    n, n_keypoints = position.shape[0] * position.shape[1], position.shape[2]
    xyz = position.reshape(n * n_keypoints, 3)
    if calibration is None:
        moves = np.zeros((n * n_keypoints, 3, 0))
    else:
        moves = calibration.moves(xyz, _view_weights(tracks, calibration, xyz))
    common = _TOGETHER if "shared_error" in tracks and (tracks["shared_error"].values > 0).any() else 0.0
    noise = covariance.reshape(n, n_keypoints, 3, 3)
    return UncertainPoints(
        xyz.reshape(n, n_keypoints, 3),
        (1 - common) * noise,
        np.sqrt(common) * _roots(noise),
        moves.reshape(n, n_keypoints, 3, moves.shape[-1]),
    )


def _roots(covariance: FloatArray) -> FloatArray:
    """Symmetric square roots of covariances (..., 3, 3), NaN where these are unknown."""
    known = np.isfinite(covariance).all((-1, -2))
    roots = np.full_like(covariance, np.nan)
    values, axes = np.linalg.eigh(covariance[known])
    roots[known] = np.einsum("nij,nj,nkj->nik", axes, np.sqrt(np.maximum(values, 0.0)), axes)
    return roots


def velocities(points: UncertainPoints, times: FloatArray, reach: int) -> UncertainPoints:
    """Slopes of the least-squares lines through each point's positions over `reach` times on either side.

    Args:
        points: (time * individual, point, ...), the individuals of one time side by side.
        times: (time,) seconds.

    Returns:
        As points; NaN where one of the positions is unknown and at the ends. Slopes less than 2 * reach + 1 times apart
        share positions, so that their errors hang together.
    """
    n_times, width = len(times), 2 * reach + 1

    def by_time(values: FloatArray) -> FloatArray:
        return values.reshape(n_times, len(values) // n_times, *values.shape[1:])

    given = [by_time(v) for v in (points.position, points.covariance, points.together, points.moves)]
    result = [np.full_like(values, np.nan) for values in given]
    if n_times >= width:
        windows = np.lib.stride_tricks.sliding_window_view(times, width)
        arms = windows - windows.mean(1, keepdims=True)
        weights = arms / (arms**2).sum(1, keepdims=True)
        inner = slice(reach, n_times - reach)
        for values, target, power in zip(given, result, (1, 2, 1, 1), strict=True):
            ranks = (-1, *[1] * (values.ndim - 1))
            target[inner] = sum(
                weights[:, k].reshape(ranks) ** power * values[k : n_times - width + 1 + k] for k in range(width)
            )
    flat = [values.reshape(len(points.position), *values.shape[2:]) for values in result]
    return UncertainPoints(*flat)


def _view_weights(tracks: xr.Dataset, calibration: RigCovariance, xyz: FloatArray) -> FloatArray:
    """(view, point) by how much each point rests on each view of the rig: on the views that the trajectories believed,
    or, where fewer than two are known, on those whose picture shows it; by `variance_factor`, or alike.
    """
    rig = calibration.rig
    shown = np.zeros((len(rig), len(xyz)), dtype=bool)
    for view, camera in enumerate(rig):
        px = camera.project(xyz)
        with np.errstate(invalid="ignore"):
            shown[view] = ((px >= -0.5) & (px <= np.array(camera.size) - 0.5)).all(-1)
    if "inlier" not in tracks:
        return shown.astype(np.float64)
    views = [str(name) for name in tracks["view"].values]
    unknown = [name for name in views if name not in rig]
    if unknown:
        raise DataError(
            f"The trajectories rest on the views {', '.join(views)}, but the calibration has no {', '.join(unknown)}; "
            f"it has {', '.join(rig.names)}. Take the calibration that they were reconstructed with."
        )
    inlier = tracks["inlier"].transpose("view", "time", "individual", "keypoint").values.reshape(len(views), -1)
    used = np.zeros_like(shown)
    used[[rig.names.index(name) for name in views]] = inlier.astype(bool)
    interpolated = used.sum(0) < 2
    used[:, interpolated] = shown[:, interpolated]
    weight = used.astype(np.float64)
    if "variance_factor" in tracks:
        factor = tracks["variance_factor"].transpose("view", "keypoint").fillna(1.0).values
        rows = [rig.names.index(name) for name in views]
        weight[rows] /= np.tile(factor, (1, weight.shape[1] // factor.shape[1]))
    return weight
