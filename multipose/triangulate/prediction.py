"""What the other views say of a view: where they see its points, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multipose.camera import Camera
from multipose.triangulate.points import FloatArray, triangulate
from multipose.triangulate.reconstruction import Observations
from multipose.triangulate.rig_covariance import RigCovariance, pixel_derivatives


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the other views say of the points in one view.

    xyz: (n, 3), NaN where they say nothing; covariance: (n, 3, 3); px: (n, 2).
    weight: (view, n) by how much the points rest on each view of the rig, in 1 / px²; 0: not at all.
    """

    xyz: FloatArray
    covariance: FloatArray
    px: FloatArray
    weight: FloatArray

    def select(self, rows: NDArray[np.int64]) -> Prediction:
        """Those of some points."""
        return Prediction(self.xyz[rows], self.covariance[rows], self.px[rows], self.weight[:, rows])


def predict(seen: Observations, noise: FloatArray, view: int, limit: float, threads: int | None) -> Prediction:
    """The points as the views but `view` see them, robustly; noise: (view, n, 2, 2) px²."""
    n = seen.px.shape[1]
    others = [other for other in range(len(seen.rig)) if other != view]
    weight = np.zeros((len(seen.rig), n))
    if len(others) < 2:
        return Prediction(np.full((n, 3), np.nan), np.full((n, 3, 3), np.nan), np.full((n, 2), np.nan), weight)
    points = triangulate(
        seen.px[others],
        seen.rig.subset([seen.rig.names[other] for other in others]),
        confidence=seen.weight[others],
        covariance=noise[others],
        max_error_px=limit,
        threads=threads,
    )
    variance = np.trace(noise[others], axis1=-2, axis2=-1) / 2
    weight[others] = np.where(points.inlier, seen.weight[others] / variance, 0.0)
    return Prediction(points.position, points.covariance, seen.rig.cameras[view].project(points.position), weight)


def squared_distances(
    px: FloatArray, noise: FloatArray, camera: Camera, prediction: Prediction, calibration: RigCovariance | None = None
) -> FloatArray:
    """(n,) squared distances of 2D points from their predictions, in units of the predicted covariance.

    px: (n, 2) and noise: (n, 2, 2) px² of the points in `camera`; calibration: of the rig whose views the prediction
    rests on, and this camera.
    """
    by_point, _ = pixel_derivatives(camera, prediction.xyz)
    spread = noise + by_point @ prediction.covariance @ np.swapaxes(by_point, -1, -2)
    if calibration is not None:
        moves = by_point @ calibration.moves(prediction.xyz, prediction.weight)
        moves = moves + calibration.pixel_moves(camera.name, prediction.xyz)
        spread = spread + moves @ np.swapaxes(moves, -1, -2)
    off = px - prediction.px
    return np.asarray((off * np.linalg.solve(spread, off[..., None])[..., 0]).sum(-1))
