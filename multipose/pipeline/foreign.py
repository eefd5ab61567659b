"""Files of 2D key points that other programs made: which format a file has, and its content."""

from __future__ import annotations

from pathlib import Path

import h5py
import xarray as xr

from multipose.errors import FormatError
from multipose.formats import deeplabcut, movement, sleap


def read_keypoints(path: Path, view: str) -> xr.Dataset:
    """Read the key points of one view: SLEAP analysis .h5, DeepLabCut .h5 or .csv, movement .nc.

    Raises:
        FormatError: the file is missing or has none of these formats.
    """
    kind = guess_format(path)
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
    if not path.is_file():
        raise FormatError(f"There is no file {path}.")
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return "deeplabcut"
    if suffix == ".nc":
        return "movement"
    if suffix in (".h5", ".hdf5"):
        try:
            with h5py.File(path) as file:
                return "sleap" if "tracks" in file and "node_names" in file else "deeplabcut"
        except OSError as error:
            raise FormatError(f"{path} is not a readable HDF5 file ({error}). Copy or export it again.") from error
    raise FormatError(
        f"{path}: key points are read from SLEAP analysis .h5, DeepLabCut .h5 or .csv, or movement .nc; "
        f"got {path.suffix!r}."
    )
