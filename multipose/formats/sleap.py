"""SLEAP: reading of "analysis" HDF5 files.

Layout: https://sleap.ai (export, "Analysis HDF5"): `tracks` (track, 2, node, frame) px with NaN where there is no
point, `node_names`, `track_names`, `point_scores` (track, node, frame). Pixel centres are at whole numbers, as ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.errors import FormatError
from multipose.formats.joining import ViewPoints, join_views

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
    views = {view: _read_file(Path(path)) for view, path in paths.items()}
    if len({len(points.frames) for points in views.values()}) > 1:
        counts = ", ".join(f"{name} {len(points.frames)}" for name, points in views.items())
        raise FormatError(f"The SLEAP files of the views have unequal numbers of frames: {counts}.")
    return join_views(views, fps)


def _read_file(path: Path) -> ViewPoints:
    if not path.is_file():
        raise FormatError(f"There is no file {path}.")
    try:
        with h5py.File(path) as file:
            missing = [name for name in ("tracks", "node_names") if name not in file]
            if missing:
                raise FormatError(
                    f"{path} lacks {', '.join(missing)}; it is no SLEAP analysis file. Export it from SLEAP as "
                    '"Analysis HDF5".'
                )
            tracks = np.asarray(file["tracks"], dtype=np.float64)
            nodes = _names(file["node_names"])
            names = _names(file["track_names"]) if "track_names" in file else ()
            scores = np.asarray(file["point_scores"], dtype=np.float64) if "point_scores" in file else None
    except OSError as error:
        raise FormatError(f"{path} is not a readable HDF5 file ({error}). Copy or export it again.") from error
    if tracks.ndim != 4 or tracks.shape[1:3] != (2, len(nodes)):
        raise FormatError(
            f"{path}: tracks must have the shape (track, 2, {len(nodes)} nodes, frame), got {tracks.shape}."
        )
    names = names or tuple(f"track_{i}" for i in range(len(tracks)))
    if len(names) != len(tracks):
        raise FormatError(f"{path} names {len(names)} tracks but holds {len(tracks)}.")
    position = tracks.transpose(3, 0, 2, 1)
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(position).all(-1))
    confidence: _Floats = np.where(known, np.nan, 0.0)
    if scores is not None:
        if scores.shape != (len(tracks), len(nodes), len(position)):
            raise FormatError(f"{path}: point_scores has the shape {scores.shape}, tracks {tracks.shape}.")
        scored = scores.transpose(2, 0, 1)
        confidence = np.where(known, np.where(scored == 0, 1.0, np.clip(scored, 0.0, 1.0)), 0.0)
    return ViewPoints(
        path, np.arange(len(position)), np.where(known[..., None], position, np.nan), confidence, nodes, names
    )


def _names(values: Any) -> tuple[str, ...]:
    return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in np.asarray(values).ravel())
