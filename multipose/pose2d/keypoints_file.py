"""A Keypoints2D file that grows: written chunk by chunk while predictions come, so that memory does not grow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import h5netcdf
import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.files import check_room
from multipose.pose2d.model import PoseEstimate

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]

_WRITTEN = ("position", "confidence", "covariance")
_CHUNK = 256  # frames that a file's chunk holds and that are written at once


def write_empty(
    dataset: xr.Dataset, time: Array, frame: Ints, path: str | os.PathLike[str], attributes: Mapping[str, Any]
) -> None:
    """A file as `tracks.save_tracks` writes it; then its time axis, and -1 and NaN for all points.

    Args:
        dataset: a Keypoints2D of no time.
        time: (time,) the file's time axis.
        frame: (view, time) frame numbers.
        path: the file.
        attributes: more attributes of the file.
    """
    dataset = dataset.assign_attrs(attributes)
    chunk = min(_CHUNK, max(1, len(time)))
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.data_vars.items():
        sizes = {dim: max(1, size) for dim, size in variable.sizes.items()} | {"time": chunk, "view": 1}
        shape = tuple(sizes[str(dim)] for dim in variable.dims)
        encoding[str(name)] = {"zlib": True, "complevel": 4, "chunksizes": shape}
    check_room(path, time.nbytes + frame.nbytes)
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding, unlimited_dims=["time"])
    with h5netcdf.File(path, "r+") as file:
        file.resize_dimension("time", len(time))
        file.variables["time"][:] = time
        for number, numbers in enumerate(frame):
            file.variables["frame"][number] = numbers


def _row_bytes(variable: h5netcdf.Variable) -> int:
    """Of one view at one time."""
    return int(np.prod(variable.shape[2:]) * variable.dtype.itemsize)


def write_view(file: h5netcdf.File, number: int, parts: Iterator[tuple[Ints, PoseEstimate]]) -> None:
    """Write one view's points, a chunk of the time axis at a time; times without a picture become NaN, confidence 0."""
    n_times = file.dimensions["time"].size
    waiting: list[tuple[Ints, PoseEstimate]] = []
    following = next(parts, None)
    for start in range(0, n_times, _CHUNK):
        end = min(start + _CHUNK, n_times)
        while following is not None and following[0][0] < end:
            waiting.append(following)
            following = next(parts, None)
        check_room(file.filename, (end - start) * sum(_row_bytes(file.variables[name]) for name in _WRITTEN))
        for name, empty in (("position", np.nan), ("confidence", 0.0), ("covariance", np.nan)):
            variable = file.variables[name]
            block = np.full((end - start, *variable.shape[2:]), empty)
            for times, estimate in waiting:
                here = (times >= start) & (times < end)
                block[times[here] - start, 0] = getattr(estimate, name)[here]
            variable[number, start:end] = block
        waiting = [part for part in waiting if part[0][-1] >= end]
