"""The compiled inner loops of smoothing: normal equations of the 2D points, banded systems, and their inverses.

The unknowns are the positions of K key points over T frames, in the order (frame, key point, axis), so that the index
is (t * K + k) * 3 + axis. What couples frames reaches few frames back, so that the normal matrix is banded with
`half_width` entries below the diagonal. A band is an array (unknown, half_width + 1): row j holds column j of the
matrix from the diagonal downwards, which read in Fortran's order is LAPACK's lower band storage.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from multipose.compilation import Kernel
from multipose.triangulate.projection import device, project

_ANCHOR = 1e-12  # of the prior's strength

# Sums of products may be taken in any order: this is where the time goes, and it makes them vector instructions.
_summing: Any = numba.njit(
    nogil=True,
    error_model="numpy",
    fastmath={"contract", "nsz", "reassoc"},
    _nrt=False,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
)


def half_width(n_keypoints: int, reach: int) -> int:
    """Entries below the diagonal: all key points of `reach` frames, and two more axes."""
    return 3 * n_keypoints * reach + 2


@device
def _standardise(cameras, c, px, root, position, slot, error, slope):  # type: ignore[no-untyped-def]
    """Write the residual of a 2D point and its derivatives, in its own standard deviations; False where unseen.

    root: (3,) of the lower triangle l00, l10, l11 of the Cholesky factor of its inverse covariance. slope is minus
    d error / d position.
    """
    if not root[0] > 0.0:
        return False
    u, v, u0, u1, u2, v0, v1, v2 = project(cameras, c, position[0], position[1], position[2])
    du = px[0] - u
    dv = px[1] - v
    if not du * du + dv * dv >= 0.0:
        return False
    error[slot, 0] = root[0] * du + root[1] * dv
    error[slot, 1] = root[2] * dv
    slope[slot, 0, 0] = root[0] * u0 + root[1] * v0
    slope[slot, 0, 1] = root[0] * u1 + root[1] * v1
    slope[slot, 0, 2] = root[0] * u2 + root[1] * v2
    slope[slot, 1, 0] = root[2] * v0
    slope[slot, 1, 1] = root[2] * v1
    slope[slot, 1, 2] = root[2] * v2
    return True


@Kernel
def judge(px, root, cameras, position, covariance, distance2, expected):  # type: ignore[no-untyped-def]
    """Squared distance of every 2D point from where the trajectory says it is, in units of its variance.

    Args:
        px: (view, frame, keypoint, 2).
        root: (view, frame, keypoint, 3) as of `observe`.
        cameras: (view, 28) of CameraRig.packed().
        position: (frame, keypoint, 3).
        covariance: (frame, keypoint, 6) upper triangle of that of the position, which is added to that of the point.
        distance2: out (view, frame, keypoint); infinite where the view cannot see the position, NaN where it has none.
        expected: out (view, frame, keypoint) posterior mean of its squared error in its own standard deviations;
            likewise.
    """
    error = np.empty((1, 2))
    slope = np.empty((1, 2, 3))
    for c in range(px.shape[0]):
        for t in range(px.shape[1]):
            for k in range(px.shape[2]):
                if not root[c, t, k, 0] > 0.0:
                    distance2[c, t, k] = expected[c, t, k] = math.nan
                    continue
                if not _standardise(cameras, c, px[c, t, k], root[c, t, k], position[t, k], 0, error, slope):
                    distance2[c, t, k] = expected[c, t, k] = math.inf
                    continue
                p = covariance[t, k]
                s00 = 1.0
                s01 = 0.0
                s11 = 1.0
                for i in range(3):
                    for j in range(3):
                        n = min(i, j)
                        value = p[3 * n - n * (n + 1) // 2 + max(i, j)]
                        s00 += slope[0, 0, i] * value * slope[0, 0, j]
                        s01 += slope[0, 0, i] * value * slope[0, 1, j]
                        s11 += slope[0, 1, i] * value * slope[0, 1, j]
                e0, e1 = error[0, 0], error[0, 1]
                expected[c, t, k] = e0 * e0 + e1 * e1 + s00 + s11 - 2.0
                distance2[c, t, k] = (s11 * e0 * e0 - 2.0 * s01 * e0 * e1 + s00 * e1 * e1) / (s00 * s11 - s01 * s01)


@device
def _add_square(out, t, k, factor, slope, slot):  # type: ignore[no-untyped-def]
    n = 0
    for i in range(3):
        for j in range(i, 3):
            out[t, k, n] += factor * (slope[slot, 0, i] * slope[slot, 0, j] + slope[slot, 1, i] * slope[slot, 1, j])
            n += 1


@device
def _add_product(out, t, k, lag, factor, slope, row, column):  # type: ignore[no-untyped-def]
    for i in range(3):
        for j in range(3):
            value = slope[row, 0, i] * slope[column, 0, j] + slope[row, 1, i] * slope[column, 1, j]
            out[t, k, lag - 1, i, j] += factor * value


@Kernel
def observe(  # type: ignore[no-untyped-def]
    px, root, weight, cameras, back, conditional, position, square, lagged, gradient
):
    """Gauss-Newton normal equations of the 2D points, whose errors are correlated in time.

    Each error, in its own standard deviations, is compared with what some earlier errors of the same view and key point
    let expect, as far as these exist (Vecchia 1988).

    Args:
        px: (view, frame, keypoint, 2).
        root: (view, frame, keypoint, 3) lower triangle of the Cholesky factor of the inverse covariance, 0 = no point.
        weight: (view, frame, keypoint) from 0 to 1; what is above one half counts as an earlier error.
        cameras: (view, 28).
        back: (earlier,) how many frames back the earlier errors lie, rising.
        conditional: (2^earlier, earlier + 1) share of each earlier error, and the standard deviation of what is left;
            bit n of the row's number says whether the n-th earlier error is known.
        position: (frame, keypoint, 3).
        square: out (frame, keypoint, 6) upper triangle of the blocks on the diagonal.
        lagged: out (frame, keypoint, lag, 3, 3) block of the frame's row and the column of one, two, ... frames before;
            as many as the last of `back`.
        gradient: out (frame, keypoint, 3) minus the gradient of half the sum of squares.
    """
    n_views, n_frames, n_keypoints = weight.shape
    n_earlier = len(back)
    room = lagged.shape[2] + 1
    square[:] = 0.0
    lagged[:] = 0.0
    gradient[:] = 0.0
    error = np.empty((room, 2))
    slope = np.empty((room, 2, 3))
    known = np.empty(room, np.bool_)
    share = np.empty(n_earlier + 1)
    lag = np.zeros(n_earlier + 1, np.int64)
    lag[1:] = back
    for k in range(n_keypoints):
        for c in range(n_views):
            known[:] = False
            for t in range(n_frames):
                now = t % room
                known[now] = False
                w = weight[c, t, k]
                if not w > 0.0:
                    continue
                if not _standardise(cameras, c, px[c, t, k], root[c, t, k], position[t, k], now, error, slope):
                    continue
                pattern = 0
                for n in range(n_earlier):
                    if known[(t - back[n]) % room]:
                        pattern += 1 << n
                known[now] = w > 0.5
                factor = w / (conditional[pattern, n_earlier] * conditional[pattern, n_earlier])
                share[0] = 1.0
                e0, e1 = error[now, 0], error[now, 1]
                for n in range(n_earlier):
                    share[n + 1] = -conditional[pattern, n]
                    if share[n + 1] != 0.0:
                        slot = (t - back[n]) % room
                        e0 += share[n + 1] * error[slot, 0]
                        e1 += share[n + 1] * error[slot, 1]
                for n in range(n_earlier + 1):
                    if share[n] == 0.0:
                        continue
                    slot = (t - lag[n]) % room
                    scaled = factor * share[n]
                    for i in range(3):
                        gradient[t - lag[n], k, i] += scaled * (slope[slot, 0, i] * e0 + slope[slot, 1, i] * e1)
                    _add_square(square, t - lag[n], k, scaled * share[n], slope, slot)
                    for m in range(n + 1, n_earlier + 1):
                        if share[m] != 0.0:
                            earlier = (t - lag[m]) % room
                            _add_product(
                                lagged, t - lag[n], k, lag[m] - lag[n], scaled * share[m], slope, slot, earlier
                            )


@Kernel
def correlate(px, root, weight, cameras, correlation, position, lagged):  # type: ignore[no-untyped-def]
    """What correlated errors add to the normal equations of independent ones, by lag.

    The sum over the views of J_t^T rho_h J_(t-h), where J are the derivatives of the standardised 2D points times the
    root of their weights: the covariance of the gradient of independent errors, were they correlated by rho.

    Args:
        px, root, weight, cameras, position: as of `observe`.
        correlation: (lag,) rho of errors one, two, ... frames apart.
        lagged: out (frame, keypoint, lag, 3, 3) rows of the frame, columns of one, two, ... frames before.
    """
    n_views, n_frames, n_keypoints = weight.shape
    n_lags = len(correlation)
    room = n_lags + 1
    lagged[:] = 0.0
    error = np.empty((room, 2))
    slope = np.empty((room, 2, 3))
    strength = np.zeros(room)
    for k in range(n_keypoints):
        for c in range(n_views):
            strength[:] = 0.0
            for t in range(n_frames):
                now = t % room
                strength[now] = 0.0
                if not weight[c, t, k] > 0.0:
                    continue
                if not _standardise(cameras, c, px[c, t, k], root[c, t, k], position[t, k], now, error, slope):
                    continue
                strength[now] = math.sqrt(weight[c, t, k])
                for lag in range(1, n_lags + 1):
                    before = (t - lag) % room
                    if t >= lag and strength[before] > 0.0:
                        factor = correlation[lag - 1] * strength[now] * strength[before]
                        _add_product(lagged, t, k, lag, factor, slope, now, before)


@Kernel
def fill(square, lagged, strength, stencil, position, band, gradient):  # type: ignore[no-untyped-def]
    """Write the band of the normal matrix of the 2D points and of the prior, and add the prior's part of the gradient.

    What neither determines, as the positions of a key point that a stretch of frames never shows, stays where it is,
    with an uncertainty of a million times the prior's.

    Args:
        square, lagged: of `observe`.
        strength: (frame, keypoint) inverse variance of the prior's difference that ends at the frame.
        stencil: (order + 1,) weights of the difference, as 1, -2, 1.
        position: (frame, keypoint, 3).
        band: out (unknown, half_width + 1).
        gradient: (frame, keypoint, 3), added to.
    """
    n_frames, n_keypoints = square.shape[:2]
    size = 3 * n_keypoints
    order = stencil.shape[0] - 1
    band[:] = 0.0
    for t in range(n_frames):
        for k in range(n_keypoints):
            first = t * size + 3 * k
            n = 0
            for i in range(3):
                for j in range(i, 3):
                    band[first + i, j - i] += square[t, k, n]
                    n += 1
            for i in range(3):
                band[first + i, 0] += _ANCHOR * strength[t, k]
            for lag in range(1, min(lagged.shape[2], t) + 1):
                for i in range(3):
                    for j in range(3):
                        band[first - lag * size + j, lag * size + i - j] += lagged[t, k, lag - 1, i, j]
            if t < order:
                continue
            for i in range(3):
                difference = 0.0
                for a in range(order + 1):
                    difference += stencil[a] * position[t - a, k, i]
                for a in range(order + 1):
                    gradient[t - a, k, i] -= strength[t, k] * stencil[a] * difference
                    for b in range(a + 1):
                        band[first - a * size + i, (a - b) * size] += strength[t, k] * stencil[a] * stencil[b]


@device
def _couple(band, size, t, a, b, matrix):  # type: ignore[no-untyped-def]
    """Add a 3x3 block of two key points of a frame; (a, b) and (b, a) are one block."""
    for i in range(3):
        for j in range(3):
            row = t * size + 3 * a + i
            column = t * size + 3 * b + j
            if row >= column and (a != b or i >= j):
                band[column, row - column] += matrix[i, j]


@Kernel
def bind(limbs, length, stiffness, joints, limits, position, band, gradient):  # type: ignore[no-untyped-def]
    """Add soft limb lengths and soft joint limits to the band and the gradient.

    Args:
        limbs: (limb, 2) key points; length: (limb,); stiffness: (limb,) inverse variance of the length.
        joints: (joint, 3) key points, the vertex in the middle; limits: (joint, 3) least and largest angle in radians,
            inverse variance of what goes beyond.
        position: (frame, keypoint, 3).
        band, gradient: of `fill`, added to.
    """
    n_frames, n_keypoints = position.shape[:2]
    size = 3 * n_keypoints
    matrix = np.empty((3, 3))
    slope = np.empty((3, 3))
    for t in range(n_frames):
        for m in range(limbs.shape[0]):
            a, b = limbs[m]
            for i in range(3):
                slope[0, i] = position[t, a, i] - position[t, b, i]
            measured = math.sqrt(slope[0, 0] ** 2 + slope[0, 1] ** 2 + slope[0, 2] ** 2)
            if not measured > 0.0:
                continue
            error = length[m] - measured
            for i in range(3):
                slope[0, i] /= measured
                gradient[t, a, i] += stiffness[m] * error * slope[0, i]
                gradient[t, b, i] -= stiffness[m] * error * slope[0, i]
            for i in range(3):
                for j in range(3):
                    matrix[i, j] = stiffness[m] * slope[0, i] * slope[0, j]
            _couple(band, size, t, a, a, matrix)
            _couple(band, size, t, b, b, matrix)
            for i in range(3):
                for j in range(3):
                    matrix[i, j] = -matrix[i, j]
            _couple(band, size, t, max(a, b), min(a, b), matrix)
        for m in range(joints.shape[0]):
            angle = _bend(position[t], joints[m], slope)
            error = min(limits[m, 1] - angle, 0.0) + max(limits[m, 0] - angle, 0.0)
            if not (error < 0.0 or error > 0.0):
                continue
            for p in range(3):
                for i in range(3):
                    gradient[t, joints[m, p], i] += limits[m, 2] * error * slope[p, i]
                for q in range(3):
                    for i in range(3):
                        for j in range(3):
                            matrix[i, j] = limits[m, 2] * slope[p, i] * slope[q, j]
                    if joints[m, p] >= joints[m, q]:
                        _couple(band, size, t, joints[m, p], joints[m, q], matrix)


@device
def _bend(position, joint, slope):  # type: ignore[no-untyped-def]
    """Angle at the middle one of three key points; slope: out (3, 3) its derivatives by the three. NaN if undefined."""
    a, b, c = position[joint[0]], position[joint[1]], position[joint[2]]
    first, second, dot = 0.0, 0.0, 0.0
    for i in range(3):
        first += (a[i] - b[i]) ** 2
        second += (c[i] - b[i]) ** 2
        dot += (a[i] - b[i]) * (c[i] - b[i])
    first = math.sqrt(first)
    second = math.sqrt(second)
    if not (first > 0.0 and second > 0.0):
        return math.nan
    cosine = min(1.0, max(-1.0, dot / (first * second)))
    sine = max(math.sqrt(1.0 - cosine * cosine), 1e-6)
    for i in range(3):
        u = (a[i] - b[i]) / first
        v = (c[i] - b[i]) / second
        slope[0, i] = (cosine * u - v) / (sine * first)
        slope[2, i] = (cosine * v - u) / (sine * second)
        slope[1, i] = -slope[0, i] - slope[2, i]
    return math.acos(cosine)


@_summing
def _along(matrix, row, first, column, n):  # type: ignore[no-untyped-def]
    """Sum of the products of n entries of a row from `first` on and of `column` from 1 on."""
    total = 0.0
    for m in range(n):
        total += matrix[row, first + m] * column[1 + m]
    return total


@Kernel
def invert(band, square, lags):  # type: ignore[no-untyped-def]
    """Blocks of the inverse of a banded matrix from its Cholesky factor (Takahashi, Fagan & Chin 1973).

    Args:
        band: (unknown, width) of the lower factor.
        square: out (frame, keypoint, 6) upper triangle of the covariance of each position.
        lags: out (frame, keypoint, lag, 3, 3) covariance with the positions one, two, ... frames before, rows of the
        later; at most as many as the prior's order.
    """
    n_frames, n_keypoints = square.shape[:2]
    size = 3 * n_keypoints
    n, width = band.shape
    reach = width - 1
    room = 3 * width
    inverse = np.zeros((room, room))  # of the unknowns `start` to `start + room`
    start = n - room
    for j in range(n - 1, -1, -1):
        if j < start:
            kept = min(width, room)
            for row in range(kept - 1, -1, -1):
                for column in range(kept - 1, -1, -1):
                    inverse[room - kept + row, room - kept + column] = inverse[row, column]
            start -= room - kept
        here = j - start
        m = min(reach, n - 1 - j)
        below = 1.0 / band[j, 0]
        column_j = band[j]
        for row in range(here + 1, here + 1 + m):
            value = -below * _along(inverse, row, here + 1, column_j, m)
            inverse[row, here] = value
            inverse[here, row] = value
        inverse[here, here] = below * (below - _along(inverse, here, here + 1, column_j, m))
        if j % 3 != 0:
            continue
        t = j // size
        k = (j - t * size) // 3
        place = 0
        for i in range(3):
            for q in range(i, 3):
                square[t, k, place] = inverse[here + i, here + q]
                place += 1
        for lag in range(1, min(lags.shape[2], n_frames - 1 - t) + 1):
            for i in range(3):
                for q in range(3):
                    lags[t + lag, k, lag - 1, i, q] = inverse[here + lag * size + i, here + q]
