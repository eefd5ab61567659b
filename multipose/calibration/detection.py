"""Board corners in the pictures of all views, at common instants."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import Board
from multipose.calibration.diagnosis import diagnose, invert, shows_negative
from multipose.calibration.patterns import Gray, board_finder
from multipose.calibration.sampling import first_instants, further_instants
from multipose.corners import Corners
from multipose.errors import DataError
from multipose.files import natural_key
from multipose.opencv import cv2, set_threads
from multipose.progress import SILENT, Progress
from multipose.sources import ImageFolder, excerpt_of
from multipose.video import FrameSource, SourceSpec, VideoFile, View, open_source, tell_damage

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

_PICTURES_FOR_DIAGNOSIS = 6
_FEWEST_CORNERS = 6  # of a ChArUco board, in the best picture of a view; fewer fit boards of other layouts by chance
# A view that shows the board in fewer pictures, or in a smaller share of them, may show another one, which now and then
# passes for it by chance.
_FEWEST_BOARDS = 3
_FEW_BOARDS = 0.1
_PICTURES_PER_JOB = 8


def detect_board(
    sources: Mapping[str, SourceSpec],
    board: Board,
    *,
    views: Mapping[str, Mapping[str, Any]] | None = None,
    frames: Iterable[int] | None = None,
    offsets: Mapping[str, int] | None = None,
    max_frames: int | None = 300,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> Corners:
    """Find the board's corners in all views.

    Frames are matched by their numbers: those of a video count from 0, those of pictures stand in their names
    (`multipose.numbering`). Where the rate of a video varies, the videos' own times count. Videos must have the same
    number of frames, unless `offsets` says how they belong together or `frames` which to look at; a picture that one
    view lacks is told in the reasons. Views that are parts of one video are cut from the same decoded frames. All are
    worked on in parallel, and the result does not depend on the number of threads.

    In a recording with more than `max_frames` instants, 2 in 5 of these are spread evenly, on key frames of the first
    video where there are some near; the others go, round after round, to where the board is seen and moves, first to
    views and pairs of views that have seen it little (multipose.calibration.sampling). The instants looked at are
    common to all views; they are the result's `frames`.

    Args:
        sources: per view a video, a folder, a glob or a list of pictures, or an open FrameSource.
        board: what to look for.
        views: crop, flip, quarter_turns and scale of some of the views (the arguments of multipose.video.View).
        frames: numbers of the instants that may be looked at; all by default.
        offsets: the frame number of a view that falls on instant 0, 0 for views that are not named; given (be it 0 for
            all, where all cameras began together), the videos may have unequal numbers of frames.
        max_frames: at most so many instants are looked at; None for no limit.
        threads: at most so many at once; by default one for each core.

    Raises:
        DataError: no views, settings for an unknown view, videos of unequal length, or no number that two views share.
        VideoError: a source cannot be read.
    """
    if not sources:
        raise DataError("No views were given to look for a board in.")
    opened = _open(sources, views or {}, offsets or {})
    own = _own_numbers(opened, offsets or {}, progress)
    for name, source in opened.items():
        root = _root(source)
        if isinstance(root, ImageFolder) and root.numbering.chosen:
            progress.note(f"{name}: frames are numbered by {root.numbering.rule}")
    reels = _reels(opened, own)
    numbers = _instants(opened, own, frames, stated=bool(offsets))
    budget = len(numbers) if max_frames is None else min(max_frames, len(numbers))
    sizes = {name: source.size for name, source in opened.items()}
    cheap = _key_instants(opened, own, numbers)
    workers = threads or os.cpu_count() or 1

    def search(negative: Collection[str]) -> tuple[IntArray, FloatArray, NDArray[np.object_]]:
        """Numbers of the instants looked at, corners px and reasons; the pictures of some views inverted."""
        views = np.isin(list(opened), list(negative))
        looked = np.empty(0, dtype=np.int64)
        px = np.empty((len(opened), 0, board.n_corners, 2))
        reasons = np.empty((len(opened), 0), dtype=object)
        with progress.task("Looking for the board", total=budget * len(opened)) as task:
            more = first_instants(len(numbers), budget, cheap)
            while len(more):
                new_px, new_reasons = _look(reels, board, numbers[more], views, workers, task.advance)
                order = np.argsort(np.concatenate([looked, more]))
                looked = np.concatenate([looked, more])[order]
                px = np.concatenate([px, new_px], axis=1)[:, order]
                reasons = np.concatenate([reasons, new_reasons], axis=1)[:, order]
                sides = np.array(list(sizes.values()), dtype=float)
                more = further_instants(looked, px, sides, len(numbers), budget, cheap)
        return numbers[looked], px, reasons

    with _one_opencv_thread():
        looked, px, reasons = search(())
        empty = [name for name, found in zip(opened, _boards_found(px), strict=True) if not found]
        negative = [name for name in empty if shows_negative(board, _samples(opened[name], _places(own[name], looked)))]
        if negative:
            progress.note(
                f"Black and white of the board are exchanged in {', '.join(negative)}: it is looked for in the "
                "inverted pictures. Print the next board with black markers on white."
            )
            looked, px, reasons = search(negative)
        diagnoses = _diagnose(opened, own, board, looked, px, reasons, workers, progress)
    tell_damage({", ".join(list(opened)[view] for view in reel.views): reel.source for reel in reels}, progress)
    excerpts = {name: excerpt_of(source) for name, source in opened.items()}
    return Corners(board, tuple(opened), sizes, looked, px, reasons, diagnoses, excerpts)


def _look(
    reels: Sequence[_Reel],
    board: Board,
    numbers: IntArray,
    negative: BoolArray,
    workers: int,
    advance: Callable[[int], None],
) -> tuple[FloatArray, NDArray[np.object_]]:
    """Corners px (view, instant, corner, 2) and reasons (view, instant) of the instants of these numbers.

    negative: (view,) whether the board is looked for in the inverted pictures.
    """
    n_views = sum(len(reel.views) for reel in reels)
    px = np.full((n_views, len(numbers), board.n_corners, 2), np.nan)
    reasons = np.full((n_views, len(numbers)), "", dtype=object)
    jobs: list[tuple[_Reel, dict[int, int]]] = []
    for reel in reels:
        places = _places(reel.numbers, numbers)
        reasons[np.ix_(np.array(reel.views), np.flatnonzero(places < 0))] = "this view has no picture of the instant"
        advance(len(reel.views) * int((places < 0).sum()))
        present = np.flatnonzero(places >= 0)
        # A video is decoded from a key frame on, so it is cut into no more pieces than keep all workers busy.
        is_video = isinstance(reel.source, VideoFile)
        pieces = -(-workers // len(reels)) if is_video else -(-len(present) // _PICTURES_PER_JOB)
        parts = np.array_split(present, max(pieces, 1))
        jobs += [(reel, {int(places[i]): int(i) for i in part}) for part in parts if len(part)]

    def work(job: tuple[_Reel, dict[int, int]]) -> None:
        reel, instant_at = job
        finder = board_finder(board)
        for index, picture in _read_gray(reel.source, instant_at):
            for view, source in zip(reel.views, reel.looks, strict=True):
                seen = _seen_by(source, picture)
                sight = finder.find(invert(seen) if negative[view] else seen)
                px[view, instant_at[index]], reasons[view, instant_at[index]] = sight.px, sight.reason
            advance(len(reel.views))

    with ThreadPoolExecutor(workers) as pool:
        try:
            for _ in pool.map(work, sorted(jobs, key=lambda job: (min(job[1].values()), job[0].views))):
                pass
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, what has not begun is left
    return px, reasons


def _diagnose(
    opened: Mapping[str, FrameSource],
    own: Mapping[str, IntArray],
    board: Board,
    numbers: IntArray,
    px: FloatArray,
    reasons: NDArray[np.object_],
    workers: int,
    progress: Progress,
) -> dict[str, str]:
    """What to say of the views in which no board was found, or few, because they show another one."""
    found = dict(zip(opened, _boards_found(px), strict=True))
    places = {name: _places(own[name], numbers) for name in opened}
    enough = {name: max(_FEWEST_BOARDS, _FEW_BOARDS * int((at >= 0).sum())) for name, at in places.items()}
    doubtful = [name for name in opened if found[name] < enough[name]]
    if doubtful:
        listed = ", ".join(f"{name} {found[name]} of {int((places[name] >= 0).sum())}" for name in doubtful)
        progress.note(f"Pictures that show the board: {listed}. Trying other boards, to say why.")

    def say(name: str) -> str:
        said = [reason for reason in reasons[list(opened).index(name)] if reason]
        return diagnose(board, _samples(opened[name], places[name]), said, found[name])

    with ThreadPoolExecutor(workers) as pool:
        return {name: text for name, text in zip(doubtful, pool.map(say, doubtful), strict=True) if text}


def _boards_found(px: FloatArray) -> list[int]:
    """(view,) in how many instants the board is seen."""
    return [int(count) for count in (np.isfinite(px).all(-1).sum(-1) >= _FEWEST_CORNERS).sum(-1)]


@dataclass(frozen=True, eq=False)
class _Reel:
    """What is read once for all views that are parts of it: the source, its frames' numbers of instants, and places and
    sources of these views.
    """

    source: FrameSource
    numbers: IntArray
    views: tuple[int, ...]
    looks: tuple[FrameSource, ...]


def _reels(opened: Mapping[str, FrameSource], own: Mapping[str, IntArray]) -> list[_Reel]:
    groups: dict[object, list[tuple[int, str, FrameSource]]] = {}
    for view, (name, source) in enumerate(opened.items()):
        root = _root(source)
        file = root.path.resolve() if isinstance(root, VideoFile) else id(root)
        groups.setdefault((file, own[name].tobytes()), []).append((view, name, source))
    return [
        _Reel(
            _root(members[0][2]),
            own[members[0][1]],
            tuple(view for view, _, _ in members),
            tuple(source for _, _, source in members),
        )
        for members in groups.values()
    ]


def _root(source: FrameSource) -> FrameSource:
    return _root(source.source) if isinstance(source, View) else source


def _seen_by(source: FrameSource, picture: Gray) -> Gray:
    """What a view shows of a gray picture of its root."""
    return source.look(_seen_by(source.source, picture)) if isinstance(source, View) else picture


def _read_gray(root: FrameSource, indices: Iterable[int]) -> Iterator[tuple[int, Gray]]:
    if isinstance(root, VideoFile):
        yield from root.read_gray(indices)
        return
    for index, picture in root.read(indices):
        yield index, np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _key_instants(opened: Mapping[str, FrameSource], own: Mapping[str, IntArray], numbers: IntArray) -> IntArray:
    """Ascending places among the instants of these numbers of the key frames of the first video."""
    for name, source in opened.items():
        root = _root(source)
        if isinstance(root, VideoFile):
            return np.flatnonzero(np.isin(numbers, own[name][root.key_frames]))
    return np.empty(0, dtype=np.int64)


def _open(
    sources: Mapping[str, SourceSpec], views: Mapping[str, Mapping[str, Any]], offsets: Mapping[str, int]
) -> dict[str, FrameSource]:
    for what, named in (("Settings are", views), ("An offset is", offsets)):
        unknown = [name for name in named if name not in sources]
        if unknown:
            raise DataError(f"{what} given for the view {unknown[0]!r}, but the views are {', '.join(sources)}.")
    opened: dict[str, FrameSource] = {}
    for name, spec in sources.items():
        source = open_source(spec)
        opened[name] = View(source, **views[name]) if name in views else source
    return opened


def _own_numbers(
    opened: Mapping[str, FrameSource], offsets: Mapping[str, int], progress: Progress
) -> dict[str, IntArray]:
    """The number of the instant of each view's frames: the frame's own from the view's offset on; where the rate of a
    video varies, the number of typical intervals that have passed by the videos' own times.
    """
    videos = {name: root for name, source in opened.items() if isinstance(root := _root(source), VideoFile)}
    if len(videos) < max(len(opened), 2) or all(video.fps is not None for video in videos.values()):
        return {name: source.frame_numbers - offsets.get(name, 0) for name, source in opened.items()}
    interval = float(np.median(np.concatenate([np.diff(video.times) for video in videos.values()])))
    progress.note(
        f"Frames of the board are matched by the videos' own times, since the rate of "
        f"{', '.join(name for name, video in videos.items() if video.fps is None)} varies."
    )
    numbers = {}
    for name, video in videos.items():
        first = offsets.get(name, 0)
        begun = video.times[first] if 0 <= first < len(video) else first * interval
        numbers[name] = np.rint((video.times - begun) / interval).astype(np.int64)
    return numbers


def _instants(
    opened: Mapping[str, FrameSource], own: Mapping[str, IntArray], frames: Iterable[int] | None, stated: bool
) -> IntArray:
    """The numbers of the instants that may be looked at, ascending.

    own: number of the instant of each view's frames. stated: whether somebody said how views belong together.
    """
    known, counts = np.unique(np.concatenate(list(own.values())), return_counts=True)
    if frames is not None:
        numbers = np.unique(np.fromiter(frames, dtype=np.int64))
        absent = numbers[~np.isin(numbers, known)]
        if len(absent):
            raise DataError(
                f"No view has the frame {absent[0]} ({len(absent)} of {len(numbers)} frames asked for are in no view)."
            )
        return numbers
    names = sorted(opened, key=natural_key)
    lengths = {name: len(opened[name]) for name in names if not isinstance(_root(opened[name]), ImageFolder)}
    if len(set(lengths.values())) > 1 and not stated:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        zeros = " ".join(f"--offset {name}=0" for name in lengths)
        raise DataError(
            f"The board videos differ in their numbers of frames ({listed}), so it is not known which frames belong "
            "together. Say which frame of each falls on the same instant: `multipose calibrate --offset VIEW=N` or "
            f"[calibration.offsets.<session>] in multipose.toml; {zeros} if all cameras began together."
        )
    if len(own) > 1 and counts.max() < 2:
        reach = ", ".join(f"{name} {own[name].min()} to {own[name].max()}" for name in names)
        raise DataError(
            f"No frame number of the board's pictures is in two views ({reach}), so it is not known which belong "
            "together. Rename the pictures so that equal numbers are of the same instant, or say which number of each "
            "view falls on it: `multipose calibrate --offset VIEW=N`, or [calibration.offsets.<session>] in "
            "multipose.toml."
        )
    return known


def _places(own: IntArray, numbers: IntArray) -> NDArray[np.intp]:
    """Index in the source of each number, -1 where it has none; own: the numbers of its frames."""
    order = np.argsort(own)
    at = np.minimum(np.searchsorted(own, numbers, sorter=order), len(own) - 1)
    result: NDArray[np.intp] = np.where(own[order[at]] == numbers, order[at], -1)
    return result


def _samples(source: FrameSource, places: NDArray[np.intp]) -> list[Gray]:
    """Some gray pictures of those looked at, evenly spread."""
    looked = places[places >= 0]
    chosen = looked[np.linspace(0, len(looked) - 1, min(len(looked), _PICTURES_FOR_DIAGNOSIS)).round().astype(int)]
    return [_seen_by(source, picture) for _, picture in _read_gray(_root(source), chosen)]


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
