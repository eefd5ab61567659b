"""Plain CSV, one row for each point: for spreadsheets, R, and everything without a reader of its own.

Trajectories: time, frame (on the rig's clock, where its rate is steady), individual, keypoint, x, y, z, confidence,
reprojection_error, n_views, cov_xx, cov_xy, cov_xz, cov_yy, cov_yz, cov_zz, unit, fps, time_unit, schema_version; and
where trajectories state them `state` (why a point has no position, as of `reconstruct`), region_scale_50 and
region_scale_95, by what the covariance is multiplied for an ellipsoid that holds 50 and 95 % of the points. Key points:
view, frame, time, individual, keypoint, x, y, confidence, cov_xx, cov_xy, cov_yy, unit, fps, time_unit, schema_version.
Quantities: time, individual, name, quantity, value, sd, calibration_sd, low, high (95 % interval), unit,
schema_version; angles in degrees (deg), while netCDF files hold radians. Empty cells are unknown. Every digit is kept.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from multipose.errors import DataError, FormatError
from multipose.files import SCHEMA_VERSION, atomic_path, check_schema
from multipose.geometry import unit_for_people
from multipose.text import read_rows, whole_number
from multipose.tracks import (
    USUAL_SHARED_ERROR,
    TimeUnit,
    check_keypoints2d,
    check_trajectories3d,
    frame_numbers,
    keypoints2d,
    time_unit_of,
    trajectories3d,
)

_TEXTS = ("view", "individual", "keypoint", "unit", "state")
_WHOLE = ("frame", "n_views", "schema_version")
_ROWS = 50_000  # that are made at once


def write_trajectories(dataset: xr.Dataset, path: str | os.PathLike[str]) -> list[Path]:
    """Write a Trajectories3D as a tidy CSV.

    Raises:
        DataError: the dataset is no Trajectories3D.
    """
    check_trajectories3d(dataset)
    frame = frame_numbers(dataset)
    parts = (_trajectory_rows(dataset.isel(time=times), frame, times) for times in _stretches(dataset))
    return _write(parts, dataset, Path(path))


def _trajectory_rows(dataset: xr.Dataset, frame: npt.NDArray[np.int64] | None, times: slice) -> pd.DataFrame:
    """Rows of some times of trajectories; frame: of the whole recording."""
    table = _tidy(dataset, ("time", "individual", "keypoint"), "xyz", ("confidence", "reprojection_error", "n_views"))
    if frame is not None:
        table.insert(1, "frame", np.repeat(frame[times], len(table) // max(len(frame[times]), 1)))
    if "flag_meanings" in dataset.get("state", xr.DataArray()).attrs:
        names = np.array(dataset["state"].attrs["flag_meanings"].split())
        table["state"] = names[dataset["state"].transpose(*dataset["confidence"].dims).values.ravel()]
    if "region_scale" in dataset:
        for level in dataset["level"].values:
            scale = dataset["region_scale"].sel(level=level).broadcast_like(dataset["confidence"])
            table[f"region_scale_{100 * level:.0f}"] = scale.transpose(*dataset["confidence"].dims).values.ravel()
    return table


def write_keypoints(dataset: xr.Dataset, path: str | os.PathLike[str]) -> list[Path]:
    """Write a Keypoints2D as a tidy CSV.

    Raises:
        DataError: the dataset is no Keypoints2D.
    """
    check_keypoints2d(dataset)
    parts = (
        _keypoint_rows(dataset.isel(view=[view], time=times))
        for view in range(dataset.sizes["view"])
        for times in _stretches(dataset)
    )
    return _write(parts, dataset, Path(path))


def _keypoint_rows(dataset: xr.Dataset) -> pd.DataFrame:
    table = _tidy(dataset, ("view", "time", "individual", "keypoint"), "xy", ("confidence",))
    frame = dataset["frame"].broadcast_like(dataset["confidence"]).transpose(*dataset["confidence"].dims)
    table.insert(1, "frame", frame.values.ravel())
    return table


def write_quantities(dataset: xr.Dataset, path: str | os.PathLike[str]) -> list[Path]:
    """Write what `kinematics` measured as a tidy CSV; egocentric coordinates as `egocentric.<key point>.<axis>`."""
    place = Path(path)
    index = pd.MultiIndex.from_product([dataset[dim].values for dim in ("time", "individual")])
    rows = index.set_names(["time", "individual"]).to_frame(index=False)
    parts = [
        _quantity_rows(rows, str(name), values.attrs["quantity"], values.attrs["unit"], dataset, values)
        for name, values in dataset.data_vars.items()
        if "quantity" in values.attrs
    ]
    if "egocentric" in dataset:
        for keypoint, axis in itertools.product(dataset["keypoint"].values, dataset["space"].values):
            values = dataset["egocentric"].sel(keypoint=keypoint, space=axis)
            variance = dataset["egocentric_covariance"].sel(keypoint=keypoint, space=axis, space_=axis).values
            name, unit = f"egocentric.{keypoint}.{axis}", dataset["egocentric"].attrs["unit"]
            part = _quantity_rows(rows, name, "egocentric", unit, dataset, values)
            parts.append(part.assign(sd=np.sqrt(variance).ravel()))
    with atomic_path(place) as temporary:
        pd.concat(parts, ignore_index=True).to_csv(temporary, index=False, lineterminator="\n")
    return [place]


def _quantity_rows(
    rows: pd.DataFrame, name: str, quantity: str, unit: str, dataset: xr.Dataset, values: xr.DataArray
) -> pd.DataFrame:
    def sd(ending: str) -> npt.NDArray[np.float64]:
        key = f"{name}_{ending}"
        return dataset[key].values.ravel() if key in dataset else np.full(len(rows), np.nan)

    shown, factor = unit_for_people(unit)
    value, own_sd = factor * values.values.ravel(), factor * sd("sd")
    reach, most = values.attrs.get("interval_95", np.nan) * own_sd, 180.0 if shown == "deg" else np.inf
    return rows.assign(
        name=name, quantity=quantity, value=value, sd=own_sd, calibration_sd=factor * sd("calibration_sd"),
        low=np.maximum(value - reach, 0.0), high=np.minimum(value + reach, most), unit=shown,
        schema_version=SCHEMA_VERSION,
    )  # fmt: skip


def read_trajectories(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read what `write_trajectories` wrote.

    Raises:
        FormatError: the file is missing, no such table, or lacks rows.
    """
    place = Path(path)
    table, names = _read(place, ("time", "individual", "keypoint"), "xyz", ("reprojection_error", "n_views"))
    shape = tuple(len(values) for values in names)
    try:
        return trajectories3d(
            table[["x", "y", "z"]].to_numpy(dtype=np.float64).reshape(*shape, 3),
            table["confidence"].to_numpy(dtype=np.float64).reshape(shape),
            table["reprojection_error"].to_numpy(dtype=np.float64).reshape(shape),
            table["n_views"].to_numpy(dtype=np.int64).reshape(shape),
            _covariance(table, "xyz").reshape(*shape, 3, 3),
            keypoints=names[2],
            individuals=names[1],
            time=names[0],
            fps=_fps(table),
            time_unit=_time_unit(table),
            unit=str(table["unit"].iloc[0]),
        )
    except DataError as error:
        raise FormatError(f"{place}: {error}") from error


def read_keypoints(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read what `write_keypoints` wrote.

    Raises:
        FormatError: the file is missing, no such table, or lacks rows.
    """
    place = Path(path)
    table, names = _read(place, ("view", "time", "individual", "keypoint"), "xy", ("frame",))
    shape = tuple(len(values) for values in names)
    try:
        return keypoints2d(
            table[["x", "y"]].to_numpy(dtype=np.float64).reshape(*shape, 2),
            table["confidence"].to_numpy(dtype=np.float64).reshape(shape),
            _covariance(table, "xy").reshape(*shape, 2, 2),
            views=names[0],
            keypoints=names[3],
            individuals=names[2],
            time=names[1],
            frame=table["frame"].to_numpy(dtype=np.int64).reshape(shape)[:, :, 0, 0],
            fps=_fps(table),
            shared_error=USUAL_SHARED_ERROR,
            time_unit=_time_unit(table),
        )
    except DataError as error:
        raise FormatError(f"{place}: {error}") from error


def _pairs(space: str) -> list[tuple[int, int]]:
    return list(itertools.combinations_with_replacement(range(len(space)), 2))


def _tidy(dataset: xr.Dataset, point: tuple[str, ...], space: str, variables: tuple[str, ...]) -> pd.DataFrame:
    index = pd.MultiIndex.from_product([dataset[dim].values for dim in point], names=point)
    table = index.to_frame(index=False)
    for axis in space:
        table[axis] = dataset["position"].sel(space=axis).values.ravel()
    for name in variables:
        table[name] = dataset[name].values.ravel()
    for i, j in _pairs(space):
        table[f"cov_{space[i]}{space[j]}"] = dataset["covariance"].values[..., i, j].ravel()
    return table


def _stretches(dataset: xr.Dataset) -> Iterator[slice]:
    """Stretches of time whose rows are made at once; one of no time where there is none."""
    length = max(1, _ROWS // max(1, dataset.sizes["individual"] * dataset.sizes["keypoint"]))
    for first in range(0, max(1, dataset.sizes["time"]), length):
        yield slice(first, first + length)


def _write(parts: Iterable[pd.DataFrame], dataset: xr.Dataset, path: Path) -> list[Path]:
    constant = {
        "unit": dataset.attrs["unit"],
        "fps": dataset.attrs.get("fps", np.nan),
        "time_unit": time_unit_of(dataset),
        "schema_version": SCHEMA_VERSION,
    }
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for number, part in enumerate(parts):
            part.assign(**constant).to_csv(file, index=False, lineterminator="\n", header=number == 0)
    return [path]


def _read(
    path: Path, point: tuple[str, ...], space: str, further: tuple[str, ...]
) -> tuple[pd.DataFrame, list[list[str]]]:
    """The table with its rows in order of the point dimensions, and the names along each."""
    rows = read_rows(path)
    table = pd.DataFrame(rows.columns(), dtype=object)
    covariances = [f"cov_{space[i]}{space[j]}" for i, j in _pairs(space)]
    columns = (*point, *space, "confidence", *further, *covariances, "unit", "fps", "schema_version")
    missing = [name for name in columns if name not in table]
    if missing or table.empty:
        what = f"it lacks the columns {', '.join(missing)}" if missing else "it has no rows"
        raise FormatError(f"{path} is no table of points as multipose writes it: {what}.")
    for name in columns:
        if name in _TEXTS:
            continue
        read = whole_number if name in _WHOLE else _read_number
        values = [read(rows.decimal(cell)) for cell in table[name]]
        if None in values:
            at = values.index(None)
            kind = "whole number" if name in _WHOLE else "number"
            raise FormatError(f"{path}, line {rows.lines[at + 1]}: {name} is {table[name].iloc[at]!r}, no {kind}.")
        table[name] = np.array(values, dtype=np.int64 if name in _WHOLE else np.float64)
    for version in table["schema_version"].unique().tolist():
        check_schema(version, path)
    names = [list(dict.fromkeys(table[dim].tolist())) for dim in point]
    expected = pd.MultiIndex.from_product(names, names=point)
    if len(table) != len(expected) or table.duplicated(list(point)).any():
        raise FormatError(
            f"{path} has {len(table)} rows; {' x '.join(f'{len(n)} {d}' for n, d in zip(names, point, strict=True))} "
            f"make {len(expected)}, each point once."
        )
    return table.set_index(list(point)).loc[expected].reset_index(), names


def _read_number(cell: str) -> float | None:
    """A cell as a number, NaN for an empty one, None for another; cell by cell, to the last digit."""
    try:
        return float(cell) if cell else np.nan
    except ValueError:
        return None


def _covariance(table: pd.DataFrame, space: str) -> npt.NDArray[np.float64]:
    covariance = np.empty((len(table), len(space), len(space)))
    for i, j in _pairs(space):
        covariance[:, i, j] = covariance[:, j, i] = table[f"cov_{space[i]}{space[j]}"].to_numpy(dtype=np.float64)
    return covariance


def _fps(table: pd.DataFrame) -> float | None:
    fps = float(table["fps"].iloc[0])
    return None if np.isnan(fps) else fps


def _time_unit(table: pd.DataFrame) -> TimeUnit | None:
    stated = str(table["time_unit"].iloc[0]) if "time_unit" in table else ""
    if stated not in ("", "s", "frame"):
        raise DataError(f"time_unit must be s or frame, got {stated!r}.")
    return None if stated == "" else "s" if stated == "s" else "frame"
