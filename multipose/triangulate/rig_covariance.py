"""The calibration's error: one error of the cameras, common to all points that were triangulated with them.

It is no noise of single points. A focal length that is 0.1 % too long stretches the whole volume, at all times alike;
so the error of a distance or an angle is not what independent errors of its ends would make of it. What is kept here is
therefore how points move with the cameras' parameters, as a factor: the moves of a point along the independent errors
of the calibration, each of one standard deviation. Moves of several points along the same error are added up before
they are squared.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multipose.camera import Camera, CameraRig
from multipose.documents import read_arrays, write_arrays
from multipose.errors import DataError, FormatError
from multipose.files import SCHEMA_VERSION, check_schema
from multipose.geometry import as_array, skew, transform

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

POSE_NAMES = ("rotation_x", "rotation_y", "rotation_z", "translation_x", "translation_y", "translation_z")
"""Unknowns of a camera's pose: a small turn (radians) and shift (unit) on the left of `camera_from_world`."""

_LEAST_SHARE = 1e-12  # of the correlations' largest eigenvalue; smaller ones are rounding
_SAME_CAMERA = 1e-6  # relative difference of the numbers of a camera that was written and read


@dataclass(frozen=True, eq=False)
class RigCovariance:
    """How uncertain the parameters of a calibrated rig are, and how their errors hang together.

    rig: the cameras.
    factor: (parameter, error) whose product with its transpose is the covariance of all parameters, camera by camera:
        the pose (`POSE_NAMES`), then the lens's `param_names`.
    """

    rig: CameraRig
    factor: FloatArray

    def __post_init__(self) -> None:
        n = len(parameter_names(self.rig))
        if self.factor.ndim != 2 or len(self.factor) != n:
            raise DataError(
                f"The factor must have a row for each of the rig's {n} parameters, got {self.factor.shape}."
            )

    @classmethod
    def from_matrix(cls, rig: CameraRig, covariance: ArrayLike) -> RigCovariance:
        """From the covariance (parameter, parameter), as in `Calibration.covariance`.

        Raises:
            DataError: it does not belong to the rig's parameters, or is no covariance.
        """
        n = len(parameter_names(rig))
        matrix = as_array(covariance, (n, n), "The covariance of a rig's parameters")
        sd = np.sqrt(np.diag(matrix))
        if not np.isfinite(matrix).all() or np.isnan(sd).any():
            raise DataError(
                "The covariance of a rig's parameters must be finite, with variances that are not negative."
            )
        scale = np.where(sd > 0, sd, 1.0)  # parameters of unlike units: what is small is judged by correlations
        values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
        kept = values > _LEAST_SHARE * max(values[-1], 1.0)
        return cls(rig, scale[:, None] * vectors[:, kept] * np.sqrt(values[kept]))

    @property
    def matrix(self) -> FloatArray:
        """The covariance (parameter, parameter)."""
        return self.factor @ self.factor.T

    def subset(self, names: tuple[str, ...]) -> RigCovariance:
        """That of some of the cameras, in this order."""
        starts = parameter_starts(self.rig)
        rows = [np.arange(starts[i], starts[i + 1]) for i in (self.rig.names.index(self.rig[n].name) for n in names)]
        return RigCovariance(self.rig.subset(names), self.factor[np.concatenate(rows)])

    def transformed(self, new_from_world: ArrayLike) -> RigCovariance:
        """The same uncertainty in another world (4, 4)."""
        rig = self.rig.transformed(new_from_world)
        return RigCovariance(rig, change_world(self.rig, rig) @ self.factor)

    def moves(self, xyz: FloatArray, weight: FloatArray | BoolArray) -> FloatArray:
        """How triangulated points move along each independent error of the calibration.

        Args:
            xyz: (n, 3) points.
            weight: (view, n) by how much each view counts for a point, as the inverse of its variance; 0: not at all.

        Returns:
            (n, 3, error) in the rig's unit; NaN where a point is unknown, rests on fewer than two views, or on views
            whose rays through it are one (copies of one another).
        """
        starts = parameter_starts(self.rig)
        system = np.zeros((len(xyz), 3, 3))
        right = np.zeros((len(xyz), 3, self.factor.shape[1]))
        for view, camera in enumerate(self.rig):
            chosen = (weight[view] > 0) & np.isfinite(xyz).all(-1)
            by_point, by_camera = pixel_derivatives(camera, xyz[chosen])
            transposed = weight[view, chosen, None, None] * np.swapaxes(by_point, -1, -2)
            system[chosen] += transposed @ by_point
            right[chosen] -= transposed @ (by_camera @ self.factor[starts[view] : starts[view + 1]])
        known = np.isfinite(xyz).all(-1) & ((weight > 0).sum(0) >= 2) & np.isfinite(system).all((-1, -2))
        size = np.trace(system, axis1=-2, axis2=-1) / 3
        known &= np.linalg.det(np.where(known[:, None, None], system, 0.0)) > _LEAST_SHARE * size**3
        moves = np.full(right.shape, np.nan)
        moves[known] = np.linalg.solve(system[known], right[known])
        return moves

    def pixel_moves(self, name: str, xyz: FloatArray) -> FloatArray:
        """How the pixels of fixed points (n, 3) move in the view `name` along each error: (n, 2, error) px."""
        view, starts = self.rig.names.index(name), parameter_starts(self.rig)
        _, by_camera = pixel_derivatives(self.rig[name], xyz)
        return np.asarray(by_camera @ self.factor[starts[view] : starts[view + 1]])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as .npz, with the cameras that it belongs to, whole or not at all."""
        write_arrays(
            path,
            schema_version=SCHEMA_VERSION,
            views=np.array(self.rig.names),
            cameras=self.rig.packed(),
            parameters=np.array(parameter_names(self.rig)),
            covariance=self.matrix,
        )

    @staticmethod
    def load(path: str | os.PathLike[str], rig: CameraRig) -> RigCovariance:
        """Read what `save` wrote, for the same rig or some of its cameras.

        Raises:
            FormatError: the file is missing or of another kind, or what it holds is no covariance.
            DataError: it is not of these cameras.
        """
        place = Path(path)
        values = read_arrays(place, "covariance of a rig", "Calibrate again.")
        try:
            check_schema(values["schema_version"].item(), place)
            views, parameters = (values[name].tolist() for name in ("views", "parameters"))
            cameras = dict(zip(views, values["cameras"], strict=True))
            covariance = values["covariance"].astype(np.float64)
        except (ValueError, TypeError, KeyError) as error:
            raise FormatError(
                f"{place} is not a readable covariance of a rig ({type(error).__name__}: {error}). Calibrate again."
            ) from error
        fault = _fault_of_covariance(covariance, len(parameters))
        if fault:
            raise FormatError(f"{place}: the covariance of the rig's parameters {fault}. Calibrate again.")
        for name, packed in zip(rig.names, rig.packed(), strict=True):
            if name not in cameras or not np.allclose(packed, cameras[name], rtol=_SAME_CAMERA, atol=_SAME_CAMERA):
                raise DataError(
                    f"{place} is not the covariance of this rig: camera {name!r} "
                    + ("is another one there" if name in cameras else "is not in it")
                    + ". The rig was edited, refined or replaced after its calibration; calibrate again for its "
                    "uncertainty."
                )
        wanted = parameter_names(rig)
        if not set(wanted) <= set(parameters):
            raise DataError(f"{place} is not the covariance of this rig: its lenses have other parameters.")
        rows = [parameters.index(name) for name in wanted]
        return RigCovariance.from_matrix(rig, covariance[np.ix_(rows, rows)])


def _fault_of_covariance(matrix: FloatArray, n: int) -> str:
    """Why a matrix cannot be the covariance of n parameters, "" if it can."""
    if matrix.shape != (n, n):
        return f"must have the shape {(n, n)}, got {matrix.shape}"
    if not np.isfinite(matrix).all():
        return "holds values that are not finite"
    variance = np.diag(matrix)
    if (variance < 0).any():
        return f"holds a variance below 0 ({variance.min():.3g})"
    if not variance.any():
        return "is zero: it says that every parameter is known exactly"
    size = np.sqrt(np.outer(variance, variance))
    if (np.abs(matrix - matrix.T) > _SAME_CAMERA * size).any():
        return "is not symmetric"
    if (np.abs(matrix) > size * (1 + _SAME_CAMERA)).any():
        return "holds correlations beyond 1"
    return ""


def parameter_names(rig: CameraRig) -> tuple[str, ...]:
    """`camera.parameter` for every parameter of a rig, in the order of a covariance."""
    return tuple(f"{camera.name}.{name}" for camera in rig for name in (*POSE_NAMES, *camera.lens.param_names))


def parameter_starts(rig: CameraRig) -> list[int]:
    """Where the parameters of each camera begin among all, and at the end their number."""
    counts = [6 + len(camera.lens.param_names) for camera in rig]
    return list(itertools.accumulate(counts, initial=0))


def change_world(old: CameraRig, new: CameraRig) -> FloatArray:
    """(parameter, parameter) by which small changes of a rig's parameters are those of the same rig in another world.

    A turn of a camera is about the world's origin as the camera sees it, so that where the origin moves, a turn brings
    a shift with it.
    """
    change = np.eye(parameter_starts(old)[-1])
    for start, before, after in zip(parameter_starts(old), old, new, strict=False):
        change[start + 3 : start + 6, start : start + 3] = skew(before.translation - after.translation)
    return change


def pixel_derivatives(camera: Camera, xyz: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Derivatives of the pixels of world points (n, 3) by the point (n, 2, 3) and the parameters (n, 2, 6 + P)."""
    own = transform(camera.camera_from_world, xyz)
    _, by_own, by_lens = camera.lens.jacobian(own)
    arm = own - camera.translation
    by_camera = np.concatenate([np.cross(arm[:, None], by_own), by_own, by_lens], axis=-1)
    return by_own @ camera.rotation, by_camera
