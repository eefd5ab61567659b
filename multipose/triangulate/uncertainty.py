"""How noisy the 2D points are, learned from how far the views disagree.

No estimate needs a truth: four numbers of two views determine three numbers of a point, and what is left over is noise.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from multipose.camera import CameraRig
from multipose.triangulate import uncertainty_kernels as kernels
from multipose.triangulate.blocks import SMALLEST_VARIANCE
from multipose.triangulate.points import STATES, FloatArray, Points, triangulate
from multipose.triangulate.tails import FREEDOMS, Tails, fit_scale, fit_tails, log_density, variance_ratio, weights

_PAIR_BUDGET = 30_000  # pairs of pixels that pair_noise looks at
_FACTOR_BUDGET = 12_000  # points that variance_factors looks at
_FACTOR_STEPS = 25
_FACTOR_CHANGE = 1e-3  # relative; smaller ones end the iteration
_FREEDOM_STEPS = 5  # of them between two fits of the degrees of freedom
_FREEDOM_POINTS = 2000  # that these look at
_FREEDOM_PRIOR = 50.0  # errors of the usual tails that each key point is given
_EFFECT_STEPS = 3  # between parts of key points and of views
_LOG_VARIANCE = 2.0  # of the logarithm of a factor, times the independent Gaussian numbers that it rests on
_BLOCKS = 20  # stretches of time
_FEWEST_BLOCKS = 5  # from which their variation tells something
_LEAST_SHARE = 0.1  # of the median view's factor of a key point, that a view has at least
_SMALLEST_FACTOR = 1e-6
_NOTHING = 1e-30  # stands for no residual at all where one divides by their number
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
    off = px[:, known] - _project(points.position[known], rig)
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
    calibrated: bool = False,
) -> FloatArray:
    """By how much the 2D covariances must be multiplied to explain the residuals, pooled per view and key point.

    A residual is smaller than the noise, as the point gave way to it, by a share that follows from the covariances
    (with few views by much). Every residual is therefore measured along the axes in the standard deviations that its
    own covariance predicts, and its square counts by the share of the noise that the fit left over. As the views share
    a point, the factors of all are found together, by iteration: Helmert's estimate of variance components, which is
    that of restricted maximum likelihood (Förstner 1979), here for errors that follow Student's t, all numbers of a
    point together: a point far off counts less while the factors are sought (Lange, Little & Taylor 1989), but its tail
    is in the factors, which are variances.

    A factor that rests on few residuals is drawn towards those of its key point and of its view, and these towards the
    one of all, unless they plainly differ. How much they say is judged by how they vary over stretches of time:
    errors of neighbouring frames are alike.

    Two views alone cannot be told apart: what they disagree by is shared out between them as the covariances say, and
    both get the same factor where these are in proportion.

    Args:
        px: (view, n, 2); the key point of point i is i % n_keypoints, and i rises with time.
        rig: the cameras.
        points: what `triangulate` made of px; only the views used count.
        n_keypoints: number of key points.
        covariance: (view, n, 2, 2) px²; NaN, or none, where it is noise_px² I.
        noise_px: px.
        start: (view, n_keypoints) factors from which to begin; by default 1.
        calibrated: the covariances were calibrated on labels, so that they are right in proportion between the views:
            a view may be found noisier than they say, but not better than the others.

    Returns:
        (view, n_keypoints), 1 where nothing is known.
    """
    chosen = _spread_evenly(points, n_keypoints)
    cells = np.arange(len(rig))[:, None] * n_keypoints + chosen % n_keypoints
    parts = whitened(px, rig, points, chosen, covariance, noise_px)
    factors = np.ones((len(rig), n_keypoints)) if start is None else start
    freedom, blocks = FREEDOMS[-1], _blocks(chosen // n_keypoints)
    for step in range(_FACTOR_STEPS if len(chosen) else 0):
        squares, shares = _left_over(*parts, points.inlier[:, chosen], factors.ravel()[cells])
        total, numbers = squares.sum(0), shares.sum(0)
        if step % _FREEDOM_STEPS == 0:
            some = slice(None, None, max(1, len(total) // _FREEDOM_POINTS))
            freedom = fit_tails(total[some], numbers[some]).freedom
        counted = weights(total, numbers, Tails(1.0, freedom))
        sums = [_summed(part, cells, blocks, factors.shape) for part in (counted * squares, shares)]
        change = _pooled(sums[0], sums[1], factors, calibrated)
        factors = factors * change
        if np.abs(change - 1.0).max() < _FACTOR_CHANGE:
            break
    return factors * variance_ratio(freedom) if len(chosen) else factors


def degrees_of_freedom(
    px: FloatArray,
    rig: CameraRig,
    points: Points,
    factors: FloatArray,
    *,
    covariance: FloatArray | None = None,
    noise_px: float = 1.0,
) -> FloatArray:
    """(keypoint,) how heavy the tails of the residuals are: degrees of freedom of Student's t, 200 for a Gaussian.

    Those of a key point are held near those of all, as if it had 50 errors more of the usual kind.

    Args:
        px, rig, points, covariance, noise_px: as of `variance_factors`.
        factors: (view, keypoint) what that gave.
    """
    n_keypoints = factors.shape[1]
    chosen = _spread_evenly(points, n_keypoints)
    chosen = chosen[:: max(1, len(chosen) // (2 * _FREEDOM_POINTS))]
    if not len(chosen):
        return np.full(n_keypoints, FREEDOMS[-1])
    parts = whitened(px, rig, points, chosen, covariance, noise_px)
    cells = factors[:, chosen % n_keypoints]
    squares, numbers = (part.sum(0) for part in _left_over(*parts, points.inlier[:, chosen], cells))

    def profile(some: NDArray[np.bool_]) -> FloatArray:
        fits = [Tails(fit_scale(squares[some], numbers[some], freedom), freedom) for freedom in FREEDOMS]
        return np.array([log_density(squares[some], numbers[some], fit).sum() for fit in fits])

    usual = profile(np.ones(len(chosen), dtype=bool)) / len(chosen)
    result = np.empty(n_keypoints)
    for keypoint in range(n_keypoints):
        own = chosen % n_keypoints == keypoint
        gained = profile(own) if own.any() else 0.0
        result[keypoint] = FREEDOMS[int((gained + _FREEDOM_PRIOR * usual).argmax())]
    return result


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
    angle = np.empty(len(position))
    kernels.find_parallax(_plain(position), np.array(rig.packed()), np.ascontiguousarray(inlier), angle)
    return angle


def _spread_evenly(points: Points, n_keypoints: int) -> NDArray[np.int64]:
    """Indices of points that have a position, as many of each key point, evenly spread."""
    known = np.isin(points.state, (STATES.index("consistent"), STATES.index("two_views")))
    chosen = []
    for keypoint in range(n_keypoints):
        own = keypoint + n_keypoints * np.flatnonzero(known[keypoint::n_keypoints])
        count = min(len(own), max(100, _FACTOR_BUDGET // n_keypoints))
        chosen.append(own[np.unique(np.linspace(0, len(own) - 1, count).astype(int))])
    return np.concatenate(chosen)


def whitened(
    px: FloatArray,
    rig: CameraRig,
    points: Points,
    chosen: NDArray[np.int64],
    covariance: FloatArray | None,
    noise_px: float,
) -> tuple[FloatArray, FloatArray]:
    """Derivatives (view, m, 2, 3) and residuals (view, m, 2) of points in standard deviations; 0 in views not used."""
    n_views, m = len(rig), len(chosen)
    derivatives, residuals = np.empty((n_views, m, 2, 3)), np.empty((n_views, m, 2))
    kernels.whiten(
        _plain(px[:, chosen]),
        np.ascontiguousarray(points.inlier[:, chosen]),
        np.empty((n_views, 0, 2, 2)) if covariance is None else _plain(covariance[:, chosen]),
        noise_px**2,
        SMALLEST_VARIANCE**2,
        points.position[chosen],
        np.array(rig.packed()),
        derivatives,
        residuals,
    )
    return derivatives, residuals


def _left_over(
    derivatives: FloatArray, residuals: FloatArray, used: NDArray[np.bool_], factors: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Squares (view, m) of the refitted residuals in units of the noise, and the shares of the noise (0 to 2 numbers)
    that the fit leaves over of them; both 0 in views not used.

    derivatives, residuals: of `whitened`; used, factors: (view, m).
    """
    squares, shares = np.empty(used.shape), np.empty(used.shape)
    kernels.left_over(derivatives, residuals, np.ascontiguousarray(used), _plain(factors), _DETERMINED, squares, shares)
    return squares, shares


def _blocks(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """(m,) which of up to 20 stretches of time each point lies in, all of about as many times."""
    distinct, rank = np.unique(times, return_inverse=True)
    count = min(_BLOCKS, len(distinct))
    return np.asarray(rank * count // max(len(distinct), 1))


def _summed(
    values: FloatArray, cells: NDArray[np.int64], blocks: NDArray[np.int64], shape: tuple[int, int]
) -> FloatArray:
    """Sums (block, view, keypoint) of values (view, m) by the cell (view, m) and the block (m,) that they belong to."""
    size = shape[0] * shape[1]
    places = blocks[None] * size + cells
    sums = np.bincount(places.ravel(), weights=values.ravel(), minlength=_BLOCKS * size)
    result: FloatArray = sums.astype(np.float64).reshape(_BLOCKS, *shape)
    return result


def _pooled(squares: FloatArray, shares: FloatArray, factors: FloatArray, calibrated: bool) -> FloatArray:
    """Changes of the factors (view, keypoint): a common one, parts of key points and of views, and what is left of
    each cell, all drawn towards 0 as far as they differ by no more than their own uncertainty lets them.

    Where the views disagree about a key point by a constant, one of them can be believed entirely and the others have
    all the errors (a Heywood case). Hence no factor is below a tenth of the median view's.

    squares, shares: (block, view, keypoint).
    """
    if not shares.sum() > 0:
        return np.ones_like(factors)
    design = _design_effect(squares, shares)
    sums, total = squares.sum(0) * factors, shares.sum(0)
    everything = np.log(max(sums.sum() / total.sum(), _SMALLEST_FACTOR))
    relative = np.zeros_like(factors)
    for _ in range(_EFFECT_STEPS):
        corrected = sums / np.exp(relative)
        keypoints = _drawn(corrected.sum(0), total.sum(0), np.full(factors.shape[1], everything), design)
        explained = sums / np.exp(keypoints)
        views = _drawn(explained.sum(1), total.sum(1), np.zeros(len(factors)), design)
        views = np.maximum(views, 0.0) if calibrated else views - views.mean()
        own = _drawn(explained / np.exp(views)[:, None], total, np.zeros_like(factors), design)
        relative = views[:, None] + (np.maximum(own, 0.0) if calibrated else own)
    changed = np.exp(keypoints + relative)
    return np.asarray(np.maximum(changed, _LEAST_SHARE * np.median(changed, axis=0)) / factors)


def _design_effect(squares: FloatArray, shares: FloatArray) -> float:
    """How many times more uncertain sums (block, view, keypoint) are than those of independent Gaussian errors.

    From how they vary over the blocks (Kish 1965); 1 at least.
    """
    total, count = squares.sum(0), (shares > 0).sum(0)
    enough = (count >= _FEWEST_BLOCKS) & (total > 0)
    if not enough.any():
        return 1.0
    mean = total / np.maximum(shares.sum(0), _NOTHING)
    scatter = ((squares - mean * shares) ** 2).sum(0) / np.where(enough, total, 1.0) ** 2
    varied = scatter * count / np.maximum(count - 1, 1)
    return max(1.0, float(np.mean((varied * shares.sum(0))[enough]) / _LOG_VARIANCE))


def _drawn(sums: FloatArray, shares: FloatArray, towards: FloatArray, design: float) -> FloatArray:
    """Logarithms of sums / shares, drawn towards others by empirical Bayes: the spread of the true ones is what their
    spread has beyond their own variances (Efron & Morris 1975)."""
    known = np.maximum(shares, _NOTHING)
    off = np.log(np.maximum(sums / known, _SMALLEST_FACTOR)) - towards
    variance = design * _LOG_VARIANCE / known
    spread = max(
        0.0,
        float((shares * off**2).sum() / shares.sum())
        - design * _LOG_VARIANCE * (shares > 0).sum() / float(shares.sum()),
    )
    result: FloatArray = towards + np.where(shares > 0, off * spread / (spread + variance), 0.0)
    return result


def _distances(px: FloatArray, position: FloatArray, rig: CameraRig) -> FloatArray:
    """Reprojection distances (view, n) in px."""
    distances: FloatArray = np.linalg.norm(px - _project(position, rig), axis=-1)
    return distances


def _project(position: FloatArray, rig: CameraRig) -> FloatArray:
    """Pixels (view, n, 2) of points (n, 3)."""
    px = np.empty((len(rig), len(position), 2))
    kernels.project_points(_plain(position), np.array(rig.packed()), px)
    return px


def _plain(array: NDArray[np.generic]) -> FloatArray:
    """In the one layout that the kernels are compiled for."""
    return np.ascontiguousarray(array, dtype=np.float64)
