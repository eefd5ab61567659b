"""How lenses distort their plane, as functions of arrays: values, derivatives, inverses, and where they are one to one.

Polynomial distortion is OpenCV's, with the coefficients c = k1 k2 p1 p2 k3 k4 k5 k6: with s = x² + y²

    v -> v (1 + k1 s + k2 s² + k3 s³) / (1 + k4 s + k5 s² + k6 s³) + s q + 2 (q . v) v,    v = (x, y), q = (p2, p1).

Its matrix of derivatives is symmetric. On a disc in which that matrix is positive definite the distortion is the
gradient of a convex function and hence one to one; the largest such disc is the lens's valid field.

An angle's distortion (the fisheye) is t -> t (1 + k1 t² + k2 t⁴ + k3 t⁶ + k4 t⁸), valid as far as it rises, at most
to 90°.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from multipose.geometry import FloatArray

Coefficients = Sequence[float]

_EPS = float(np.finfo(np.float64).eps)
_MAX_STEPS = 100
"""Enough for bisection alone; Newton's method takes about 5."""
_GRID = 4096
"""Points at which a field's edge is looked for; what hides between two bends back by less than 1e-7 of the radius."""
_FAR = 1e6
"""How far the edge is looked for, in units of the radius at which the strongest coefficient alone changes the plane."""


def _radial(c: Coefficients, s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The radial factor at squared radius s, its derivative by s, and its denominator."""
    k1, k2, _, _, k3, k4, k5, k6 = c
    top, top_slope = 1 + s * (k1 + s * (k2 + s * k3)), k1 + s * (2 * k2 + s * 3 * k3)
    if not (k4 or k5 or k6):
        return top, top_slope, np.ones_like(s)
    bottom, bottom_slope = 1 + s * (k4 + s * (k5 + s * k6)), k4 + s * (2 * k5 + s * 3 * k6)
    factor = top / bottom
    return factor, (top_slope - factor * bottom_slope) / bottom, bottom


def distort_plane(c: Coefficients, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distorted plane coordinates of x, y (...)."""
    p1, p2 = c[2:4]
    s = x * x + y * y
    factor, _, _ = _radial(c, s)
    factor = factor + 2 * (p2 * x + p1 * y)
    return x * factor + p2 * s, y * factor + p1 * s


def plane_derivatives(c: Coefficients, x: FloatArray, y: FloatArray) -> FloatArray:
    """Derivatives (..., 2, 2) of the distorted plane by x and y; symmetric."""
    p1, p2 = c[2:4]
    factor, slope, _ = _radial(c, x * x + y * y)
    result = np.empty((*x.shape, 2, 2))
    result[..., 0, 0] = factor + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
    result[..., 1, 1] = factor + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
    result[..., 0, 1] = result[..., 1, 0] = 2 * (x * y * slope + p1 * x + p2 * y)
    return result


def coefficient_derivatives(c: Coefficients, x: FloatArray, y: FloatArray) -> FloatArray:
    """Derivatives (..., 2, 8) of the distorted plane by the coefficients."""
    s = x * x + y * y
    factor, _, bottom = _radial(c, s)
    plane = np.stack([x, y], -1)
    powers = plane[..., :, None] * (np.stack([s, s * s, s * s * s], -1) / bottom[..., None])[..., None, :]
    result = np.empty((*x.shape, 2, 8))
    result[..., [0, 1, 4]] = powers
    result[..., 0, 2] = result[..., 1, 3] = 2 * x * y
    result[..., 0, 3], result[..., 1, 2] = s + 2 * x * x, s + 2 * y * y
    result[..., 5:] = -factor[..., None, None] * powers
    return result


def undistort_plane(c: Coefficients, radius: float, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Undistorted coordinates of x, y (n,) inside the valid radius, by Newton's method; the caller checks the answer.

    The purely radial answer, which a bracket makes safe, is where the two-dimensional steps start; a step that does not
    come closer is halved, as befits the gradient of a convex function.
    """

    def curve(r: FloatArray) -> tuple[FloatArray, FloatArray]:
        factor, slope, _ = _radial(c, r * r)
        return r * factor, factor + 2 * r * r * slope

    distance = np.hypot(x, y)
    r = invert_curve(curve, distance, radius)
    twisted = any(c[2:4])
    if twisted and np.isfinite(radius):
        reach = curve(np.array(radius))[0] + 3 * np.hypot(c[2], c[3]) * radius**2
        r = np.where(np.isnan(r) & (distance <= reach), 0.99 * radius, r)  # the tangential part may add what is missing
    ratio = np.divide(r, distance, out=np.ones_like(r), where=distance > 0)
    u, v = x * ratio, y * ratio
    if not twisted:
        return u, v
    active, damping = np.flatnonzero(np.isfinite(u)), np.ones_like(u)
    error = np.stack([x, y]) - distort_plane(c, u, v)
    for _ in range(_MAX_STEPS):
        matrix = plane_derivatives(c, u[active], v[active])
        m, n, o = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]
        ex, ey = error[:, active] * damping[active] / (m * o - n * n)
        du, dv = o * ex - n * ey, m * ey - n * ex
        un, vn = u[active] + du, v[active] + dv
        size = np.hypot(un, vn)
        tried = np.stack([x[active], y[active]]) - distort_plane(c, un, vn)
        better = (np.hypot(*tried) < np.hypot(*error[:, active])) & (size < radius)
        good = active[better]
        u[good], v[good], error[:, good] = un[better], vn[better], tried[:, better]
        damping[active] = np.where(better, np.minimum(1, 2 * damping[active]), damping[active] / 2)
        active = active[np.hypot(du, dv) > 4 * _EPS * size]
        if not len(active):
            break
    return u, v


def one_to_one_radius(c: Coefficients) -> float:
    """Radius of the largest disc in which the matrix of derivatives is positive definite, which may be infinite.

    At radius r the radial part has the eigenvalues h (along r) and g (across), and with m = r |q| the tangential part
    adds 2m [[3 cos, sin], [sin, cos]] of the angle between q and the point. The least determinant over all angles is
    (h - 6m)(g - 2m), or where h + 3g < 16m it is gh - 4m² - (h + 3g)² / 16. The disc ends where that is not positive.
    """
    q = float(np.hypot(c[2], c[3]))
    strengths = [(c[0], 2), (c[1], 4), (q, 1), (c[4], 6), (c[5], 2), (c[6], 4), (c[7], 6)]
    strongest = max(abs(value) ** (1 / power) for value, power in strengths)
    if not strongest:
        return float("inf")

    def is_one_to_one(r: FloatArray) -> NDArray[np.bool_]:
        s = r * r
        g, slope, bottom = _radial(c, s)
        h, m = g + 2 * s * slope, r * q
        inner = g * h - 4 * m * m - (h + 3 * g) ** 2 / 16
        return ~((np.where(h + 3 * g < 16 * m, inner, (h - 6 * m) * (g - 2 * m)) <= 0) | (bottom <= 0))

    with np.errstate(all="ignore"):
        return _holds_up_to(is_one_to_one, np.geomspace(0.1, _FAR, _GRID) / strongest)


def angle_curve(k: Coefficients, angle: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The distorted angles (...) and their derivatives, for the coefficients k1 k2 k3 k4."""
    k1, k2, k3, k4 = k
    t = angle * angle
    value = angle * (1 + t * (k1 + t * (k2 + t * (k3 + t * k4))))
    return value, 1 + t * (3 * k1 + t * (5 * k2 + t * (7 * k3 + t * 9 * k4)))


def rising_angle(k: Coefficients) -> float:
    """The angle up to which the distorted angle rises; pi / 2 if that is further."""
    grid = np.linspace(0, np.pi / 2, _GRID)
    return min(_holds_up_to(lambda angle: angle_curve(k, angle)[1] > 0, grid), np.pi / 2)


def invert_curve(
    curve: Callable[[FloatArray], tuple[FloatArray, FloatArray]], value: FloatArray, limit: float
) -> FloatArray:
    """r (n,) in [0, limit] with curve(r) = value, by Newton's method inside a bracket; NaN for values out of reach.

    The curve gives value and derivative, is 0 at 0 and rises up to the limit, which may be infinite.
    """
    high = np.full_like(value, limit) if np.isfinite(limit) else np.maximum(value, 1e-6)
    for _ in range(0 if np.isfinite(limit) else 60):
        short = curve(high)[0] < value
        if not short.any():
            break
        high = np.where(short, 2 * high, high)
    low = np.zeros_like(value)
    result = np.where(curve(high)[0] >= value, np.minimum(value, high), np.nan)
    last = high - low
    active = np.flatnonzero(result > 0)
    for _ in range(_MAX_STEPS):
        r, wanted = result[active], value[active]
        got, slope = curve(r)
        over = got > wanted
        high[active], low[active] = np.where(over, r, high[active]), np.where(over, low[active], r)
        newton = r + (wanted - got) / slope
        fast = (newton >= low[active]) & (newton <= high[active]) & (np.abs(newton - r) < last[active] / 2)
        done = (np.abs(got - wanted) <= 4 * _EPS * wanted) | (high[active] - low[active] <= 2 * _EPS * r)
        step = np.where(fast, newton, (low[active] + high[active]) / 2)
        result[active], last[active] = np.where(done, r, step), np.abs(step - r)
        active = active[~done]
        if not len(active):
            break
    return result


def _holds_up_to(condition: Callable[[FloatArray], NDArray[np.bool_]], grid: FloatArray) -> float:
    """Where a condition that holds at the start of a rising grid breaks first; infinite if it holds on all of it."""
    for _ in range(8):
        broken = np.flatnonzero(~condition(grid))
        if not len(broken):
            return float("inf")
        grid = np.linspace(grid[broken[0] - 1], grid[broken[0]], 65)
    return float(grid[0])
