"""How noisy the 2D points are, learned from how far the views disagree.

Both estimates need no truth: four numbers of two views determine three numbers of a point, and what is left over is
noise.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from multipose.camera import CameraRig
from multipose.triangulate.points import STATES, FloatArray, Points, triangulate

_PAIR_BUDGET = 30_000  # pairs of pixels that pair_noise looks at
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


def _distances(px: FloatArray, position: FloatArray, rig: CameraRig) -> FloatArray:
    """Reprojection distances (view, n) in px."""
    distances: FloatArray = np.linalg.norm(px - rig.project(position), axis=-1)
    return distances
