"""The ordinary cases of triangulation in compiled code: blocks of points solved side by side, without branches.

Every value of a block is a row of LANES numbers, so that one loop over the lanes is a run of vector instructions. This
is for points of polynomial lenses (all but the fisheye) that need no decision:

1. the undistortion converges at once, and all views that have the point see it in front of them and agree on it; or
2. all views but one agree, and no other set of views could have as much support (`_leave_out`). These are collected
   until a block of them is full.

What is neither stays OPEN, and multipose.triangulate.kernels solves the point by itself; that is the reference, and the
formulas are the same.

What a lane gets does not depend on its neighbours: one that has converged is evaluated again at the same place.
"""

from __future__ import annotations

import math

import numpy as np

from multipose.triangulate.projection import (
    FISHEYE,
    RATIONAL,
    TELECENTRIC,
    coefficients,
    device,
    inlined,
    polynomial,
)

LANES = 64

# What became of a point.
MISSING = 0  # fewer views than asked for
CONSISTENT = 1  # three or more views agree
TWO_VIEWS = 2  # rests on two views: an error along their epipolar lines would go unseen
AMBIGUOUS = 3  # different sets of views agree on different points, equally well
INCONSISTENT = 4  # too few views agree, or the rays meet behind a camera or nowhere

SMALLEST_VARIANCE = 1e-4  # px²; no detector knows a point better than 0.01 px
PARALLEL = 1e-13  # least det / (trace/3)³ of a 3x3 system that counts as solvable: a parallax of about 1e-6 rad

# Rows of a view: pixel, undistorted plane coordinates, derivatives of the distortion there, confidence (0 where the
# view does not have the point, negative where it is left out), inverse covariance.
_U, _V, _X, _Y, _XX, _XY, _YY, _W, _I00, _I01, _I11 = (row * LANES for row in range(11))
VIEW_ROWS = 11

# Rows of a point: place, normal equations a and b, matrix of the noise let through, next step, sum of confidence /
# variance, worst squared error in gates, sum of the distances, weighted sum of squares, what speaks against the lane,
# squared movement of the last step, whether the lane still moves.
_P0, _P1, _P2, _A0, _A1, _A2, _A3, _A4, _A5, _B0, _B1, _B2 = (row * LANES for row in range(12))
_S0, _S1, _S2, _S3, _S4, _S5, _D0, _D1, _D2 = (row * LANES for row in range(12, 21))
_WEIGHT, _WORST, _SUM, _TOTAL, _BAD, _BEFORE, _MOVES = (row * LANES for row in range(21, 28))
# For leaving a view out: what remains at least and second, number of the view, number of views, their confidence, the
# two smallest of it, and what views that agree could have at most.
_LEAST, _SECOND, _LEFT, _N, _CONFIDENCE, _LIGHT, _LIGHTER, _ALLOWED = (row * LANES for row in range(28, 36))
POINT_ROWS = 36

# What became of a point (multipose.triangulate.points.STATES).
OPEN = -1  # not decided here
MISSING = 0  # fewer views than asked for
CONSISTENT = 1  # three or more views agree
TWO_VIEWS = 2  # rests on two views: an error along their epipolar lines would go unseen
AMBIGUOUS = 3  # different sets of views agree on different points, equally well
INCONSISTENT = 4  # too few views agree, or the rays meet behind a camera or nowhere

PARALLEL = 1e-13  # least det / (trace/3)³ of a 3x3 system that counts as solvable: a parallax of about 1e-6 rad
TIE = 0.9  # a rival with this share of the best support is as good
OFF = 4.0  # squared error in gates of a view for which the fit of all is not even tried
SURE = 2.0  # so many times more squared error than views that agree could have makes a rival impossible
SMALLEST_VARIANCE = 1e-4  # px²; no detector knows a point better than 0.01 px
_UNDISTORTION_STEPS = 4
_UNDISTORTED_PX2 = 1e-10  # before the last Newton step, which squares the relative error
_GAUSS_NEWTON_STEPS = 6
_CONVERGED_PX2 = 1e-15  # squared movement of the step after the last, foreseen from the two last
_FAR = 100.0  # squared error in gates of a lane that is not worth further steps


@device
def vectorizable(cameras):  # type: ignore[no-untyped-def]
    """Whether every lens is one that blocks can be solved with."""
    fisheyes = 0
    for c in range(cameras.shape[0]):
        fisheyes += cameras[c, 0] == FISHEYE
    return fisheyes == 0


@device
def solve(  # type: ignore[no-untyped-def]
    views,
    points,
    index,
    px,
    confidence,
    covariance,
    noise2,
    cameras,
    min_views,
    limits,
    refine,
    position,
    spread,
    error,
    inlier,
    usable,
    state,
):
    """Solve the ordinary points, and put OPEN into the state of the others.

    Args:
        views, points, index: scratch (2, view, VIEW_ROWS * LANES), (2, POINT_ROWS * LANES), (2, LANES): of a block,
            and of the block of doubtful lanes that is being filled.
        px: this and the others as of multipose.triangulate.kernels.triangulate.
    """
    n = px.shape[2]
    waiting = 0
    for start in range(0, n, LANES):
        size = min(LANES, n - start)
        for i in range(size):
            index[0, i] = start + i
        _fill(px, confidence, covariance, noise2, cameras, start, views[0])
        _begin(cameras, views[0], points[0])
        _refine(cameras, views[0], points[0], limits, refine)
        _write(views[0], points[0], index[0], size, refine, min_views, position, spread, error, inlier, usable, state)
        for i in range(size):
            if refine and state[start + i] == OPEN and _is_doubtful(points[0], i, min_views):
                _carry(views, points, i, waiting)
                index[1, waiting] = start + i
                waiting += 1
            if waiting < LANES and (waiting == 0 or start + i < n - 1):
                continue
            _leave_out(cameras, views[1], points[1], limits)
            _refine(cameras, views[1], points[1], limits, refine)
            _write(
                views[1],
                points[1],
                index[1],
                waiting,
                refine,
                min_views,
                position,
                spread,
                error,
                inlier,
                usable,
                state,
            )
            waiting = 0


@device
def _begin(cameras, views, points):  # type: ignore[no-untyped-def]
    """The linear answer of all views."""
    for i in range(LANES):
        points[_BAD + i] = 0.0
    _clear(points)
    for c in range(cameras.shape[0]):
        _undistort(cameras, c, views, points)
        _nearest(cameras, c, views, points)
    _solve(points)
    _move(points)
    _clear(points)
    for c in range(cameras.shape[0]):
        _weigh(cameras, c, views, points)
    _solve(points)
    _move(points)


@device
def _refine(cameras, views, points, limits, refine):  # type: ignore[no-untyped-def]
    """Gauss-Newton steps, until all lanes stand still; without `refine` only what belongs to the place."""
    for i in range(LANES):
        points[_BEFORE + i] = 0.0
        points[_MOVES + i] = 1.0
    for _ in range(_GAUSS_NEWTON_STEPS):
        _clear(points)
        for c in range(cameras.shape[0]):
            _evaluate(cameras, c, views, points, limits[0], limits[1])
        _solve(points)
        if not refine or _advance(points) == 0:
            break


@device
def _is_doubtful(points, i, min_views):  # type: ignore[no-untyped-def]
    """Whether a lane may be fine without one of its views."""
    fit = points[_BAD + i] == 0.0 and points[_WORST + i] > OFF
    return fit and points[_N + i] > min_views and points[_N + i] > 2.0


@device
def _carry(views, points, i, j):  # type: ignore[no-untyped-def]
    """Copy the views and the place of lane i into lane j of the other block."""
    for c in range(views.shape[1]):
        rows, others = views[0, c], views[1, c]
        for row in range(0, VIEW_ROWS * LANES, LANES):
            others[row + j] = rows[row + i]
    for row in (_P0, _P1, _P2):
        points[1, row + j] = points[0, row + i]


@device
def _fill(px, confidence, covariance, noise2, cameras, start, views):  # type: ignore[no-untyped-def]
    """Lay the pixels, confidences and inverse covariances of the points from `start` into the rows of the views."""
    size = min(LANES, px.shape[2] - start)
    for c in range(px.shape[0]):
        rows = views[c]
        middle_u, middle_v = cameras[c, 3], cameras[c, 4]
        for i in range(size):
            u, v = px[c, 0, start + i], px[c, 1, start + i]
            w = confidence[c, start + i]
            has = w > 0.0 and u * u + v * v < math.inf
            rows[_U + i] = u if has else middle_u
            rows[_V + i] = v if has else middle_v
            rows[_W + i] = w if has else 0.0
        for i in range(size, LANES):
            rows[_U + i] = middle_u
            rows[_V + i] = middle_v
            rows[_W + i] = 0.0
        if covariance.shape[1] == 0:
            for i in range(LANES):
                rows[_I00 + i] = 1.0 / noise2
                rows[_I01 + i] = 0.0
                rows[_I11 + i] = 1.0 / noise2
        else:
            for i in range(size):
                i00, i01, i11 = information(covariance, noise2, c, start + i)
                rows[_I00 + i] = i00
                rows[_I01 + i] = i01
                rows[_I11 + i] = i11
            for i in range(size, LANES):
                rows[_I00 + i] = 1.0
                rows[_I01 + i] = 0.0
                rows[_I11 + i] = 1.0


@inlined
def information(covariance, noise2, c, i):  # type: ignore[no-untyped-def]
    """Inverse of a 2D covariance, of noise2 where it is unknown; nobody knows a point better than 0.01 px."""
    s00, s01, s11 = covariance[c, i, 0, 0], covariance[c, i, 0, 1], covariance[c, i, 1, 1]
    if not s00 >= 0.0:
        s00, s01, s11 = noise2, 0.0, noise2
    elif not s00 * s11 - s01 * s01 > SMALLEST_VARIANCE**2:
        s00 = max(s00, SMALLEST_VARIANCE)
        s11 = max(s11, SMALLEST_VARIANCE)
        s01 = 0.0
    scale = 1.0 / (s00 * s11 - s01 * s01)
    return s11 * scale, -s01 * scale, s00 * scale


@device
def _write(  # type: ignore[no-untyped-def]
    views, points, index, size, refine, min_views, position, spread, error, inlier, usable, state
):
    """Write the answers of the lanes that are fine to their places `index`; the state of the others becomes OPEN."""
    _propagate(points, refine)
    for i in range(LANES):
        points[_N + i] = 0.0
        points[_LEFT + i] = 0.0
    for c in range(views.shape[0]):
        rows = views[c]
        for i in range(size):
            has = rows[_W + i] > 0.0
            inlier[c, index[i]] = has
            points[_N + i] += 1.0 if has else 0.0
            points[_LEFT + i] += 1.0 if rows[_W + i] < 0.0 else 0.0
    for i in range(size):
        j = index[i]
        n = np.int64(points[_N + i])
        fine = points[_MOVES + i] == 0.0 and points[_WORST + i] <= 1.0 and n >= min_views
        if not (fine and points[_SUM + i] < math.inf and points[_BAD + i] == 0.0):
            state[j] = OPEN
            continue
        usable[j] = n + np.int64(points[_LEFT + i])
        state[j] = TWO_VIEWS if n == 2 else CONSISTENT
        error[j] = points[_SUM + i] / n
        for r in range(3):
            position[j, r] = points[_P0 + r * LANES + i]
        s01, s02, s12 = points[_S1 + i], points[_S2 + i], points[_S4 + i]
        spread[j, 0, 0] = points[_S0 + i]
        spread[j, 0, 1] = s01
        spread[j, 0, 2] = s02
        spread[j, 1, 0] = s01
        spread[j, 1, 1] = points[_S3 + i]
        spread[j, 1, 2] = s12
        spread[j, 2, 0] = s02
        spread[j, 2, 1] = s12
        spread[j, 2, 2] = points[_S5 + i]


@device
def _clear(points):  # type: ignore[no-untyped-def]
    for i in range(_A0, _S5 + LANES):
        points[i] = 0.0
    for i in range(_WEIGHT, _TOTAL + LANES):
        points[i] = 0.0


@device
def _undistort(cameras, c, views, points):  # type: ignore[no-untyped-def]
    """Undistorted plane coordinates of a view's pixels, and the derivatives of the distortion there."""
    rows = views[c]
    k, rational = coefficients(cameras, c), cameras[c, 0] == RATIONAL
    fx, fy, cx, cy = 1.0 / cameras[c, 1], 1.0 / cameras[c, 2], cameras[c, 3], cameras[c, 4]
    valid = cameras[c, 13]
    tolerance = _UNDISTORTED_PX2 * fx * fx
    for i in range(LANES):
        xd = (rows[_U + i] - cx) * fx
        yd = (rows[_V + i] - cy) * fy
        xg, yg, xx, xy, yy = polynomial(k, rational, xd, yd)
        inverse = 1.0 / (xx * yy - xy * xy)
        rows[_X + i] = xd - (yy * (xg - xd) - xy * (yg - yd)) * inverse
        rows[_Y + i] = yd - (xx * (yg - yd) - xy * (xg - xd)) * inverse
    for step in range(1, _UNDISTORTION_STEPS):
        last = step == _UNDISTORTION_STEPS - 1
        for i in range(LANES):
            x, y = rows[_X + i], rows[_Y + i]
            xg, yg, xx, xy, yy = polynomial(k, rational, x, y)
            ex = xg - (rows[_U + i] - cx) * fx
            ey = yg - (rows[_V + i] - cy) * fy
            inverse = 1.0 / (xx * yy - xy * xy)
            x -= (yy * ex - xy * ey) * inverse
            y -= (xx * ey - xy * ex) * inverse
            rows[_X + i] = x
            rows[_Y + i] = y
            rows[_XX + i] = xx
            rows[_XY + i] = xy
            rows[_YY + i] = yy
            wrong = 0.0 if ex * ex + ey * ey <= tolerance else rows[_W + i]
            wrong = wrong if x * x + y * y < valid else rows[_W + i]
            points[_BAD + i] += wrong if last else 0.0


@device
def _nearest(cameras, c, views, points):  # type: ignore[no-untyped-def]
    """Add a view to the system of the point nearest to the rays, distances weighed by confidence."""
    rows = views[c]
    perspective = cameras[c, 0] != TELECENTRIC
    r0, r1, r2, r3, r4, r5, r6, r7, r8 = _rotation(cameras, c)
    t0, t1, t2 = cameras[c, 25], cameras[c, 26], cameras[c, 27]
    for i in range(LANES):
        x, y = rows[_X + i], rows[_Y + i]
        dx = x if perspective else 0.0
        dy = y if perspective else 0.0
        w = rows[_W + i]
        s = w / (1.0 + dx * dx + dy * dy)
        d0 = r0 * dx + r3 * dy + r6
        d1 = r1 * dx + r4 * dy + r7
        d2 = r2 * dx + r5 * dy + r8
        ox = (0.0 if perspective else x) - t0
        oy = (0.0 if perspective else y) - t1
        o0 = r0 * ox + r3 * oy - r6 * t2
        o1 = r1 * ox + r4 * oy - r7 * t2
        o2 = r2 * ox + r5 * oy - r8 * t2
        along = s * (d0 * o0 + d1 * o1 + d2 * o2)
        points[_A0 + i] += w - s * d0 * d0
        points[_A1 + i] -= s * d0 * d1
        points[_A2 + i] -= s * d0 * d2
        points[_A3 + i] += w - s * d1 * d1
        points[_A4 + i] -= s * d1 * d2
        points[_A5 + i] += w - s * d2 * d2
        points[_B0 + i] += w * o0 - along * d0
        points[_B1 + i] += w * o1 - along * d1
        points[_B2 + i] += w * o2 - along * d2


@inlined
def _rotation(cameras, c):  # type: ignore[no-untyped-def]
    return (
        cameras[c, 16],
        cameras[c, 17],
        cameras[c, 18],
        cameras[c, 19],
        cameras[c, 20],
        cameras[c, 21],
        cameras[c, 22],
        cameras[c, 23],
        cameras[c, 24],
    )


@inlined
def _accumulate(points, i, w, i00, i01, i11, u0, u1, u2, v0, v1, v2, s, t):  # type: ignore[no-untyped-def]
    """Add a view's share to the normal equations: derivatives u, v of the pixel, to reach s, t."""
    i00, i01, i11 = w * i00, w * i01, w * i11
    p0, p1, p2 = i00 * u0 + i01 * v0, i00 * u1 + i01 * v1, i00 * u2 + i01 * v2
    q0, q1, q2 = i01 * u0 + i11 * v0, i01 * u1 + i11 * v1, i01 * u2 + i11 * v2
    h0, h1, h2 = p0 * u0 + q0 * v0, p0 * u1 + q0 * v1, p0 * u2 + q0 * v2
    h3, h4, h5 = p1 * u1 + q1 * v1, p1 * u2 + q1 * v2, p2 * u2 + q2 * v2
    points[_A0 + i] += h0
    points[_A1 + i] += h1
    points[_A2 + i] += h2
    points[_A3 + i] += h3
    points[_A4 + i] += h4
    points[_A5 + i] += h5
    points[_B0 + i] += p0 * s + q0 * t
    points[_B1 + i] += p1 * s + q1 * t
    points[_B2 + i] += p2 * s + q2 * t
    return h0, h1, h2, h3, h4, h5


@device
def _weigh(cameras, c, views, points):  # type: ignore[no-untyped-def]
    """Add a view to the linear system in pixels at the depth of the point."""
    rows = views[c]
    perspective = cameras[c, 0] != TELECENTRIC
    r0, r1, r2, r3, r4, r5, r6, r7, r8 = _rotation(cameras, c)
    t0, t1, t2 = cameras[c, 25], cameras[c, 26], cameras[c, 27]
    fx, fy = cameras[c, 1], cameras[c, 2]
    for i in range(LANES):
        x, y, w = rows[_X + i], rows[_Y + i], rows[_W + i]
        p0, p1, p2 = points[_P0 + i], points[_P1 + i], points[_P2 + i]
        xc = r0 * p0 + r1 * p1 + r2 * p2 + t0
        yc = r3 * p0 + r4 * p1 + r5 * p2 + t1
        zc = r6 * p0 + r7 * p1 + r8 * p2 + t2
        depth = (x * xc + y * yc + zc) / (1.0 + x * x + y * y) if perspective else 1.0
        points[_BAD + i] += 0.0 if depth > 0.0 else w
        inverse = 1.0 / depth
        gx, gy = fx * inverse, fy * inverse
        ux, uy = gx * rows[_XX + i], gx * rows[_XY + i]
        vx, vy = gy * rows[_XY + i], gy * rows[_YY + i]
        uz = -(ux * x + uy * y) if perspective else 0.0
        vz = -(vx * x + vy * y) if perspective else 0.0
        f0, f1, f2 = depth * x - t0, depth * y - t1, depth - t2
        _accumulate(
            points,
            i,
            w,
            rows[_I00 + i],
            rows[_I01 + i],
            rows[_I11 + i],
            ux * r0 + uy * r3 + uz * r6,
            ux * r1 + uy * r4 + uz * r7,
            ux * r2 + uy * r5 + uz * r8,
            vx * r0 + vy * r3 + vz * r6,
            vx * r1 + vy * r4 + vz * r7,
            vx * r2 + vy * r5 + vz * r8,
            ux * f0 + uy * f1 + uz * f2,
            vx * f0 + vy * f1 + vz * f2,
        )


@inlined
def _placed(cameras, c):  # type: ignore[no-untyped-def]
    """What `_look` needs of a camera."""
    translation = cameras[c, 25], cameras[c, 26], cameras[c, 27]
    scale = cameras[c, 1], cameras[c, 2], cameras[c, 3], cameras[c, 4]
    return (
        _rotation(cameras, c),
        translation,
        scale,
        coefficients(cameras, c),
        cameras[c, 0] == RATIONAL,
        cameras[c, 0] != TELECENTRIC,
    )


@inlined
def _look(camera, p0, p1, p2):  # type: ignore[no-untyped-def]
    """Depth (1 in a telecentric camera), squared radius in the plane, pixel, and its derivatives."""
    (r0, r1, r2, r3, r4, r5, r6, r7, r8), (t0, t1, t2), (fx, fy, cx, cy), k, rational, perspective = camera
    xc = r0 * p0 + r1 * p1 + r2 * p2 + t0
    yc = r3 * p0 + r4 * p1 + r5 * p2 + t1
    zc = r6 * p0 + r7 * p1 + r8 * p2 + t2
    zc = zc if perspective else 1.0
    inverse = 1.0 / zc
    x, y = xc * inverse, yc * inverse
    xd, yd, xx, xy, yy = polynomial(k, rational, x, y)
    gx, gy = fx * inverse, fy * inverse
    ux, uy, vx, vy = gx * xx, gx * xy, gy * xy, gy * yy
    uz = -(ux * x + uy * y) if perspective else 0.0
    vz = -(vx * x + vy * y) if perspective else 0.0
    return (
        zc,
        x * x + y * y,
        fx * xd + cx,
        fy * yd + cy,
        ux * r0 + uy * r3 + uz * r6,
        ux * r1 + uy * r4 + uz * r7,
        ux * r2 + uy * r5 + uz * r8,
        vx * r0 + vy * r3 + vz * r6,
        vx * r1 + vy * r4 + vz * r7,
        vx * r2 + vy * r5 + vz * r8,
    )


@device
def _evaluate(cameras, c, views, points, gate, sd_gate):  # type: ignore[no-untyped-def]
    """Add a view's reprojection errors and their derivatives to the Gauss-Newton system.

    A view that is left out only speaks against the lane, if it agrees nevertheless.
    """
    rows = views[c]
    camera = _placed(cameras, c)
    valid = cameras[c, 13]
    for i in range(LANES):
        confidence = rows[_W + i]
        w = confidence if confidence > 0.0 else 0.0
        zc, r2, u, v, u0, u1, u2, v0, v1, v2 = _look(camera, points[_P0 + i], points[_P1 + i], points[_P2 + i])
        eu, ev = rows[_U + i] - u, rows[_V + i] - v
        i00, i01, i11 = rows[_I00 + i], rows[_I01 + i], rows[_I11 + i]
        squared = eu * eu + ev * ev
        own = i00 * eu * eu + 2.0 * i01 * eu * ev + i11 * ev * ev
        seen = 1.0 if confidence > 0.0 else 0.0
        off = squared * gate
        off = own * sd_gate if own * sd_gate < off else off
        agrees = 1.0 if off <= 1.0 else 0.0
        bad = 0.0 if zc > 0.0 else w
        bad = bad if r2 < valid else w
        points[_BAD + i] += bad + (agrees if confidence < 0.0 else 0.0)
        off *= seen
        worst = points[_WORST + i]
        points[_WORST + i] = off if off > worst else worst
        points[_SUM + i] += seen * math.sqrt(squared)
        points[_TOTAL + i] += w * own
        points[_WEIGHT + i] += w * 0.5 * (i00 + i11)
        h0, h1, h2, h3, h4, h5 = _accumulate(points, i, w, i00, i01, i11, u0, u1, u2, v0, v1, v2, eu, ev)
        points[_S0 + i] += w * h0
        points[_S1 + i] += w * h1
        points[_S2 + i] += w * h2
        points[_S3 + i] += w * h3
        points[_S4 + i] += w * h4
        points[_S5 + i] += w * h5


@device
def _leave_out(cameras, views, points, limits):  # type: ignore[no-untyped-def]
    """Leave out the view without which the others agree, and take the step to their answer.

    From the linearised fit of all views, the squared error that remains without a view follows in closed form. The view
    is the one that leaves least. Another point could only be supported as well by all views but one other: lanes are
    bad unless without each of these more remains than views within the gate could have, and unless fewer views weigh
    too little.
    """
    for i in range(LANES):
        points[_BAD + i] = 0.0
        points[_LEAST + i] = points[_SECOND + i] = points[_LIGHT + i] = points[_LIGHTER + i] = math.inf
        points[_LEFT + i] = points[_CONFIDENCE + i] = points[_ALLOWED + i] = 0.0
    _clear(points)
    for c in range(cameras.shape[0]):
        _evaluate(cameras, c, views, points, limits[0], limits[1])
    for c in range(cameras.shape[0]):
        _rest(cameras, c, views, points, 1.0 / limits[0], 1.0 / limits[1])
    for i in range(LANES):
        weight = points[_CONFIDENCE + i]
        rival = weight - points[_LIGHT + i] - points[_LIGHTER + i]
        sure = points[_SECOND + i] >= SURE * points[_ALLOWED + i]
        left = points[_LEFT + i]
        for c in range(views.shape[0]):
            w = views[c][_W + i]
            if c + 1 == left:
                sure = sure and rival < TIE * (weight - w)
                views[c][_W + i] = -w
        points[_BAD + i] += 0.0 if sure and left > 0.0 else 1.0
        points[_P0 + i] += points[_D0 + i]
        points[_P1 + i] += points[_D1 + i]
        points[_P2 + i] += points[_D2 + i]


@device
def _rest(cameras, c, views, points, gate, sd_gate):  # type: ignore[no-untyped-def]
    """What remains of the weighted squares without a view, in the linearised fit, compared with the views before.

    gate, sd_gate: squared limits in px and in standard deviations.
    """
    rows = views[c]
    camera = _placed(cameras, c)
    for i in range(LANES):
        w = rows[_W + i]
        _, _, u, v, u0, u1, u2, v0, v1, v2 = _look(camera, points[_P0 + i], points[_P1 + i], points[_P2 + i])
        eu, ev = rows[_U + i] - u, rows[_V + i] - v
        i00, i01, i11 = rows[_I00 + i], rows[_I01 + i], rows[_I11 + i]
        half = 0.5 * (i00 - i11)
        largest = (0.5 * (i00 + i11) + math.sqrt(half * half + i01 * i01)) * gate
        points[_ALLOWED + i] += w * (largest if largest > sd_gate else sd_gate)
        points[_CONFIDENCE + i] += w
        present = w if w > 0.0 else math.inf
        lighter, light = points[_LIGHTER + i], points[_LIGHT + i]
        between = present if present > lighter else lighter
        points[_LIGHTER + i] = present if present < lighter else lighter
        points[_LIGHT + i] = between if between < light else light
        i00, i01, i11 = w * i00, w * i01, w * i11
        p0, p1, p2 = i00 * u0 + i01 * v0, i00 * u1 + i01 * v1, i00 * u2 + i01 * v2
        q0, q1, q2 = i01 * u0 + i11 * v0, i01 * u1 + i11 * v1, i01 * u2 + i11 * v2
        a0, a1 = points[_A0 + i] - (p0 * u0 + q0 * v0), points[_A1 + i] - (p0 * u1 + q0 * v1)
        a2, a3 = points[_A2 + i] - (p0 * u2 + q0 * v2), points[_A3 + i] - (p1 * u1 + q1 * v1)
        a4, a5 = points[_A4 + i] - (p1 * u2 + q1 * v2), points[_A5 + i] - (p2 * u2 + q2 * v2)
        b0 = points[_B0 + i] - (p0 * eu + q0 * ev)
        b1 = points[_B1 + i] - (p1 * eu + q1 * ev)
        b2 = points[_B2 + i] - (p2 * eu + q2 * ev)
        c0, c1, c2 = a3 * a5 - a4 * a4, a2 * a4 - a1 * a5, a1 * a4 - a2 * a3
        det = a0 * c0 + a1 * c1 + a2 * c2
        scale = 1.0 / det
        c3, c4, c5 = a0 * a5 - a2 * a2, a1 * a2 - a0 * a4, a0 * a3 - a1 * a1
        d0 = (c0 * b0 + c1 * b1 + c2 * b2) * scale
        d1 = (c1 * b0 + c3 * b1 + c4 * b2) * scale
        d2 = (c2 * b0 + c4 * b1 + c5 * b2) * scale
        mean = (a0 + a3 + a5) / 3.0
        points[_BAD + i] += 0.0 if det > PARALLEL * mean * mean * mean else 1.0
        remains = points[_TOTAL + i] - (i00 * eu * eu + 2.0 * i01 * eu * ev + i11 * ev * ev)
        remains = remains - (b0 * d0 + b1 * d1 + b2 * d2) if w > 0.0 else math.inf
        least, second = points[_LEAST + i], points[_SECOND + i]
        less = remains < least
        other = least if less else remains
        points[_SECOND + i] = other if other < second else second
        points[_LEAST + i] = remains if less else least
        points[_LEFT + i] = c + 1.0 if less else points[_LEFT + i]
        points[_D0 + i] = d0 if less else points[_D0 + i]
        points[_D1 + i] = d1 if less else points[_D1 + i]
        points[_D2 + i] = d2 if less else points[_D2 + i]


@device
def _solve(points):  # type: ignore[no-untyped-def]
    """Put the solution of the 3x3 systems into the rows of the step, and the inverses in the place of the systems."""
    for i in range(LANES):
        a0, a1, a2 = points[_A0 + i], points[_A1 + i], points[_A2 + i]
        a3, a4, a5 = points[_A3 + i], points[_A4 + i], points[_A5 + i]
        b0, b1, b2 = points[_B0 + i], points[_B1 + i], points[_B2 + i]
        c0 = a3 * a5 - a4 * a4
        c1 = a2 * a4 - a1 * a5
        c2 = a1 * a4 - a2 * a3
        det = a0 * c0 + a1 * c1 + a2 * c2
        mean = (a0 + a3 + a5) / 3.0
        points[_BAD + i] += 0.0 if det > PARALLEL * mean * mean * mean else 1.0
        scale = 1.0 / det
        c0 *= scale
        c1 *= scale
        c2 *= scale
        c3 = (a0 * a5 - a2 * a2) * scale
        c4 = (a1 * a2 - a0 * a4) * scale
        c5 = (a0 * a3 - a1 * a1) * scale
        points[_A0 + i] = c0
        points[_A1 + i] = c1
        points[_A2 + i] = c2
        points[_A3 + i] = c3
        points[_A4 + i] = c4
        points[_A5 + i] = c5
        points[_D0 + i] = c0 * b0 + c1 * b1 + c2 * b2
        points[_D1 + i] = c1 * b0 + c3 * b1 + c4 * b2
        points[_D2 + i] = c2 * b0 + c4 * b1 + c5 * b2


@device
def _move(points):  # type: ignore[no-untyped-def]
    """The solution of a linear system is the place itself."""
    for i in range(3 * LANES):
        points[_P0 + i] = points[_D0 + i]


@device
def _advance(points):  # type: ignore[no-untyped-def]
    """Take the Gauss-Newton step in lanes that still move; how many do."""
    moving = 0
    for i in range(LANES):
        d0, d1, d2 = points[_D0 + i], points[_D1 + i], points[_D2 + i]
        moved = d0 * points[_B0 + i] + d1 * points[_B1 + i] + d2 * points[_B2 + i]
        moved /= points[_WEIGHT + i]
        before = points[_BEFORE + i]
        moves = 1.0 if moved > _CONVERGED_PX2 else 0.0
        moves = moves if moved * moved > before * _CONVERGED_PX2 or moved > before else 0.0
        moves = moves if points[_WORST + i] <= _FAR else 0.0
        moves = moves if points[_BAD + i] == 0.0 else 0.0
        points[_P0 + i] += moves * d0
        points[_P1 + i] += moves * d1
        points[_P2 + i] += moves * d2
        points[_BEFORE + i] = moved if moves > 0.0 else before
        points[_MOVES + i] = moves
        moving += np.int64(moves)
    return moving


@device
def _propagate(points, refine):  # type: ignore[no-untyped-def]
    """Take the last step, and put the covariance inverse @ noise let through @ inverse into the rows of the noise."""
    last = 1.0 if refine else 0.0
    for i in range(LANES):
        points[_P0 + i] += last * points[_D0 + i]
        points[_P1 + i] += last * points[_D1 + i]
        points[_P2 + i] += last * points[_D2 + i]
        points[_MOVES + i] *= last
        a0, a1, a2 = points[_A0 + i], points[_A1 + i], points[_A2 + i]
        a3, a4, a5 = points[_A3 + i], points[_A4 + i], points[_A5 + i]
        s0, s1, s2 = points[_S0 + i], points[_S1 + i], points[_S2 + i]
        s3, s4, s5 = points[_S3 + i], points[_S4 + i], points[_S5 + i]
        m00, m01, m02 = a0 * s0 + a1 * s1 + a2 * s2, a0 * s1 + a1 * s3 + a2 * s4, a0 * s2 + a1 * s4 + a2 * s5
        m10, m11, m12 = a1 * s0 + a3 * s1 + a4 * s2, a1 * s1 + a3 * s3 + a4 * s4, a1 * s2 + a3 * s4 + a4 * s5
        m20, m21, m22 = a2 * s0 + a4 * s1 + a5 * s2, a2 * s1 + a4 * s3 + a5 * s4, a2 * s2 + a4 * s4 + a5 * s5
        points[_S0 + i] = m00 * a0 + m01 * a1 + m02 * a2
        points[_S1 + i] = m00 * a1 + m01 * a3 + m02 * a4
        points[_S2 + i] = m00 * a2 + m01 * a4 + m02 * a5
        points[_S3 + i] = m10 * a1 + m11 * a3 + m12 * a4
        points[_S4 + i] = m10 * a2 + m11 * a4 + m12 * a5
        points[_S5 + i] = m20 * a2 + m21 * a4 + m22 * a5
