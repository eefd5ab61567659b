"""The compiled inner loops of triangulation: one pass over the points, every lens model, every view.

A camera is a row of `CameraRig.packed()` (multipose.triangulate.projection). Everything is float64; a view that does
not count is NaN.

Each point is solved as follows (`triangulate`):

1. Every pixel becomes a ray. The point nearest to the rays is the solution of a 3x3 system.
2. The same system, with every ray's distance measured in the pixels of its view at the depth just found and weighed by
   confidence / covariance. This is the linear answer.
3. Gauss-Newton steps on the reprojection error itself, halved while they do not lower it, until the next one would move
   the projections by less than 1e-9 px.
4. Robust only: where a view is farther off than the gate, every pair of views proposes a point; the one with the
   smallest truncated error is refitted on the views that agree with it.

The ordinary points are solved in blocks, much faster (multipose.triangulate.blocks); the others, and all of a rig with
a fisheye lens, one by one. Both ways give the same answers, which the tests hold them to.
"""

from __future__ import annotations

import math

import numpy as np

from multipose.compilation import Kernel
from multipose.triangulate import blocks
from multipose.triangulate.blocks import (
    AMBIGUOUS,
    CONSISTENT,
    INCONSISTENT,
    MISSING,
    OPEN,
    TIE,
    TWO_VIEWS,
    information,
    vectorizable,
)
from multipose.triangulate.lanes import LANES, PARALLEL, POINT_ROWS, VIEW_ROWS
from multipose.triangulate.projection import TELECENTRIC, device, project, undistort

solve_blocks = blocks.solve

_CONVERGED_PX2 = 1e-18
_GAUSS_NEWTON_STEPS = 30


@device
def _ray(cameras, c, u, v, seen, n):  # type: ignore[no-untyped-def]
    """Write the world ray of a pixel into seen[n, 2:8], origin and direction; False where there is none."""
    x, y = undistort(cameras, c, u, v)
    if x != x:
        return False
    ox, oy, oz = -cameras[c, 25], -cameras[c, 26], -cameras[c, 27]
    dx, dy, dz = 0.0, 0.0, 1.0
    if cameras[c, 0] == TELECENTRIC:
        ox += x
        oy += y
    else:
        dz = 1.0 / math.sqrt(1.0 + x * x + y * y)
        dx = x * dz
        dy = y * dz
    for i in range(3):
        r0, r1, r2 = cameras[c, 16 + i], cameras[c, 19 + i], cameras[c, 22 + i]
        seen[n, 2 + i] = r0 * ox + r1 * oy + r2 * oz
        seen[n, 5 + i] = r0 * dx + r1 * dy + r2 * dz
    return True


@device
def _invert(a, inverse):  # type: ignore[no-untyped-def]
    """Invert a symmetric 3x3 matrix in closed form; False if it is singular."""
    c0 = a[3] * a[5] - a[4] * a[4]
    c1 = a[2] * a[4] - a[1] * a[5]
    c2 = a[1] * a[4] - a[2] * a[3]
    det = a[0] * c0 + a[1] * c1 + a[2] * c2
    mean = (a[0] + a[3] + a[5]) / 3.0
    if not det > PARALLEL * mean * mean * mean:
        return False
    scale = 1.0 / det
    inverse[0] = c0 * scale
    inverse[1] = c1 * scale
    inverse[2] = c2 * scale
    inverse[3] = (a[0] * a[5] - a[2] * a[2]) * scale
    inverse[4] = (a[1] * a[2] - a[0] * a[4]) * scale
    inverse[5] = (a[0] * a[3] - a[1] * a[1]) * scale
    return True


@device
def _multiply(a, b, out):  # type: ignore[no-untyped-def]
    out[0] = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    out[1] = a[1] * b[0] + a[3] * b[1] + a[4] * b[2]
    out[2] = a[2] * b[0] + a[4] * b[1] + a[5] * b[2]


@device
def _column(a, r, out):  # type: ignore[no-untyped-def]
    """Column r of a symmetric 3x3 matrix."""
    out[0] = a[r]
    out[1] = a[1 if r == 0 else r + 2]
    out[2] = a[2 if r == 0 else r + 3]


@device
def _nearest(seen, chosen, n, a, inverse, b, point):  # type: ignore[no-untyped-def]
    """The point nearest to the chosen rays, distances weighed by confidence; False where they are parallel."""
    for i in range(6):
        a[i] = 0.0
    b[0] = b[1] = b[2] = 0.0
    for k in range(n):
        if not chosen[k]:
            continue
        w = seen[k, 8]
        o0, o1, o2, d0, d1, d2 = seen[k, 2], seen[k, 3], seen[k, 4], seen[k, 5], seen[k, 6], seen[k, 7]
        along = d0 * o0 + d1 * o1 + d2 * o2
        a[0] += w * (1.0 - d0 * d0)
        a[1] -= w * d0 * d1
        a[2] -= w * d0 * d2
        a[3] += w * (1.0 - d1 * d1)
        a[4] -= w * d1 * d2
        a[5] += w * (1.0 - d2 * d2)
        b[0] += w * (o0 - along * d0)
        b[1] += w * (o1 - along * d1)
        b[2] += w * (o2 - along * d2)
    if not _invert(a, inverse):
        return False
    _multiply(inverse, b, point)
    return True


@device
def _weigh(cameras, view, seen, chosen, n, a, inverse, b, point):  # type: ignore[no-untyped-def]
    """Move the point to the linear answer in pixels; False where a chosen view cannot see it."""
    for i in range(6):
        a[i] = 0.0
    b[0] = b[1] = b[2] = 0.0
    for k in range(n):
        if not chosen[k]:
            continue
        depth = 0.0
        for i in range(3):
            depth += seen[k, 5 + i] * (point[i] - seen[k, 2 + i])
        f0 = seen[k, 2] + depth * seen[k, 5]
        f1 = seen[k, 3] + depth * seen[k, 6]
        f2 = seen[k, 4] + depth * seen[k, 7]
        if cameras[view[k], 0] != TELECENTRIC and not depth > 0.0:
            return False
        _, _, u0, u1, u2, v0, v1, v2 = project(cameras, view[k], f0, f1, f2)
        w = seen[k, 8]
        i00, i01, i11 = w * seen[k, 9], w * seen[k, 10], w * seen[k, 11]
        p0, p1, p2 = i00 * u0 + i01 * v0, i00 * u1 + i01 * v1, i00 * u2 + i01 * v2
        q0, q1, q2 = i01 * u0 + i11 * v0, i01 * u1 + i11 * v1, i01 * u2 + i11 * v2
        a[0] += p0 * u0 + q0 * v0
        a[1] += p0 * u1 + q0 * v1
        a[2] += p0 * u2 + q0 * v2
        a[3] += p1 * u1 + q1 * v1
        a[4] += p1 * u2 + q1 * v2
        a[5] += p2 * u2 + q2 * v2
        s = u0 * f0 + u1 * f1 + u2 * f2
        t = v0 * f0 + v1 * f1 + v2 * f2
        b[0] += p0 * s + q0 * t
        b[1] += p1 * s + q1 * t
        b[2] += p2 * s + q2 * t
    if not _invert(a, inverse):
        return False
    _multiply(inverse, b, point)
    return True


@device
def _evaluate(cameras, view, seen, chosen, n, limits, point, errors, a, spread, b):  # type: ignore[no-untyped-def]
    """Squared reprojection errors of all views, in px² and in gates (inf where a view cannot see the point), and of the
    chosen ones the normal equations a, b, the matrix `spread` of the noise they let through, and the weighted sum of
    squares. limits: reciprocals of the squared gates in px and in standard deviations."""
    for i in range(6):
        a[i] = 0.0
        spread[i] = 0.0
    b[0] = b[1] = b[2] = 0.0
    total = 0.0
    for k in range(n):
        u, v, u0, u1, u2, v0, v1, v2 = project(cameras, view[k], point[0], point[1], point[2])
        eu = seen[k, 0] - u
        ev = seen[k, 1] - v
        squared = eu * eu + ev * ev
        if not squared < math.inf:
            errors[0, k] = errors[1, k] = math.inf
            if chosen[k]:
                return math.inf
            continue
        own = seen[k, 9] * eu * eu + 2.0 * seen[k, 10] * eu * ev + seen[k, 11] * ev * ev
        errors[0, k] = squared
        errors[1, k] = squared * limits[0]
        own *= limits[1]
        if own < errors[1, k]:
            errors[1, k] = own
        if not chosen[k]:
            continue
        w = seen[k, 8]
        i00, i01, i11 = w * seen[k, 9], w * seen[k, 10], w * seen[k, 11]
        p0, p1, p2 = i00 * u0 + i01 * v0, i00 * u1 + i01 * v1, i00 * u2 + i01 * v2
        q0, q1, q2 = i01 * u0 + i11 * v0, i01 * u1 + i11 * v1, i01 * u2 + i11 * v2
        h0 = p0 * u0 + q0 * v0
        h1 = p0 * u1 + q0 * v1
        h2 = p0 * u2 + q0 * v2
        h3 = p1 * u1 + q1 * v1
        h4 = p1 * u2 + q1 * v2
        h5 = p2 * u2 + q2 * v2
        a[0] += h0
        a[1] += h1
        a[2] += h2
        a[3] += h3
        a[4] += h4
        a[5] += h5
        spread[0] += w * h0
        spread[1] += w * h1
        spread[2] += w * h2
        spread[3] += w * h3
        spread[4] += w * h4
        spread[5] += w * h5
        b[0] += p0 * eu + q0 * ev
        b[1] += p1 * eu + q1 * ev
        b[2] += p2 * eu + q2 * ev
        total += i00 * eu * eu + 2.0 * i01 * eu * ev + i11 * ev * ev
    return total


@device
def _refine(cameras, view, seen, chosen, n, limits, point, errors, a, spread, b, inverse, step, trial):  # type: ignore[no-untyped-def]
    """Gauss-Newton on the reprojection error of the chosen views, from `point`, in place; False where it fails.

    On return `errors`, `a` and `spread` are those of a point a last step (well below 1e-4 px) before the answer.
    """
    weight = 0.0
    for k in range(n):
        if chosen[k]:
            weight += seen[k, 8] * 0.5 * (seen[k, 9] + seen[k, 11])
    total = _evaluate(cameras, view, seen, chosen, n, limits, point, errors, a, spread, b)
    if total == math.inf:
        return False
    before = 0.0
    for _ in range(_GAUSS_NEWTON_STEPS):
        if not _invert(a, inverse):
            return False
        _multiply(inverse, b, step)
        moved = (step[0] * b[0] + step[1] * b[1] + step[2] * b[2]) / weight  # mean squared movement in px²
        if moved <= _CONVERGED_PX2 or (moved < before and moved * moved <= before * _CONVERGED_PX2):
            for i in range(3):
                point[i] += step[i]
            return True
        before = moved
        lower = False
        for _ in range(12):
            for i in range(3):
                trial[i] = point[i] + step[i]
            now = _evaluate(cameras, view, seen, chosen, n, limits, trial, errors, a, spread, b)
            if now <= total * (1.0 + 1e-12):
                lower = True
                break
            for i in range(3):
                step[i] *= 0.5
        if not lower:  # the rounding floor: no step lowers the error any more
            _evaluate(cameras, view, seen, chosen, n, limits, point, errors, a, spread, b)
            return _invert(a, inverse)
        total = now
        for i in range(3):
            point[i] = trial[i]
    return True


@device
def _gather(px, confidence, covariance, noise2, factor, first, cameras, i, view, seen):  # type: ignore[no-untyped-def]
    """Rows of `seen` for the views that have point i (pixel, ray, confidence, inverse covariance); their number."""
    n = np.int64(0)
    for c in range(px.shape[0]):
        u, v = px[c, 0, i], px[c, 1, i]
        w = confidence[c, i]
        if not (w > 0.0 and u * u + v * v < math.inf):
            continue
        if not _ray(cameras, c, u, v, seen, n):
            continue
        seen[n, 0] = u
        seen[n, 1] = v
        seen[n, 8] = w
        i00, i01, i11 = 1.0 / noise2, 0.0, 1.0 / noise2
        if covariance.shape[1] > 0 or factor.shape[1] > 0:
            i00, i01, i11 = information(covariance, noise2, factor, first, c, i)
        seen[n, 9] = i00
        seen[n, 10] = i01
        seen[n, 11] = i11
        view[n] = c
        n += 1
    return n


@device
def _propose(cameras, view, seen, n, limits, nobody, pairs, errors, best, scratch):  # type: ignore[no-untyped-def]
    """Let every pair of views propose a point. Fill `pairs` with (support, x, y, z) of each, `best` with the point of
    smallest truncated error; returns the number of proposals that both of their views agree with."""
    a, inverse, b, point, spread = scratch[0], scratch[1], scratch[2, :3], scratch[3, :3], scratch[4]
    least = math.inf
    m = 0
    for p in range(n):
        for q in range(p + 1, n):
            nobody[p] = True
            nobody[q] = True
            solved = _nearest(seen, nobody, n, a, inverse, b, point)
            solved = solved and _weigh(cameras, view, seen, nobody, n, a, inverse, b, point)
            nobody[p] = False
            nobody[q] = False
            if not solved:
                continue
            _evaluate(cameras, view, seen, nobody, n, limits, point, errors, a, spread, b)
            if not (errors[1, p] <= 1.0 and errors[1, q] <= 1.0):
                continue
            cost = 0.0
            support = 0.0
            for k in range(n):
                cost += seen[k, 8] * min(errors[1, k], 1.0)
                if errors[1, k] <= 1.0:
                    support += seen[k, 8]
            pairs[m, 0] = support
            for i in range(3):
                pairs[m, 1 + i] = point[i]
            m += 1
            if cost < least:
                least = cost
                for i in range(3):
                    best[i] = point[i]
    return m


@device
def _agree(cameras, view, seen, n, limits, nobody, chosen, point, errors, scratch):  # type: ignore[no-untyped-def]
    """Refit `point` on the views within the gate until that set stands still; returns its size, 0 where it fails."""
    a, inverse, b, step = scratch[0], scratch[1], scratch[2, :3], scratch[3, :3]
    spread, trial = scratch[4], scratch[5, :3]
    _evaluate(cameras, view, seen, nobody, n, limits, point, errors, a, spread, b)
    for turn in range(8):
        limit = 4.0 if turn == 0 else 1.0
        count = 0
        same = True
        for k in range(n):
            inside = errors[1, k] <= limit
            same = same and inside == chosen[k]
            chosen[k] = inside
            if inside:
                count += 1
        if count < 2:
            return 0
        if same and turn > 1:
            return count
        if not _refine(cameras, view, seen, chosen, n, limits, point, errors, a, spread, b, inverse, step, trial):
            return 0
    for k in range(n):
        if chosen[k] and not errors[1, k] <= 1.0:
            return 0
    return count


@device
def _rivalled(cameras, view, seen, n, limits, nobody, chosen, pairs, m, errors, scratch):  # type: ignore[no-untyped-def]
    """Whether another proposal has as much support as the chosen views and puts the point elsewhere."""
    a, b, point, spread = scratch[0], scratch[2, :3], scratch[3, :3], scratch[4]
    support = 0.0
    for k in range(n):
        if chosen[k]:
            support += seen[k, 8]
    for p in range(m):
        if pairs[p, 0] < TIE * support:
            continue
        for i in range(3):
            point[i] = pairs[p, 1 + i]
        _evaluate(cameras, view, seen, nobody, n, limits, point, errors, a, spread, b)
        for k in range(n):
            if chosen[k] and errors[1, k] > 4.0:
                return True
    return False


@device
def _decide(cameras, view, seen, n, limits, min_views, nobody, chosen, pairs, point, errors, scratch):  # type: ignore[no-untyped-def]
    """Find the views that agree, where not all do, and refit the point on them: what became of it."""
    a, inverse, b, spread = scratch[0], scratch[1], scratch[2, :3], scratch[4]
    m = _propose(cameras, view, seen, n, limits, nobody, pairs, errors, point, scratch)
    if m == 0:
        return INCONSISTENT
    for k in range(n):
        chosen[k] = False
    count = _agree(cameras, view, seen, n, limits, nobody, chosen, point, errors, scratch)
    if count < min_views:
        return INCONSISTENT
    if _rivalled(cameras, view, seen, n, limits, nobody, chosen, pairs, m, errors, scratch):
        return AMBIGUOUS
    _evaluate(cameras, view, seen, chosen, n, limits, point, errors, a, spread, b)
    if not _invert(a, inverse):
        return INCONSISTENT
    return CONSISTENT


@device
def _fit(cameras, view, seen, n, limits, refine, chosen, point, errors, scratch):  # type: ignore[no-untyped-def]
    """Fit the point to all views: whether all are within the gate."""
    a, inverse, b, step = scratch[0], scratch[1], scratch[2, :3], scratch[3, :3]
    spread, trial = scratch[4], scratch[5, :3]
    for k in range(n):
        chosen[k] = True
    if not _nearest(seen, chosen, n, a, inverse, b, point):
        return False
    if not _weigh(cameras, view, seen, chosen, n, a, inverse, b, point):
        return False
    if refine:
        if not _refine(cameras, view, seen, chosen, n, limits, point, errors, a, spread, b, inverse, step, trial):
            return False
    else:
        if _evaluate(cameras, view, seen, chosen, n, limits, point, errors, a, spread, b) == math.inf:
            return False
        if not _invert(a, inverse):
            return False
    agree = True
    for k in range(n):
        agree = agree and errors[1, k] <= 1.0
    return agree


@Kernel
def triangulate(  # type: ignore[no-untyped-def]
    px,
    confidence,
    covariance,
    noise2,
    factor,
    first,
    cameras,
    min_views,
    limits,
    refine,
    position,
    spread_out,
    error,
    inlier,
    usable,
    state,
):
    """Solve points from their pixels in several views; the outputs are written in place.

    Args:
        px: (view, 2, point).
        confidence: (view, point); 0 = the view does not count.
        covariance: (view, point, 2, 2) px², NaN where unknown; (view, 0, 2, 2) for none at all.
        noise2: px², the variance per coordinate of points whose covariance is unknown.
        factor: (view, k) by which the variances are multiplied, those of point i by column (first + i) % k; (view, 0)
            for 1.
        cameras: (view, 28) of CameraRig.packed().
        min_views: least number of views of a point, at least 2.
        limits: (2,) reciprocals of the squared error in px, and of that in standard deviations, up to which a view
            agrees; either is enough. 0 in px: every view is believed. Infinite in standard deviations: px decide.
        refine: whether Gauss-Newton follows the linear answer.
        position: out (point, 3); spread_out: out (point, 3, 3) covariance of the position;
        error: out (point,) mean distance in px over the views used; inlier: out (view, point) the views used;
        usable: out (point,) number of views that had the point; state: out (point,) what became of it.
    """
    n_cameras = px.shape[0]
    view = np.empty(n_cameras, np.int64)
    seen = np.empty((n_cameras, 12))
    errors = np.empty((2, n_cameras))
    chosen = np.empty(n_cameras, np.bool_)
    nobody = np.zeros(n_cameras, np.bool_)
    pairs = np.empty((n_cameras * (n_cameras - 1) // 2, 4))
    scratch = np.empty((6, 6))
    inverse, spread = scratch[1], scratch[4]
    step, trial, column = scratch[3, :3], scratch[5, :3], scratch[5, 3:6]
    point = np.empty(3)
    if vectorizable(cameras):
        solve_blocks(
            np.empty((2, n_cameras, VIEW_ROWS * LANES)),
            np.empty((2, POINT_ROWS * LANES)),
            np.empty((2, LANES), np.int64),
            px,
            confidence,
            covariance,
            noise2,
            factor,
            first,
            cameras,
            min_views,
            limits,
            refine,
            position,
            spread_out,
            error,
            inlier,
            usable,
            state,
        )
    else:
        for i in range(px.shape[2]):
            state[i] = OPEN
    for i in range(px.shape[2]):
        if state[i] != OPEN:
            continue
        for r in range(3):
            position[i, r] = math.nan
            for k in range(3):
                spread_out[i, r, k] = math.nan
        error[i] = math.nan
        for c in range(n_cameras):
            inlier[c, i] = False
        n = _gather(px, confidence, covariance, noise2, factor, first, cameras, i, view, seen)
        usable[i] = n
        state[i] = MISSING
        if n < min_views:
            continue
        state[i] = CONSISTENT
        if not _fit(cameras, view, seen, n, limits, refine, chosen, point, errors, scratch):
            state[i] = INCONSISTENT
            if n > 2 and limits[0] > 0.0:
                state[i] = _decide(
                    cameras, view, seen, n, limits, min_views, nobody, chosen, pairs, point, errors, scratch
                )
        if state[i] != CONSISTENT:
            continue
        total, count = 0.0, 0
        for k in range(n):
            if chosen[k]:
                inlier[view[k], i] = True
                total += math.sqrt(errors[0, k])
                count += 1
        state[i] = TWO_VIEWS if count == 2 else CONSISTENT
        error[i] = total / count
        for r in range(3):
            position[i, r] = point[r]
        # covariance = inverse @ spread @ inverse, the noise let through by the weights confidence / covariance
        for r in range(3):
            _column(inverse, r, column)
            _multiply(spread, column, trial)
            _multiply(inverse, trial, step)
            for k in range(3):
                spread_out[i, k, r] = step[k]
