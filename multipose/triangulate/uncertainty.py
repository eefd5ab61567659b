"""How noisy the 2D points are, learned from how far the views disagree.

No estimate needs a truth: four numbers of two views determine three numbers of a point, and what is left over is noise.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from multipose.camera import Camera, CameraRig
from multipose.geometry import transform
from multipose.lens import TelecentricLens
from multipose.triangulate.blocks import SMALLEST_VARIANCE
from multipose.triangulate.points import STATES, FloatArray, Points, triangulate

_PAIR_BUDGET = 30_000  # pairs of pixels that pair_noise looks at
_CHUNK = 16_384  # points whose parallax is found at once
_FACTOR_BUDGET = 12_000  # points that variance_factors looks at
_FACTOR_STEPS = 25
_FACTOR_CHANGE = 1e-3  # relative; smaller ones end the iteration
_LOG_VARIANCE = 2.5  # of the logarithm of a factor, times the numbers left over that it rests on
_TRIM = 2.5  # standard deviations; larger residuals do not speak about the noise
_TRIMMED_VARIANCE = 0.91125  # of a standard normal number within _TRIM
_SMALLEST_FACTOR = 1e-6
_DETERMINED = 1e-9  # share of a residual's variance below which the fit leaves nothing over
_LOWER_QUARTILE_CHI = 0.31864  # of the absolute value of a standard normal number


def pair_noise(px: FloatArray, rig: CameraRig, usable: NDArray[np.bool_], threads: int | None = None) -> float:
    """Standard deviation per coordinate of the 2D points, in px, from the disagreement of every two views.

    Two views that see one point leave one number over, whose absolute value is that of a normal number of the same
    standard deviation. The lower quartile over all pairs is taken, so that up to two thirds of the pairs may hold a
    gross error (which makes the answer too large by a factor of about 4, never too small by much). At most 30,000
    pairs, evenly spread over the points, are looked at.

    Args:
        px: (view, n, 2).
        rig: the cameras.
        usable: (view, n) which points count.

    Returns:
        NaN where no two views see a point; infinity where three quarters of the pairs or more do
        not meet in front of both.
    """
    pairs = list(combinations(range(len(rig)), 2))
    budget = max(100, _PAIR_BUDGET // len(pairs))
    found = []
    for first, second in pairs:
        both = np.flatnonzero(usable[first] & usable[second])
        chosen = both[np.unique(np.linspace(0, len(both) - 1, min(len(both), budget)).astype(int))]
        if not len(chosen):
            continue
        views = [first, second]
        names = [rig.names[view] for view in views]
        solved = triangulate(px[np.ix_(views, chosen)], rig.subset(names), threads=threads)
        off = _distances(px[np.ix_(views, chosen)], solved.position, rig.subset(names))
        found.append(np.where(np.isnan(solved.error), np.inf, np.sqrt((off**2).sum(axis=0))))
    if not found:
        return float("nan")
    return float(np.quantile(np.concatenate(found), 0.25, method="lower")) / _LOWER_QUARTILE_CHI


def residual_noise(px: FloatArray, rig: CameraRig, points: Points, covariance: FloatArray | None = None) -> float:
    """Standard deviation per coordinate of the 2D points from the residuals of triangulated points.

    A point that rests on m views leaves 2m - 3 numbers over. Each point gives the sum of its squared residuals over
    that, corrected to the median of its chi-square distribution (Wilson & Hilferty 1931); the answer is the root of
    the median over the points, so that fewer than half of them may be bad.

    Args:
        px: (view, n, 2).
        rig: the cameras.
        points: what `triangulate` made of px.
        covariance: (view, n, 2, 2) px²; if given, residuals are measured in their own standard deviations, and the
        answer
            is a factor: 1 where the covariances tell the truth.

    Returns:
        NaN where no point was found.
    """
    known = np.flatnonzero(np.isin(points.state, (STATES.index("consistent"), STATES.index("two_views"))))
    known = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), _PAIR_BUDGET)).astype(int))]
    if not len(known):
        return float("nan")
    off = px[:, known] - rig.project(points.position[known])
    if covariance is None:
        squares = (off**2).sum(axis=-1)
    else:
        own = covariance[:, known]
        stated = np.isfinite(own).all(axis=(-2, -1)) & (np.linalg.det(own) > 0)
        own = np.where(stated[..., None, None], own, np.eye(2))
        squares = (off * np.linalg.solve(own, off[..., None])[..., 0]).sum(axis=-1)
    inlier = points.inlier[:, known]
    spare = 2 * inlier.sum(axis=0) - 3
    total = np.where(inlier, squares, 0.0).sum(axis=0)
    return float(np.sqrt(np.median(total / spare / (1 - 2 / (9 * spare)) ** 3)))


def variance_factors(
    px: FloatArray,
    rig: CameraRig,
    points: Points,
    n_keypoints: int = 1,
    *,
    covariance: FloatArray | None = None,
    noise_px: float = 1.0,
    start: FloatArray | None = None,
) -> FloatArray:
    """By how much the 2D covariances must be multiplied to explain the residuals, pooled per view and key point.

    A residual is smaller than the noise, as the point gave way to it, by a share that follows from the covariances
    (with few views by much). Every residual is therefore measured along the axes and in the standard deviations that
    its own covariance predicts, and its square counts by the share of the noise that the fit left over; those beyond
    2.5 standard deviations are left out, and the mean square is corrected for that. As the views share a point, the
    factors of all are found together, by iteration: without the trimming this is Helmert's estimate of variance
    components, which is that of restricted maximum likelihood (Förstner 1979). A factor that rests on few residuals is
    drawn towards the one of its view, and that towards the one of all views, unless they plainly differ.

    Two views alone cannot be told apart: what they disagree by is shared out between them as the covariances say, and
    both get the same factor where these are in proportion.

    Args:
        px: (view, n, 2); the key point of point i is i % n_keypoints.
        rig: the cameras.
        points: what `triangulate` made of px; only the views used count.
        n_keypoints: number of key points.
        covariance: (view, n, 2, 2) px²; NaN, or none, where it is noise_px² I.
        noise_px: px.
        start: (view, n_keypoints) factors from which to begin; by default 1.

    Returns:
        (view, n_keypoints), 1 where nothing is known.
    """
    chosen = _spread_evenly(points, n_keypoints)
    cells = np.arange(len(rig))[:, None] * n_keypoints + chosen % n_keypoints
    derivatives, residuals = _whitened(px, rig, points, chosen, covariance, noise_px)
    used = points.inlier[:, chosen]
    factors = np.ones((len(rig), n_keypoints)) if start is None else start
    for _ in range(_FACTOR_STEPS if len(chosen) else 0):
        scale = 1.0 / np.sqrt(factors.ravel()[cells])
        squares, shares = _left_over(derivatives * scale[..., None, None], residuals * scale[..., None])
        inside = used[..., None] & (squares <= _TRIM**2) & (shares > _DETERMINED)
        left, share = (
            _summed(np.where(inside, part, 0.0), cells, factors.shape)
            for part in (squares * shares / _TRIMMED_VARIANCE, shares)
        )
        change = _pooled(left, share, factors)
        factors = factors * change
        if np.abs(change - 1.0).max() < _FACTOR_CHANGE:
            break
    return factors


def parallax(position: FloatArray, rig: CameraRig, inlier: NDArray[np.bool_]) -> FloatArray:
    """The largest angle in radians between two of the rays that a point rests on, 0 to pi.

    Near 0 and near pi the rays are nearly parallel, and the depth along them is hardly known.

    Args:
        position: (n, 3).
        rig: the cameras.
        inlier: (view, n) the views used.

    Returns:
        (n,), NaN where fewer than two views are used.
    """
    result = np.full(len(position), np.nan)
    for first in range(0, len(position), _CHUNK):
        part = slice(first, first + _CHUNK)
        rays = np.stack([_directions(position[part], camera) for camera in rig.cameras])
        smallest = np.full(len(position[part]), np.inf)
        for a, b in combinations(range(len(rig)), 2):
            both = inlier[a, part] & inlier[b, part]
            cosine = np.einsum("ij,ij->i", rays[a], rays[b])
            np.minimum(smallest, cosine, out=smallest, where=both)
        result[part] = np.where(smallest < np.inf, np.arccos(np.clip(smallest, -1.0, 1.0)), np.nan)
    return result


def _directions(position: FloatArray, camera: Camera) -> FloatArray:
    """Unit directions (n, 3) from a camera to points."""
    if isinstance(camera.lens, TelecentricLens):
        return np.broadcast_to(camera.rotation[2], position.shape)
    towards = position - camera.center
    directions: FloatArray = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    return directions


def _spread_evenly(points: Points, n_keypoints: int) -> NDArray[np.int64]:
    """Indices of points that have a position, as many of each key point, evenly spread."""
    known = np.isin(points.state, (STATES.index("consistent"), STATES.index("two_views")))
    chosen = []
    for keypoint in range(n_keypoints):
        own = keypoint + n_keypoints * np.flatnonzero(known[keypoint::n_keypoints])
        count = min(len(own), max(100, _FACTOR_BUDGET // n_keypoints))
        chosen.append(own[np.unique(np.linspace(0, len(own) - 1, count).astype(int))])
    return np.concatenate(chosen)


def _whitened(
    px: FloatArray,
    rig: CameraRig,
    points: Points,
    chosen: NDArray[np.int64],
    covariance: FloatArray | None,
    noise_px: float,
) -> tuple[FloatArray, FloatArray]:
    """Derivatives (view, m, 2, 3) and residuals (view, m, 2) of points in standard deviations; 0 in views not used."""
    xyz = points.position[chosen]
    own = np.broadcast_to(noise_px**2 * np.eye(2), (len(rig), len(chosen), 2, 2)).copy()
    if covariance is not None:
        stated = covariance[:, chosen]
        good = np.isfinite(stated).all(axis=(-2, -1)) & (np.linalg.det(np.nan_to_num(stated)) > SMALLEST_VARIANCE**2)
        own[good] = stated[good]
    white = np.linalg.inv(np.linalg.cholesky(own))
    jacobian = np.stack(
        [camera.lens.jacobian(transform(camera.camera_from_world, xyz))[1] @ camera.rotation for camera in rig.cameras]
    )
    used = points.inlier[:, chosen, None]
    residuals = np.where(used, px[:, chosen] - rig.project(xyz), 0.0)
    return white @ np.where(used[..., None], jacobian, 0.0), (white @ residuals[..., None])[..., 0]


def _left_over(derivatives: FloatArray, residuals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Squares (view, m, 2) of the refitted residuals along their axes, in the variances that are predicted for them,
    and these variances: the shares of the noise, between 0 and 1, that the fit leaves over."""
    transposed = np.swapaxes(derivatives, -1, -2)
    inverse = np.linalg.pinv((transposed @ derivatives).sum(axis=0), hermitian=True)
    step = inverse @ (transposed @ residuals[..., None]).sum(axis=0)
    rest = residuals[..., None] - derivatives @ step
    shares, axes = np.linalg.eigh(np.eye(2) - derivatives @ inverse @ transposed)
    along = (np.swapaxes(axes, -1, -2) @ rest)[..., 0]
    return along**2 / np.maximum(shares, _DETERMINED), shares


def _summed(values: FloatArray, cells: NDArray[np.int64], shape: tuple[int, ...]) -> FloatArray:
    """Sums of values (view, m, 2) by the cell (view, m) that they belong to."""
    sums = np.bincount(cells.ravel(), weights=values.sum(axis=-1).ravel(), minlength=int(np.prod(shape)))
    result: FloatArray = sums.astype(np.float64).reshape(shape)
    return result


def _pooled(squares: FloatArray, shares: FloatArray, factors: FloatArray) -> FloatArray:
    """Changes of the factors (view, keypoint): those of a view are drawn towards their mean, and the views' means to
    that of all, as far as they differ by no more than their own uncertainty lets them."""
    total = shares.sum()
    if not total > 0:
        return np.ones_like(factors)
    everything = np.log(max((squares * factors).sum() / total, _SMALLEST_FACTOR))
    views = _drawn((squares * factors).sum(axis=1), shares.sum(axis=1), np.full(len(factors), everything))
    changed: FloatArray = np.exp(_drawn(squares * factors, shares, np.broadcast_to(views[:, None], shares.shape)))
    return changed / factors


def _drawn(sums: FloatArray, shares: FloatArray, towards: FloatArray) -> FloatArray:
    """Logarithms of sums / shares, drawn towards others by empirical Bayes: the spread of the true ones is what their
    spread has beyond their own variances (Efron & Morris 1975)."""
    known = np.maximum(shares, 1e-300)
    off = np.log(np.maximum(sums / known, _SMALLEST_FACTOR)) - towards
    variance = _LOG_VARIANCE / known
    spread = max(0.0, float((shares * off**2).sum() - _LOG_VARIANCE * (shares > 0).sum()) / float(shares.sum()))
    result: FloatArray = towards + off * spread / (spread + variance)
    return result


def _distances(px: FloatArray, position: FloatArray, rig: CameraRig) -> FloatArray:
    """Reprojection distances (view, n) in px."""
    distances: FloatArray = np.linalg.norm(px - rig.project(position), axis=-1)
    return distances
