"""movement (neuroinformatics unit): netCDF files that it opens as poses datasets.

Dimensions and attributes are those that movement checks: `position` (time, space, keypoints, individuals), `confidence`
(time, keypoints, individuals), attributes ds_type, source_software, time_unit and fps. From movement 0.17 on two
dimensions are called keypoint and individual: ask for them with `singular`, or rename when opening. Our further
variables (covariance, reprojection_error, n_views, frame) go along; movement leaves them alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.errors import DataError, FormatError
from multipose.files import SCHEMA_VERSION, check_schema
from multipose.formats.joining import check_confidence
from multipose.tracks import (
    USUAL_SHARED_ERROR,
    check_keypoints2d,
    check_trajectories3d,
    load_netcdf,
    save_netcdf,
    time_unit_of,
)

_PLURALS = {"keypoint": "keypoints", "individual": "individuals"}
_PER_SECOND = {
    **dict.fromkeys(("seconds", "second", "sec", "s", "frames"), 1.0),
    **dict.fromkeys(("milliseconds", "ms"), 1e3),
    **dict.fromkeys(("microseconds", "us", "µs"), 1e6),
    **dict.fromkeys(("nanoseconds", "ns"), 1e9),
}
_WHOLE_FRAME = 0.05  # a time may miss a frame's by this share of the frame
_ORDER = ("view", "time", "space", "space_", "keypoint", "individual")


def write_trajectories(dataset: xr.Dataset, path: str | os.PathLike[str], *, singular: bool = False) -> list[Path]:
    """Write a Trajectories3D for movement.

    Args:
        dataset: what to write.
        path: a netCDF file (.nc).
        singular: name the dimensions keypoint and individual, as movement does from 0.17 on.

    Raises:
        DataError: the dataset is no Trajectories3D.
    """
    return _write(check_trajectories3d(dataset), Path(path), singular)


def write_keypoints(
    dataset: xr.Dataset, path: str | os.PathLike[str], *, view: str | None = None, singular: bool = False
) -> list[Path]:
    """Write a Keypoints2D for movement: of one view, or of all with the further dimension view.

    movement's own datasets of several cameras (load_multiview_dataset) have that dimension too.

    Raises:
        DataError: the dataset is no Keypoints2D, or has no such view.
    """
    check_keypoints2d(dataset)
    if view is not None:
        names = dataset["view"].values.tolist()
        if view not in names:
            raise DataError(f"There is no view {view!r} to write; the key points have {', '.join(names)}.")
        dataset = dataset.sel(view=view, drop=True)
    return _write(dataset, Path(path), singular)


def read_trajectories(path: str | os.PathLike[str], *, unit: str | None = None) -> xr.Dataset:
    """Read a netCDF file of 3D poses, from movement or from `write_trajectories`, as a Trajectories3D.

    Args:
        path: the file.
        unit: unit of length; needed where the file does not say it.

    Raises:
        FormatError: the file is missing or no such dataset.
        DataError: the unit is not known.
    """
    dataset = _read(Path(path), ("x", "y", "z"))
    attributes = _attributes(dataset, "trajectories3d", unit or dataset.attrs.get("unit"))
    if not attributes["unit"]:
        raise DataError(f"{path} does not say its unit of length; give it as unit (for example 'mm').")
    filled = _fill(dataset, ("time", "individual", "keypoint"))
    shape = tuple(filled.sizes[dim] for dim in ("time", "individual", "keypoint"))
    if "reprojection_error" not in filled:
        filled["reprojection_error"] = (("time", "individual", "keypoint"), np.full(shape, np.nan))
    if "n_views" not in filled:
        filled["n_views"] = (("time", "individual", "keypoint"), np.zeros(shape, dtype=np.int64))
    filled.attrs = attributes
    return check_trajectories3d(filled)


def read_keypoints(path: str | os.PathLike[str], *, view: str = "view_0") -> xr.Dataset:
    """Read a netCDF file of 2D poses, from movement or from `write_keypoints`, as a Keypoints2D.

    Frame numbers are those of our variable `frame`, else the times where these count frames or are whole numbers of
    frames at the rate of the file (or at their own step), else the rows. A confidence that is missing or NaN says
    nothing.

    Args:
        path: the file.
        view: name for the view of a file without the dimension view.

    Raises:
        FormatError: the file is missing or no such dataset, or a confidence is no probability.
    """
    place = Path(path)
    dataset = _read(place, ("x", "y"))
    if "view" not in dataset.dims:
        dataset = dataset.expand_dims(view=[view])
    try:
        filled = _fill(dataset, ("view", "time", "individual", "keypoint"))
    except DataError as error:
        raise FormatError(f"{place}: {error}") from error
    times = filled["time"].values
    if dataset.attrs.get("unit", "px") not in ("px", "pixel", "pixels"):
        raise FormatError(f"{place}: the unit is {dataset.attrs['unit']!r}; positions in a picture are in px.")
    try:
        attributes = _attributes(dataset, "keypoints2d", "px")
    except DataError as error:
        raise FormatError(f"{place}: {error}") from error
    if "frame" not in filled:
        in_frames = dataset.attrs.get("time_unit") == "frames"
        numbers, rate = _number_times(times, 1.0 if in_frames else attributes.get("fps"))
        if rate is not None and not in_frames:
            attributes.setdefault("fps", rate)
        shape = (filled.sizes["view"], len(numbers))
        filled["frame"] = (("view", "time"), np.broadcast_to(numbers, shape))
    filled = filled.assign_coords({dim: filled[dim].astype(str) for dim in ("view", "individual", "keypoint")})
    notes: tuple[str, ...] = ()
    for v, name in enumerate(filled["view"].values):
        confidence, said = check_confidence(
            filled["confidence"].values[v],
            filled["position"].values[v],
            path=place,
            view=str(name),
            frames=filled["frame"].values[v],
            individuals=[str(item) for item in filled["individual"].values],
            keypoints=[str(item) for item in filled["keypoint"].values],
            called="confidence",
        )
        filled["confidence"].values[v] = confidence
        notes += said
    filled.attrs = attributes | {"shared_error": USUAL_SHARED_ERROR} | ({"notes": list(notes)} if notes else {})
    try:
        return check_keypoints2d(filled)
    except DataError as error:
        raise FormatError(f"{place}: {error}") from error


def _number_times(times: npt.NDArray[np.float64], fps: float | None) -> tuple[npt.NDArray[np.int64], float | None]:
    """Frame numbers of times, and the rate at which they are whole; the rows, and None, where they are at none."""
    steps = np.diff(times)
    rate = fps or (1 / float(np.median(steps)) if len(steps) and (steps > 0).all() else None)
    if rate is not None and np.isfinite(times).all() and len(times):
        frames = np.rint(times * rate)
        if np.abs(times * rate - frames).max() < _WHOLE_FRAME and frames.min() >= 0 and (np.diff(frames) > 0).all():
            return frames.astype(np.int64), rate
    return np.arange(len(times)), None


def _write(dataset: xr.Dataset, path: Path, singular: bool) -> list[Path]:
    fps = dataset.attrs.get("fps")
    times = dataset["time"].values
    in_frames = time_unit_of(dataset) == "frame" and np.array_equal(times, np.round(times))
    attributes = {
        "ds_type": "poses",
        "source_software": "multipose",
        "time_unit": "frames" if in_frames else "seconds",
        "unit": dataset.attrs["unit"],
        "schema_version": SCHEMA_VERSION,
    }
    if fps is not None:
        attributes["fps"] = fps
    poses = dataset.drop_dims([dim for dim in dataset.dims if dim not in _ORDER])  # movement knows no limbs, say
    ordered = poses.transpose(*(dim for dim in _ORDER if dim in poses.dims))
    if in_frames:
        ordered = ordered.assign_coords(time=times.astype(np.int64))
    ordered = ordered.drop_attrs().assign_attrs(attributes)
    if not singular:
        ordered = ordered.rename(_PLURALS)
    save_netcdf(ordered, path)
    return [path]


def _read(path: Path, space: tuple[str, ...]) -> xr.Dataset:
    dataset = load_netcdf(path)
    dataset = dataset.rename({plural: name for name, plural in _PLURALS.items() if plural in dataset.dims})
    wanted = {"time", "space", "keypoint", "individual"}
    if "position" not in dataset or not wanted <= set(map(str, dataset["position"].dims)):
        raise FormatError(f"{path} holds no poses dataset of movement (position over {', '.join(sorted(wanted))}).")
    found = tuple(str(name) for name in dataset["space"].values)
    if found != space:
        raise FormatError(f"{path} holds positions in {', '.join(found)}; expected {', '.join(space)}.")
    version = dataset.attrs.get("schema_version")
    if version is not None:
        check_schema(int(version) if isinstance(version, np.integer) else version, path)
    return dataset


def _fill(dataset: xr.Dataset, point: tuple[str, ...]) -> xr.Dataset:
    """The dataset in our order of dimensions, with what movement does not have filled as unknown."""
    space = dataset["space"].values
    order = (*point, "space", "space_")
    filled = dataset.assign_coords(space_=space, time=_in_numbers(dataset))
    if "confidence" not in filled:  # nothing is said of a point that is there
        known = filled["position"].notnull().all("space")
        filled["confidence"] = known.copy(data=np.where(known.values, np.nan, 0.0))
    if "covariance" not in filled:
        shape = tuple(filled.sizes[dim] for dim in point)
        filled["covariance"] = ((*point, "space", "space_"), np.full((*shape, len(space), len(space)), np.nan))
    return filled.transpose(*(dim for dim in order if dim in filled.dims))


def _in_numbers(dataset: xr.Dataset) -> npt.NDArray[np.float64]:
    """Times in seconds, or in frames where the file says so.

    Raises:
        DataError: they are no numbers, or of a unit that is not known.
    """
    times = dataset["time"].values
    if times.dtype.kind in "mM":  # units such as "seconds since ..." made durations or dates of them
        kind = "timedelta64[ns]" if times.dtype.kind == "m" else "datetime64[ns]"
        return np.asarray(times.astype(kind).astype(np.int64) / 1e9)
    unit = str(dataset["time"].attrs.get("units", dataset.attrs.get("time_unit", "seconds"))).lower()
    if unit not in _PER_SECOND:
        raise DataError(f"the unit of time is {unit!r}; known are {', '.join(_PER_SECOND)}.")
    try:
        return np.asarray(times.astype(np.float64) / _PER_SECOND[unit])
    except (ValueError, TypeError) as error:
        raise DataError(f"time must be numbers, got {times.dtype} ({error}).") from None


def _attributes(dataset: xr.Dataset, kind: str, unit: str | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {"kind": kind, "schema_version": SCHEMA_VERSION, "unit": unit}
    rate = dataset.attrs.get("fps")
    if rate is not None:
        if not isinstance(rate, float | int | np.number) or not 0 < rate < np.inf:
            raise DataError(f"the attribute fps must be a number of frames per second above 0, got {rate!r}.")
        attributes["fps"] = float(rate)
    attributes["time_unit"] = "frame" if dataset.attrs.get("time_unit") == "frames" else "s"
    return attributes
