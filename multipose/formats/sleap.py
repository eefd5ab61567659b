"""SLEAP: reading of "analysis" files, HDF5 and CSV.

Layout: https://sleap.ai (export, "Analysis HDF5"): `tracks` (track, 2, node, frame) px with NaN where there is no
point, `node_names`, `track_names`, `point_scores` (track, node, frame); the attribute `dims` (JSON) may name another
order of axes. The CSV has a row for each instance: track,
frame_idx, instance.score, and NODE.x, NODE.y, NODE.score of each node. Pixel centres are at whole numbers, as ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.errors import FormatError
from multipose.formats.joining import ViewPoints, join_views
from multipose.hdf5 import dataset_of, has, open_hdf5, read_dataset
from multipose.text import read_rows, whole_number

_AGAIN = "Export the file again."
_Floats = npt.NDArray[np.float64]


def read_keypoints(paths: Mapping[str, str | os.PathLike[str]], *, fps: float | None = None) -> xr.Dataset:
    """Read one analysis file for each view as a Keypoints2D.

    SLEAP gives a point that a person placed the score 0; its confidence here is 1. Scores above 1, which SLEAP's peaks
    can have, count as 1. Points without a score say nothing (NaN), points without a position have the confidence 0.

    Args:
        paths: name of each view and its file.
        fps: frames per second of the videos.

    Raises:
        FormatError: a file is missing or not laid out as described, or the views differ in frames, nodes or tracks.
    """
    if not paths:
        raise FormatError("No SLEAP file was given; give one for each view.")
    views = {view: _read_view(Path(path)) for view, path in paths.items()}
    by_number = any(Path(path).suffix.lower() == ".csv" for path in paths.values())
    if not by_number and len({len(points.frames) for points in views.values()}) > 1:
        counts = ", ".join(f"{name} {len(points.frames)}" for name, points in views.items())
        raise FormatError(f"The SLEAP files of the views have unequal numbers of frames: {counts}.")
    return join_views(views, fps)


def is_analysis_csv(header: Sequence[str]) -> bool:
    """Whether the names of a table's columns are those of SLEAP's analysis CSV."""
    return "frame_idx" in header and any(name.endswith(".x") for name in header)


def _read_view(path: Path) -> ViewPoints:
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    with open_hdf5(path) as file:
        missing = [name for name in ("tracks", "node_names") if not has(file, name)]
        if missing:
            raise FormatError(
                f"{path} lacks {', '.join(missing)}; it is no SLEAP analysis file. Export it from SLEAP as "
                '"Analysis HDF5".'
            )
        tracks = _read_axes(path, dataset_of(file, "tracks"), ("track", "xy", "node", "frame"))
        nodes = _names(read_dataset(file, "node_names"))
        names = _names(read_dataset(file, "track_names")) if has(file, "track_names") else ()
        scored = has(file, "point_scores")
        scores = _read_axes(path, dataset_of(file, "point_scores"), ("track", "node", "frame")) if scored else None
    if tracks.ndim != 4 or tracks.shape[1:3] != (2, len(nodes)):
        raise FormatError(
            f"{path}: tracks must have the shape (track, 2, {len(nodes)} nodes, frame), got {tracks.shape}."
        )
    names = names or tuple(f"track_{i}" for i in range(len(tracks)))
    if len(names) != len(tracks):
        raise FormatError(f"{path} names {len(names)} tracks but holds {len(tracks)}.")
    doubled = sorted({name for name in nodes if nodes.count(name) > 1})
    if doubled:
        raise FormatError(f"{path} names the node {doubled[0]!r} more than once. Rename one in SLEAP and export again.")
    position = tracks.transpose(3, 0, 2, 1)
    if np.isinf(position).any() or (scores is not None and np.isinf(scores).any()):
        raise FormatError(f"{path} holds infinite positions or scores; points that are not there are NaN. {_AGAIN}")
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(position).all(-1))
    confidence: _Floats = np.where(known, np.nan, 0.0)
    if scores is not None:
        if scores.shape != (len(tracks), len(nodes), len(position)):
            raise FormatError(f"{path}: point_scores has the shape {scores.shape}, tracks {tracks.shape}.")
        scores = scores.transpose(2, 0, 1)
        if (scores < 0).any():
            frame, track, node = np.argwhere(scores < 0)[0]
            raise FormatError(
                f"{path}, node {nodes[node]}, track {names[track]}, frame {frame}: the score is "
                f"{scores[frame, track, node]:g}; scores are 0 (placed by a person) or above. {_AGAIN}"
            )
        confidence = _from_scores(scores, known)
    return ViewPoints(
        path, np.arange(len(position)), np.where(known[..., None], position, np.nan), confidence, nodes, names
    )


def _read_axes(path: Path, values: h5py.Dataset, wanted: tuple[str, ...]) -> _Floats:
    """An array with its axes in the order wanted, by the names that the file gives them; SLEAP's own order without."""
    array = np.asarray(values, dtype=np.float64)
    stated = values.attrs.get("dims")
    if stated is None:
        return array
    try:
        names = list(json.loads(stated))
        return array.transpose([names.index(name) for name in wanted])
    except (ValueError, TypeError) as error:
        raise FormatError(
            f"{path}: {values.name} has the axes {stated!r} and the shape {array.shape}; expected "
            f"{', '.join(wanted)}, in any order."
        ) from error


def _from_scores(scores: _Floats, known: npt.NDArray[np.bool_]) -> _Floats:
    """Confidences of points: 1 for those that a person placed (score 0), NaN where there is no score."""
    return np.where(known, np.where(scores == 0, 1.0, np.clip(scores, 0.0, 1.0)), 0.0)


def _read_csv(path: Path) -> ViewPoints:
    rows = read_rows(path)
    columns = rows.columns()
    nodes = tuple(name[: -len(".x")] for name in columns if name.endswith(".x"))
    missing = [f"{node}.y" for node in nodes if f"{node}.y" not in columns]
    missing += [f"{name[:-2]}.x" for name in columns if name.endswith(".y") and f"{name[:-2]}.x" not in columns]
    if not is_analysis_csv(list(columns)) or missing:
        raise FormatError(
            f"{path} is no analysis CSV of SLEAP: it needs frame_idx, and x and y of each node"
            f" ({', '.join(missing) or 'frame_idx'} is missing). {_AGAIN}"
        )
    scored = [node for node in nodes if f"{node}.score" in columns]
    if scored and len(scored) < len(nodes):
        lacking = next(node for node in nodes if node not in scored)
        raise FormatError(f"{path} has no column {lacking}.score, but {scored[0]}.score. {_AGAIN}")
    if not columns["frame_idx"]:
        raise FormatError(f"{path} holds no rows. {_AGAIN}")
    owners = columns.get("track", [""] * len(columns["frame_idx"]))
    names = tuple(dict.fromkeys(owners))
    place: dict[tuple[int, str], int] = {}
    values = np.full((len(owners), len(nodes), 3), np.nan)
    for i, (text, owner) in enumerate(zip(columns["frame_idx"], owners, strict=True)):
        line = rows.lines[i + 1]
        frame = whole_number(text)
        if frame is None or frame < 0:
            raise FormatError(f"{path}, line {line}: frame_idx is {text!r}, no whole number from 0 on.")
        if (frame, owner) in place:
            whose = f" of {owner}" if owner else ""
            raise FormatError(f"{path}, line {line}: frame {text} has more than one instance{whose}. Track them first.")
        place[frame, owner] = i
        for k, node in enumerate(nodes):
            for j, field in enumerate(("x", "y", "score")):
                cell = rows.decimal(columns[f"{node}.{field}"][i]) if f"{node}.{field}" in columns else ""
                try:
                    values[i, k, j] = float(cell) if cell else np.nan
                except ValueError:
                    raise FormatError(f"{path}, line {line}: {node}.{field} is {cell!r}, no number.") from None
                if np.isinf(values[i, k, j]) or (field == "score" and values[i, k, j] < 0):
                    raise FormatError(
                        f"{path}, line {line}: {node}.{field} is {cell}; positions are finite, and scores are 0 (placed"
                        f" by a person) or above. {_AGAIN}"
                    )
    frames = np.array(sorted({frame for frame, _ in place}), dtype=np.int64)
    found = np.full((len(frames), len(names), len(nodes), 3), np.nan)
    for (number, owner), i in place.items():
        found[np.searchsorted(frames, number), names.index(owner)] = values[i]
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(found[..., :2]).all(-1))
    position = np.where(known[..., None], found[..., :2], np.nan)
    individuals = tuple(name or f"track_{i}" for i, name in enumerate(names))
    return ViewPoints(path, frames, position, _from_scores(found[..., 2], known), nodes, individuals)


def _names(values: Any) -> tuple[str, ...]:
    return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in np.asarray(values).ravel())
