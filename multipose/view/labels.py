"""The page of labels: labelled pictures of each view with points, names and states, and what looks like a slip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from multipose.labels import LabelProblem, Labels
from multipose.skeleton import Skeleton
from multipose.view.drawing import apply_affine, crop_around, draw_labels
from multipose.view.pages import Item, Page, Picture, Pictures, Section, Text
from multipose.view.scene import spread

Rgb = npt.NDArray[np.uint8]
GetPictures = Callable[[str, str, Sequence[int]], Mapping[int, Rgb]]
"""Gives the RGB pictures of frames of a recording and view, by frame."""

WIDTH, HEIGHT = 400, 300
DRAWN = (
    "Disc or diamond (of the right side): visible. Ring: occluded. Red square: looks like a slip. Absent points are "
    "named below their picture. Pictures with slips come first."
)


def labels_page(
    labels: Labels,
    pictures: GetPictures,
    skeleton: Skeleton,
    problems: Sequence[LabelProblem] = (),
    *,
    count: int = 120,
    title: str = "Labels",
    subtitle: str = "",
) -> Page:
    """The labelled pictures of each view, cropped to their points.

    Args:
        labels: which; a view's pictures are shown in the order of recordings and frames.
        pictures: gives the pictures.
        skeleton: the key points.
        problems: as `check_labels` finds them; those of other pictures are passed over.
        count: of more pictures those with slips and others, evenly chosen, are shown, so many of all views together.
        title, subtitle: of the page.
    """
    views = labels.views
    each = [len(part) for part in np.array_split(np.arange(count), len(views))]
    sections = [
        _view_section(
            labels.select(view=view), pictures, skeleton, [one for one in problems if one.view == view], limit
        )
        for view, limit in zip(views, each, strict=True)
    ]
    return Page(title, tuple(sections), subtitle=subtitle, wide=True)


def _view_section(
    labels: Labels, pictures: GetPictures, skeleton: Skeleton, problems: Sequence[LabelProblem], limit: int
) -> Section:
    (view,) = labels.views
    frames, points, states = _points(labels, view)
    row_of = {place: row for row, place in enumerate(frames)}
    slips: dict[int, list[LabelProblem]] = {}
    for problem in problems:
        if (problem.recording, problem.frame) in row_of:
            slips.setdefault(row_of[problem.recording, problem.frame], []).append(problem)
    suspect = sorted(slips, key=lambda row: frames[row])
    others = sorted(set(range(len(frames))) - set(suspect), key=lambda row: frames[row])
    chosen = [*suspect[:limit], *spread(np.array(others, dtype=np.int64), max(0, limit - len(suspect)))]
    items: list[Item] = [Text(_describe(len(frames), len(chosen), len(suspect)), "warning" if suspect else "plain")]
    drawn = {}
    for recording in dict.fromkeys(frames[row][0] for row in chosen):
        rows = {frames[row][1]: row for row in chosen if frames[row][0] == recording}
        for frame, rgb in pictures(recording, view, sorted(rows)).items():
            row = rows[frame]
            drawn[row] = _picture(
                rgb, labels, f"{recording}, frame {frame}", points[row], states[row], skeleton, slips.get(row, [])
            )
    items.append(Pictures(tuple(drawn[row] for row in chosen), width=WIDTH - 20))
    return Section(view, tuple(items))


def _points(labels: Labels, view: str) -> tuple[list[tuple[str, int]], npt.NDArray[np.float64], npt.NDArray[np.str_]]:
    """(recording, frame) of each picture, xy (picture, individual, keypoint, 2) and state (picture, individual,
    keypoint)."""
    parts = [labels.points(view, individual=individual) for individual in labels.individuals]
    frames = [(str(recording), int(frame)) for recording, frame in parts[0][0].itertuples(index=False)]
    return frames, np.stack([xy for _, xy, _ in parts], axis=1), np.stack([state for _, _, state in parts], axis=1)


def _describe(n_frames: int, n_shown: int, n_suspect: int) -> str:
    shown = f"all {n_frames} labelled pictures" if n_shown == n_frames else f"{n_shown} of {n_frames} labelled pictures"
    slips = f", {n_suspect} with labels that look like slips" if n_suspect else "; no label looks like a slip"
    return f"{shown[0].upper()}{shown[1:]}{slips}."


def _picture(
    rgb: Rgb,
    labels: Labels,
    name: str,
    xy: npt.NDArray[np.float64],
    state: npt.NDArray[np.str_],
    skeleton: Skeleton,
    problems: Sequence[LabelProblem],
) -> Picture:
    marked = np.zeros(state.shape, dtype=bool)
    for problem in problems:
        right = dict(skeleton.pairs).get(problem.keypoint) if problem.code == "swapped" else None
        for keypoint in filter(None, (problem.keypoint, right)):
            marked[labels.individuals.index(problem.individual), labels.keypoints.index(keypoint)] = True
    part, affine = crop_around(rgb, xy, margin=0.15, width=WIDTH, height=HEIGHT)
    drawn = draw_labels(part, apply_affine(affine, xy), state, skeleton, slips=marked, radius=4.0)
    said = [name]
    for one in ("occluded", "absent", "unlabelled"):
        owners = [f"{who} " if len(labels.individuals) > 1 else "" for who in labels.individuals]
        named = [f"{owners[i]}{labels.keypoints[k]}" for i, k in np.argwhere(state == one)]
        if named:
            said.append(f"{one}: {', '.join(named)}")
    said += [f"SLIP? {problem.text.split(': ', 1)[1]}" for problem in problems]
    return Picture(drawn, ". ".join(said))
