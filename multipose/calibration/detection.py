"""Board corners in the pictures of all views, at common instants."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import Board, Corners
from multipose.calibration.diagnosis import diagnose
from multipose.calibration.patterns import Gray, board_finder
from multipose.errors import DataError
from multipose.files import natural_key
from multipose.opencv import cv2, set_threads
from multipose.progress import SILENT, Progress
from multipose.sources import excerpt_of
from multipose.video import FrameSource, Rgb, SourceSpec, VideoFile, View, open_source

IntArray: TypeAlias = NDArray[np.int64]

_PICTURES_FOR_DIAGNOSIS = 6
_FEWEST_CORNERS = 6  # of a ChArUco board, in the best picture of a view; fewer fit boards of other layouts by chance
_PICTURES_PER_JOB = 8


def detect_board(
    sources: Mapping[str, SourceSpec],
    board: Board,
    *,
    views: Mapping[str, Mapping[str, Any]] | None = None,
    frames: Iterable[int] | None = None,
    max_frames: int | None = 300,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> Corners:
    """Find the board's corners in all views.

    Frames are matched by their numbers: those of a video count from 0, that of a picture is the last whole number in
    its name. Videos must have the same number of frames, unless `frames` says which to look at; a picture that one view
    lacks is told in the reasons. Views are worked on in parallel, and the result does not depend on the number of
    threads.

    Args:
        sources: per view a video, a folder, a glob or a list of pictures, or an open FrameSource.
        board: what to look for.
        views: crop, flip, quarter_turns and scale of some of the views (the arguments of multipose.video.View).
        frames: numbers of the instants to look at; all by default.
        max_frames: if there are more instants, so many of them, evenly spread; None for no limit.
        threads: at most so many at once; by default one for each core.

    Raises:
        DataError: no views, settings for an unknown view, or videos of unequal length.
        VideoError: a source cannot be read.
    """
    if not sources:
        raise DataError("No views were given to look for a board in.")
    opened = _open(sources, views or {})
    numbers = _instants(opened, frames, max_frames)
    places = {name: _places(source, numbers) for name, source in opened.items()}
    px = np.full((len(opened), len(numbers), board.n_corners, 2), np.nan)
    reasons = np.full((len(opened), len(numbers)), "", dtype=object)
    workers = threads or os.cpu_count() or 1
    jobs = []
    for view, name in enumerate(opened):
        absent = places[name] < 0
        reasons[view, absent] = "this view has no picture of the instant"
        present = np.flatnonzero(~absent)
        # A video is decoded from a key frame on, so it is cut into no more pieces than keep all workers busy.
        pieces = -(-workers // len(opened)) if _is_video(opened[name]) else -(-len(present) // _PICTURES_PER_JOB)
        jobs += [(view, name, part) for part in np.array_split(present, max(pieces, 1)) if len(part)]

    with progress.task("Looking for the board", total=sum(len(job[2]) for job in jobs)) as task, _one_opencv_thread():

        def look(job: tuple[int, str, NDArray[np.intp]]) -> None:
            view, name, instants = job
            finder = board_finder(board)
            instant_at = {int(places[name][instant]): instant for instant in instants}
            for index, picture in opened[name].read(instant_at):
                sight = finder.find(_gray(picture))
                px[view, instant_at[index]] = sight.px
                reasons[view, instant_at[index]] = sight.reason
                task.advance(note=name)

        with ThreadPoolExecutor(workers) as pool:
            try:
                for _ in pool.map(look, sorted(jobs, key=lambda job: (int(job[2][0]), job[0]))):
                    pass
            finally:
                pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, what has not begun is left
        most = np.isfinite(px).all(-1).sum(-1).max(-1)
        empty = [name for view, name in enumerate(opened) if most[view] < _FEWEST_CORNERS]
        if empty:
            progress.note(f"No board in {', '.join(empty)}: trying other boards to say why.")
        with ThreadPoolExecutor(workers) as pool:
            said = {name: [r for r in reasons[list(opened).index(name)] if r] for name in empty}
            found = pool.map(lambda name: diagnose(board, _samples(opened[name], places[name]), said[name]), empty)
            diagnoses = dict(zip(empty, found, strict=True))
    sizes = {name: source.size for name, source in opened.items()}
    excerpts = {name: excerpt_of(source) for name, source in opened.items()}
    return Corners(board, tuple(opened), sizes, numbers, px, reasons, diagnoses, excerpts)


def _open(sources: Mapping[str, SourceSpec], views: Mapping[str, Mapping[str, Any]]) -> dict[str, FrameSource]:
    unknown = [name for name in views if name not in sources]
    if unknown:
        raise DataError(f"Settings are given for the view {unknown[0]!r}, but the views are {', '.join(sources)}.")
    opened: dict[str, FrameSource] = {}
    for name, spec in sources.items():
        source = open_source(spec)
        opened[name] = View(source, **views[name]) if name in views else source
    return opened


def _is_video(source: FrameSource) -> bool:
    return _is_video(source.source) if isinstance(source, View) else isinstance(source, VideoFile)


def _instants(opened: Mapping[str, FrameSource], frames: Iterable[int] | None, max_frames: int | None) -> IntArray:
    """The numbers of the instants to look at, ascending."""
    if frames is not None:
        numbers = np.unique(np.fromiter(frames, dtype=np.int64))
        known = np.concatenate([source.frame_numbers for source in opened.values()])
        absent = numbers[~np.isin(numbers, known)]
        if len(absent):
            raise DataError(
                f"No view has the frame {absent[0]} ({len(absent)} of {len(numbers)} frames asked for are in no view)."
            )
    else:
        videos = {name: source for name, source in opened.items() if _is_video(source)}
        if len({len(source) for source in videos.values()}) > 1:
            counts = ", ".join(
                f"{name} {len(source)}"
                for name, source in sorted(videos.items(), key=lambda item: natural_key(item[0]))
            )
            raise DataError(
                f"The board videos differ in their numbers of frames ({counts}), so it is not known which frames "
                "belong together. Cut them to the same frames (in Python, `frames` of detect_board says which numbers "
                "mean the same instants)."
            )
        numbers = np.unique(np.concatenate([source.frame_numbers for source in opened.values()]))
    if max_frames is not None and len(numbers) > max_frames:
        numbers = numbers[np.linspace(0, len(numbers) - 1, max_frames).round().astype(int)]
    return numbers


def _places(source: FrameSource, numbers: IntArray) -> NDArray[np.intp]:
    """Index in the source of each frame number, -1 where it has none."""
    own = source.frame_numbers
    order = np.argsort(own)
    at = np.minimum(np.searchsorted(own, numbers, sorter=order), len(own) - 1)
    result: NDArray[np.intp] = np.where(own[order[at]] == numbers, order[at], -1)
    return result


def _samples(source: FrameSource, places: NDArray[np.intp]) -> list[Gray]:
    """Some gray pictures of those looked at, evenly spread."""
    looked = places[places >= 0]
    chosen = looked[np.linspace(0, len(looked) - 1, min(len(looked), _PICTURES_FOR_DIAGNOSIS)).round().astype(int)]
    return [_gray(picture) for _, picture in source.read(chosen)]


def _gray(picture: Rgb) -> Gray:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """OpenCV works in the calling threads alone: pictures are the unit of parallel work, and more threads would only
    get into each other's way.
    """
    before = cv2.getNumThreads()
    set_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
