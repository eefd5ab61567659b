"""Lenses: from points in the camera's frame to pixels and back, with analytic derivatives.

A lens works in three steps: the point (x right, y down, z forward) goes to the lens plane, (x/z, y/z), or (x, y) for a
telecentric lens; the plane is distorted; pixels are scale times plane plus principal point. The centre of the top-left
pixel is (0, 0).

Every lens has a valid field, a disc of the undistorted plane in which its distortion is one to one. Further out the
polynomials bend back, and points far outside the view would fall into the picture; there, and behind the camera (z <=
0), pixels are NaN.

Models and coefficients are OpenCV's (its manual, "Camera calibration and 3D reconstruction").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from multipose.distortion import (
    angle_curve,
    coefficient_derivatives,
    distort_plane,
    invert_curve,
    one_to_one_radius,
    plane_derivatives,
    rising_angle,
    undistort_plane,
)
from multipose.errors import DataError
from multipose.geometry import FloatArray, as_array

_TOLERANCE_PX = 1e-9
_POLYNOMIAL_NAMES = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")


class Lens(Protocol):
    """What the rest of the package asks of a lens. `xyz` is in the camera's frame, `px` in pixels; NaN = not known."""

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


class _PlaneLens(ABC):
    """The steps that all lenses share; a child says how points reach the plane and how the plane is distorted."""

    model: ClassVar[str]
    model_id: ClassVar[int]
    param_names: ClassVar[tuple[str, ...]]
    cx: float
    cy: float
    distortion: tuple[float, ...]

    @abstractmethod
    def __init__(self, a: float, b: float, cx: float, cy: float, distortion: tuple[float, ...]) -> None:
        """The children are dataclasses of these values, the scales `a`, `b` under names of their own."""

    def __post_init__(self) -> None:
        kind, names, n = type(self).__name__, self.param_names, len(self.param_names) - 4
        given = as_array(self.distortion, (None,), f"The distortion of a {kind}").ravel().tolist()
        if len(given) > n:
            raise DataError(f"A {kind} has {n} distortion coefficients ({', '.join(names[4:])}), but got {len(given)}.")
        object.__setattr__(self, "distortion", (*given, *[0.0] * (n - len(given))))
        for name in names[:4]:
            object.__setattr__(self, name, float(as_array(getattr(self, name), (), f"{name} of a {kind}")))
        bad = [name for name, value in zip(names, self.params, strict=True) if not np.isfinite(value)]
        if bad:
            raise DataError(f"{', '.join(bad)} of a {kind} must be finite, but the parameters are {self.params}.")
        if not min(self._scales) > 0:
            raise DataError(
                f"{names[0]} and {names[1]} of a {kind} must be above 0, but are {self._scales[0]:g} and "
                f"{self._scales[1]:g}. Flip a mirrored picture before it is used."
            )

    @abstractmethod
    def _to_plane(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Undistorted plane coordinates (...) of points (..., 3), NaN behind the camera."""

    @abstractmethod
    def _plane_derivatives(self, points: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
        """Derivatives (..., 2, 3) of plane coordinates by the point, NaN where x is."""

    @abstractmethod
    def _distort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Distorted plane coordinates."""

    @abstractmethod
    def _distort_derivatives(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of the distorted plane by x, y (..., 2, 2) and by the coefficients (..., 2, n)."""

    @abstractmethod
    def _undistort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The inverse of _distort for arrays (n,) as well as it gets there; the caller checks the answer."""

    @property
    @abstractmethod
    def valid_radius(self) -> float:
        """Radius of the valid field in the undistorted plane; infinite if the distortion is one to one everywhere."""

    def _turned_distortion(self, matrix: FloatArray) -> tuple[float, ...]:
        """The coefficients when the plane is turned or flipped by `matrix` (2, 2)."""
        return self.distortion

    @property
    def _scales(self) -> tuple[float, float]:
        return getattr(self, self.param_names[0]), getattr(self, self.param_names[1])

    @property
    def params(self) -> FloatArray:
        """All parameters (P,), in the order of `param_names`."""
        return np.array([*self._scales, self.cx, self.cy, *self.distortion])

    def with_params(self, params: ArrayLike) -> Self:
        """This lens with other parameters (P,)."""
        values = as_array(params, (len(self.param_names),), f"The parameters of a {type(self).__name__}")
        a, b, cx, cy, *coefficients = values.tolist()
        return type(self)(a, b, cx, cy, tuple(coefficients))

    @property
    def matrix(self) -> FloatArray:
        """The camera matrix (3, 3): scales and principal point, without the distortion."""
        a, b = self._scales
        return np.array([[a, 0, self.cx], [0, b, self.cy], [0, 0, 1]])

    @property
    def projection_matrix(self) -> FloatArray:
        """The homogeneous projection (3, 4) from the camera's frame, without the distortion."""
        return np.hstack([self.matrix, np.zeros((3, 1))])

    def packed(self) -> FloatArray:
        """16 numbers for compiled kernels: model_id, scales, cx, cy, 8 of distortion, squared valid_radius, 0, 0."""
        result = np.zeros(16)
        result[:5] = self.model_id, *self._scales, self.cx, self.cy
        result[5 : 5 + len(self.distortion)] = self.distortion
        result[13] = self.valid_radius**2
        return result

    def project(self, xyz: ArrayLike) -> FloatArray:
        """Pixels (..., 2) of points (..., 3) in the camera's frame; NaN behind it and outside the valid field."""
        return self._pixels(*self._in_field(*self._to_plane(as_array(xyz, (3,), "Points"))))

    def unproject(self, px: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Origins and unit directions (..., 3), in the camera's frame, of rays of pixels (..., 2); NaN if unknown."""
        plane = self.undistort(px)
        directions = np.concatenate([plane, np.ones_like(plane[..., :1])], axis=-1)
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        return np.where(np.isnan(directions), np.nan, 0.0), directions

    def undistort(self, px: ArrayLike) -> FloatArray:
        """Undistorted plane coordinates (..., 2) of pixels (..., 2), by Newton's method.

        They project to the pixel within 1e-9 px (for huge coordinates: within their rounding); NaN where the valid
        field holds no such point.
        """
        pixels = as_array(px, (2,), "Pixels")
        result = np.full((pixels.size // 2, 2), np.nan)
        known = np.flatnonzero(np.isfinite(pixels).all(-1))
        wanted = pixels.reshape(-1, 2)[known]
        a, b = self._scales
        with np.errstate(all="ignore"):
            x, y = self._in_field(*self._undistort((wanted[:, 0] - self.cx) / a, (wanted[:, 1] - self.cy) / b))
            error = np.abs(self._pixels(x, y) - wanted).max(-1, initial=0.0)
        size = np.abs(wanted).max(-1, initial=max(abs(self.cx), abs(self.cy)))
        good = error <= np.maximum(_TOLERANCE_PX, 16 * np.finfo(np.float64).eps * size)
        result[known[good]] = np.stack([x[good], y[good]], axis=-1)
        return result.reshape(pixels.shape)

    def jacobian(self, xyz: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Pixels (..., 2) and their derivatives by the point (..., 2, 3) and by the parameters (..., 2, P)."""
        points = as_array(xyz, (3,), "Points")
        x, y = self._in_field(*self._to_plane(points))
        scales = np.array(self._scales)
        by_plane, by_coefficients = self._distort_derivatives(x, y)
        d_xyz = scales[:, None] * (by_plane @ self._plane_derivatives(points, x, y))
        d_params = np.zeros((*x.shape, 2, len(self.param_names)))
        d_params[..., 0, 0], d_params[..., 1, 1] = self._distort(x, y)
        d_params[..., 0, 2] = d_params[..., 1, 3] = 1
        d_params[..., 4:] = scales[:, None] * by_coefficients
        d_params[np.isnan(x)] = np.nan
        return self._pixels(x, y), d_xyz, d_params

    def _in_field(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The same plane coordinates, NaN outside the valid field."""
        inside = x * x + y * y < self.valid_radius**2
        return np.where(inside, x, np.nan), np.where(inside, y, np.nan)

    def _pixels(self, x: FloatArray, y: FloatArray) -> FloatArray:
        a, b = self._scales
        xd, yd = self._distort(x, y)
        return np.stack([a * xd + self.cx, b * yd + self.cy], axis=-1)

    def crop(self, x: float, y: float) -> Self:
        """The lens of the picture cut out from pixel (x, y) on."""
        return type(self)(*self._scales, self.cx - x, self.cy - y, self.distortion)

    def scale(self, sx: float, sy: float | None = None) -> Self:
        """The lens of the picture resized by `sx` across and `sy` (default: the same) down.

        Pixel u goes to (u + 0.5) * sx - 0.5.
        """
        (a, b), sy = self._scales, sx if sy is None else sy
        return type(self)(a * sx, b * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5, self.distortion)

    def flip(self, width: int) -> Self:
        """The lens of the picture, `width` px wide, flipped left to right.

        It sees (-x, y, z) at (width - 1 - u, v) where this lens sees (x, y, z) at (u, v).
        """
        return type(self)(*self._scales, width - 1 - self.cx, self.cy, self._turned_distortion(np.diag([-1.0, 1.0])))

    def rotate90(self, turns: int, size: tuple[int, int]) -> Self:
        """The lens of the picture of `size` (width, height) turned clockwise by quarter `turns`.

        The picture is `numpy.rot90(picture, -turns)`. The frame is turned too: the new lens sees
        `rotation_90(turns) @ xyz` where this lens sees `xyz`.
        """
        (a, b), cx, cy, (width, height) = self._scales, self.cx, self.cy, size
        for _ in range(turns % 4):
            a, b, cx, cy, width, height = b, a, height - 1 - cy, cx, height, width
        return type(self)(a, b, cx, cy, self._turned_distortion(rotation_90(turns)[:2, :2]))

    def scale_world(self, factor: float) -> Self:
        """The lens when all lengths of the world are multiplied by `factor`, as when the unit changes.

        Only a telecentric lens becomes another one.
        """
        if not (np.isfinite(factor) and factor > 0):
            raise DataError(f"The scale of a world must be a finite number above 0, but is {factor}.")
        return self


class _PerspectiveLens(_PlaneLens):
    """A lens whose rays meet in one point."""

    def _to_plane(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
        return points[..., 0] / z, points[..., 1] / z

    def _plane_derivatives(self, points: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
        result = np.zeros((*x.shape, 2, 3))
        result[..., 0, 0] = result[..., 1, 1] = 1
        result[..., 0, 2], result[..., 1, 2] = -x, -y
        result /= np.where(np.isnan(x), np.nan, points[..., 2])[..., None, None]
        return result


class _PolynomialLens(_PlaneLens):
    """A lens with radial and tangential distortion."""

    @cached_property
    def _coefficients(self) -> tuple[float, ...]:
        return (*self.distortion, *[0.0] * (len(_POLYNOMIAL_NAMES) - len(self.distortion)))

    def _distort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        return distort_plane(self._coefficients, x, y)

    def _distort_derivatives(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        by_coefficients = coefficient_derivatives(self._coefficients, x, y)[..., : len(self.distortion)]
        return plane_derivatives(self._coefficients, x, y), by_coefficients

    def _undistort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        return undistort_plane(self._coefficients, self.valid_radius, x, y)

    def _turned_distortion(self, matrix: FloatArray) -> tuple[float, ...]:
        k1, k2, p1, p2, *others = self.distortion
        p2, p1 = (matrix @ [p2, p1]).tolist()
        return (k1, k2, p1, p2, *others)

    @cached_property
    def valid_radius(self) -> float:
        """Radius of the valid field in the undistorted plane; infinite if the distortion is one to one everywhere."""
        return one_to_one_radius(self._coefficients)


@dataclass(frozen=True)
class BrownLens(_PolynomialLens, _PerspectiveLens):
    """The usual lens: focal lengths, principal point in px, distortion k1 k2 p1 p2 k3 (missing ones 0). Brown 1971."""

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
    """A wide-angle lens, its distortion a quotient of polynomials: k1 k2 p1 p2 k3 k4 k5 k6, OpenCV's rational model."""

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
    """A fisheye with up to 180 degrees of view: distance from the centre is a polynomial of the angle to the axis.

    Distortion k1 k2 k3 k4: angle t is seen at t (1 + k1 t² + k2 t⁴ + k3 t⁶ + k4 t⁸) (Kannala & Brandt 2006).
    """

    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    model: ClassVar[str] = "fisheye"
    model_id: ClassVar[int] = 2
    param_names: ClassVar[tuple[str, ...]] = ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")

    @cached_property
    def _largest_angle(self) -> float:
        return rising_angle(self.distortion)

    @cached_property
    def valid_radius(self) -> float:
        """Radius of the valid field in the undistorted plane: the largest angle's tangent, infinite for 90 degrees."""
        return float(np.tan(self._largest_angle)) if self._largest_angle < np.pi / 2 else float("inf")

    def _distort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        r = np.hypot(x, y)
        bent, _ = angle_curve(self.distortion, np.arctan(r))
        ratio = np.divide(bent, r, out=np.ones_like(r), where=r != 0)
        return x * ratio, y * ratio

    def _distort_derivatives(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        r = np.hypot(x, y)
        angle = np.arctan(r)
        bent, slope = angle_curve(self.distortion, angle)
        across, along = np.divide(bent, r, out=np.ones_like(r), where=r != 0), slope / (1 + r * r)
        plane = np.stack([x, y], -1)
        unit = np.divide(plane, r[..., None], out=np.zeros_like(plane), where=r[..., None] != 0)
        outer = unit[..., :, None] * unit[..., None, :]
        by_plane = across[..., None, None] * np.eye(2) + (along - across)[..., None, None] * outer
        return by_plane, unit[..., :, None] * (angle[..., None] ** [3, 5, 7, 9])[..., None, :]

    def _undistort(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        distance = np.hypot(x, y)
        angle = invert_curve(lambda t: angle_curve(self.distortion, t), distance, self._largest_angle)
        ratio = np.divide(np.tan(angle), distance, out=np.ones_like(distance), where=distance != 0)
        return x * ratio, y * ratio


@dataclass(frozen=True)
class TelecentricLens(_PolynomialLens):
    """A telecentric lens (scaled orthographic): all rays run along the axis.

    `sx` and `sy` are px per unit of length of the rig; distortion k1 k2 p1 p2 k3 acts on x, y in that unit. Depth
    does not matter, and nothing is behind the camera.
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
        """Origins (..., 3) in the plane z = 0 and directions along z of the rays of pixels (..., 2); NaN if unknown."""
        plane = self.undistort(px)
        zero = np.where(np.isnan(plane[..., :1]), np.nan, 0.0)
        return np.concatenate([plane, zero], axis=-1), np.concatenate([zero, zero, zero + 1], axis=-1)

    def scale_world(self, factor: float) -> Self:
        """The lens when all lengths of the world are multiplied by `factor`, as when the unit changes."""
        super().scale_world(factor)
        coefficients = np.array(self.distortion) / float(factor) ** np.array([2, 4, 1, 1, 6])
        return type(self)(self.sx / factor, self.sy / factor, self.cx, self.cy, tuple(coefficients.tolist()))

    def _to_plane(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        known = ~np.isnan(points).any(-1)
        return np.where(known, points[..., 0], np.nan), np.where(known, points[..., 1], np.nan)

    def _plane_derivatives(self, points: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
        return np.where(np.isnan(x)[..., None, None], np.nan, np.eye(2, 3))


def lens_from_matrix(matrix: ArrayLike, distortion: ArrayLike = (), fisheye: bool = False) -> Lens:
    """The lens of an OpenCV camera matrix (3, 3) and its distortion coefficients.

    0, 4 or 5 coefficients make a BrownLens, 8 a RationalLens, 4 with `fisheye` a FisheyeLens. OpenCV's longer vectors
    (12 with thin prism, 14 with a tilted sensor) are read where what goes beyond that is 0. DataError for others.
    """
    fx, fy, cx, cy = matrix_parameters(matrix)
    coefficients = tuple(np.asarray(distortion, dtype=np.float64).ravel().tolist())
    for known in (4,) if fisheye else (5, 8):
        if len(coefficients) not in (0, 4, 5, 8) or (fisheye and len(coefficients) > 4):
            coefficients = coefficients if any(coefficients[known:]) else coefficients[:known]
    if fisheye:
        if len(coefficients) != 4:
            raise DataError(f"A fisheye lens has 4 distortion coefficients, but {len(coefficients)} were given.")
        return FisheyeLens(fx, fy, cx, cy, coefficients)
    if len(coefficients) in (0, 4, 5):
        return BrownLens(fx, fy, cx, cy, coefficients)
    if len(coefficients) == 8:
        return RationalLens(fx, fy, cx, cy, coefficients)
    raise DataError(
        f"{len(coefficients)} distortion coefficients fit no lens: 0, 4 or 5 (Brown), 8 (rational) or 4 with the "
        "fisheye flag are known, and more where the others are 0 (thin prism and tilt are not). Calibrate again with "
        "one of these models."
    )


def matrix_parameters(matrix: ArrayLike) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of a camera matrix (3, 3); DataError where it has a skew or is no camera matrix."""
    given = as_array(matrix, (3, 3), "A camera matrix")
    if given.shape == (3, 3):
        fx, fy, cx, cy = given[0, 0], given[1, 1], given[0, 2], given[1, 2]
        if np.array_equal(given, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]):
            return float(fx), float(fy), float(cx), float(cy)
    raise DataError(
        f"A camera matrix must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] of finite numbers, without skew, but is "
        f"{given.tolist()}."
    )


def rotation_90(turns: int) -> FloatArray:
    """`turned_from_camera` (3, 3): the frame of a camera whose picture is turned clockwise by quarter `turns`."""
    cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[turns % 4]
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
