"""The ordinary case of triangulation in compiled code: blocks of points solved side by side, without branches.

Every value of a block is a row of LANES numbers, so that one loop over the lanes is a run of vector instructions. This
is for points of polynomial lenses (all but the fisheye) that need no decision: the undistortion converges at once, and
all views that have the point see it in front of them and agree on it. Where that does not hold, the lane is not written
and multipose.triangulate.kernels solves the point by itself; that is the reference, and the formulas are the same.

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

# Rows of a view: pixel, undistorted plane coordinates, derivatives of the distortion there, confidence (0 where the view
# does not have the point), inverse covariance.
_U, _V, _X, _Y, _XX, _XY, _YY, _W, _I00, _I01, _I11 = (row * LANES for row in range(11))
VIEW_ROWS = 11

# Rows of a point: place, normal equations a and b, matrix of the noise let through, next step, sum of confidence /
# variance, worst squared error in gates, sum of the distances, what speaks against the lane, squared movement of the
# last step, whether the lane still moves.
_P0, _P1, _P2, _A0, _A1, _A2, _A3, _A4, _A5, _B0, _B1, _B2 = (row * LANES for row in range(12))
_S0, _S1, _S2, _S3, _S4, _S5, _D0, _D1, _D2 = (row * LANES for row in range(12, 21))
_WEIGHT, _WORST, _SUM, _BAD, _BEFORE, _MOVES = (row * LANES for row in range(21, 27))
POINT_ROWS = 27

_UNDISTORTION_STEPS = 4
_UNDISTORTED_PX2 = 1e-10  # before the last Newton step, which squares the relative error
_GAUSS_NEWTON_STEPS = 6
_CONVERGED_PX2 = 1e-15  # squared movement of the step after the last, foreseen from the two last
_FAR = 100.0  # squared error in gates of a lane that is not worth further steps


@device
def vectorizable(cameras):  # type: ignore[no-untyped-def]
    """Whether every lens is one that blocks can be solved with."""
    for c in range(cameras.shape[0]):
        if cameras[c, 0] == FISHEYE:
            return False
    return True


@device
def solve(cameras, views, points, refine, gate, sd_gate):  # type: ignore[no-untyped-def]
    """Solve the block whose pixels `fill` has put into `views`; `write` takes the answers of the lanes that are fine.

    gate, sd_gate: reciprocals of the squared limits in px and in standard deviations.
    """
    for i in range(LANES):
        points[_BAD + i] = 0.0
        points[_BEFORE + i] = 0.0
        points[_MOVES + i] = 1.0
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
    for _ in range(_GAUSS_NEWTON_STEPS):
        _clear(points)
        for c in range(cameras.shape[0]):
            _evaluate(cameras, c, views, points, gate, sd_gate)
        _solve(points)
        if not refine or _advance(points) == 0:
            break


@device
def fill(px, confidence, covariance, noise2, cameras, start, views):  # type: ignore[no-untyped-def]
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
def write(views, points, refine, start, n_cameras, min_views, position, spread, error, inlier, usable, state):  # type: ignore[no-untyped-def]
    """Write the answers of lanes that are fine; `_MOVES` becomes 0 for these and 1 for the others."""
    size = min(LANES, position.shape[0] - start)
    _propagate(points, refine)
    for i in range(size):
        points[_B0 + i] = 0.0
    for c in range(n_cameras):
        rows = views[c]
        for i in range(size):
            has = rows[_W + i] > 0.0
            inlier[c, start + i] = has
            points[_B0 + i] += 1.0 if has else 0.0
    for i in range(size):
        n = np.int64(points[_B0 + i])
        fine = points[_MOVES + i] == 0.0 and points[_WORST + i] <= 1.0 and n >= min_views
        fine = fine and points[_SUM + i] < math.inf and points[_BAD + i] == 0.0
        points[_MOVES + i] = 0.0 if fine else 1.0
        if not fine:
            continue
        j = start + i
        usable[j] = n
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


@inlined
def is_fine(points, i):  # type: ignore[no-untyped-def]
    """Whether `write` wrote a lane."""
    return points[_MOVES + i] == 0.0


@device
def _clear(points):  # type: ignore[no-untyped-def]
    for i in range(_A0, _S5 + LANES):
        points[i] = 0.0
    for i in range(_WEIGHT, _SUM + LANES):
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
    """Add a view's share to the normal equations: derivatives u, v of the pixel, and what they are to reach, s and t."""
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


@device
def _evaluate(cameras, c, views, points, gate, sd_gate):  # type: ignore[no-untyped-def]
    """Add a view's reprojection errors and their derivatives to the Gauss-Newton system."""
    rows = views[c]
    perspective = cameras[c, 0] != TELECENTRIC
    k, rational = coefficients(cameras, c), cameras[c, 0] == RATIONAL
    r0, r1, r2, r3, r4, r5, r6, r7, r8 = _rotation(cameras, c)
    t0, t1, t2 = cameras[c, 25], cameras[c, 26], cameras[c, 27]
    fx, fy, cx, cy = cameras[c, 1], cameras[c, 2], cameras[c, 3], cameras[c, 4]
    valid = cameras[c, 13]
    for i in range(LANES):
        w = rows[_W + i]
        p0, p1, p2 = points[_P0 + i], points[_P1 + i], points[_P2 + i]
        xc = r0 * p0 + r1 * p1 + r2 * p2 + t0
        yc = r3 * p0 + r4 * p1 + r5 * p2 + t1
        zc = r6 * p0 + r7 * p1 + r8 * p2 + t2
        zc = zc if perspective else 1.0
        inverse = 1.0 / zc
        x, y = xc * inverse, yc * inverse
        xd, yd, xx, xy, yy = polynomial(k, rational, x, y)
        points[_BAD + i] += 0.0 if zc > 0.0 else w
        points[_BAD + i] += 0.0 if x * x + y * y < valid else w
        gx, gy = fx * inverse, fy * inverse
        ux, uy, vx, vy = gx * xx, gx * xy, gy * xy, gy * yy
        uz = -(ux * x + uy * y) if perspective else 0.0
        vz = -(vx * x + vy * y) if perspective else 0.0
        eu = rows[_U + i] - (fx * xd + cx)
        ev = rows[_V + i] - (fy * yd + cy)
        i00, i01, i11 = rows[_I00 + i], rows[_I01 + i], rows[_I11 + i]
        squared = eu * eu + ev * ev
        seen = 1.0 if w > 0.0 else 0.0
        off = squared * gate
        own = (i00 * eu * eu + 2.0 * i01 * eu * ev + i11 * ev * ev) * sd_gate
        off = seen * (own if own < off else off)
        worst = points[_WORST + i]
        points[_WORST + i] = off if off > worst else worst
        points[_SUM + i] += seen * math.sqrt(squared)
        points[_WEIGHT + i] += w * 0.5 * (i00 + i11)
        h0, h1, h2, h3, h4, h5 = _accumulate(
            points,
            i,
            w,
            i00,
            i01,
            i11,
            ux * r0 + uy * r3 + uz * r6,
            ux * r1 + uy * r4 + uz * r7,
            ux * r2 + uy * r5 + uz * r8,
            vx * r0 + vy * r3 + vz * r6,
            vx * r1 + vy * r4 + vz * r7,
            vx * r2 + vy * r5 + vz * r8,
            eu,
            ev,
        )
        points[_S0 + i] += w * h0
        points[_S1 + i] += w * h1
        points[_S2 + i] += w * h2
        points[_S3 + i] += w * h3
        points[_S4 + i] += w * h4
        points[_S5 + i] += w * h5


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
