"""Cameras and rigs, and the TOML file that anipose reads and writes too.

The file holds one table per camera, `[cam_0]` and so on, with `name`, `size` (width, height), `matrix` (3x3),
`distortions`, `rotation` (a rotation vector) and `translation` of the pose `camera_from_world`; `fisheye = true`
marks OpenCV's fisheye model and `model = "telecentric"` ours, whose matrix holds px per unit. `[metadata]` holds
`unit` and `schema_version`. Whatever else is in the file is kept.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import toml
from numpy.typing import ArrayLike

from multipose.documents import read_toml
from multipose.errors import DataError, FormatError, did_you_mean
from multipose.files import SCHEMA_VERSION, natural_key, write_text
from multipose.geometry import (
    FloatArray,
    as_array,
    invert_pose,
    mirror_pose,
    pose,
    rotation_from_vector,
    transform,
    vector_from_rotation,
)
from multipose.lens import FisheyeLens, Lens, TelecentricLens, lens_from_matrix, matrix_parameters, rotation_90

_ROTATION_TOLERANCE = 1e-6
_FARTHEST = 1e12  # units from the origin to a camera
_MOST_PIXELS = 1e6  # in a row or column of a picture
_LEAST_SEEN = 0.02  # of a picture that a lens model reaches
_LEAST_ANGLE = 1e-6  # radians across a picture; long lenses on insects have 1e-2
_MOST_ANGLE = np.radians(178)  # across a picture of a lens that is no fisheye
_CAMERA_KEYS = ("name", "size", "matrix", "distortions", "rotation", "translation")


@dataclass(frozen=True, eq=False, repr=False)
class Camera:
    """One view: its name, the size (width, height) of its pictures, its lens and its pose.

    `extra` holds what a rig file says beyond that. DataError where the size is not positive or the pose is not a
    proper rotation with a translation.
    """

    name: str
    size: tuple[int, int]
    lens: Lens
    camera_from_world: FloatArray
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise DataError(f"A camera's name must be a text that is not empty, but is {self.name!r}.")
        object.__setattr__(self, "size", _checked_size(self.size, self.name))
        object.__setattr__(self, "camera_from_world", _checked_pose(self.camera_from_world, f"camera {self.name!r}"))
        object.__setattr__(self, "extra", dict(self.extra))

    def __repr__(self) -> str:
        center = ", ".join(f"{value:.6g}" for value in self.center)
        return f"Camera({self.name!r}, {self.size[0]}x{self.size[1]}, {self.lens.model}, center=({center}))"

    @property
    def rotation(self) -> FloatArray:
        """The rotation (3, 3) of `camera_from_world`."""
        return self.camera_from_world[:3, :3]

    @property
    def translation(self) -> FloatArray:
        """The translation (3,) of `camera_from_world`."""
        return self.camera_from_world[:3, 3]

    @property
    def center(self) -> FloatArray:
        """The camera's place (3,) in the world."""
        return -self.rotation.T @ self.translation

    @property
    def projection_matrix(self) -> FloatArray:
        """The homogeneous projection (3, 4) from the world, without the distortion; affine for a telecentric lens."""
        return self.lens.projection_matrix @ self.camera_from_world

    def project(self, xyz: ArrayLike) -> FloatArray:
        """Pixels (..., 2) of world points (..., 3), even outside the picture; NaN behind it and beyond its field."""
        return self.lens.project(transform(self.camera_from_world, xyz))

    def rays(self, px: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Origins and unit directions (..., 3) in the world of the rays of pixels (..., 2)."""
        origins, directions = self.lens.unproject(px)
        return transform(invert_pose(self.camera_from_world), origins), directions @ self.rotation

    def depth(self, xyz: ArrayLike) -> FloatArray:
        """Distances (...) of world points (..., 3) along the camera's axis, negative behind it."""
        return transform(self.camera_from_world, xyz)[..., 2]

    def crop(self, x: int, y: int, width: int, height: int) -> Camera:
        """The camera of the part of its picture of `width` x `height` px whose top-left pixel is (x, y)."""
        return replace(self, lens=self.lens.crop(x, y), size=(width, height))

    def scale(self, sx: float, sy: float | None = None) -> Camera:
        """The camera of its picture resized by `sx` across and `sy` (default: the same) down.

        The new size is rounded to whole pixels, and the lens is scaled by new over old size, which is what a resized
        picture shows.
        """
        width, height = (
            max(1, round(old * factor)) for old, factor in zip(self.size, (sx, sx if sy is None else sy), strict=True)
        )
        return replace(self, lens=self.lens.scale(width / self.size[0], height / self.size[1]), size=(width, height))

    def rotate90(self, turns: int) -> Camera:
        """The camera of its picture turned clockwise by quarter `turns` (`numpy.rot90(picture, -turns)`)."""
        turned_from_camera = pose(rotation_90(turns), np.zeros(3))
        size = self.size[::-1] if turns % 2 else self.size
        return replace(
            self,
            lens=self.lens.rotate90(turns, self.size),
            size=size,
            camera_from_world=turned_from_camera @ self.camera_from_world,
        )

    def mirrored(self, plane_point: ArrayLike, plane_normal: ArrayLike) -> Camera:
        """The ordinary camera of the picture, flipped left to right, of what this camera sees in a mirror.

        The mirror is the plane through `plane_point` (3,) with `plane_normal` (3,). Where this camera sees the mirror
        image of a point at (u, v), the answer sees the point itself at (width - 1 - u, v).
        """
        flipped_from_camera = np.diag([-1.0, 1.0, 1.0, 1.0])
        camera_from_world = flipped_from_camera @ self.camera_from_world @ mirror_pose(plane_point, plane_normal)
        return replace(self, lens=self.lens.flip(self.size[0]), camera_from_world=camera_from_world)

    def to_dict(self) -> dict[str, Any]:
        """The camera's table of a rig file, plain values only."""
        values: dict[str, Any] = dict(self.extra)
        values |= {
            "name": self.name,
            "size": list(self.size),
            "matrix": self.lens.matrix.tolist(),
            "distortions": list(self.lens.distortion),
            "rotation": vector_from_rotation(self.rotation).tolist(),
            "translation": self.translation.tolist(),
        }
        if isinstance(self.lens, FisheyeLens):
            values["fisheye"] = True
        if isinstance(self.lens, TelecentricLens):
            values["model"] = self.lens.model
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Camera:
        """The camera of a rig file's table; DataError where a key is missing or a value is not what it should be."""
        missing = [key for key in _CAMERA_KEYS if key not in values]
        if missing:
            raise DataError(f"it has no {', '.join(missing)}; a camera needs {', '.join(_CAMERA_KEYS)}")
        fisheye, model = values.get("fisheye", False), values.get("model")
        if not isinstance(fisheye, bool):
            raise DataError(f"fisheye must be true or false, but is {fisheye!r}")
        if model is not None and model != TelecentricLens.model:
            raise DataError(
                f"model may only be {TelecentricLens.model!r}, but is {model!r}; leave it out for other lenses"
            )
        distortions = as_array(values["distortions"], (None,), "distortions")
        lens: Lens
        if model is None:
            lens = lens_from_matrix(values["matrix"], distortions, fisheye)
        elif fisheye:
            raise DataError("a camera cannot be fisheye and telecentric at once")
        else:
            lens = TelecentricLens(*matrix_parameters(values["matrix"]), tuple(distortions.tolist()))
        vectors = {key: as_array(values[key], (), key) for key in ("rotation", "translation")}
        for key, vector in vectors.items():
            if vector.shape not in ((3,), (3, 1), (1, 3)):  # OpenCV gives columns
                raise DataError(f"{key} must be 3 numbers, but has the shape {vector.shape}")
            vectors[key] = vector.ravel()
        camera_from_world = pose(rotation_from_vector(vectors["rotation"]), vectors["translation"])
        extra = {key: value for key, value in values.items() if key not in (*_CAMERA_KEYS, "fisheye", "model")}
        return cls(values["name"], values["size"], lens, camera_from_world, extra)


@dataclass(frozen=True, eq=False, repr=False)
class CameraRig:
    """Named cameras in one world whose lengths are in `unit`.

    `metadata` is what its file says beside unit and schema version, `extra` the file's other tables. `rig["name"]` is
    a camera, and iterating gives the cameras. DataError where there is no camera, a name comes twice or the unit is
    empty.
    """

    cameras: tuple[Camera, ...]
    unit: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(self.cameras))
        object.__setattr__(self, "metadata", dict(self.metadata))
        object.__setattr__(self, "extra", dict(self.extra))
        if not self.cameras:
            raise DataError("A rig needs at least one camera.")
        if not isinstance(self.unit, str) or not self.unit:
            raise DataError(f"A rig's unit must be a text such as 'mm', but is {self.unit!r}.")
        reserved = [key for key in ("unit", "schema_version") if key in self.metadata]
        reserved += [key for key, value in self.extra.items() if key == "metadata" or _is_camera(key, value)]
        if reserved:
            raise DataError(f"A rig's metadata and extra may not hold {', '.join(reserved)}: the rig says that itself.")
        doubled = sorted({name for name in self.names if self.names.count(name) > 1})
        if doubled:
            raise DataError(f"The names of a rig's cameras must differ, but these come twice: {', '.join(doubled)}.")

    def __repr__(self) -> str:
        return f"CameraRig({', '.join(map(repr, self.names))}, unit={self.unit!r})"

    def __len__(self) -> int:
        return len(self.cameras)

    def __iter__(self) -> Iterator[Camera]:
        return iter(self.cameras)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Camera:
        if name not in self.names:
            hint = did_you_mean(str(name), self.names)
            raise DataError(f"The rig has no camera {name!r}; its cameras are {', '.join(self.names)}.{hint}")
        return self.cameras[self.names.index(name)]

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras' names in the rig's order."""
        return tuple(camera.name for camera in self.cameras)

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """The size (width, height) of each camera's pictures, by name."""
        return {camera.name: camera.size for camera in self.cameras}

    @property
    def projection_matrices(self) -> FloatArray:
        """The homogeneous projections (view, 3, 4), without the distortion."""
        return np.stack([camera.projection_matrix for camera in self.cameras])

    def project(self, xyz: ArrayLike) -> FloatArray:
        """Pixels (view, ..., 2) of world points (..., 3); NaN as in Camera.project."""
        return np.stack([camera.project(xyz) for camera in self.cameras])

    def rays(self, px: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Origins and unit directions (view, ..., 3) in the world of the rays of pixels (view, ..., 2)."""
        pixels = as_array(px, (2,), "Pixels")
        if pixels.ndim < 2 or len(pixels) != len(self):
            raise DataError(f"Pixels must be (view, ..., 2) with the rig's {len(self)} views, but are {pixels.shape}.")
        pairs = [camera.rays(own) for camera, own in zip(self.cameras, pixels, strict=True)]
        return np.stack([origins for origins, _ in pairs]), np.stack([directions for _, directions in pairs])

    def packed(self) -> FloatArray:
        """(view, 28) numbers for compiled kernels: packed lens (16), rotation by rows (9), translation (3)."""
        return np.stack(
            [
                np.concatenate([camera.lens.packed(), camera.rotation.ravel(), camera.translation])
                for camera in self.cameras
            ]
        )

    def subset(self, names: Sequence[str]) -> CameraRig:
        """The rig of these cameras, in this order."""
        return replace(self, cameras=tuple(self[name] for name in names))

    def transformed(self, new_from_world: ArrayLike, scale: float = 1.0, unit: str | None = None) -> CameraRig:
        """The same rig in another world, in which the old point x is at `transform(new_from_world, scale * x)`.

        `unit` names the new unit if the scale changes it. Pixels stay the same. DataError if the pose (4, 4) is not
        rigid or the scale not above 0.
        """
        world_from_new = invert_pose(_checked_pose(new_from_world, "the new frame"))
        cameras = []
        for camera in self.cameras:
            lens = camera.lens.scale_world(scale)
            cameras.append(
                replace(
                    camera,
                    lens=lens,
                    camera_from_world=pose(camera.rotation, scale * camera.translation) @ world_from_new,
                )
            )
        return replace(self, cameras=tuple(cameras), unit=self.unit if unit is None else unit)

    def save(self, path: str | Path) -> None:
        """Writes the rig as TOML; FormatError if something in `metadata` or `extra` cannot be written."""
        values: dict[str, Any] = {**self.extra}
        values |= {f"cam_{i}": camera.to_dict() for i, camera in enumerate(self.cameras)}
        values["metadata"] = {**self.metadata, "unit": self.unit, "schema_version": SCHEMA_VERSION}
        text = toml.dumps(values)
        try:
            written = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise FormatError(
                f"{path}: the rig's metadata or extra values cannot be written as TOML ({error}). Use plain values."
            ) from error
        for table, entries in values.items():
            if _comparable(written.get(table)) != _comparable(entries):
                raise FormatError(
                    f"{path}: [{table}] holds a value that TOML cannot store. "
                    "Use texts, numbers, booleans, lists and tables."
                )
        write_text(path, text)

    @classmethod
    def load(cls, path: str | Path, unit: str | None = None) -> CameraRig:
        """Reads a rig from TOML; `unit` is needed if the file does not say it, and must agree with the file if it does.

        Cameras come in the natural order of their tables (cam_2 before cam_10). FormatError names what is wrong with
        the file.
        """
        if not Path(path).exists():
            raise FormatError(f"There is no rig file {path}. Calibrate first, or give a rig file's path.")
        try:
            values = read_toml(path)
        except FormatError as error:
            raise FormatError(f"The rig cannot be read: {error} Calibrate first, or save the rig again.") from None
        metadata = values.pop("metadata", {})
        if not isinstance(metadata, dict):
            raise FormatError(f"{path}: metadata must be a table, but is {metadata!r}.")
        version = metadata.pop("schema_version", SCHEMA_VERSION)
        if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
            raise FormatError(
                f"{path} has the schema version {version!r}, but this multipose reads versions up to {SCHEMA_VERSION}. "
                "Update multipose."
            )
        stated = metadata.pop("unit", None)
        if stated is None and unit is None:
            raise FormatError(
                f"{path} does not say the unit of its lengths. Write it into that file, below a line [metadata]: "
                'unit = "mm" (or whatever the board was measured in).'
            )
        if stated is not None and unit is not None and stated != unit:
            raise FormatError(
                f"{path} says that its unit is {stated!r}, but {unit!r} was given. "
                "Leave the unit out, and convert with `transformed` if another one is wanted."
            )
        tables = sorted((key for key, value in values.items() if _is_camera(key, value)), key=natural_key)
        if not tables:
            raise FormatError(f"{path} holds no camera. A rig file has a table for each: [cam_0], [cam_1] ...")
        cameras = []
        for table in tables:
            try:
                cameras.append(Camera.from_dict(values[table]))
                _check_sight(cameras[-1])
            except DataError as error:
                raise FormatError(f"{path}, [{table}]: {error}") from error
            except (TypeError, ValueError, OverflowError) as error:
                raise FormatError(f"{path}, [{table}]: a value is of the wrong kind ({error}).") from error
        try:
            return cls(
                tuple(cameras),
                stated if unit is None else unit,
                metadata,
                {key: value for key, value in values.items() if key not in tables},
            )
        except DataError as error:
            raise FormatError(f"{path}: {error}") from error


def _is_camera(key: str, value: object) -> bool:
    return isinstance(value, dict) and (key.startswith("cam_") or "matrix" in value)


def _comparable(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _check_sight(camera: Camera) -> None:
    """Refuse a camera that no lens can be: of a field without width or of half the world, or of a place beyond numbers.

    A lens whose distortion leaves next to nothing of its picture would give no points and no reason why.
    """
    if np.abs(camera.center).max() > _FARTHEST:
        raise DataError(f"the camera lies at {camera.center.tolist()}, beyond any room; check its translation")
    width, height = camera.size
    x, y = np.meshgrid(np.linspace(0, width - 1, 25), np.linspace(0, height - 1, 25))
    origins, directions = camera.lens.unproject(np.stack([x, y], axis=-1))
    share = float(np.isfinite(directions).all(-1).mean())
    if share < _LEAST_SEEN:
        raise DataError(
            f"the lens model reaches {share:.0%} of the {width} x {height} picture; check its distortions "
            f"({', '.join(f'{value:.3g}' for value in camera.lens.distortion)}) and its focal length"
        )
    if isinstance(camera.lens, TelecentricLens):
        across = float(np.nanmax(np.ptp(origins.reshape(-1, 3), axis=0)))
        if not _LEAST_ANGLE < across < _FARTHEST:
            raise DataError(f"the picture shows {across:.3g} units of length from side to side; check its matrix")
        return
    right, down = (2 * float(np.nanmax(np.abs(np.arctan2(directions[..., i], directions[..., 2])))) for i in range(2))
    if min(right, down) < _LEAST_ANGLE or (not isinstance(camera.lens, FisheyeLens) and max(right, down) > _MOST_ANGLE):
        raise DataError(
            f"the picture spans {np.degrees(right):.3g} x {np.degrees(down):.3g} degrees; check its focal lengths"
        )


def _checked_size(size: Sequence[int], name: str) -> tuple[int, int]:
    values = as_array(size, (2,), f"The size of camera {name!r}")
    if values.shape != (2,) or not (
        (values > 0).all() and (values < _MOST_PIXELS).all() and (values == np.round(values)).all()
    ):
        raise DataError(f"The size of camera {name!r} must be (width, height) in whole pixels above 0, but is {size}.")
    return int(values[0]), int(values[1])


def _checked_pose(a_from_b: ArrayLike, what: str) -> FloatArray:
    """A read-only copy of a rigid pose (4, 4) whose rotation is proper."""
    matrix = np.array(as_array(a_from_b, (4, 4), f"The pose of {what}"))
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise DataError(f"The pose of {what} must be a 4x4 array of finite numbers, but is {matrix.tolist()}.")
    r = matrix[:3, :3]
    if (
        np.abs(r @ r.T - np.eye(3)).max() > _ROTATION_TOLERANCE
        or np.linalg.det(r) < 0
        or (matrix[3] != [0, 0, 0, 1]).any()
    ):
        raise DataError(
            f"The pose of {what} must be a proper rotation with a translation (last row 0 0 0 1), but its rotation "
            f"has the determinant {np.linalg.det(r):.6g} and is {np.abs(r @ r.T - np.eye(3)).max():.3g} off."
        )
    matrix.setflags(write=False)
    return matrix
