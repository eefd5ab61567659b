"""The compiled inner loops of what residuals say: whitened residuals, what a fit leaves over of them, parallax, tails.

Cameras are rows of `CameraRig.packed()` (multipose.triangulate.projection); everything is float64.
"""

from __future__ import annotations

import math

import numpy as np

from multipose.compilation import Kernel
from multipose.triangulate.projection import TELECENTRIC, device, project


@Kernel
def project_points(position, cameras, px):  # type: ignore[no-untyped-def]
    """Write the pixels (view, n, 2) of world points (n, 3); NaN where a view cannot see them."""
    for c in range(px.shape[0]):
        for i in range(px.shape[1]):
            u, v, _, _, _, _, _, _ = project(cameras, c, position[i, 0], position[i, 1], position[i, 2])
            px[c, i, 0] = u
            px[c, i, 1] = v


@Kernel
def whiten(  # type: ignore[no-untyped-def]
    px, used, covariance, noise2, least_determinant, position, cameras, derivatives, residuals
):
    """Residuals and their derivatives by the point in standard deviations; 0 in views that are not used.

    Args:
        px: (view, n, 2); used: (view, n).
        covariance: (view, n, 2, 2) px², (view, 0, 2, 2) for none; noise2 I counts where it is unknown or its
            determinant is not above least_determinant.
        position: (n, 3).
        derivatives: out (view, n, 2, 3); residuals: out (view, n, 2).
    """
    for c in range(px.shape[0]):
        for i in range(px.shape[1]):
            derivatives[c, i] = 0.0
            residuals[c, i] = 0.0
            if not used[c, i]:
                continue
            xx, xy, yy = noise2, 0.0, noise2
            if covariance.shape[1] > 0:
                s = covariance[c, i]
                determinant = s[0, 0] * s[1, 1] - s[0, 1] * s[1, 0]
                if least_determinant < determinant < math.inf:
                    xx, xy, yy = s[0, 0], s[1, 0], s[1, 1]
            u, v, u0, u1, u2, v0, v1, v2 = project(cameras, c, position[i, 0], position[i, 1], position[i, 2])
            root = math.sqrt(xx)  # lower triangle of the covariance's Cholesky factor: root, below, last
            below = xy / root
            last = math.sqrt(yy - below * below)
            first = 1.0 / root
            cross = -below / (root * last)
            second = 1.0 / last
            du, dv = px[c, i, 0] - u, px[c, i, 1] - v
            residuals[c, i, 0] = first * du
            residuals[c, i, 1] = cross * du + second * dv
            derivatives[c, i, 0, 0] = first * u0
            derivatives[c, i, 0, 1] = first * u1
            derivatives[c, i, 0, 2] = first * u2
            derivatives[c, i, 1, 0] = cross * u0 + second * v0
            derivatives[c, i, 1, 1] = cross * u1 + second * v1
            derivatives[c, i, 1, 2] = cross * u2 + second * v2


@device
def _factorise(a, least):  # type: ignore[no-untyped-def]
    """Cholesky factor of a symmetric 3x3 matrix in place (lower triangle); False where it is singular."""
    floor = least * (a[0, 0] + a[1, 1] + a[2, 2])
    for j in range(3):
        for k in range(j):
            a[j, j] -= a[j, k] * a[j, k]
        if not a[j, j] > floor:
            return False
        a[j, j] = math.sqrt(a[j, j])
        for i in range(j + 1, 3):
            for k in range(j):
                a[i, j] -= a[i, k] * a[j, k]
            a[i, j] /= a[j, j]
    return True


@device
def _forward(a, b):  # type: ignore[no-untyped-def]
    """Solve with a lower triangle, in place."""
    b[0] /= a[0, 0]
    b[1] = (b[1] - a[1, 0] * b[0]) / a[1, 1]
    b[2] = (b[2] - a[2, 0] * b[0] - a[2, 1] * b[1]) / a[2, 2]


@Kernel
def left_over(  # type: ignore[no-untyped-def]
    derivatives, residuals, used, factors, determined, squares, shares
):
    """What a fit of each point leaves over of its residuals.

    Args:
        derivatives, residuals: of `whiten`; used, factors: (view, n) which views the points rest on, and by what their
            variances are multiplied.
        determined: share of a number's variance from which it counts.
        squares: out (view, n) of the refitted residuals in units of the noise; shares: out (view, n) of the noise (0 to
            2 numbers) that the fit leaves over. Both 0 in views not used, and where the fit is singular.
    """
    n_views, n = used.shape
    normal = np.empty((3, 3))
    step = np.empty(3)
    rows = np.empty((2, 3))
    for i in range(n):
        normal[:] = 0.0
        step[:] = 0.0
        for c in range(n_views):
            squares[c, i] = shares[c, i] = 0.0
            if not used[c, i]:
                continue
            weight = 1.0 / factors[c, i]
            for m in range(2):
                for p in range(3):
                    slope = weight * derivatives[c, i, m, p]
                    step[p] += slope * residuals[c, i, m]
                    for q in range(p + 1):
                        normal[p, q] += slope * derivatives[c, i, m, q]
        if not _factorise(normal, 1e-15):
            continue
        _forward(normal, step)
        for c in range(n_views):
            if not used[c, i]:
                continue
            scale = 1.0 / math.sqrt(factors[c, i])
            for m in range(2):
                for p in range(3):
                    rows[m, p] = scale * derivatives[c, i, m, p]
                _forward(normal, rows[m])
            x = scale * residuals[c, i, 0]
            y = scale * residuals[c, i, 1]
            xx, xy, yy = 1.0, 0.0, 1.0
            for p in range(3):
                x -= rows[0, p] * step[p]
                y -= rows[1, p] * step[p]
                xx -= rows[0, p] * rows[0, p]
                xy -= rows[0, p] * rows[1, p]
                yy -= rows[1, p] * rows[1, p]
            middle, half = 0.5 * (xx + yy), 0.5 * (xx - yy)
            apart = math.sqrt(half * half + xy * xy)
            if middle - apart > determined:
                squares[c, i] = x * x + y * y
                shares[c, i] = xx + yy
            elif middle + apart > determined:  # along the one axis that the fit leaves free
                a, b = (half + apart, xy) if half > 0.0 else (xy, apart - half)
                along = (a * x + b * y) / math.sqrt(a * a + b * b)
                squares[c, i] = along * along
                shares[c, i] = middle + apart


@Kernel
def find_parallax(position, cameras, inlier, angle):  # type: ignore[no-untyped-def]
    """Write the largest angle (n,) between two of the rays that points (n, 3) rest on (inlier (view, n)); NaN for
    fewer than two."""
    n_views, n = inlier.shape
    rays = np.empty((n_views, 3))
    centers = np.empty((n_views, 3))
    for c in range(n_views):
        for p in range(3):
            centers[c, p] = 0.0
            for q in range(3):
                centers[c, p] -= cameras[c, 16 + 3 * q + p] * cameras[c, 25 + q]
    for i in range(n):
        count = 0
        smallest = math.inf
        for c in range(n_views):
            if not inlier[c, i]:
                continue
            x, y, z = cameras[c, 22], cameras[c, 23], cameras[c, 24]
            if cameras[c, 0] != TELECENTRIC:
                x, y, z = position[i, 0] - centers[c, 0], position[i, 1] - centers[c, 1], position[i, 2] - centers[c, 2]
                inverse = 1.0 / math.sqrt(x * x + y * y + z * z)
                x *= inverse
                y *= inverse
                z *= inverse
            for m in range(count):
                smallest = min(smallest, x * rays[m, 0] + y * rays[m, 1] + z * rays[m, 2])
            rays[count, 0] = x
            rays[count, 1] = y
            rays[count, 2] = z
            count += 1
        angle[i] = math.acos(min(1.0, max(-1.0, smallest))) if count > 1 else math.nan


@Kernel
def weigh(px, confidence, least, weight):  # type: ignore[no-untyped-def]
    """Write the weights (n,) of 2D points (n, 2) of one view with these confidences (n,), NaN for certain: 0 where they
    do not count. Returns how many points are known, and how many of these have a confidence below `least`."""
    known = 0
    low = 0
    for i in range(len(weight)):
        weight[i] = 0.0
        if not abs(px[i, 0] + px[i, 1]) < math.inf:
            continue
        known += 1
        stated = confidence[i]
        if stated < least:
            low += 1
        else:
            weight[i] = stated if stated >= least else 1.0
    return known, low


@Kernel
def find_scale(squares, numbers, freedom, smallest, settled, steps):  # type: ignore[no-untyped-def]
    """The scale under which squared errors (n,) of `numbers` (n,) are most probable, for known degrees of freedom."""
    total, whole = 0.0, 0.0
    for i in range(len(squares)):
        total += numbers[i]
        whole += squares[i]
    if not total > 0.0:
        return math.nan
    scale = max(whole / total, smallest)
    for _ in range(steps):
        whole = 0.0
        for i in range(len(squares)):
            whole += (freedom + numbers[i]) / (freedom + squares[i] / scale) * squares[i]
        new = max(whole / total, smallest)
        done = abs(new - scale) <= settled * scale
        scale = new
        if done:
            break
    return scale
