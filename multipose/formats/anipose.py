"""anipose: its CSV of 3D points (pose-3d/*.csv).

One row for each frame; for each body part the columns {name}_x, _y, _z, _error (px), _ncams, _score; then the frame
M_00 ... M_22 and center_0 ... center_2 that anipose turned the points into (here always the identity), and fnum.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from multipose.errors import DataError, FormatError
from multipose.files import atomic_path
from multipose.text import read_rows
from multipose.tracks import check_trajectories3d, trajectories3d

_FIELDS = ("x", "y", "z", "error", "ncams", "score")


def write_trajectories(
    dataset: xr.Dataset, path: str | os.PathLike[str], *, individual: str | None = None
) -> list[Path]:
    """Write a Trajectories3D as anipose's CSV, one file for each individual.

    Covariances have no place in it. fnum counts rows from 0, as anipose's does.

    Args:
        dataset: what to write.
        path: a CSV file; with several individuals, `_{individual}` is put before its suffix.
        individual: write this one alone, to `path` itself.

    Raises:
        DataError: the dataset is no Trajectories3D, or has no such individual.
    """
    check_trajectories3d(dataset)
    names = [str(name) for name in dataset["individual"].values]
    if individual is not None and individual not in names:
        raise DataError(f"There is no individual {individual!r} to write; the trajectories have {', '.join(names)}.")
    place = Path(path)
    wanted = names if individual is None else [individual]
    written = []
    for name in wanted:
        target = place if len(wanted) == 1 else place.with_name(f"{place.stem}_{name}{place.suffix}")
        with atomic_path(target) as temporary:
            _table(dataset.sel(individual=name)).to_csv(temporary, index=False, lineterminator="\n")
        written.append(target)
    return written


def read_trajectories(
    path: str | os.PathLike[str], *, unit: str, fps: float | None = None, individual: str = "individual_0"
) -> xr.Dataset:
    """Read anipose's CSV of 3D points as a Trajectories3D; the points stay in the frame that the file has them in.

    Args:
        path: the CSV file.
        unit: unit of length; the file does not say it (it is that of anipose's board).
        fps: frames per second.
        individual: name for the animal.

    Raises:
        FormatError: the file is missing or no such table.
    """
    place = Path(path)
    rows = read_rows(place)
    table = pd.DataFrame(rows.columns(), dtype=object)
    names = [column[: -len("_error")] for column in table.columns if column.endswith("_error")]
    missing = [f"{name}_{field}" for name in names for field in _FIELDS if f"{name}_{field}" not in table]
    if not names or missing or "fnum" not in table:
        what = ", ".join(missing[:5]) or "columns ending in _error, or fnum"
        raise FormatError(f"{place} is no table of 3D points as anipose writes them; it lacks {what}.")
    wanted = [*(f"{name}_{field}" for name in names for field in _FIELDS), "fnum"]
    try:
        table = pd.DataFrame({name: [float(rows.decimal(cell) or "nan") for cell in table[name]] for name in wanted})
    except ValueError as error:
        raise FormatError(f"{place}: a cell is no number ({error}).") from None
    values = {field: table[[f"{name}_{field}" for name in names]].to_numpy(dtype=np.float64) for field in _FIELDS}
    frames = table["fnum"].to_numpy(dtype=np.float64)
    score = np.where(values["score"] > 1, np.nan, values["score"])  # anipose marks "no view" by 2
    try:
        return trajectories3d(
            np.stack([values["x"], values["y"], values["z"]], axis=-1)[:, None],
            score[:, None],
            values["error"][:, None],
            np.nan_to_num(values["ncams"]).astype(np.int64)[:, None],
            keypoints=names,
            individuals=[individual],
            fps=fps,
            time=frames / (1.0 if fps is None else fps),
            unit=unit,
        )
    except DataError as error:
        raise FormatError(f"{place}: {error}") from error


def _table(dataset: xr.Dataset) -> pd.DataFrame:
    columns = {}
    for name in dataset["keypoint"].values:
        point = dataset.sel(keypoint=name)
        for axis in ("x", "y", "z"):
            columns[f"{name}_{axis}"] = point["position"].sel(space=axis).values
        columns[f"{name}_error"] = point["reprojection_error"].values
        columns[f"{name}_ncams"] = point["n_views"].values.astype(np.float64)
        columns[f"{name}_score"] = point["confidence"].values
    for i in range(3):
        for j in range(3):
            columns[f"M_{i}{j}"] = np.full(dataset.sizes["time"], float(i == j))
    for i in range(3):
        columns[f"center_{i}"] = np.zeros(dataset.sizes["time"])
    columns["fnum"] = np.arange(dataset.sizes["time"])
    return pd.DataFrame(columns)
