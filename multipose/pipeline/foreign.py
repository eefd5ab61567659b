"""Files of 2D key points that other programs made: which format a file has, and its content."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from multipose.errors import DataError, FormatError
from multipose.files import check_file
from multipose.formats import deeplabcut, movement, sleap
from multipose.hdf5 import has, open_hdf5


def read_keypoints(path: Path, view: str) -> xr.Dataset:
    """Read the key points of one view: SLEAP analysis .h5, DeepLabCut .h5 or .csv, movement .nc.

    Raises:
        FormatError: the file is missing has none of these formats, or positions, confidences or names that cannot be.
    """
    kind = guess_format(path)
    try:
        return _read(path, view, kind)
    except DataError as error:
        raise FormatError(f"{path}: {error}") from error


def _read(path: Path, view: str, kind: str) -> xr.Dataset:
    if kind == "movement":
        dataset = movement.read_keypoints(path, view=view)
        if view not in dataset["view"].values:
            raise FormatError(f"{path} has no view {view!r}; it has {', '.join(map(str, dataset['view'].values))}.")
        return dataset.sel(view=[view])
    return sleap.read_keypoints({view: path}) if kind == "sleap" else deeplabcut.read_keypoints({view: path})


def guess_format(path: Path) -> str:
    """Name of the format of a file of key points, by its suffix and, for HDF5, what is in it.

    Raises:
        FormatError: it has no known one.
    """
    check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return "deeplabcut"
    if suffix == ".nc":
        return "movement"
    if suffix in (".h5", ".hdf5"):
        with open_hdf5(path) as file:
            return "sleap" if has(file, "tracks") and has(file, "node_names") else "deeplabcut"
    raise FormatError(
        f"{path}: key points are read from SLEAP analysis .h5, DeepLabCut .h5 or .csv, or movement .nc; "
        f"got {path.suffix!r}."
    )
