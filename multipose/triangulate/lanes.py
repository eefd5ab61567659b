"""Blocks of points side by side in compiled code: their layout, and the loops over the lanes of one view or one block.

Every value of a block is a row of LANES numbers, so that a loop over the lanes is a run of vector instructions, without
branches. multipose.triangulate.blocks puts the loops together; the formulas are those of multipose.triangulate.kernels.
"""

from __future__ import annotations

import math

from multipose.triangulate.projection import RATIONAL, TELECENTRIC, coefficients, device, inlined, polynomial

LANES = 64

# Rows of a view: pixel, undistorted plane coordinates, derivatives of the distortion there, confidence (0 where the
# view does not have the point, negative where it is left out), inverse covariance.
U, V, X, Y, XX, XY, YY, W, I00, I01, I11 = (row * LANES for row in range(11))
VIEW_ROWS = 11

# Rows of a point: place, normal equations a and b, matrix of the noise let through, next step, sum of confidence /
# variance, worst squared error in gates, sum of the distances, weighted sum of squares, what speaks against the lane,
# squared movement of the last step, whether the lane still moves.
P0, P1, P2, A0, A1, A2, A3, A4, A5, B0, B1, B2 = (row * LANES for row in range(12))
S0, S1, S2, S3, S4, S5, D0, D1, D2 = (row * LANES for row in range(12, 21))
WEIGHT, WORST, SUM, TOTAL, BAD, BEFORE, MOVES = (row * LANES for row in range(21, 28))
# For leaving a view out: what remains at least and second, number of the view, number of views, their confidence, the
# two smallest of it, and what views that agree could have at most.
LEAST, SECOND, LEFT, N, CONFIDENCE, LIGHT, LIGHTER, ALLOWED = (row * LANES for row in range(28, 36))
POINT_ROWS = 36

PARALLEL = 1e-13  # least det / (trace/3)³ of a 3x3 system that counts as solvable: a parallax of about 1e-6 rad
_UNDISTORTION_STEPS = 4
_UNDISTORTED_PX2 = 1e-10  # before the last Newton step, which squares the relative error
_CONVERGED_PX2 = 1e-15  # squared movement of the step after the last, foreseen from the two last
_FAR = 100.0  # squared error in gates of a lane that is not worth further steps


@device
def clear(points):  # type: ignore[no-untyped-def]
    for i in range(A0, S5 + LANES):
        points[i] = 0.0
    for i in range(WEIGHT, TOTAL + LANES):
        points[i] = 0.0


@device
def undistort_block(cameras, c, views, points):  # type: ignore[no-untyped-def]
    """Undistorted plane coordinates of a view's pixels, and the derivatives of the distortion there."""
    rows = views[c]
    k, rational = coefficients(cameras, c), cameras[c, 0] == RATIONAL
    fx, fy, cx, cy = 1.0 / cameras[c, 1], 1.0 / cameras[c, 2], cameras[c, 3], cameras[c, 4]
    valid = cameras[c, 13]
    tolerance = _UNDISTORTED_PX2 * fx * fx
    for i in range(LANES):
        xd = (rows[U + i] - cx) * fx
        yd = (rows[V + i] - cy) * fy
        xg, yg, xx, xy, yy = polynomial(k, rational, xd, yd)
        inverse = 1.0 / (xx * yy - xy * xy)
        rows[X + i] = xd - (yy * (xg - xd) - xy * (yg - yd)) * inverse
        rows[Y + i] = yd - (xx * (yg - yd) - xy * (xg - xd)) * inverse
    for step in range(1, _UNDISTORTION_STEPS):
        last = step == _UNDISTORTION_STEPS - 1
        for i in range(LANES):
            x, y = rows[X + i], rows[Y + i]
            xg, yg, xx, xy, yy = polynomial(k, rational, x, y)
            ex = xg - (rows[U + i] - cx) * fx
            ey = yg - (rows[V + i] - cy) * fy
            inverse = 1.0 / (xx * yy - xy * xy)
            x -= (yy * ex - xy * ey) * inverse
            y -= (xx * ey - xy * ex) * inverse
            rows[X + i] = x
            rows[Y + i] = y
            rows[XX + i] = xx
            rows[XY + i] = xy
            rows[YY + i] = yy
            wrong = 0.0 if ex * ex + ey * ey <= tolerance else rows[W + i]
            wrong = wrong if x * x + y * y < valid else rows[W + i]
            points[BAD + i] += wrong if last else 0.0


@device
def add_nearest(cameras, c, views, points):  # type: ignore[no-untyped-def]
    """Add a view to the system of the point nearest to the rays, distances weighed by confidence."""
    rows = views[c]
    perspective = cameras[c, 0] != TELECENTRIC
    r0, r1, r2, r3, r4, r5, r6, r7, r8 = _rotation(cameras, c)
    t0, t1, t2 = cameras[c, 25], cameras[c, 26], cameras[c, 27]
    for i in range(LANES):
        x, y = rows[X + i], rows[Y + i]
        dx = x if perspective else 0.0
        dy = y if perspective else 0.0
        w = rows[W + i]
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
        points[A0 + i] += w - s * d0 * d0
        points[A1 + i] -= s * d0 * d1
        points[A2 + i] -= s * d0 * d2
        points[A3 + i] += w - s * d1 * d1
        points[A4 + i] -= s * d1 * d2
        points[A5 + i] += w - s * d2 * d2
        points[B0 + i] += w * o0 - along * d0
        points[B1 + i] += w * o1 - along * d1
        points[B2 + i] += w * o2 - along * d2


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
    points[A0 + i] += h0
    points[A1 + i] += h1
    points[A2 + i] += h2
    points[A3 + i] += h3
    points[A4 + i] += h4
    points[A5 + i] += h5
    points[B0 + i] += p0 * s + q0 * t
    points[B1 + i] += p1 * s + q1 * t
    points[B2 + i] += p2 * s + q2 * t
    return h0, h1, h2, h3, h4, h5


@device
def add_weighed(cameras, c, views, points):  # type: ignore[no-untyped-def]
    """Add a view to the linear system in pixels at the depth of the point."""
    rows = views[c]
    perspective = cameras[c, 0] != TELECENTRIC
    r0, r1, r2, r3, r4, r5, r6, r7, r8 = _rotation(cameras, c)
    t0, t1, t2 = cameras[c, 25], cameras[c, 26], cameras[c, 27]
    fx, fy = cameras[c, 1], cameras[c, 2]
    for i in range(LANES):
        x, y, w = rows[X + i], rows[Y + i], rows[W + i]
        p0, p1, p2 = points[P0 + i], points[P1 + i], points[P2 + i]
        xc = r0 * p0 + r1 * p1 + r2 * p2 + t0
        yc = r3 * p0 + r4 * p1 + r5 * p2 + t1
        zc = r6 * p0 + r7 * p1 + r8 * p2 + t2
        depth = (x * xc + y * yc + zc) / (1.0 + x * x + y * y) if perspective else 1.0
        points[BAD + i] += 0.0 if depth > 0.0 else w
        inverse = 1.0 / depth
        gx, gy = fx * inverse, fy * inverse
        ux, uy = gx * rows[XX + i], gx * rows[XY + i]
        vx, vy = gy * rows[XY + i], gy * rows[YY + i]
        uz = -(ux * x + uy * y) if perspective else 0.0
        vz = -(vx * x + vy * y) if perspective else 0.0
        f0, f1, f2 = depth * x - t0, depth * y - t1, depth - t2
        _accumulate(
            points,
            i,
            w,
            rows[I00 + i],
            rows[I01 + i],
            rows[I11 + i],
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
def add_errors(cameras, c, views, points, gate, sd_gate):  # type: ignore[no-untyped-def]
    """Add a view's reprojection errors and their derivatives to the Gauss-Newton system.

    A view that is left out only speaks against the lane, if it agrees nevertheless.
    """
    rows = views[c]
    camera = _placed(cameras, c)
    valid = cameras[c, 13]
    for i in range(LANES):
        confidence = rows[W + i]
        w = confidence if confidence > 0.0 else 0.0
        zc, r2, u, v, u0, u1, u2, v0, v1, v2 = _look(camera, points[P0 + i], points[P1 + i], points[P2 + i])
        eu, ev = rows[U + i] - u, rows[V + i] - v
        i00, i01, i11 = rows[I00 + i], rows[I01 + i], rows[I11 + i]
        squared = eu * eu + ev * ev
        own = i00 * eu * eu + 2.0 * i01 * eu * ev + i11 * ev * ev
        seen = 1.0 if confidence > 0.0 else 0.0
        off = squared * gate
        off = own * sd_gate if own * sd_gate < off else off
        agrees = 1.0 if off <= 1.0 else 0.0
        bad = 0.0 if zc > 0.0 else w
        bad = bad if r2 < valid else w
        points[BAD + i] += bad + (agrees if confidence < 0.0 else 0.0)
        off *= seen
        worst = points[WORST + i]
        points[WORST + i] = off if off > worst else worst
        points[SUM + i] += seen * math.sqrt(squared)
        points[TOTAL + i] += w * own
        points[WEIGHT + i] += w * 0.5 * (i00 + i11)
        h0, h1, h2, h3, h4, h5 = _accumulate(points, i, w, i00, i01, i11, u0, u1, u2, v0, v1, v2, eu, ev)
        points[S0 + i] += w * h0
        points[S1 + i] += w * h1
        points[S2 + i] += w * h2
        points[S3 + i] += w * h3
        points[S4 + i] += w * h4
        points[S5 + i] += w * h5


@device
def add_rest(cameras, c, views, points, gate, sd_gate):  # type: ignore[no-untyped-def]
    """What remains of the weighted squares without a view, in the linearised fit, compared with the views before.

    gate, sd_gate: squared limits in px and in standard deviations.
    """
    rows = views[c]
    camera = _placed(cameras, c)
    for i in range(LANES):
        w = rows[W + i]
        _, _, u, v, u0, u1, u2, v0, v1, v2 = _look(camera, points[P0 + i], points[P1 + i], points[P2 + i])
        eu, ev = rows[U + i] - u, rows[V + i] - v
        i00, i01, i11 = rows[I00 + i], rows[I01 + i], rows[I11 + i]
        half = 0.5 * (i00 - i11)
        largest = (0.5 * (i00 + i11) + math.sqrt(half * half + i01 * i01)) * gate
        points[ALLOWED + i] += w * (largest if largest > sd_gate else sd_gate)
        points[CONFIDENCE + i] += w
        present = w if w > 0.0 else math.inf
        lighter, light = points[LIGHTER + i], points[LIGHT + i]
        between = present if present > lighter else lighter
        points[LIGHTER + i] = present if present < lighter else lighter
        points[LIGHT + i] = between if between < light else light
        i00, i01, i11 = w * i00, w * i01, w * i11
        p0, p1, p2 = i00 * u0 + i01 * v0, i00 * u1 + i01 * v1, i00 * u2 + i01 * v2
        q0, q1, q2 = i01 * u0 + i11 * v0, i01 * u1 + i11 * v1, i01 * u2 + i11 * v2
        a0, a1 = points[A0 + i] - (p0 * u0 + q0 * v0), points[A1 + i] - (p0 * u1 + q0 * v1)
        a2, a3 = points[A2 + i] - (p0 * u2 + q0 * v2), points[A3 + i] - (p1 * u1 + q1 * v1)
        a4, a5 = points[A4 + i] - (p1 * u2 + q1 * v2), points[A5 + i] - (p2 * u2 + q2 * v2)
        b0 = points[B0 + i] - (p0 * eu + q0 * ev)
        b1 = points[B1 + i] - (p1 * eu + q1 * ev)
        b2 = points[B2 + i] - (p2 * eu + q2 * ev)
        c0, c1, c2 = a3 * a5 - a4 * a4, a2 * a4 - a1 * a5, a1 * a4 - a2 * a3
        det = a0 * c0 + a1 * c1 + a2 * c2
        scale = 1.0 / det
        c3, c4, c5 = a0 * a5 - a2 * a2, a1 * a2 - a0 * a4, a0 * a3 - a1 * a1
        d0 = (c0 * b0 + c1 * b1 + c2 * b2) * scale
        d1 = (c1 * b0 + c3 * b1 + c4 * b2) * scale
        d2 = (c2 * b0 + c4 * b1 + c5 * b2) * scale
        mean = (a0 + a3 + a5) / 3.0
        points[BAD + i] += 0.0 if det > PARALLEL * mean * mean * mean else 1.0
        remains = points[TOTAL + i] - (i00 * eu * eu + 2.0 * i01 * eu * ev + i11 * ev * ev)
        remains = remains - (b0 * d0 + b1 * d1 + b2 * d2) if w > 0.0 else math.inf
        least, second = points[LEAST + i], points[SECOND + i]
        less = remains < least
        other = least if less else remains
        points[SECOND + i] = other if other < second else second
        points[LEAST + i] = remains if less else least
        points[LEFT + i] = c + 1.0 if less else points[LEFT + i]
        points[D0 + i] = d0 if less else points[D0 + i]
        points[D1 + i] = d1 if less else points[D1 + i]
        points[D2 + i] = d2 if less else points[D2 + i]


@device
def solve_systems(points):  # type: ignore[no-untyped-def]
    """Put the solution of the 3x3 systems into the rows of the step, and the inverses in the place of the systems."""
    for i in range(LANES):
        a0, a1, a2 = points[A0 + i], points[A1 + i], points[A2 + i]
        a3, a4, a5 = points[A3 + i], points[A4 + i], points[A5 + i]
        b0, b1, b2 = points[B0 + i], points[B1 + i], points[B2 + i]
        c0 = a3 * a5 - a4 * a4
        c1 = a2 * a4 - a1 * a5
        c2 = a1 * a4 - a2 * a3
        det = a0 * c0 + a1 * c1 + a2 * c2
        mean = (a0 + a3 + a5) / 3.0
        points[BAD + i] += 0.0 if det > PARALLEL * mean * mean * mean else 1.0
        scale = 1.0 / det
        c0 *= scale
        c1 *= scale
        c2 *= scale
        c3 = (a0 * a5 - a2 * a2) * scale
        c4 = (a1 * a2 - a0 * a4) * scale
        c5 = (a0 * a3 - a1 * a1) * scale
        points[A0 + i] = c0
        points[A1 + i] = c1
        points[A2 + i] = c2
        points[A3 + i] = c3
        points[A4 + i] = c4
        points[A5 + i] = c5
        points[D0 + i] = c0 * b0 + c1 * b1 + c2 * b2
        points[D1 + i] = c1 * b0 + c3 * b1 + c4 * b2
        points[D2 + i] = c2 * b0 + c4 * b1 + c5 * b2


@device
def move(points):  # type: ignore[no-untyped-def]
    """The solution of a linear system is the place itself."""
    for i in range(3 * LANES):
        points[P0 + i] = points[D0 + i]


@device
def advance(points):  # type: ignore[no-untyped-def]
    """Take the Gauss-Newton step in lanes that still move; how many do."""
    moving = 0
    for i in range(LANES):
        d0, d1, d2 = points[D0 + i], points[D1 + i], points[D2 + i]
        moved = d0 * points[B0 + i] + d1 * points[B1 + i] + d2 * points[B2 + i]
        moved /= points[WEIGHT + i]
        before = points[BEFORE + i]
        moves = 1.0 if moved > _CONVERGED_PX2 else 0.0
        moves = moves if moved * moved > before * _CONVERGED_PX2 or moved > before else 0.0
        moves = moves if points[WORST + i] <= _FAR else 0.0
        moves = moves if points[BAD + i] == 0.0 else 0.0
        points[P0 + i] += moves * d0
        points[P1 + i] += moves * d1
        points[P2 + i] += moves * d2
        points[BEFORE + i] = moved if moves > 0.0 else before
        points[MOVES + i] = moves
        moving += int(moves)
    return moving


@device
def propagate(points, refine):  # type: ignore[no-untyped-def]
    """Take the last step, and put the covariance inverse @ noise let through @ inverse into the rows of the noise."""
    last = 1.0 if refine else 0.0
    for i in range(LANES):
        points[P0 + i] += last * points[D0 + i]
        points[P1 + i] += last * points[D1 + i]
        points[P2 + i] += last * points[D2 + i]
        points[MOVES + i] *= last
        a0, a1, a2 = points[A0 + i], points[A1 + i], points[A2 + i]
        a3, a4, a5 = points[A3 + i], points[A4 + i], points[A5 + i]
        s0, s1, s2 = points[S0 + i], points[S1 + i], points[S2 + i]
        s3, s4, s5 = points[S3 + i], points[S4 + i], points[S5 + i]
        m00, m01, m02 = a0 * s0 + a1 * s1 + a2 * s2, a0 * s1 + a1 * s3 + a2 * s4, a0 * s2 + a1 * s4 + a2 * s5
        m10, m11, m12 = a1 * s0 + a3 * s1 + a4 * s2, a1 * s1 + a3 * s3 + a4 * s4, a1 * s2 + a3 * s4 + a4 * s5
        m20, m21, m22 = a2 * s0 + a4 * s1 + a5 * s2, a2 * s1 + a4 * s3 + a5 * s4, a2 * s2 + a4 * s4 + a5 * s5
        points[S0 + i] = m00 * a0 + m01 * a1 + m02 * a2
        points[S1 + i] = m00 * a1 + m01 * a3 + m02 * a4
        points[S2 + i] = m00 * a2 + m01 * a4 + m02 * a5
        points[S3 + i] = m10 * a1 + m11 * a3 + m12 * a4
        points[S4 + i] = m10 * a2 + m11 * a4 + m12 * a5
        points[S5 + i] = m20 * a2 + m21 * a4 + m22 * a5
