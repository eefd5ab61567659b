"""Cameras in compiled code: the lens formulas of every model, projection with derivatives, and undistortion.

A camera is a row of `CameraRig.packed()`: 16 lens values [model, a, b, cx, cy, 8 of distortion, valid radius², 0, 0],
9 of the rotation (row by row) and 3 of the translation of `camera_from_world`. The formulas are those of
multipose.lens, which the tests compare with these. The kernels inline these functions.
"""

from __future__ import annotations

import math
from typing import Any

import numba

# model_id of the lenses (multipose.lens); what is none of these is a Brown lens
RATIONAL = 1
FISHEYE = 2
TELECENTRIC = 3

_NEWTON_PX2 = 1e-14  # before the last step of the undistortion, which squares the relative error
_NEWTON_STEPS = 30

# Functions within the kernel allocate nothing, so numba need not count references to their arrays (2.4 times as fast).
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz"},
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
device: Any = numba.njit(**_OPTIONS)
inlined: Any = numba.njit(forceinline=True, **_OPTIONS)


@inlined
def _distort(cameras, c, x, y):  # type: ignore[no-untyped-def]
    """Distorted plane coordinates and their derivatives by x, x and y (the matrix is symmetric), y."""
    r2 = x * x + y * y
    if cameras[c, 0] == FISHEYE:
        r = math.sqrt(r2)
        if r == 0.0:
            return x, y, 1.0, 0.0, 1.0
        bent, slope = _bend(cameras, c, math.atan(r))
        across = bent / r
        change = (slope / (1.0 + r2) - across) / r2
        return x * across, y * across, across + change * x * x, change * x * y, across + change * y * y
    return polynomial(coefficients(cameras, c), cameras[c, 0] == RATIONAL, x, y)


@inlined
def coefficients(cameras, c):  # type: ignore[no-untyped-def]
    """The eight numbers of distortion of a camera."""
    return (
        cameras[c, 5],
        cameras[c, 6],
        cameras[c, 7],
        cameras[c, 8],
        cameras[c, 9],
        cameras[c, 10],
        cameras[c, 11],
        cameras[c, 12],
    )


@inlined
def polynomial(k, rational, x, y):  # type: ignore[no-untyped-def]
    """As `_distort`, of every lens but the fisheye, from its eight numbers of distortion."""
    k1, k2, p1, p2, k3, k4, k5, k6 = k
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = k1 + r2 * (2.0 * k2 + r2 * 3.0 * k3)  # d radial / d r²
    if rational:
        below = 1.0 / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        radial *= below
        slope = (slope - radial * (k4 + r2 * (2.0 * k5 + r2 * 3.0 * k6))) * below
    twist = 2.0 * (p1 * y + p2 * x)
    along = radial + 2.0 * twist
    return (
        x * (radial + twist) + p2 * r2,
        y * (radial + twist) + p1 * r2,
        along + 2.0 * (x * (x * slope + p2) - p1 * y),
        2.0 * (x * y * slope + p1 * x + p2 * y),
        along + 2.0 * (y * (y * slope + p1) - p2 * x),
    )


@inlined
def _bend(cameras, c, angle):  # type: ignore[no-untyped-def]
    """Distorted angle of a fisheye lens and its derivative."""
    k1, k2, k3, k4 = cameras[c, 5], cameras[c, 6], cameras[c, 7], cameras[c, 8]
    t = angle * angle
    bent = angle * (1.0 + t * (k1 + t * (k2 + t * (k3 + t * k4))))
    slope = 1.0 + t * (3.0 * k1 + t * (5.0 * k2 + t * (7.0 * k3 + t * 9.0 * k4)))
    return bent, slope


@inlined
def _lens(cameras, c, x, y, z):  # type: ignore[no-untyped-def]
    """Pixel (u, v) of a point in the camera's frame and d(u, v) / d(x, y, z); NaN outside what the lens sees."""
    a, b, inverse = x, y, 1.0
    perspective = cameras[c, 0] != TELECENTRIC
    if perspective:
        inverse = 1.0 / z if z > 0.0 else math.nan
        a = x * inverse
        b = y * inverse
    if not a * a + b * b < cameras[c, 13]:
        nan = math.nan
        return nan, nan, nan, nan, nan, nan, nan, nan
    xd, yd, xx, xy, yy = _distort(cameras, c, a, b)
    fx, fy = cameras[c, 1] * inverse, cameras[c, 2] * inverse
    ux, uy, vx, vy = fx * xx, fx * xy, fy * xy, fy * yy
    uz, vz = 0.0, 0.0
    if perspective:
        uz = -(ux * a + uy * b)
        vz = -(vx * a + vy * b)
    return cameras[c, 1] * xd + cameras[c, 3], cameras[c, 2] * yd + cameras[c, 4], ux, uy, uz, vx, vy, vz


@device
def _radius(cameras, c, goal):  # type: ignore[no-untyped-def]
    """Undistorted radius in the plane of a distorted one by bisection, without the tangential terms."""
    low = 0.0
    high = math.sqrt(cameras[c, 13])
    if cameras[c, 0] == FISHEYE:
        high = math.atan(high)
    elif high == math.inf:
        high = 1.0
        for _ in range(60):
            if _along(cameras, c, high) >= goal:
                break
            high *= 2.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if _along(cameras, c, middle) < goal:
            low = middle
        else:
            high = middle
    return math.tan(low) if cameras[c, 0] == FISHEYE else low


@device
def _along(cameras, c, r):  # type: ignore[no-untyped-def]
    """Distorted radius of an undistorted one (of an angle, for a fisheye) without the tangential terms."""
    if cameras[c, 0] == FISHEYE:
        return _bend(cameras, c, r)[0]
    t = r * r
    value = r * (1.0 + t * (cameras[c, 5] + t * (cameras[c, 6] + t * cameras[c, 9])))
    if cameras[c, 0] == RATIONAL:
        value /= 1.0 + t * (cameras[c, 10] + t * (cameras[c, 11] + t * cameras[c, 12]))
    return value


@device
def _newton(cameras, c, xd, yd, x, y):  # type: ignore[no-untyped-def]
    """Undistorted plane coordinates from a start (x, y), and whether they were found in the valid field."""
    tolerance = _NEWTON_PX2 / (cameras[c, 1] * cameras[c, 1])
    for _ in range(_NEWTON_STEPS):
        xg, yg, xx, xy, yy = _distort(cameras, c, x, y)
        ex = xg - xd
        ey = yg - yd
        inverse = 1.0 / (xx * yy - xy * xy)
        x -= (yy * ex - xy * ey) * inverse
        y -= (xx * ey - xy * ex) * inverse
        if ex * ex + ey * ey <= tolerance:
            return x, y, x * x + y * y < cameras[c, 13]
    return x, y, False


@device
def undistort(cameras, c, u, v):  # type: ignore[no-untyped-def]
    """Undistorted plane coordinates of a pixel; NaN outside what the lens sees."""
    xd = (u - cameras[c, 3]) / cameras[c, 1]
    yd = (v - cameras[c, 4]) / cameras[c, 2]
    goal = math.sqrt(xd * xd + yd * yd)
    ratio = 1.0
    if cameras[c, 0] == FISHEYE and 0.0 < goal < 1.4:
        ratio = math.tan(goal) / goal
    x, y, found = _newton(cameras, c, xd, yd, xd * ratio, yd * ratio)
    if not found:
        ratio = _radius(cameras, c, goal) / goal
        x, y, found = _newton(cameras, c, xd, yd, xd * ratio, yd * ratio)
    if not found:
        return math.nan, math.nan
    return x, y


@inlined
def project(cameras, c, x, y, z):  # type: ignore[no-untyped-def]
    """Pixel (u, v) of a point of the world and d(u, v) / d(point)."""
    u, v, ux, uy, uz, vx, vy, vz = _lens(
        cameras,
        c,
        cameras[c, 16] * x + cameras[c, 17] * y + cameras[c, 18] * z + cameras[c, 25],
        cameras[c, 19] * x + cameras[c, 20] * y + cameras[c, 21] * z + cameras[c, 26],
        cameras[c, 22] * x + cameras[c, 23] * y + cameras[c, 24] * z + cameras[c, 27],
    )
    return (
        u,
        v,
        ux * cameras[c, 16] + uy * cameras[c, 19] + uz * cameras[c, 22],
        ux * cameras[c, 17] + uy * cameras[c, 20] + uz * cameras[c, 23],
        ux * cameras[c, 18] + uy * cameras[c, 21] + uz * cameras[c, 24],
        vx * cameras[c, 16] + vy * cameras[c, 19] + vz * cameras[c, 22],
        vx * cameras[c, 17] + vy * cameras[c, 20] + vz * cameras[c, 23],
        vx * cameras[c, 18] + vy * cameras[c, 21] + vz * cameras[c, 24],
    )
