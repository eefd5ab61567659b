"""Files of 2D key points that other programs made: which format a file has, and its content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from multipose.errors import DataError, FormatError
from multipose.files import check_file
from multipose.formats import deeplabcut, movement, sleap, table
from multipose.hdf5 import has, open_hdf5
from multipose.text import read_rows


def read_keypoints(path: Path, view: str) -> xr.Dataset:
    """Read the key points of one view: SLEAP analysis .h5 or .csv, DeepLabCut .h5 or .csv, movement .nc, or
    our own .csv.

    Returns:
        A Keypoints2D of one view whose times are those at which the file has a frame of it.

    Raises:
        FormatError: the file is missing has none of these formats, or positions, confidences or names that cannot be.
    """
    kind = guess_format(path)
    try:
        return _read(path, view, kind)
    except DataError as error:
        raise FormatError(f"{path}: {error}") from error


def _read(path: Path, view: str, kind: str) -> xr.Dataset:
    if kind in ("sleap", "deeplabcut"):
        read = sleap.read_keypoints if kind == "sleap" else deeplabcut.read_keypoints
        return read({view: path})
    dataset = movement.read_keypoints(path, view=view) if kind == "movement" else table.read_keypoints(path)
    if view not in dataset["view"].values:
        raise FormatError(f"{path} has no view {view!r}; it has {', '.join(map(str, dataset['view'].values))}.")
    one = dataset.sel(view=[view])
    frames = one["frame"].values[0]
    there = frames[frames >= 0]
    if (np.diff(there) <= 0).any():
        at = int(np.flatnonzero(np.diff(there) <= 0)[0])
        raise FormatError(
            f"{path}, view {view}: frame {there[at + 1]} comes after frame {there[at]}. Frame numbers must rise."
        )
    return one.isel(time=frames >= 0)


def guess_format(path: Path) -> str:
    """Name of the format of a file of key points, by its suffix and, for HDF5, what is in it.

    Raises:
        FormatError: it has no known one.
    """
    check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        header = next(iter(read_rows(path).cells), [])
        own = {"view", "frame", "keypoint"} <= set(header)
        return "csv" if own else "sleap" if sleap.is_analysis_csv(header) else "deeplabcut"
    if suffix == ".nc":
        return "movement"
    if suffix in (".h5", ".hdf5"):
        with open_hdf5(path) as file:
            return "sleap" if has(file, "tracks") and has(file, "node_names") else "deeplabcut"
    raise FormatError(
        f"{path}: key points are read from SLEAP analysis .h5 or .csv, DeepLabCut .h5 or .csv, movement .nc or "
        f"multipose's .csv; got {path.suffix!r}."
    )
