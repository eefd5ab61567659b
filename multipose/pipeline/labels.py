"""The stage `label`: frames are chosen, labels come and go, slips are found, pictures are extracted on demand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from multipose.documents import read_json
from multipose.errors import DataError, FormatError, LabelError, ProjectError
from multipose.files import hash_value, path_inside, write_text
from multipose.formats.deeplabcut import write_labels
from multipose.formats.deeplabcut_project import write_config
from multipose.frames import Method, choose_frames, extract_frames
from multipose.labels import LabelProblem, Labels, check_labels, empty_labels, labels_from_points, picture_path
from multipose.pipeline.provenance import Hashes
from multipose.pipeline.sources import open_view
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.sources import FrameSource, read_picture
from multipose.text import read_rows
from multipose.video import tell_damage

_SOURCE_RECORD = "extracted.json"
"""Of each picture taken from a video: hashes of the view's settings and of the video, `_MARK` digits each."""
_MARK = 16


def load_labels(project: Project) -> Labels:
    """All labels of the project, its key points in the skeleton's order; none where there is no file yet.

    Raises:
        FormatError: labels.csv is not a table of labels, names another key point, or a recording or view whose
            pictures would not lie in the project.
    """
    names = project.config.skeleton.keypoints
    if not project.labels_path.exists():
        return empty_labels(names)
    labels = Labels.load(project.labels_path, names)
    try:
        for recording, view in labels.table[["recording", "view"]].drop_duplicates().itertuples(index=False):
            path_inside(project.frames_folder, recording, view)
    except DataError as error:
        raise FormatError(f"{project.labels_path}, recording {recording!r}, view {view!r}: {error}") from None
    return labels


def known_labels(labels: Labels) -> Labels:
    """The labels of the pictures in which somebody has looked at at least one point."""
    key = ["recording", "view", "frame"]
    looked_at = labels.table.loc[labels.table["state"] != "unlabelled", key].drop_duplicates()
    return Labels(labels.table.merge(looked_at, on=key, how="inner"), labels.keypoints)


def extract(
    project: Project,
    recordings: Iterable[Recording],
    views: Iterable[str],
    count: int,
    hashes: Hashes,
    *,
    method: Method = "kmeans",
    seed: int = 0,
    progress: Progress = SILENT,
) -> dict[tuple[str, str], list[Path]]:
    """Choose frames of each view of recordings, extract their pictures and enter them as unlabelled.

    Returns:
        The pictures, by recording and view.
    """
    chosen: dict[tuple[str, str], list[int]] = {}
    for recording in recordings:
        for view in views:
            if view not in recording.videos:
                continue
            source = open_view(project, view, str(project.path(recording.videos[view])))
            places = choose_frames(source, min(count, len(source)), method, seed=seed, progress=progress)
            chosen[recording.name, view] = source.frame_numbers[places].tolist()
    if not chosen:
        raise ProjectError("None of these recordings has a video in these views.")
    return extract_chosen(project, chosen, hashes, progress=progress)


def extract_chosen(
    project: Project,
    frames: Mapping[tuple[str, str], list[int]],
    hashes: Hashes,
    *,
    progress: Progress = SILENT,
) -> dict[tuple[str, str], list[Path]]:
    """Extract the pictures of frames, by recording and view, and enter them as unlabelled.

    Returns:
        The pictures, by recording and view.

    Raises:
        LabelError: the project has no such video, or the video no such frame.
    """
    labels, names = load_labels(project), project.config.skeleton.keypoints
    pictures = {}
    for (recording, view), numbers in frames.items():
        pictures[recording, view] = extract_pictures(project, recording, view, numbers, hashes, progress=progress)
        blank = np.full((len(numbers), len(names)), "unlabelled")
        rows = labels_from_points(recording, view, numbers, np.full((*blank.shape, 2), np.nan), names, state=blank)
        labels = labels.merge(rows, replace=False)
    labels.save(project.labels_path)
    return pictures


def read_frames(path: Path) -> dict[tuple[str, str], list[int]]:
    """Frames by recording and view from a table with the columns recording, view and frame.

    Raises:
        FormatError: the file is no such table.
    """
    frames: dict[tuple[str, str], list[int]] = {}
    columns = read_rows(path).columns()
    try:
        for recording, view, frame in zip(*(columns[name] for name in ("recording", "view", "frame")), strict=True):
            frames.setdefault((recording, view), []).append(int(frame))
    except (KeyError, ValueError) as error:
        raise FormatError(
            f"{path} is no table of frames to label ({type(error).__name__}: {error}). It needs the columns recording, "
            "view and frame, and numbers of frames from 0."
        ) from None
    if not frames:
        raise FormatError(f"{path} lists no frame.")
    return frames


def extract_pictures(
    project: Project, recording: str, view: str, frames: Iterable[int], hashes: Hashes, *, progress: Progress = SILENT
) -> list[Path]:
    """Make sure that the pictures of frames (numbers as the source has them) are in labels/frames, and return them.

    Pictures of a recording of the manifest come from its video, again where the video or the view's settings have
    changed since. Pictures of other recordings came with imported labels and must be there.

    Raises:
        LabelError: a picture is not there and there is no video to take it from, or the video has no such frame.
    """
    there = _look_for_pictures(project, recording, view, frames, hashes)
    if there.source is not None and there.wanted:
        indices = _indices(there.source, list(there.wanted), recording, view)
        for path in there.wanted.values():  # a kill from here on leaves pictures missing, never wrong ones
            path.unlink(missing_ok=True)
        marks = {**there.marks, **{path.name: there.mark for path in there.wanted.values()}}
        write_text(there.record, json.dumps(marks))
        extract_frames(there.source, indices, there.record.parent, progress=progress)
        tell_damage({f"{view} of {recording}": there.source}, progress)
    return list(there.paths.values())


def read_pictures(
    project: Project, recording: str, view: str, frames: Iterable[int], hashes: Hashes
) -> dict[int, npt.NDArray[np.uint8]]:
    """The RGB pictures of labelled frames, by frame, as `extract_pictures` would have them; nothing is written.

    Raises:
        LabelError: as of `extract_labelled`.
    """
    numbers = list(frames)
    _check_settings(project, recording, view, numbers)
    there = _look_for_pictures(project, recording, view, numbers, hashes)
    decoded: dict[int, npt.NDArray[np.uint8]] = {}
    if there.source is not None and there.wanted:
        indices = _indices(there.source, sorted(there.wanted), recording, view)
        decoded = {int(there.source.frame_numbers[index]): rgb for index, rgb in there.source.read(indices)}
    return {
        number: decoded[number] if number in decoded else read_picture(path) for number, path in there.paths.items()
    }


@dataclass(frozen=True)
class _Pictures:
    """Where the pictures of some frames are, by frame, and which of them are to be taken from a video (anew).

    Args:
        paths: in labels/frames.
        wanted: those that are missing or outdated.
        source: the video to take them from; None for a recording that the manifest does not have.
        record, marks: the file that says what pictures were taken from, and what it says.
        mark: what it should say.
    """

    paths: dict[int, Path]
    wanted: dict[int, Path]
    source: FrameSource | None
    record: Path
    marks: dict[str, str]
    mark: str


def _look_for_pictures(project: Project, recording: str, view: str, frames: Iterable[int], hashes: Hashes) -> _Pictures:
    paths = {number: picture_path(project.frames_folder, recording, view, number) for number in frames}
    record = project.frames_folder / recording / view / _SOURCE_RECORD
    video = next((row.videos[view] for row in project.recordings if row.name == recording and view in row.videos), None)
    if video is None:
        missing = [path for path in paths.values() if not path.exists()]
        if missing:
            raise LabelError(
                f"Recording {recording!r}, view {view!r} has labels, but no video in recordings.csv, and the picture "
                f"{missing[0]} is not there. Add the recording with `multipose add`, or put the picture there."
            )
        return _Pictures(paths, {}, None, record, {}, "")
    source = open_view(project, view, str(project.path(video)))
    mark = f"{_mark_of_settings(project, view)}{hash_value(hashes.of(source.path))[:_MARK]}"
    marks = _read_marks(record)
    wanted = {  # a picture without a mark was brought with its labels, and stays
        number: path for number, path in paths.items() if not path.exists() or marks.get(path.name, mark) != mark
    }
    return _Pictures(paths, wanted, source, record, marks, mark)


def extract_labelled(project: Project, labels: Labels, hashes: Hashes, *, progress: Progress = SILENT) -> None:
    """Make sure that the pictures of all these labels are in labels/frames.

    Raises:
        LabelError: as of `extract_pictures`, or a view's settings have changed since its pictures were labelled.
    """
    for view in labels.views:
        frames = labels.frames(view)
        for recording, rows in frames.groupby("recording", sort=False):
            numbers = [int(number) for number in rows["frame"]]
            _check_settings(project, str(recording), view, numbers)
            extract_pictures(project, str(recording), view, numbers, hashes, progress=progress)


def _read_marks(record: Path) -> dict[str, str]:
    """The marks of the pictures in a folder, by file name; those without one were brought with their labels."""
    if not record.exists() and not record.is_symlink():
        return {}
    marks = read_json(record)
    if not isinstance(marks, dict) or not all(isinstance(mark, str) for mark in marks.values()):
        raise FormatError(f"{record} is no record of extracted pictures. Delete it, and the pictures count as given.")
    return marks


def _mark_of_settings(project: Project, view: str) -> str:
    return hash_value(asdict(project.config.view_settings(view)))[:_MARK]


def _check_settings(project: Project, recording: str, view: str, numbers: Iterable[int]) -> None:
    """Labels hold for the pictures on which they were made, and these lay in the picture as the settings said then."""
    folder = project.frames_folder / recording / view
    marks = _read_marks(folder / _SOURCE_RECORD)
    names = (picture_path(project.frames_folder, recording, view, number).name for number in numbers)
    settings = _mark_of_settings(project, view)
    if any(not marks.get(name, settings).startswith(settings) for name in names):
        raise LabelError(
            f"[view.{view}] in multipose.toml (crop, flip, turn, scale) has changed since recording {recording!r} was "
            "labelled: the labels belong to the pictures as they were. Put the settings back; or take the view's "
            f"labels and {folder} out, and bring or make them again."
        )


def _indices(source: FrameSource, numbers: list[int], recording: str, view: str) -> list[int]:
    place = {int(number): index for index, number in enumerate(source.frame_numbers)}
    absent = [number for number in numbers if number not in place]
    if absent:
        raise LabelError(
            f"Recording {recording!r}, view {view!r}: frame {absent[0]} is labelled, but {source.path} has the frames "
            f"{int(source.frame_numbers[0])} to {int(source.frame_numbers[-1])}."
        )
    return [place[number] for number in numbers]


def export_labels(project: Project, folder: Path, views: Iterable[str], scorer: str, hashes: Hashes) -> dict[str, Any]:
    """Write the labels of views in DeepLabCut's layout, with their pictures, one DeepLabCut project per view.

    Returns:
        views: the tables written, by view; configs: config.yaml of each view, but for those that were there and are
        not multipose's, which stay as they are.
    """
    labels = load_labels(project)
    written, configs = {}, {}
    for view in views:
        chosen = labels.select(view=view)
        if len(chosen):
            extract_labelled(project, chosen, hashes)
            frames = [(str(name), int(frame)) for name, frame in chosen.frames(view).itertuples(index=False)]
            pictures = {key: picture_path(project.frames_folder, key[0], view, key[1]) for key in frames}
            paths = write_labels(chosen, folder / view, scorer=scorer, view=view, pictures=pictures)
            written[view] = [str(path) for path in paths]
            shown = {name: pictures[name, frame] for name, frame in frames}
            config = write_config(
                folder / view,
                project.config.skeleton,
                task=f"{project.config.name}-{view}",
                scorer=scorer,
                sizes={name: read_picture(path).shape[1::-1] for name, path in shown.items()},
                individuals=chosen.individuals,
            )
            if config is not None:
                configs[view] = str(config)
    if not written:
        raise ProjectError(f"There are no labels of these views in {project.labels_path}.")
    return {"views": written, "configs": configs}


def find_problems(project: Project) -> list[LabelProblem]:
    """Labels that look like slips: outside the picture, two on one spot, one spot again and again, left and right
    swapped.

    Raises:
        LabelError: nothing is labelled yet.
    """
    labels = known_labels(load_labels(project))
    if not len(labels):
        raise LabelError(
            f"There are no labels to check in {project.labels_path}. Choose frames with `multipose label extract`, or "
            "bring labels with `multipose label import`."
        )
    strange = [view for view in labels.views if view not in project.views]
    if strange:
        raise LabelError(
            f"{project.labels_path} has labels of the view {strange[0]!r}; the project has {', '.join(project.views)}. "
            "Rename the view in the table, or take its rows out."
        )
    return check_labels(labels, _picture_sizes(project, labels), project.config.skeleton)


def _picture_sizes(project: Project, labels: Labels) -> dict[str, tuple[int, int]]:
    """(width, height) of each view's pictures; every labelled picture is there, or a frame of a video of the project.

    Raises:
        LabelError: a picture is neither.
    """
    videos = {(row.name, view): video for row in project.recordings for view, video in row.videos.items()}
    sizes: dict[str, tuple[int, int]] = {}
    for view in labels.views:
        for name, rows in labels.frames(view).groupby("recording", sort=False):
            recording = str(name)
            paths = {
                int(frame): picture_path(project.frames_folder, recording, view, int(frame)) for frame in rows["frame"]
            }
            there = [path for path in paths.values() if path.is_file()]
            missing = [frame for frame, path in paths.items() if path not in there]
            if missing and (recording, view) not in videos:
                raise LabelError(
                    f"Recording {recording!r}, view {view!r}, frame {missing[0]} has labels in {project.labels_path}, "
                    f"but {paths[missing[0]]} is not there, and recordings.csv has no video to take it from."
                )
            if missing:
                source = open_view(project, view, str(project.path(videos[recording, view])))
                _indices(source, missing, recording, view)
                sizes.setdefault(view, source.size)
            elif view not in sizes:
                height, width = read_picture(there[0]).shape[:2]
                sizes[view] = (width, height)
    return sizes
