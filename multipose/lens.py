"""Lenses: from points in the camera's frame to pixels and back, with analytic derivatives.

A lens works in three steps: the point (x right, y down, z forward) goes to the lens plane (x/z, y/z; a telecentric lens drops z), the plane is
distorted, and pixels are scale times plane plus principal point. The centre of the top-left pixel is (0, 0).

Every lens has a valid field, a disc of the undistorted plane in which its distortion is one to one. Outside it a polynomial bends back, and points
far outside the view would fall into the picture; there, and behind the camera (z <= 0), pixels are NaN. For the polynomial lenses the disc is the
largest one in which the symmetric derivative of the distortion is positive definite, so that the distortion is the gradient of a convex function
and hence one to one; the fisheye's ends where its angle polynomial stops to rise, at 90 degrees at the latest.

Models and coefficients are OpenCV's (its manual, "Camera calibration and 3D reconstruction"); the fisheye is Kannala & Brandt 2006.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from multipose.errors import DataError
from multipose.geometry import FloatArray, as_array

_TOLERANCE_PX = 1e-9
_PACKED_DISTORTION = 8
_POLYNOMIAL_NAMES = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")


class Lens(Protocol):
    """What the rest of the package asks of a lens. `xyz` is in the camera's frame, `px` in pixels; NaN = unknown or not seen."""

    model: ClassVar[str]
    model_id: ClassVar[int]
    param_names: ClassVar[tuple[str, ...]]

    @property
    def distortion(self) -> tuple[float, ...]: ...
    @property
    def params(self) -> FloatArray: ...
    @property
    def matrix(self) -> FloatArray: ...
    @property
    def projection_matrix(self) -> FloatArray: ...
    @property
    def valid_radius(self) -> float: ...
    def with_params(self, params: ArrayLike) -> Self: ...
    def project(self, xyz: ArrayLike) -> FloatArray: ...
    def unproject(self, px: ArrayLike) -> tuple[FloatArray, FloatArray]: ...
    def undistort(self, px: ArrayLike) -> FloatArray: ...
    def jacobian(self, xyz: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]: ...
    def packed(self) -> FloatArray: ...
    def crop(self, x: float, y: float) -> Self: ...
    def scale(self, sx: float, sy: float | None = None) -> Self: ...
    def flip(self, width: int) -> Self: ...
    def rotate90(self, turns: int, size: tuple[int, int]) -> Self: ...
    def scale_world(self, factor: float) -> Self: ...


def rotation_90(turns: int) -> FloatArray:
    """`turned_from_camera` (3, 3): the frame of a camera whose picture is turned clockwise by `turns` quarter turns (`numpy.rot90(picture, -turns)`)."""
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns % 4]
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def lens_from_matrix(matrix: ArrayLike, distortion: ArrayLike = (), fisheye: bool = False) -> Lens:
    """The lens of an OpenCV camera matrix (3, 3) and its distortion coefficients.

    0, 4 or 5 coefficients are a BrownLens, 8 a RationalLens, and 4 with `fisheye` a FisheyeLens. DataError for anything else.
    """
    fx, fy, cx, cy = matrix_parameters(matrix)
    coefficients = tuple(np.asarray(distortion, dtype=np.float64).ravel().tolist())
    if fisheye:
        if len(coefficients) != 4:
            raise DataError(f"A fisheye lens has 4 distortion coefficients, but {len(coefficients)} were given.")
        return FisheyeLens(fx, fy, cx, cy, coefficients)
    if len(coefficients) in (0, 4, 5):
        return BrownLens(fx, fy, cx, cy, coefficients)
    if len(coefficients) == 8:
        return RationalLens(fx, fy, cx, cy, coefficients)
    raise DataError(
        f"{len(coefficients)} distortion coefficients fit no lens: 0, 4 or 5 (Brown), 8 (rational) or 4 of a fisheye are known. "
        "Calibrate again with one of these models."
    )


def matrix_parameters(matrix: ArrayLike) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of a camera matrix (3, 3) without skew; DataError for any other matrix."""
    m = as_array(matrix, (3, 3), "A camera matrix")
    if m.shape != (3, 3) or not np.array_equal(np.where(np.eye(3, dtype=bool) | (np.arange(3) == 2), 0.0, m), np.zeros((3, 3))) or m[2, 2] != 1:
        raise DataError(f"A camera matrix must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], without skew, but is {m.tolist()}.")
    if m[1, 2] != m[1, 2] or m[0, 2] != m[0, 2]:
        raise DataError(f"The principal point of a camera matrix must be finite, but the matrix is {m.tolist()}.")
    return float(m[0, 0]), float(m[1, 1]), float(m[0, 2]), float(m[1, 2])


class _PlaneLens(ABC):
    """The steps that all lenses share; a child says how points reach the plane and how the plane is distorted."""

    model: ClassVar[str]
    model_id: ClassVar[int]
    param_names: ClassVar[tuple[str, ...]]
    cx: float
    cy: float
    distortion: tuple[float, ...]

    def __init__(self, a: float, b: float, cx: float, cy: float, distortion: tuple[float, ...]) -> None:
        raise NotImplementedError  # the dataclass children bring their own

    def __post_init__(self) -> None:
        names, n = self.param_names[:4], len(self.param_names) - 4
        coefficients = np.asarray(self.distortion, dtype=np.float64).ravel()
        if len(coefficients) > n:
            raise DataError(f"{type(self).__name__} has {n} distortion coefficients, but {len(coefficients)} were given.")
        object.__setattr__(self, "distortion", (*coefficients.tolist(), *[0.0] * (n - len(coefficients))))
        for name in names:
            object.__setattr__(self, name, float(getattr(self, name)))
        params = self.params
        if not np.isfinite(params).all():
            bad = [name for name, value in zip(self.param_names, params, strict=True) if not np.isfinite(value)]
            raise DataError(f"{type(self).__name__}: {', '.join(bad)} must be finite numbers.")
        if not (params[:2] > 0).all():
            raise DataError(
                f"{type(self).__name__}: {names[0]} and {names[1]} must be above 0, but are {params[0]:g} and {params[1]:g}. "
                "A mirrored picture has to be flipped first."
            )

    # What a child adds.

    @abstractmethod
    def _to_plane(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Undistorted plane coordinates of points (..., 3), NaN behind the camera."""

    @abstractmethod
    def _plane_derivatives(self, points: FloatArray, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives (..., 3) of x and of y with respect to the point."""

    @abstractmethod
    def _distort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Distorted plane coordinates."""

    @abstractmethod
    def _distort_jacobian(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of the distorted plane: by x, y (..., 2, 2), symmetric, and by the coefficients (..., 2, n)."""

    @abstractmethod
    def _undistort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The inverse of _distort for arrays (n,) as well as it gets there; the caller checks the answer."""

    @cached_property
    @abstractmethod
    def valid_radius(self) -> float:
        """Radius of the valid field in the undistorted plane; infinite where the distortion is one to one everywhere."""

    def _turned_distortion(self, matrix: FloatArray) -> tuple[float, ...]:
        """The coefficients when the plane is turned or flipped by `matrix` (2, 2)."""
        return self.distortion

    # Parameters.

    @property
    def params(self) -> FloatArray:
        """All parameters (P,), in the order of `param_names`."""
        return np.array([getattr(self, name) for name in self.param_names[:4]] + list(self.distortion))

    def with_params(self, params: ArrayLike) -> Self:
        """This lens with other parameters (P,)."""
        values = as_array(params, (len(self.param_names),), f"The parameters of {type(self).__name__}").tolist()
        return type(self)(*values[:4], tuple(values[4:]))

    @property
    def matrix(self) -> FloatArray:
        """The camera matrix (3, 3) without the distortion."""
        a, b = self._scales
        return np.array([[a, 0, self.cx], [0, b, self.cy], [0, 0, 1]])

    @property
    def projection_matrix(self) -> FloatArray:
        """The homogeneous projection (3, 4) from the camera's frame, without the distortion."""
        return np.hstack([self.matrix, np.zeros((3, 1))])

    @property
    def _scales(self) -> tuple[float, float]:
        return getattr(self, self.param_names[0]), getattr(self, self.param_names[1])

    def packed(self) -> FloatArray:
        """The lens as 16 numbers for compiled kernels: model_id, scales, cx, cy, 8 distortion coefficients, valid_radius squared, 0, 0."""
        result = np.zeros(16)
        result[:5] = self.model_id, *self._scales, self.cx, self.cy
        result[5 : 5 + len(self.distortion)] = self.distortion
        result[13] = self.valid_radius**2
        return result

    # Projection.

    def project(self, xyz: ArrayLike) -> FloatArray:
        """Pixels (..., 2) of points (..., 3) in the camera's frame; NaN behind the camera and outside the valid field."""
        x, y = self._field(*self._to_plane(as_array(xyz, (3,), "Points")))
        return self._pixels(x, y)

    def unproject(self, px: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Origins and unit directions (..., 3) of the rays of pixels (..., 2) in the camera's frame; NaN where no ray is known."""
        plane = self.undistort(px)
        directions = np.concatenate([plane, np.ones_like(plane[..., :1])], axis=-1)
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        return np.where(np.isnan(directions), np.nan, 0.0), directions

    def undistort(self, px: ArrayLike) -> FloatArray:
        """Undistorted plane coordinates (..., 2) of pixels (..., 2), by Newton's method.

        They project to the pixel within 1e-9 px (or the rounding of its coordinates); NaN where there is no such point in the valid field.
        """
        pixels = as_array(px, (2,), "Pixels")
        flat = pixels.reshape(-1, 2)
        plane = np.full(flat.shape, np.nan)
        known = np.flatnonzero(np.isfinite(flat).all(-1))
        wanted = flat[known]
        a, b = self._scales
        with np.errstate(all="ignore"):
            x, y = self._field(*self._undistort((wanted[:, 0] - self.cx) / a, (wanted[:, 1] - self.cy) / b))
            error = np.abs(self._pixels(x, y) - wanted).max(-1, initial=0.0)
        tolerance = np.maximum(_TOLERANCE_PX, 16 * np.finfo(float).eps * (np.abs(wanted).max(-1, initial=0.0) + abs(self.cx) + abs(self.cy)))
        good = error <= tolerance
        plane[known[good], 0], plane[known[good], 1] = x[good], y[good]
        return plane.reshape(pixels.shape)

    def jacobian(self, xyz: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Pixels (..., 2) and their derivatives with respect to the point (..., 2, 3) and to the parameters (..., 2, P)."""
        points = as_array(xyz, (3,), "Points")
        x, y = self._field(*self._to_plane(points))
        scales = np.array(self._scales)
        by_plane, by_coefficients = self._distort_jacobian(x, y)
        dx, dy = self._plane_derivatives(points, x, y)
        d_xyz = scales[:, None] * (by_plane[..., :, :1] * dx[..., None, :] + by_plane[..., :, 1:] * dy[..., None, :])
        d_params = np.zeros((*x.shape, 2, len(self.param_names)))
        d_params[..., 0, 0], d_params[..., 1, 1] = self._distort(x, y)
        d_params[..., 0, 2] = d_params[..., 1, 3] = 1
        d_params[..., 4:] = scales[:, None] * by_coefficients
        d_params[np.isnan(x)] = np.nan
        return self._pixels(x, y), d_xyz, d_params

    def _field(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The same plane coordinates, NaN outside the valid field."""
        if np.isinf(self.valid_radius):
            return x, y
        inside = x * x + y * y < self.valid_radius**2
        return np.where(inside, x, np.nan), np.where(inside, y, np.nan)

    def _pixels(self, x: FloatArray, y: FloatArray) -> FloatArray:
        a, b = self._scales
        xd, yd = self._distort(x, y)
        return np.stack([a * xd + self.cx, b * yd + self.cy], axis=-1)

    # The lens of a changed picture.

    def crop(self, x: float, y: float) -> Self:
        """The lens of the picture cut out from pixel (x, y) on."""
        return type(self)(*self._scales, self.cx - x, self.cy - y, self.distortion)

    def scale(self, sx: float, sy: float | None = None) -> Self:
        """The lens of the picture resized by `sx` across and `sy` (default: the same) down; pixel u goes to (u + 0.5) * sx - 0.5."""
        (a, b), sy = self._scales, sx if sy is None else sy
        return type(self)(a * sx, b * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5, self.distortion)

    def flip(self, width: int) -> Self:
        """The lens of the picture (of this width) flipped left to right: it sees (-x, y, z) where this lens sees (x, y, z)."""
        return type(self)(*self._scales, width - 1 - self.cx, self.cy, self._turned_distortion(np.diag([-1.0, 1.0])))

    def rotate90(self, turns: int, size: tuple[int, int]) -> Self:
        """The lens of the picture of `size` (width, height) turned clockwise by quarter `turns` (`numpy.rot90(picture, -turns)`).

        Its frame is turned too: it sees `rotation_90(turns) @ xyz` where this lens sees `xyz`.
        """
        (a, b), cx, cy, (width, height) = self._scales, self.cx, self.cy, size
        for _ in range(turns % 4):
            a, b, cx, cy, width, height = b, a, height - 1 - cy, cx, height, width
        return type(self)(a, b, cx, cy, self._turned_distortion(rotation_90(turns)[:2, :2]))

    def scale_world(self, factor: float) -> Self:
        """The lens when all lengths of the world are multiplied by `factor`, as by a change of unit; only a telecentric lens changes."""
        if not (np.isfinite(factor) and factor > 0):
            raise DataError(f"The world's scale must be a finite number above 0, but is {factor}.")
        return self


class _PerspectiveLens(_PlaneLens):
    """A lens whose rays meet in one point."""

    def _to_plane(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
        return points[..., 0] / z, points[..., 1] / z

    def _plane_derivatives(self, points: FloatArray, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        inverse = 1 / np.where(np.isnan(x), np.nan, points[..., 2])
        zero = np.zeros_like(inverse)
        return np.stack([inverse, zero, -x * inverse], -1), np.stack([zero, inverse, -y * inverse], -1)


class _PolynomialLens(_PlaneLens):
    """Radial polynomial (or quotient of two) and tangential distortion: OpenCV's model with up to 8 coefficients."""

    @property
    def _coefficients(self) -> tuple[float, ...]:
        return (*self.distortion, *[0.0] * (_PACKED_DISTORTION - len(self.distortion)))

    def _radial(self, s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The radial factor at squared radius s, its derivative by s, and its denominator."""
        k1, k2, _, _, k3, k4, k5, k6 = self._coefficients
        top, top_slope = 1 + s * (k1 + s * (k2 + s * k3)), k1 + s * (2 * k2 + s * 3 * k3)
        if not (k4 or k5 or k6):
            return top, top_slope, np.ones_like(s)
        bottom, bottom_slope = 1 + s * (k4 + s * (k5 + s * k6)), k4 + s * (2 * k5 + s * 3 * k6)
        factor = top / bottom
        return factor, (top_slope - factor * bottom_slope) / bottom, bottom

    def _distort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        p1, p2 = self.distortion[2:4]
        s = x * x + y * y
        factor, _, _ = self._radial(s)
        twist = 2 * (p2 * x + p1 * y)
        return x * (factor + twist) + p2 * s, y * (factor + twist) + p1 * s

    def _distort_jacobian(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        p1, p2 = self.distortion[2:4]
        s = x * x + y * y
        factor, slope, bottom = self._radial(s)
        by_plane = np.empty((*x.shape, 2, 2))
        by_plane[..., 0, 0] = factor + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
        by_plane[..., 1, 1] = factor + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
        by_plane[..., 0, 1] = by_plane[..., 1, 0] = 2 * (x * y * slope + p1 * x + p2 * y)
        plane = np.stack([x, y], -1)
        powers = np.stack([s, s * s, s * s * s], -1) / bottom[..., None]
        by_coefficients = np.empty((*x.shape, 2, len(self.distortion)))
        by_coefficients[..., [0, 1, 4]] = plane[..., :, None] * powers[..., None, :]
        by_coefficients[..., 0, 2] = by_coefficients[..., 1, 3] = 2 * x * y
        by_coefficients[..., 0, 3], by_coefficients[..., 1, 2] = s + 2 * x * x, s + 2 * y * y
        if len(self.distortion) > 5:
            by_coefficients[..., 5:] = -factor[..., None, None] * plane[..., :, None] * powers[..., None, :]
        return by_plane, by_coefficients

    def _undistort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        def curve(r: FloatArray) -> tuple[FloatArray, FloatArray]:
            factor, slope, _ = self._radial(r * r)
            return r * factor, factor + 2 * r * r * slope

        distance = np.hypot(x, y)
        ratio = np.where(distance > 0, _invert(curve, distance, self.valid_radius) / distance, 1.0)
        u, v = x * ratio, y * ratio
        if not any(self.distortion[2:4]):
            return u, v
        limit = self.valid_radius * (1 - 1e-9)
        for _ in range(50):
            xd, yd = self._distort(u, v)
            by_plane, _ = self._distort_jacobian(u, v)
            m, n, o = by_plane[..., 0, 0], by_plane[..., 0, 1], by_plane[..., 1, 1]
            determinant = m * o - n * n
            du, dv = (o * (x - xd) - n * (y - yd)) / determinant, (m * (y - yd) - n * (x - xd)) / determinant
            u, v = u + du, v + dv
            if np.isfinite(limit):
                back = np.minimum(1.0, limit / np.hypot(u, v))
                u, v = u * back, v * back
            if not np.any(np.hypot(du, dv) > 4 * np.finfo(float).eps * np.hypot(u, v)):
                break
        return u, v

    def _turned_distortion(self, matrix: FloatArray) -> tuple[float, ...]:
        k1, k2, p1, p2, *rest = self.distortion
        p2, p1 = (matrix @ [p2, p1]).tolist()  # the tangential coefficients are a vector of the plane: (p2, p1)
        return (k1, k2, p1, p2, *rest)

    @cached_property
    def valid_radius(self) -> float:
        """Radius of the valid field in the undistorted plane; infinite where the distortion is one to one everywhere.

        At radius r the derivative's radial part has the eigenvalues h (along r) and g (across); with m = r * |(p1, p2)| the tangential part adds
        2m [[3c, s], [s, c]] for some direction (c, s). The smallest determinant over all directions is a polynomial in r: its first change of sign
        is the answer.
        """
        k1, k2, p1, p2, k3, k4, k5, k6 = self._coefficients
        tangential = float(np.hypot(p1, p2))
        top, bottom = np.array([k3, k2, k1, 1.0]), np.array([k6, k5, k4, 1.0])  # polynomials of s = r²
        quotient = np.polysub(np.polymul(np.polyder(top), bottom), np.polymul(top, np.polyder(bottom)))
        square = np.polymul(bottom, bottom)
        across = np.polymul(top, bottom)  # g times square
        along = np.polyadd(across, 2 * np.polymul(quotient, [1.0, 0.0]))  # h times square
        twist = np.array([tangential, 0.0])  # m, a polynomial of r
        inner = np.polymul(np.polysub(along, across), np.polysub(9 * across, along))
        inner = np.polysub(inner, 64 * tangential**2 * np.polymul([1.0, 0.0], np.polymul(square, square)))
        candidates = [
            _positive_roots(np.polysub(_in_r(along), 6 * np.polymul(twist, _in_r(square)))),
            _positive_roots(np.polysub(_in_r(across), 2 * np.polymul(twist, _in_r(square)))),
            np.sqrt(_positive_roots(inner)),
            np.sqrt(_positive_roots(bottom)),
        ]
        edges = np.unique(np.concatenate([[0.0], *candidates]))
        for left, right in zip(edges, [*edges[1:], 2 * edges[-1] + 1], strict=True):
            r = (left + right) / 2
            s = r * r
            g, h = (float(np.polyval(part, s) / np.polyval(square, s)) for part in (across, along))
            m = r * tangential
            smallest = g * h - 4 * m * m - (h + 3 * g) ** 2 / 16 if h + 3 * g < 16 * m else (h - 6 * m) * (g - 2 * m)
            if smallest < 0 or np.polyval(bottom, s) < 0:
                return float(left)
        return float("inf")


@dataclass(frozen=True)
class BrownLens(_PolynomialLens, _PerspectiveLens):
    """The usual lens: focal lengths and principal point in px, distortion k1 k2 p1 p2 k3 (missing ones are 0). Brown 1971."""

    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    model: ClassVar[str] = "brown"
    model_id: ClassVar[int] = 0
    param_names: ClassVar[tuple[str, ...]] = ("fx", "fy", "cx", "cy", *_POLYNOMIAL_NAMES[:5])


@dataclass(frozen=True)
class RationalLens(_PolynomialLens, _PerspectiveLens):
    """A wide-angle lens: the radial distortion is a quotient of polynomials; distortion k1 k2 p1 p2 k3 k4 k5 k6 (Claus & Fitzgibbon 2005)."""

    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    model: ClassVar[str] = "rational"
    model_id: ClassVar[int] = 1
    param_names: ClassVar[tuple[str, ...]] = ("fx", "fy", "cx", "cy", *_POLYNOMIAL_NAMES)


@dataclass(frozen=True)
class FisheyeLens(_PerspectiveLens):
    """A fisheye: the distance from the centre is a polynomial of the angle to the axis, t (1 + k1 t² + k2 t⁴ + k3 t⁶ + k4 t⁸)."""

    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    model: ClassVar[str] = "fisheye"
    model_id: ClassVar[int] = 2
    param_names: ClassVar[tuple[str, ...]] = ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")

    def _angle_curve(self, angle: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The distorted angle and its derivative."""
        k1, k2, k3, k4 = self.distortion
        t = angle * angle
        return angle * (1 + t * (k1 + t * (k2 + t * (k3 + t * k4)))), 1 + t * (3 * k1 + t * (5 * k2 + t * (7 * k3 + t * 9 * k4)))

    @cached_property
    def _largest_angle(self) -> float:
        k1, k2, k3, k4 = self.distortion
        turning = np.sqrt(_positive_roots(np.array([9 * k4, 7 * k3, 5 * k2, 3 * k1, 1.0])))
        edges = np.unique([0.0, *turning[turning < np.pi / 2], np.pi / 2])
        middles = (edges[:-1] + edges[1:]) / 2
        falling = np.flatnonzero(self._angle_curve(middles)[1] < 0)
        return float(edges[falling[0]] if len(falling) else np.pi / 2)

    @cached_property
    def valid_radius(self) -> float:
        """Radius of the valid field in the undistorted plane: the tangent of the largest angle, infinite for 90 degrees."""
        return float(np.tan(self._largest_angle)) if self._largest_angle < np.pi / 2 else float("inf")

    def _distort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        r = np.hypot(x, y)
        bent, _ = self._angle_curve(np.arctan(r))
        ratio = np.divide(bent, r, out=np.ones_like(r), where=r != 0)
        return x * ratio, y * ratio

    def _distort_jacobian(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        r = np.hypot(x, y)
        angle = np.arctan(r)
        bent, slope = self._angle_curve(angle)
        across = np.divide(bent, r, out=np.ones_like(r), where=r != 0)
        along = slope / (1 + r * r)
        plane = np.stack([x, y], -1)
        unit = np.divide(plane, r[..., None], out=np.zeros_like(plane), where=r[..., None] != 0)
        by_plane = across[..., None, None] * np.eye(2) + (along - across)[..., None, None] * unit[..., :, None] * unit[..., None, :]
        return by_plane, unit[..., :, None] * (angle[..., None] ** [3, 5, 7, 9])[..., None, :]

    def _undistort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        distance = np.hypot(x, y)
        angle = _invert(self._angle_curve, distance, self._largest_angle)
        ratio = np.where(distance > 0, np.tan(angle) / distance, 1.0)
        return x * ratio, y * ratio


@dataclass(frozen=True)
class TelecentricLens(_PolynomialLens):
    """A telecentric lens (scaled orthographic): all rays are parallel to the axis.

    `sx`, `sy` are px per unit of length of the rig; distortion k1 k2 p1 p2 k3 acts on x, y in that unit. Depth does not matter: nothing is behind.
    """

    sx: float
    sy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    model: ClassVar[str] = "telecentric"
    model_id: ClassVar[int] = 3
    param_names: ClassVar[tuple[str, ...]] = ("sx", "sy", "cx", "cy", *_POLYNOMIAL_NAMES[:5])

    @property
    def projection_matrix(self) -> FloatArray:
        """The homogeneous projection (3, 4) from the camera's frame, without the distortion; affine."""
        return np.array([[self.sx, 0, 0, self.cx], [0, self.sy, 0, self.cy], [0, 0, 0, 1]])

    def unproject(self, px: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Origins, on the plane z = 0, and directions (..., 3), along the axis, of the rays of pixels (..., 2) in the camera's frame."""
        plane = self.undistort(px)
        zero = np.where(np.isnan(plane[..., :1]), np.nan, 0.0)
        return np.concatenate([plane, zero], axis=-1), np.concatenate([zero, zero, zero + 1], axis=-1)

    def scale_world(self, factor: float) -> Self:
        """The lens when all lengths of the world are multiplied by `factor`, as by a change of unit."""
        super().scale_world(factor)
        powers = np.array([2, 4, 1, 1, 6])
        return type(self)(self.sx / factor, self.sy / factor, self.cx, self.cy, tuple((np.array(self.distortion) / factor**powers).tolist()))

    def _to_plane(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        unknown = np.isnan(points[..., 2])
        return np.where(unknown, np.nan, points[..., 0]), np.where(unknown, np.nan, points[..., 1])

    def _plane_derivatives(self, points: FloatArray, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        zero = np.where(np.isnan(x), np.nan, 0.0)
        return np.stack([zero + 1, zero, zero], -1), np.stack([zero, zero + 1, zero], -1)


LENSES: dict[str, type[BrownLens | RationalLens | FisheyeLens | TelecentricLens]] = {
    lens.model: lens for lens in (BrownLens, RationalLens, FisheyeLens, TelecentricLens)
}
"""The lenses by the names of their models."""


def _in_r(polynomial: FloatArray) -> FloatArray:
    """A polynomial of s = r² as a polynomial of r (highest power first)."""
    result = np.zeros(2 * len(polynomial) - 1)
    result[::2] = polynomial
    return result


def _positive_roots(polynomial: FloatArray) -> FloatArray:
    """Positive roots; near-real pairs are taken too, since the caller looks at the sign between the roots."""
    roots = np.roots(polynomial)
    return roots.real[(np.abs(roots.imag) <= 1e-6 * np.abs(roots)) & (roots.real > 0)]


def _invert(curve: Callable[[FloatArray], tuple[FloatArray, FloatArray]], value: FloatArray, limit: float) -> FloatArray:
    """r in [0, limit] with curve(r) = value >= 0, for a curve that rises from 0 and gives (value, derivative): Newton's method inside a bracket."""
    low = np.zeros_like(value)
    if np.isfinite(limit):
        high = np.full_like(value, limit)
    else:
        high = np.maximum(value, 1e-6)
        for _ in range(60):
            short = curve(high)[0] < value
            if not short.any():
                break
            high = np.where(short, 2 * high, high)
    r = np.clip(value, low, high)
    for _ in range(200):
        got, slope = curve(r)
        over = got > value
        high, low = np.where(over, r, high), np.where(over, low, r)
        newton = r + (value - got) / slope
        step = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        moved = np.abs(step - r) > 2 * np.finfo(float).eps * step
        r = step
        if not moved.any():
            break
    return r
