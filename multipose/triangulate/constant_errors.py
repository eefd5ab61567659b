"""How much of a point's error is constant: a key point that means another place of the body in each view.

A constant error counts in a position, and cancels in how a position changes: in speeds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multipose.camera import CameraRig
from multipose.triangulate.points import Points
from multipose.triangulate.uncertainty import variance_factors, whitened

FloatArray = NDArray[np.float64]

_MOST_INSTANTS = 1000
_STRETCHES = 10  # of time, whose means tell how well a mean is known: errors last for many frames
_FEWEST = 3  # points of a stretch, and stretches
_NOTABLE = 0.1  # share of the squared residuals of all that is constant, below which nothing is
_MOST = 0.9999
_NOTHING = 1e-30  # stands for no residual at all where one divides by their sum


def constant_shares(
    px: FloatArray,
    rig: CameraRig,
    points: Points,
    factors: FloatArray,
    *,
    covariance: FloatArray | None = None,
    noise_px: float = 1.0,
) -> FloatArray:
    """(keypoint,) share of the variance of a point in space that is constant over time, 0 to below 1.

    A view's mean residual, as far as it exceeds what the means of stretches of time scatter by, is taken off; the
    variance factors of what is left, carried on to the points by the weights that the views were given, are the part
    that varies.

    Args:
        px, rig, points, covariance, noise_px: as of `variance_factors`.
        factors: (view, keypoint) what that gave.
    """
    n_keypoints = factors.shape[1]
    n_instants = px.shape[1] // n_keypoints
    instants = np.unique(np.linspace(0, n_instants - 1, min(n_instants, _MOST_INSTANTS)).astype(int))
    chosen = (instants[:, None] * n_keypoints + np.arange(n_keypoints)).ravel()
    residual = px[:, chosen] - rig.project(points.position[chosen])
    residual[~points.inlier[:, chosen]] = np.nan
    mean, share = _constant_part(residual.reshape(len(rig), len(instants), n_keypoints, 2))
    if share < _NOTABLE:
        return np.zeros(n_keypoints)
    some = points.take(chosen)
    own = None if covariance is None else covariance[:, chosen]
    moved = px[:, chosen] - np.tile(mean, (1, len(instants), 1))
    varying = variance_factors(moved, rig, some, n_keypoints, covariance=own, noise_px=noise_px, start=factors)
    derivatives, _ = whitened(moved, rig, some, np.arange(len(chosen)), own, noise_px)
    scale = np.tile(factors, (1, len(instants)))[..., None, None]
    transposed = np.swapaxes(derivatives, -1, -2)
    inverse = np.linalg.pinv((transposed @ derivatives / scale).sum(0), hermitian=True)
    ratio = np.tile(varying / factors, (1, len(instants)))[..., None, None]
    middle = (transposed @ derivatives / scale * ratio).sum(0)
    whole, rest = (np.trace(one, axis1=-2, axis2=-1) for one in (inverse, inverse @ middle @ inverse))
    known = np.isfinite(points.position[chosen]).all(-1) & (whole > 0)
    part = np.where(known, rest / np.where(known, whole, 1.0), np.nan).reshape(-1, n_keypoints)
    found = [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else 1.0 for column in part.T]
    return np.asarray(np.clip(1 - np.array(found), 0.0, _MOST))


def _constant_part(residual: FloatArray) -> tuple[FloatArray, float]:
    """The constant part (view, keypoint, 2) of residuals (view, instant, keypoint, 2), NaN where there is none, and its
    share of the sum of squares.
    """
    stretches = np.array_split(residual, _STRETCHES, axis=1)
    count = np.stack([np.isfinite(one).all(-1).sum(1) for one in stretches])  # (stretch, view, keypoint)
    enough = count >= _FEWEST
    count, n = np.where(enough, count, 0), enough.sum(0)
    summed = np.where(enough[..., None], np.stack([np.nansum(one, axis=1) for one in stretches]), 0.0)
    mean = summed.sum(0) / np.maximum(count.sum(0), 1)[..., None]
    off = np.where(enough[..., None], summed / np.maximum(count, 1)[..., None] - mean, 0.0)
    scatter = (off**2).sum((0, -1)) / np.maximum(n * (n - 1), 1)
    size = (mean**2).sum(-1)
    believed = np.where(n >= _FEWEST, np.maximum(1 - scatter / np.maximum(size, _NOTHING), 0.0), 0.0)
    share = (believed * size * count.sum(0)).sum() / max(float(np.nansum(residual**2)), _NOTHING)
    return mean * np.sqrt(believed)[..., None], float(share)
