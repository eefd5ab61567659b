"""What readers of 2D keypoints have in common: confidences are checked, and views joined by names and frame numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.errors import FormatError
from multipose.tracks import USUAL_SHARED_ERROR, keypoints2d

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_EXACT = 2.0**53  # below it float64 holds every whole number
_ROUNDING = 1e-3  # a confidence may miss 0 to 1 by this much: sums of float32, figures of a few digits


@dataclass(frozen=True, eq=False)
class ViewPoints:
    """The points that a file has of one view.

    Args:
        path: the file, for messages.
        frames: (frame,) the source's frame numbers, ascending, each once.
        position: (frame, individual, keypoint, 2) px, NaN where unknown.
        confidence: (frame, individual, keypoint), NaN where nothing is said.
        keypoints: names.
        individuals: names.
        notes: what a person should know of the file.
    """

    path: Path
    frames: Ints
    position: Floats
    confidence: Floats
    keypoints: tuple[str, ...]
    individuals: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_confidence(
    values: npt.ArrayLike,
    position: Floats,
    *,
    path: Path,
    view: str,
    frames: Ints,
    individuals: Sequence[str],
    keypoints: Sequence[str],
    called: str = "likelihood",
) -> tuple[Floats, tuple[str, ...]]:
    """Confidences of points: 0 where there is no position, NaN where none is said, a rounding beyond 0 to 1 clipped.

    Args:
        values: (frame, individual, keypoint) as the file has them.
        position: (frame, individual, keypoint, 2).
        path, view, frames, individuals, keypoints: for messages.
        called: what the file calls a confidence.

    Returns:
        The confidences, and notes for a person.

    Raises:
        FormatError: one lies outside 0 to 1 by more than a rounding; file, view, keypoint and frame are named.
    """
    given = np.asarray(values, dtype=np.float64)
    known = np.isfinite(position).all(-1)
    wrong = known & ((given < -_ROUNDING) | (given > 1 + _ROUNDING))
    if wrong.any():
        row, individual, keypoint = (int(i) for i in np.argwhere(wrong)[0])
        whose = f" of {individuals[individual]}" if len(individuals) > 1 else ""
        raise FormatError(
            f"{path}, view {view}, keypoint {keypoints[keypoint]}{whose}, frame {frames[row]}: the {called} is "
            f"{given[row, individual, keypoint]:g}, but a probability lies between 0 and 1 ({int(wrong.sum())} of "
            f"{int(known.sum())} points such). Scale them to 0 to 1, or leave them empty: then nothing is said."
        )
    clipped = int((known & ((given < 0) | (given > 1))).sum())
    note = f"{path}: {clipped} {called} values a rounding outside 0 to 1 count as 0 or 1"
    return np.where(known, np.clip(given, 0.0, 1.0), 0.0), (note,) if clipped else ()


def join_views(views: Mapping[str, ViewPoints], fps: float | None) -> xr.Dataset:
    """Points of several views as one Keypoints2D, matched by frame numbers and by names.

    A frame that a view lacks is -1 there, and its points are NaN. Notes are the attribute `notes`.

    Raises:
        FormatError: the views name different keypoints or individuals.
    """
    first_view, first = next(iter(views.items()))
    for view, points in views.items():
        for what in ("keypoints", "individuals"):
            here, there = set(getattr(points, what)), set(getattr(first, what))
            if here != there:
                raise FormatError(
                    f"{first.path} (view {first_view}) and {points.path} (view {view}) differ in {what}: "
                    f"{', '.join(sorted(here ^ there))} in one of them only."
                )
    frames = np.unique(np.concatenate([points.frames for points in views.values()]))
    shape = (len(views), len(frames), len(first.individuals), len(first.keypoints))
    position, confidence = np.full((*shape, 2), np.nan), np.zeros(shape)
    frame = np.full(shape[:2], -1, dtype=np.int64)
    for v, points in enumerate(views.values()):
        rows = np.searchsorted(frames, points.frames)
        named = np.ix_(
            range(len(points.frames)),
            [points.individuals.index(name) for name in first.individuals],
            [points.keypoints.index(name) for name in first.keypoints],
        )
        position[v, rows] = points.position[named]
        confidence[v, rows] = points.confidence[named]
        frame[v, rows] = points.frames
    dataset = keypoints2d(
        position,
        confidence,
        views=list(views),
        keypoints=first.keypoints,
        individuals=first.individuals,
        fps=fps,
        frame=frame,
        time=_count_exactly(frames) / (1.0 if fps is None else fps),
        shared_error=USUAL_SHARED_ERROR,
    )
    notes = [note for points in views.values() for note in points.notes]
    return dataset.assign_attrs(notes=notes) if notes else dataset


def _count_exactly(frames: Ints) -> Ints:
    """Frame numbers as times that float64 can tell apart: from the first one on, where they are too large."""
    return frames - frames[0] if len(frames) and frames[-1] > _EXACT else frames
