"""Triangulation of plain arrays: the door to the compiled kernels, in chunks and threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.progress import SILENT, Progress
from multipose.triangulate import kernels

FloatArray = NDArray[np.float64]

_CHUNK = 4096  # points solved at once; the scratch memory of a thread is about this times 56 bytes a view

STATES = ("missing", "consistent", "two_views", "ambiguous", "inconsistent")
"""What can become of a point; the place in this tuple is its number in `Points.state`.

missing: fewer views have it than asked for. consistent: three or more views agree. two_views: it rests on two views,
so that an error along their epipolar lines would go unseen. ambiguous: different sets of views agree on different
points, equally well. inconsistent: too few views agree, or the rays meet behind a camera or nowhere. Only consistent
and two_views have a position.
"""


@dataclass(frozen=True, eq=False)
class Points:
    """Triangulated points.

    position: (n, 3) in the rig's unit, NaN where there is none.
    covariance: (n, 3, 3) unit², of the 2D noise as it was given.
    error: (n,) mean reprojection distance in px over the views used.
    inlier: (view, n) the views used.
    n_usable: (n,) number of views that had the point at all.
    state: (n,) place in STATES.
    """

    position: FloatArray
    covariance: FloatArray
    error: FloatArray
    inlier: NDArray[np.bool_]
    n_usable: NDArray[np.int64]
    state: NDArray[np.int8]

    def take(self, places: NDArray[np.intp]) -> Points:
        """The points at these places."""
        return Points(
            self.position[places],
            self.covariance[places],
            self.error[places],
            self.inlier[:, places],
            self.n_usable[places],
            self.state[places],
        )


def triangulate(
    px: ArrayLike,
    rig: CameraRig,
    *,
    confidence: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    noise_px: float = 1.0,
    min_views: int = 2,
    max_error_px: float = np.inf,
    max_error_sd: float = 0.0,
    refine: bool = True,
    variance_factor: ArrayLike | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> Points:
    """Triangulate points seen by the views of a rig.

    The answer minimises the squared reprojection errors, each weighed by confidence / covariance. Its covariance is
    that of this weighted estimate under the given 2D covariances. The same input gives the same bits, whatever the
    number of threads.

    Args:
        px: (view, n, 2) px, views in the rig's order; NaN where unknown.
        rig: the cameras.
        confidence: (view, n) weights, 0 or NaN = the view does not count; by default 1.
        covariance: (view, n, 2, 2) px²; NaN where unknown; by default unknown.
        noise_px: standard deviation per coordinate of points without a covariance.
        min_views: least number of views that must agree on a point, at least 2.
        max_error_px: a view farther off than this does not agree, and the point is sought without it. Infinite: every
            view is believed.
        max_error_sd: a view no farther off than this many standard deviations of its own 2D point (Mahalanobis) agrees
            even where it is farther off than max_error_px. 0: px alone decide.
        refine: whether Gauss-Newton steps on the reprojection error follow the linear answer.
        variance_factor: (view, k) by which the covariances (noise_px² where they are unknown) are multiplied: those of
            point i by the column i % k. By default 1.
        threads: how many to use; by default one per core.
        progress: where to report.

    Raises:
        DataError: shapes that do not fit the rig, or limits that make no sense.
    """
    points = np.asarray(px)
    n_views = len(rig)
    if points.ndim != 3 or points.shape[0] != n_views or points.shape[2] != 2:
        raise DataError(
            f"px must have the shape ({n_views}, n, 2) with the rig's {n_views} views first, got {points.shape}."
        )
    n = points.shape[1]
    weights = np.ones((n_views, 1)) if confidence is None else np.asarray(confidence)
    spread = np.empty((n_views, 0, 2, 2)) if covariance is None else np.asarray(covariance)
    if confidence is not None and weights.shape != (n_views, n):
        raise DataError(f"confidence must have the shape {(n_views, n)} to go with px, got {weights.shape}.")
    if covariance is not None and spread.shape != (n_views, n, 2, 2):
        raise DataError(f"covariance must have the shape {(n_views, n, 2, 2)} to go with px, got {spread.shape}.")
    factor = None if variance_factor is None else np.asarray(variance_factor, dtype=np.float64)
    if factor is not None and not (factor.ndim == 2 and len(factor) == n_views and factor.size and (factor > 0).all()):
        raise DataError(
            f"variance_factor must have the shape ({n_views}, k) and values above 0, got the shape {factor.shape}."
        )
    if min_views < 2:
        raise DataError(f"min_views must be at least 2, got {min_views}: one view gives a ray, not a point.")
    if not (noise_px > 0 and np.isfinite(noise_px)):
        raise DataError(f"noise_px must be a finite number above 0, got {noise_px}.")
    if not max_error_px > 0:
        raise DataError(f"max_error_px must be above 0, got {max_error_px}.")
    if not max_error_sd >= 0:
        raise DataError(f"max_error_sd must be at least 0, got {max_error_sd}.")
    if threads is not None and threads < 1:
        raise DataError(f"threads must be at least 1, got {threads}.")
    result = Points(
        position=np.empty((n, 3)),
        covariance=np.empty((n, 3, 3)),
        error=np.empty(n),
        inlier=np.empty((n_views, n), np.bool_),
        n_usable=np.empty(n, np.int64),
        state=np.empty(n, np.int8),
    )
    cameras = np.array(rig.packed(), dtype=np.float64)
    columns = np.empty((n_views, 0)) if factor is None else _copy(factor)
    limits = np.array([max_error_px, max_error_sd]) ** 2
    limits = np.divide(1.0, limits, out=np.full(2, np.inf), where=limits > 0)

    def solve(start: int) -> int:
        part = slice(start, min(start + _CHUNK, n))
        size: int = part.stop - part.start
        inlier = np.empty((n_views, size), np.bool_)
        kernels.triangulate(
            _copy(np.swapaxes(points[:, part], 1, 2)),
            _copy(np.broadcast_to(weights, (n_views, size)) if confidence is None else weights[:, part]),
            _copy(spread[:, part]),
            noise_px**2,
            columns,
            start,
            cameras,
            min_views,
            limits,
            refine,
            result.position[part],
            result.covariance[part],
            result.error[part],
            inlier,
            result.n_usable[part],
            result.state[part],
        )
        result.inlier[:, part] = inlier
        return size

    if not kernels.triangulate.is_compiled:
        progress.note("Compiling the triangulation for this machine, once: about 10 s.")
    starts = range(0, n, _CHUNK)
    workers = min(threads or os.cpu_count() or 1, len(starts))
    with progress.task("triangulate", total=n) as task, ExitStack() as stack:
        alone = workers < 2
        solved = map(solve, starts) if alone else stack.enter_context(ThreadPoolExecutor(workers)).map(solve, starts)
        for size in solved:
            task.advance(size)
    return result


def _copy(array: NDArray[np.generic]) -> FloatArray:
    """A chunk in the one layout that the kernels are compiled for."""
    return np.array(array, dtype=np.float64, order="C")
