"""What a track is: the two xarray datasets that the stages hand on, built, checked, saved and loaded here only.

Keypoints2D has the dimensions `view, time, individual, keypoint, space`; Trajectories3D has
`time, individual, keypoint, space`. NaN means unknown everywhere.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.errors import DataError, FormatError
from multipose.files import SCHEMA_VERSION, atomic_path, check_room, check_schema
from multipose.hdf5 import check_datasets
from multipose.picture_sizes import MOST_PX

Array = npt.NDArray[Any]
TimeUnit = Literal["s", "frame"]

USUAL_SHARED_ERROR = 0.44
"""Share of the variance of a point in space that all views have in common where networks found its 2D points, or people
labelled them: that of the sets measured in docs/uncertainty.md."""

CALIBRATED_ON_LABELS = "labels"
"""Attribute `covariance_source` of 2D key points whose covariances were calibrated on labels."""


@dataclass(frozen=True)
class _Schema:
    kind: str
    variables: dict[str, tuple[str, ...]]
    required: tuple[str, ...]
    space: tuple[str, ...]


_POINT = ("time", "individual", "keypoint")
_KEYPOINTS2D = _Schema(
    kind="keypoints2d",
    variables={
        "position": ("view", *_POINT, "space"),
        "confidence": ("view", *_POINT),
        "covariance": ("view", *_POINT, "space", "space_"),
        "frame": ("view", "time"),
    },
    required=("position", "confidence", "covariance", "frame"),
    space=("x", "y"),
)
_TRAJECTORIES3D = _Schema(
    kind="trajectories3d",
    variables={
        "position": (*_POINT, "space"),
        "confidence": _POINT,
        "reprojection_error": _POINT,
        "n_views": _POINT,
        "covariance": (*_POINT, "space", "space_"),
        "inlier": ("view", *_POINT),
        "parallax": _POINT,
        "variance_factor": ("view", "keypoint"),
    },
    required=("position", "confidence", "reprojection_error", "n_views", "covariance"),
    space=("x", "y", "z"),
)
_BLOCK = 65_536  # values that are looked at at once
_SCHEMAS = {schema.kind: schema for schema in (_KEYPOINTS2D, _TRAJECTORIES3D)}


def keypoints2d(
    position: npt.ArrayLike,
    confidence: npt.ArrayLike | None = None,
    covariance: npt.ArrayLike | None = None,
    *,
    views: Sequence[str],
    keypoints: Sequence[str] | None = None,
    individuals: Sequence[str] | None = None,
    fps: float | None = None,
    frame: npt.ArrayLike | None = None,
    time: npt.ArrayLike | None = None,
    shared_error: float | None = None,
    time_unit: TimeUnit | None = None,
) -> xr.Dataset:
    """2D key points of several views as a checked dataset.

    Args:
        position: (view, time, individual, keypoint, 2) px in the view's picture; NaN where unknown.
        confidence: (view, time, individual, keypoint), the probability that the point is in the picture, 0 to 1;
            by default 1 where the position is known and 0 elsewhere.
        covariance: (view, time, individual, keypoint, 2, 2) px²; by default NaN (unknown).
        views: names of the views, in the order of the first axis.
        keypoints: names; by default keypoint_0, keypoint_1, ...
        individuals: names; by default individual_0, ...
        fps: frames per second of the rig's clock.
        frame: (view, time) number of the source's frame, -1 where a view has none; by default 0, 1, 2, ...
        time: (time,) seconds on the rig's clock; by default frame / fps, or the frame number where fps is unknown.
        shared_error: share of the variance of a point in space that the views' errors have in common, 0 to below 1
            (`USUAL_SHARED_ERROR` of points that networks found or people labelled); by default the errors of the views
            count as independent.
        time_unit: "s" or "frame", what `time` counts; by default "s" where fps is known.

    Raises:
        DataError: a shape, a name or a value is not as described.
    """
    points = np.asarray(position, dtype=np.float64)
    if points.ndim != 5 or points.shape[-1] != 2:
        raise DataError(
            f"position must have the shape (view, time, individual, keypoint, 2), got {points.shape}. "
            "For one individual insert an axis: position[:, :, None]."
        )
    n_views, n_times, n_individuals, n_keypoints, _ = points.shape
    if frame is None:
        frame = np.broadcast_to(np.arange(n_times), (n_views, n_times))
    if confidence is None:
        confidence = np.isfinite(points).all(-1)
    if covariance is None:
        covariance = np.full((*points.shape, 2), np.nan)
    dataset = _join(
        _KEYPOINTS2D,
        {
            "position": points,
            "confidence": np.asarray(confidence, dtype=np.float64),
            "covariance": np.asarray(covariance, dtype=np.float64),
            "frame": _whole_numbers(frame),
        },
        {
            "view": _names(views, n_views, "view"),
            "time": _times(time, n_times, fps),
            "individual": _names(individuals, n_individuals, "individual"),
            "keypoint": _names(keypoints, n_keypoints, "keypoint"),
        },
        _attributes("keypoints2d", "px", fps, time_unit)
        | ({} if shared_error is None else {"shared_error": shared_error}),
    )
    return check_keypoints2d(dataset)


def trajectories3d(
    position: npt.ArrayLike,
    confidence: npt.ArrayLike | None = None,
    reprojection_error: npt.ArrayLike | None = None,
    n_views: npt.ArrayLike | None = None,
    covariance: npt.ArrayLike | None = None,
    *,
    keypoints: Sequence[str] | None = None,
    individuals: Sequence[str] | None = None,
    fps: float | None = None,
    time: npt.ArrayLike | None = None,
    time_unit: TimeUnit | None = None,
    unit: str,
) -> xr.Dataset:
    """3D trajectories as a checked dataset.

    Args:
        position: (time, individual, keypoint, 3) in `unit`; NaN where unknown.
        confidence: (time, individual, keypoint), 0 to 1; by default 1 where the position is known and 0 elsewhere.
        reprojection_error: (time, individual, keypoint) px; by default NaN (unknown).
        n_views: (time, individual, keypoint) number of views that the point rests on; by default 0 (unknown).
        covariance: (time, individual, keypoint, 3, 3) unit², of the 2D noise alone; by default NaN.
        keypoints: names; by default keypoint_0, keypoint_1, ...
        individuals: names; by default individual_0, ...
        fps: frames per second of the rig's clock.
        time: (time,) seconds; by default frame / fps, or the frame number where fps is unknown.
        time_unit: "s" or "frame", what `time` counts; by default "s" where fps is known.
        unit: the length unit of the rig, for example "mm".

    Raises:
        DataError: a shape, a name or a value is not as described.
    """
    points = np.asarray(position, dtype=np.float64)
    if points.ndim != 4 or points.shape[-1] != 3:
        raise DataError(
            f"position must have the shape (time, individual, keypoint, 3), got {points.shape}. "
            "For one individual insert an axis: position[:, None]."
        )
    shape = points.shape[:-1]
    if confidence is None:
        confidence = np.isfinite(points).all(-1)
    if reprojection_error is None:
        reprojection_error = np.full(shape, np.nan)
    if n_views is None:
        n_views = np.zeros(shape)
    if covariance is None:
        covariance = np.full((*points.shape, 3), np.nan)
    dataset = _join(
        _TRAJECTORIES3D,
        {
            "position": points,
            "confidence": np.asarray(confidence, dtype=np.float64),
            "reprojection_error": np.asarray(reprojection_error, dtype=np.float64),
            "n_views": np.asarray(n_views, dtype=np.int64),
            "covariance": np.asarray(covariance, dtype=np.float64),
        },
        {
            "time": _times(time, shape[0], fps),
            "individual": _names(individuals, shape[1], "individual"),
            "keypoint": _names(keypoints, shape[2], "keypoint"),
        },
        _attributes("trajectories3d", unit, fps, time_unit),
    )
    return check_trajectories3d(dataset)


def check_keypoints2d(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset if it is a well-formed Keypoints2D.

    Raises:
        DataError: it is not, and says how.
    """
    _check(dataset, _KEYPOINTS2D)
    _check_unit(dataset, ("px",))
    _check_range(dataset, "position", -MOST_PX, MOST_PX, "px, which is far outside any picture")
    _check_range(dataset, "confidence", 0.0, 1.0)
    shared = dataset.attrs.get("shared_error", 0.0)
    if not isinstance(shared, float | int | np.number) or not 0 <= shared < 1:
        raise DataError(f"shared_error is the share of a variance that views share, 0 to below 1; it is {shared!r}.")
    if dataset["frame"].size and int(dataset["frame"].min()) < -1:
        raise DataError("frame holds the source's frame numbers, or -1 where a view has none; found a smaller one.")
    _check_covariances(dataset)
    return dataset


def check_trajectories3d(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset if it is a well-formed Trajectories3D.

    Raises:
        DataError: it is not, and says how.
    """
    _check(dataset, _TRAJECTORIES3D)
    _check_range(dataset, "confidence", 0.0, 1.0)
    _check_range(dataset, "reprojection_error", 0.0, np.inf)
    if any((np.diagonal(block, axis1=-2, axis2=-1) < 0).any() for _, block in _blocks(dataset["covariance"])):
        raise DataError("covariance holds variances below 0. Give variances in the squared unit of length, or NaN.")
    _check_unit(dataset)
    return dataset


def save_tracks(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a Keypoints2D or Trajectories3D as netCDF-4, compressed, whole or not at all.

    Raises:
        DataError: the dataset is neither.
    """
    kind = dataset.attrs.get("kind")
    if kind not in _SCHEMAS:
        raise DataError(f"A dataset to save must be of kind {' or '.join(_SCHEMAS)}, got {kind!r}.")
    _check(dataset, _SCHEMAS[kind])
    save_netcdf(dataset, path)


def load_tracks(path: str | os.PathLike[str], kind: Literal["keypoints2d", "trajectories3d", ""] = "") -> xr.Dataset:
    """Read what save_tracks wrote, whole into memory, and check it.

    Args:
        path: the file.
        kind: what it must hold; by default either.

    Raises:
        FormatError: the file is missing, truncated, of a newer schema, not a track, or of the other kind.
    """
    place = Path(path)
    dataset = load_netcdf(place)
    found = dataset.attrs.get("kind")
    wanted = (kind,) if kind else tuple(_SCHEMAS)
    if not isinstance(found, str) or found not in wanted:
        raise FormatError(
            f"{place} holds no {' or '.join(wanted)} of multipose (attribute kind is {found!r}). Make the file again."
        )
    version = dataset.attrs.get("schema_version")
    check_schema(int(version) if isinstance(version, np.integer) else version, place)
    try:
        if found == "keypoints2d":
            return _without_unknown(check_keypoints2d(dataset))
        check_trajectories3d(dataset)
        _check_covariances_3d(dataset)
        return dataset
    except DataError as error:
        raise FormatError(f"{place}: {error} Make the file again, or correct it.") from error


def _without_unknown(dataset: xr.Dataset) -> xr.Dataset:
    """The same where covariances take no memory if all are unknown: over half of that of a recording."""
    covariance = dataset["covariance"]
    if covariance.dtype.kind != "f" or not all(np.isnan(block).all() for _, block in _blocks(covariance)):
        return dataset
    unknown = np.broadcast_to(covariance.dtype.type(np.nan), covariance.shape)
    return dataset.assign(covariance=covariance.copy(data=unknown))


def save_netcdf(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write any dataset as netCDF-4, compressed, whole or not at all.

    Raises:
        OSError: the disk may not hold it, or cannot be written.
    """
    check_room(path, int(dataset.nbytes))
    encoding = {str(name): {"zlib": True, "complevel": 4} for name in dataset.data_vars}
    with atomic_path(path) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)


def load_netcdf(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a netCDF-4 file whole into memory, once the sizes that it declares are known to be honest.

    Raises:
        FormatError: the file is missing, damaged, or no such file.
    """
    check_datasets(path)
    try:
        return xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, IndexError) as error:
        raise FormatError(
            f"{path} is not a readable netCDF-4 file ({type(error).__name__}: {error}). Make it again."
        ) from error


def _join(schema: _Schema, values: dict[str, Array], names: dict[str, Any], attributes: dict[str, Any]) -> xr.Dataset:
    """Join arrays that have the sizes of `names` (and of space) into one dataset."""
    coordinates = {**names, "space": list(schema.space), "space_": list(schema.space)}
    for name, value in values.items():
        expected = tuple(len(coordinates[dim]) for dim in schema.variables[name])
        if value.shape != expected:
            raise DataError(f"{name} must have the shape {expected} to go with position, got {value.shape}.")
    return xr.Dataset(
        {name: (schema.variables[name], value) for name, value in values.items()}, coords=coordinates, attrs=attributes
    )


def time_unit_of(dataset: xr.Dataset) -> TimeUnit:
    """What a dataset's times count: seconds, or frames where neither a rate nor times are known.

    Raises:
        DataError: the attribute time_unit says something else.
    """
    stated = dataset.attrs.get("time_unit", "s" if dataset.attrs.get("fps") else "frame")
    if stated not in ("s", "frame"):
        raise DataError(f"The attribute time_unit must be 's' or 'frame', got {stated!r}.")
    return "s" if stated == "s" else "frame"


def frame_numbers(dataset: xr.Dataset) -> npt.NDArray[np.int64] | None:
    """(time,) frame numbers on the rig's clock of a Keypoints2D or Trajectories3D; None where it has no steady rate."""
    rate = dataset.attrs.get("fps") if time_unit_of(dataset) == "s" else 1.0
    if not rate:
        return None
    exact = dataset["time"].values * float(rate)
    frame = np.rint(exact)
    return frame.astype(np.int64) if np.allclose(exact, frame, rtol=0, atol=0.05) else None


def _attributes(kind: str, unit: str, fps: float | None, counted: TimeUnit | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {"kind": kind, "schema_version": SCHEMA_VERSION, "unit": unit}
    if fps is not None:
        attributes["fps"] = float(fps)
    attributes["time_unit"] = counted or ("frame" if fps is None else "s")
    return attributes


def _whole_numbers(frame: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Frame numbers as exact 64-bit integers; DataError where they are not whole."""
    given = np.asarray(frame)
    if given.dtype.kind == "f" and not ((given % 1 == 0) & (np.abs(given) < 2.0**53)).all():
        raise DataError("frame must be whole numbers (of 64 bits; as floats only those below 2^53 are exact).")
    if given.dtype.kind not in "iuf":
        raise DataError(f"frame must be whole numbers, got the type {given.dtype}.")
    return given.astype(np.int64)


def _names(names: Sequence[str] | None, count: int, what: str) -> list[str]:
    if names is None:
        return [f"{what}_{i}" for i in range(count)]
    if isinstance(names, str):
        raise DataError(f"{what} names must be a list of names, got the single string {names!r}.")
    listed = [str(name) for name in names]
    if len(listed) != count:
        raise DataError(f"position has {count} on its {what} axis, but {len(listed)} names were given: {listed}.")
    return listed


def _times(time: npt.ArrayLike | None, count: int, fps: float | None) -> Array:
    _check_rate(fps)
    if time is None:
        return np.arange(count) / (1.0 if fps is None else float(fps))
    times = np.asarray(time, dtype=np.float64)
    if times.shape != (count,):
        raise DataError(f"time must have the shape ({count},) to go with position, got {times.shape}.")
    return times


def _check_rate(fps: Any) -> None:
    if fps is not None and not (isinstance(fps, int | float | np.number) and np.isfinite(fps) and fps > 0):
        raise DataError(f"fps must be a positive number, got {fps!r}.")


def _check(dataset: xr.Dataset, schema: _Schema) -> None:
    for name in schema.required:
        if name not in dataset:
            raise DataError(f"A {schema.kind} dataset needs the variable {name!r}; it has {sorted(map(str, dataset))}.")
    for name, dims in schema.variables.items():
        if name in dataset and dataset[name].dims != dims:
            raise DataError(f"{schema.kind}: {name} must have the dimensions {dims}, got {dataset[name].dims}.")
    for dim in sorted({dim for name in schema.required for dim in schema.variables[name]}):
        if dim not in dataset.coords:
            raise DataError(f"{schema.kind}: the dimension {dim!r} has no coordinate (names or times).")
        labels = dataset[dim].values.tolist()
        if dim != "time" and len(set(labels)) != len(labels):
            raise DataError(f"{schema.kind}: names on the {dim} axis must differ, got {labels}.")
    for dim in ("space", "space_"):
        if tuple(dataset[dim].values.tolist()) != schema.space:
            raise DataError(f"{schema.kind}: {dim} must be {schema.space}, got {tuple(dataset[dim].values.tolist())}.")
    for name in schema.variables:
        if name in dataset and dataset[name].dtype.kind not in "fiub":
            raise DataError(f"{schema.kind}: {name} must hold numbers, got values of the type {dataset[name].dtype}.")
    _check_rate(dataset.attrs.get("fps"))
    times = dataset["time"].values
    if times.dtype.kind not in "fiu" or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise DataError(f"{schema.kind}: time must be finite and strictly increasing.")
    if any(np.isinf(block).any() for _, block in _blocks(dataset["position"])):
        raise DataError(f"{schema.kind}: position holds infinite values; unknown points are NaN.")


def _blocks(values: xr.DataArray) -> Iterator[tuple[tuple[slice, ...], Array]]:
    """The values in parts that a processor's cache holds, each with its place: long recordings need no copies then."""
    axis, array = values.dims.index("time"), values.values
    for first in itertools.product(*(range(size) for size in array.shape[:axis])):
        ahead = tuple(slice(place, place + 1) for place in first)
        row = max(1, int(np.prod(array.shape[axis + 1 :])))
        length = max(1, _BLOCK // row)
        for start in range(0, array.shape[axis], length):
            at = (*ahead, slice(start, start + length))
            yield at, array[at]


def _check_covariances(dataset: xr.Dataset) -> None:
    """2 x 2 covariances are symmetric and positive definite, wherever they are known."""
    _check_each(dataset, _possible_2d, "above 0 (px²)")


def _possible_2d(covariance: Array) -> npt.NDArray[np.bool_]:
    """(...) whether 2 x 2 covariances (..., 2, 2) are unknown, or symmetric and positive definite."""
    unknown = np.isnan(covariance)
    if unknown.all():
        return np.ones(covariance.shape[:-2], dtype=bool)
    xx, xy, yx, yy = (covariance[..., i, j] for i in (0, 1) for j in (0, 1))
    with np.errstate(invalid="ignore", over="ignore"):
        fine = (xx > 0) & (xx * yy > xy * yx) & (np.abs(xy - yx) <= 1e-6 * (xx + yy)) & (xx + yy < np.inf)
    if not fine.all():
        fine |= unknown.all((-2, -1))
    return np.asarray(fine)


def _check_covariances_3d(dataset: xr.Dataset) -> None:
    """3 x 3 covariances are symmetric, and so are their variances and correlations possible, wherever they are known.

    Beyond what `check_trajectories3d` asks of what this process made; for files.
    """
    _check_each(dataset, _possible_3d, "not below 0 (squared unit of length)")


def _possible_3d(covariance: Array) -> npt.NDArray[np.bool_]:
    """(...) whether 3 x 3 covariances (..., 3, 3) are unknown, or symmetric and possible."""
    known = np.isfinite(covariance)
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        size = np.sqrt(variance[..., :, None] * variance[..., None, :])
        beyond = np.abs(covariance) > size * (1 + 1e-6)
        skewed = np.abs(covariance - covariance.swapaxes(-1, -2)) > 1e-6 * size
    wrong = known.any((-2, -1)) & ~known.all((-2, -1))
    wrong |= np.isinf(covariance).any((-2, -1)) | beyond.any((-2, -1)) | skewed.any((-2, -1))
    return np.asarray(~wrong)


def _check_each(dataset: xr.Dataset, possible: Callable[[Array], npt.NDArray[np.bool_]], least: str) -> None:
    """Refuse covariances that are not possible, by the first of them."""
    fine = [(at, possible(block)) for at, block in _blocks(dataset["covariance"])]
    if not all(part.all() for _, part in fine):
        wrong = np.zeros(dataset["confidence"].shape, dtype=bool)
        for at, part in fine:
            wrong[at] = ~part
        _refuse_covariance(dataset, wrong, least)


def _refuse_covariance(dataset: xr.Dataset, wrong: npt.NDArray[np.bool_], least: str) -> None:
    at = tuple(int(index) for index in np.argwhere(wrong)[0])
    names = {str(dim): dataset[dim].values[i] for dim, i in zip(dataset["confidence"].dims, at, strict=True)}
    view = f"view {names['view']}, " if "view" in names else ""
    raise DataError(
        f"covariance: {int(wrong.sum())} are not symmetric and positive definite, the first at {view}time "
        f"{names['time']:g}, key point {names['keypoint']}: {dataset['covariance'].values[at].tolist()}. Variances are "
        f"{least}, or NaN where they are unknown."
    )


def _check_unit(dataset: xr.Dataset, known: tuple[str, ...] = ()) -> None:
    unit = dataset.attrs.get("unit")
    if known and unit is not None and unit not in known:
        raise DataError(f"the unit is {unit!r}; positions in a picture are in {' or '.join(known)}. Convert them.")
    if not known and (not isinstance(unit, str) or not unit):
        raise DataError("A Trajectories3D states its length unit in attrs['unit'], for example 'mm'.")


def _check_range(dataset: xr.Dataset, name: str, low: float, high: float, what: str = "") -> None:
    if not any(((block < low) | (block > high)).any() for _, block in _blocks(dataset[name])):
        return
    values = dataset[name].values
    where = tuple(int(i) for i in np.argwhere((values < low) | (values > high))[0])
    place = ", ".join(
        f"{dim} {dataset[dim].values[i] if dim in dataset.coords else i}"
        for dim, i in zip(dataset[name].dims, where, strict=True)
    )
    said = f" {what}" if what else ""
    raise DataError(f"{name} must lie between {low:g} and {high:g}; at {place} it is {values[where]:g}{said}.")
