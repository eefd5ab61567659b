"""Choosing the frames of a video that are worth labelling, and extracting them as pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError
from multipose.opencv import cv2
from multipose.progress import SILENT, Progress
from multipose.video import FrameSource, Rgb, write_picture

Method = Literal["uniform", "kmeans", "motion"]
METHODS: tuple[Method, ...] = ("uniform", "kmeans", "motion")

_MOST_CANDIDATES = 2000  # frames looked at; more would cost time and memory and hardly change the choice
_SMALL_WIDTH = 48  # px of the grey pictures that are compared: a mouse of a tenth of the picture still covers 5 of them


def choose_frames(
    source: FrameSource, count: int, method: Method = "uniform", *, seed: int = 0, progress: Progress = SILENT
) -> list[int]:
    """Choose frames to label.

    - uniform: the middles of `count` equal stretches of the video;
    - kmeans: small grey pictures are parted into `count` groups of like appearance (k-means), and the frame nearest to
      each group's mean is taken, so that rare postures are not missed;
    - motion: from each of `count` equal stretches the frame that differs most from the one before it.

    kmeans and motion look at up to 2000 frames, evenly spaced.

    Args:
        source: the video or pictures.
        count: how many, at most the number of frames.
        method: as above.
        seed: of k-means; the same seed gives the same frames.
        progress: where to report to.

    Returns:
        Indices into the source, ascending, all different.

    Raises:
        DataError: count or method make no sense.
    """
    if method not in METHODS:
        raise DataError(f"Frames are chosen by {', '.join(METHODS)}, got {method!r}.")
    if not 1 <= count <= len(source):
        raise DataError(f"{source.path} has {len(source)} frames; {count} cannot be chosen from them.")
    if method == "uniform":
        return _spread(len(source), count)
    candidates = _spread(len(source), min(len(source), max(_MOST_CANDIDATES, count)))
    if method == "kmeans":
        pictures = _small_pictures(source, candidates, f"Looking at {source.path.name}", progress)
        chosen = _group_middles(pictures, count, seed)
    else:
        pairs = sorted({max(0, i - 1) for i in candidates} | set(candidates))
        pictures = _small_pictures(source, pairs, f"Looking at {source.path.name}", progress)
        places = np.searchsorted(pairs, candidates)
        before = np.searchsorted(pairs, [max(0, i - 1) for i in candidates])
        change = np.abs(pictures[places] - pictures[before]).mean(axis=1)
        stretches = np.array_split(np.arange(len(candidates)), count)
        chosen = [int(stretch[np.argmax(change[stretch])]) for stretch in stretches]
    return sorted(candidates[i] for i in chosen)


def extract_frames(
    source: FrameSource, indices: Iterable[int], folder: str | os.PathLike[str], *, progress: Progress = SILENT
) -> list[Path]:
    """Write frames as PNG pictures named by their frame number (000123.png) and return the paths in ascending order.

    Raises:
        DataError: the source has no such frame.
    """
    wanted = sorted(set(indices))
    paths = []
    with progress.task(f"Extracting {source.path.name}", total=len(wanted)) as task:
        for index, picture in source.read(wanted):
            path = Path(folder) / f"{int(source.frame_numbers[index]):06d}.png"
            write_picture(path, picture)
            paths.append(path)
            task.advance()
    return paths


def _spread(length: int, count: int) -> list[int]:
    """The middles of `count` equal stretches of 0 .. length - 1."""
    return [int((2 * i + 1) * length // (2 * count)) for i in range(count)]


def _small_pictures(
    source: FrameSource, indices: list[int], description: str, progress: Progress
) -> npt.NDArray[np.float32]:
    """Grey pictures of about 48 px width as rows, (frame, pixel)."""
    width, height = source.size
    size = (min(width, _SMALL_WIDTH), max(1, round(height * min(width, _SMALL_WIDTH) / width)))
    rows = np.empty((len(indices), size[0] * size[1]), dtype=np.float32)
    with progress.task(description, total=len(indices)) as task:
        for place, (_, picture) in enumerate(source.read(indices)):
            rows[place] = _shrink(picture, size)
            task.advance()
    return rows


def _shrink(picture: Rgb, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.float32).ravel()


def _group_middles(rows: npt.NDArray[np.float32], count: int, seed: int) -> list[int]:
    """For each of `count` groups of like rows (k-means), the row nearest to the group's mean."""
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-3)
    _, group, centers = cv2.kmeans(rows, count, None, stop, 2, cv2.KMEANS_PP_CENTERS)
    distance = np.linalg.norm(rows - centers[group.ravel()], axis=1)
    members = [np.flatnonzero(group.ravel() == i) for i in range(count)]
    return [int(rows_of[np.argmin(distance[rows_of])]) for rows_of in members]
