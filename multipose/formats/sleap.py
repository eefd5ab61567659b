"""SLEAP: reading of "analysis" HDF5 files.

Layout: https://sleap.ai (export, "Analysis HDF5"): `tracks` (track, 2, node, frame) px with NaN where there is no
point, `node_names`, `track_names`, `point_scores` (track, node, frame). Pixel centres are at whole numbers, as ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.errors import FormatError
from multipose.hdf5 import has, open_hdf5, read_dataset
from multipose.tracks import USUAL_SHARED_ERROR, keypoints2d

_Floats = npt.NDArray[np.float64]


def read_keypoints(paths: Mapping[str, str | os.PathLike[str]], *, fps: float | None = None) -> xr.Dataset:
    """Read one analysis file for each view as a Keypoints2D.

    SLEAP gives a point that a person placed the score 0; its confidence here is 1. Scores above 1, which SLEAP's peaks
    can have, count as 1. Points without a position have the confidence 0.

    Args:
        paths: name of each view and its file.
        fps: frames per second of the videos.

    Raises:
        FormatError: a file is missing or not laid out as described, or the views differ in frames, nodes or tracks.
    """
    if not paths:
        raise FormatError("No SLEAP file was given; give one for each view.")
    views = {view: _read_file(Path(path)) for view, path in paths.items()}
    first_view, (first_xy, _, first_nodes, first_tracks) = next(iter(views.items()))
    for view, (xy, _, nodes, tracks) in views.items():
        if len(xy) != len(first_xy):
            counts = ", ".join(f"{name} {len(values[0])}" for name, values in views.items())
            raise FormatError(f"The SLEAP files of the views have unequal numbers of frames: {counts}.")
        if set(nodes) != set(first_nodes) or tracks != first_tracks:
            raise FormatError(
                f"The SLEAP files of the views {first_view} and {view} differ in nodes or tracks: "
                f"{first_nodes}, {first_tracks} and {nodes}, {tracks}."
            )
    order = {view: [nodes.index(name) for name in first_nodes] for view, (_, _, nodes, _) in views.items()}
    return keypoints2d(
        np.stack([xy[:, :, order[view]] for view, (xy, *_) in views.items()]),
        np.stack([confidence[:, :, order[view]] for view, (_, confidence, *_) in views.items()]),
        views=list(views),
        keypoints=first_nodes,
        individuals=first_tracks,
        fps=fps,
        shared_error=USUAL_SHARED_ERROR,
    )


def _read_file(path: Path) -> tuple[_Floats, _Floats, list[str], list[str]]:
    """Positions (frame, track, node, 2), confidences (frame, track, node), names of nodes and of tracks."""
    with open_hdf5(path) as file:
        missing = [name for name in ("tracks", "node_names") if not has(file, name)]
        if missing:
            raise FormatError(
                f"{path} lacks {', '.join(missing)}; it is no SLEAP analysis file. Export it from SLEAP as "
                '"Analysis HDF5".'
            )
        tracks = np.asarray(read_dataset(file, "tracks"), dtype=np.float64)
        nodes = _names(read_dataset(file, "node_names"))
        names = _names(read_dataset(file, "track_names")) if has(file, "track_names") else []
        scores = np.asarray(read_dataset(file, "point_scores"), np.float64) if has(file, "point_scores") else None
    if tracks.ndim != 4 or tracks.shape[1:3] != (2, len(nodes)):
        raise FormatError(
            f"{path}: tracks must have the shape (track, 2, {len(nodes)} nodes, frame), got {tracks.shape}."
        )
    names = names or [f"track_{i}" for i in range(len(tracks))]
    if len(names) != len(tracks):
        raise FormatError(f"{path} names {len(names)} tracks but holds {len(tracks)}.")
    doubled = sorted({name for name in nodes if nodes.count(name) > 1})
    if doubled:
        raise FormatError(f"{path} names the node {doubled[0]!r} more than once. Rename one in SLEAP and export again.")
    position = tracks.transpose(3, 0, 2, 1)
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(position).all(-1))
    confidence: _Floats = known.astype(np.float64)
    if scores is not None:
        if scores.shape != (len(tracks), len(nodes), len(position)):
            raise FormatError(f"{path}: point_scores has the shape {scores.shape}, tracks {tracks.shape}.")
        scored = scores.transpose(2, 0, 1)
        if (scored < 0).any():
            frame, track, node = np.argwhere(scored < 0)[0]
            raise FormatError(
                f"{path}, node {nodes[node]}, track {names[track]}, frame {frame}: the score is "
                f"{scored[frame, track, node]:g}; scores are 0 (placed by a person) or above. Export the file again."
            )
        confidence = np.where(known & (scored > 0), np.minimum(scored, 1.0), confidence)
    return np.where(known[..., None], position, np.nan), confidence, nodes, names


def _names(values: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in np.asarray(values).ravel()]
