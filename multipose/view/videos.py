"""Videos with the key points drawn on every frame."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.errors import DataError
from multipose.progress import SILENT, Progress
from multipose.skeleton import Skeleton
from multipose.tracks import check_keypoints2d, time_unit_of
from multipose.video import FrameSource, SourceSpec, open_source, write_video
from multipose.view.drawing import draw_keypoints, write_in

Picture = npt.NDArray[np.uint8]


def labelled_video(
    source: SourceSpec,
    keypoints: xr.Dataset,
    view: str,
    path: str | os.PathLike[str],
    *,
    skeleton: Skeleton | None = None,
    min_confidence: float = 0.0,
    fps: float | None = None,
    names: bool = False,
    reprojected: npt.ArrayLike | None = None,
    progress: Progress = SILENT,
) -> int:
    """Write a video of every frame of the key points' view, with the points drawn, and return how many frames it has.

    The frame's number in the source stands in the lower left corner.

    Frames are found by their number in the source, so key points of a part of a video work too; a time without a frame
    in this view is left out. A picture of odd width or height gets one more column or row of black, which H.264 needs.

    Args:
        source: the view's pictures, after the same crop, flip and scale as the key points.
        keypoints: Keypoints2D.
        view: which view of the key points.
        path: where to write, .mp4.
        skeleton: edges to draw; its key points must be those of the dataset.
        min_confidence: points below it are not drawn.
        fps: of the new video; by default that of the key points, else that of the source, else (where the rate varies)
            that of the usual step of the key points' times.
        names: write the names beside the points.
        reprojected: (time, individual, keypoint, 2) px of the points in 3D, projected into this view: drawn as rings,
            while points found in the picture are discs and diamonds.
        progress: told about the frames written.

    Raises:
        DataError: the view or frames do not exist, no frame rate is known, or `reprojected` has another shape.
    """
    check_keypoints2d(keypoints)
    views = [str(name) for name in keypoints["view"].values]
    if view not in views:
        raise DataError(f"There is no view {view!r} among the key points; there are {', '.join(views)}.")
    names_here = tuple(str(name) for name in keypoints["keypoint"].values)
    shape = Skeleton(names_here) if skeleton is None else skeleton
    if shape.keypoints != names_here:
        raise DataError(
            f"The skeleton's key points ({', '.join(shape.keypoints)}) are not those of the dataset "
            f"({', '.join(names_here)})."
        )
    opened = open_source(source)
    rate = fps or keypoints.attrs.get("fps") or opened.fps or _usual_rate(keypoints)
    if not rate:
        raise DataError(f"{opened.path}: neither the key points nor the source know a frame rate; give `fps`.")
    here = keypoints.sel(view=view).transpose("time", "individual", "keypoint", ...)
    position, confidence, frame = (here[name].values for name in ("position", "confidence", "frame"))
    again = None if reprojected is None else np.asarray(reprojected, dtype=np.float64)
    if again is not None and again.shape != position.shape:
        raise DataError(
            f"The reprojected points of view {view} must have the shape of its key points, {position.shape}, got "
            f"{again.shape}."
        )
    rows = np.flatnonzero(frame >= 0)
    indices = _frame_indices(opened, frame[rows], view)
    radius = _mark_radius(position[rows], opened.size)
    row_of = dict(zip(indices.tolist(), rows.tolist(), strict=True))
    with progress.task(f"labelled video of {view}", total=len(rows)) as task:

        def frames() -> Iterator[Picture]:
            for index, picture in opened.read(indices.tolist()):
                row = row_of[index]
                drawn = draw_keypoints(
                    picture,
                    position[row],
                    shape,
                    confidence=confidence[row],
                    min_confidence=min_confidence,
                    reprojected=None if again is None else again[row],
                    radius=radius,
                    names=names,
                )
                write_in(drawn, f"frame {frame[row]}" + ("" if again is None else ", rings: 3D"))
                height, width = drawn.shape[:2]
                yield np.pad(drawn, ((0, height % 2), (0, width % 2), (0, 0)))
                task.advance()

        return write_video(path, frames(), rate, crf=21, preset="veryfast")


def _mark_radius(position: npt.NDArray[np.float64], size: tuple[int, int]) -> float:
    """Radius of the marks, px: a fortieth of the animal's usual box, at most a hundredth of the picture's smaller side.

    Args:
        position: (time, individual, keypoint, 2) px.
        size: (width, height) px.
    """
    known = position[np.isfinite(position).all(-1).any(-1)]
    largest = min(size) / 110
    if not len(known):
        return max(2.5, largest)
    animal = np.nanmax(known, axis=1) - np.nanmin(known, axis=1)
    return float(np.clip(np.median(animal.max(-1)) / 40, 2.5, max(2.5, largest)))


def _usual_rate(keypoints: xr.Dataset) -> float | None:
    """Frames per second by the usual step of times in seconds."""
    steps = np.diff(keypoints["time"].values)
    return 1 / float(np.median(steps)) if time_unit_of(keypoints) == "s" and len(steps) else None


def _frame_indices(source: FrameSource, numbers: npt.NDArray[np.int64], view: str) -> npt.NDArray[np.int64]:
    """Places in the source of the frames with these numbers.

    Raises:
        DataError: a number is not there, or stands twice.
    """
    place = {int(number): index for index, number in enumerate(source.frame_numbers)}
    absent = [int(number) for number in numbers if int(number) not in place]
    if absent:
        raise DataError(
            f"{source.path}: the key points of view {view} name frame {absent[0]} ({len(absent)} such), but the source "
            f"has frames {min(place, default=0)} to {max(place, default=0)}. Is it the video that they were found in?"
        )
    if len(set(numbers.tolist())) != len(numbers):
        raise DataError(f"The key points of view {view} name a frame of {source.path} twice.")
    return np.array([place[int(number)] for number in numbers], dtype=np.int64)
