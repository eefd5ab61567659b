"""The stage `label`: frames are chosen, labels come and go, slips are found, pictures are extracted on demand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from multipose.config import ViewConfig, check_name
from multipose.errors import LabelError, ProjectError
from multipose.files import hash_value, write_text
from multipose.formats.deeplabcut import read_labels, write_labels
from multipose.frames import Method, choose_frames, extract_frames
from multipose.labels import KEY, LabelProblem, Labels, check_labels, empty_labels, labels_from_points, picture_path
from multipose.pipeline.provenance import Hashes
from multipose.pipeline.sources import open_view
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.sources import FrameSource, View, read_picture, write_picture

_SOURCE_RECORD = "extracted.json"
"""Of each picture taken from a video: hash of the video and of the view's settings."""
_SAME_PX = 1e-3  # labels that differ by less went through another program's rounding


def load_labels(project: Project) -> Labels:
    """All labels of the project, its key points in the skeleton's order; none where there is no file yet.

    Raises:
        FormatError: labels.csv is not a table of labels, or names another key point.
    """
    names = project.config.skeleton.keypoints
    return Labels.load(project.labels_path, names) if project.labels_path.exists() else empty_labels(names)


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
    labels, names = load_labels(project), project.config.skeleton.keypoints
    pictures: dict[tuple[str, str], list[Path]] = {}
    for recording in recordings:
        for view in views:
            if view not in recording.videos:
                continue
            source = open_view(project, view, str(project.path(recording.videos[view])))
            chosen = choose_frames(source, min(count, len(source)), method, seed=seed, progress=progress)
            numbers = source.frame_numbers[chosen]
            blank = np.full((len(chosen), len(names)), "unlabelled")
            rows = labels_from_points(
                recording.name, view, numbers, np.full((*blank.shape, 2), np.nan), names, state=blank
            )
            labels = labels.merge(rows, replace=False)
            pictures[recording.name, view] = extract_pictures(
                project, recording.name, view, [int(number) for number in numbers], hashes, progress=progress
            )
    if not pictures:
        raise ProjectError("None of these recordings has a video in these views.")
    labels.save(project.labels_path)
    return pictures


def extract_pictures(
    project: Project, recording: str, view: str, frames: Iterable[int], hashes: Hashes, *, progress: Progress = SILENT
) -> list[Path]:
    """Make sure that the pictures of frames (numbers as the source has them) are in labels/frames, and return them.

    Pictures of a recording of the manifest come from its video, again where the video or the view's settings have
    changed since. Pictures of other recordings came with imported labels and must be there.

    Raises:
        LabelError: a picture is not there and there is no video to take it from, or the video has no such frame.
    """
    numbers = list(frames)
    paths = [picture_path(project.frames_folder, recording, view, number) for number in numbers]
    video = next((row.videos[view] for row in project.recordings if row.name == recording and view in row.videos), None)
    if video is None:
        missing = [path for path in paths if not path.exists()]
        if missing:
            raise LabelError(
                f"Recording {recording!r}, view {view!r} has labels, but no video in recordings.csv, and the picture "
                f"{missing[0]} is not there. Add the recording with `multipose add`, or put the picture there."
            )
        return paths
    source = open_view(project, view, str(project.path(video)))
    mark = hash_value([hashes.of(source.path), asdict(project.config.view_settings(view))])
    record = project.frames_folder / recording / view / _SOURCE_RECORD
    marks: dict[str, str] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    wanted = [  # a picture without a mark was brought with its labels, and stays
        (number, path)
        for number, path in zip(numbers, paths, strict=True)
        if not path.exists() or marks.get(path.name, mark) != mark
    ]
    if wanted:
        indices = _indices(source, [number for number, _ in wanted], recording, view)
        for _, path in wanted:  # a kill from here on leaves pictures missing, never wrong ones
            path.unlink(missing_ok=True)
        write_text(record, json.dumps({**marks, **{path.name: mark for _, path in wanted}}))
        extract_frames(source, indices, record.parent, progress=progress)
    return paths


def extract_labelled(project: Project, labels: Labels, hashes: Hashes, *, progress: Progress = SILENT) -> None:
    """Make sure that the pictures of all these labels are in labels/frames."""
    for view in labels.views:
        frames = labels.frames(view)
        for recording, rows in frames.groupby("recording", sort=False):
            numbers = [int(number) for number in rows["frame"]]
            extract_pictures(project, str(recording), view, numbers, hashes, progress=progress)


def _indices(source: FrameSource, numbers: list[int], recording: str, view: str) -> list[int]:
    place = {int(number): index for index, number in enumerate(source.frame_numbers)}
    absent = [number for number in numbers if number not in place]
    if absent:
        raise LabelError(
            f"Recording {recording!r}, view {view!r}: frame {absent[0]} is labelled, but {source.path} has the frames "
            f"{int(source.frame_numbers[0])} to {int(source.frame_numbers[-1])}."
        )
    return [place[number] for number in numbers]


def import_labels(
    project: Project,
    path: Path,
    view: str,
    *,
    recording: str | None = None,
    conflicts: Literal["refuse", "replace", "keep"] = "refuse",
) -> dict[str, Any]:
    """Bring labels of one view from another program's file, and their pictures.

    Args:
        recording: name of the recording they belong to; by default the names that the file gives.
        conflicts: where a point is labelled already and the file says something else: "refuse" the file, "replace" the
            label there is by the file's, or "keep" it.

    Returns:
        pictures, points and conflicts (their numbers), recordings, and unlisted: those not in recordings.csv.

    Raises:
        FormatError: the file is no file of labels.
        LabelError: its key points are not those of the project, a picture is missing, or labels are in conflict.
    """
    project.select_views([view])
    found, pictures = read_labels(path, view=view)
    unknown = sorted(set(found.keypoints) - set(project.config.skeleton.keypoints))
    if unknown:
        raise LabelError(
            f"{path} has labels of {', '.join(unknown)}, which multipose.toml does not list under [skeleton] keypoints "
            f"({', '.join(project.config.skeleton.keypoints)}). Make the names agree."
        )
    listed = [row.name for row in project.recordings]
    if recording is not None:
        if set(found.recordings) & set(listed) - {recording}:
            raise LabelError(
                f"{path} says itself that its labels are of {', '.join(found.recordings)}, which recordings.csv lists; "
                f"they cannot be of {recording!r}. Leave --recording out."
            )
        if len(found.recordings) > 1:
            raise LabelError(
                f"{path} has labels of {len(found.recordings)} videos ({', '.join(found.recordings)}); they cannot all "
                f"be of recording {recording!r}. Leave --recording out."
            )
        found = Labels(found.table.assign(recording=recording), found.keypoints)
        pictures = {(recording, frame): picture for (_, frame), picture in pictures.items()}
    for name in found.recordings:
        check_name(name, "recording")
    if project.config.view_settings(view) != ViewConfig():
        found = _in_view(project, view, found, pictures)
    n_pictures, n_points = len(found.frames(view)), int((found.table["state"] != "unlabelled").sum())
    recordings = found.recordings
    labels = load_labels(project)
    found, n_conflicts = _without_repeats(labels, found)
    if n_conflicts and conflicts == "refuse":
        raise LabelError(
            f"{n_conflicts} points of {path} are labelled already, otherwise. Say --replace to take the file's labels, "
            "or --keep to leave those that are there."
        )
    for (name, frame), source in pictures.items():
        target = picture_path(project.frames_folder, name, view, frame)
        if source.is_file():
            write_picture(target, next(picture for _, picture in open_view(project, view, [source])))
        elif not target.is_file() and not any(row.name == name and view in row.videos for row in project.recordings):
            raise LabelError(
                f"{path} has labels of the picture {source}, which does not exist, and recordings.csv has no video of "
                f"view {view!r} of recording {name!r} to take it from."
            )
    said = Labels(found.table[found.table["state"] != "unlabelled"], found.keypoints)
    merged = labels.merge(said, replace=conflicts != "keep").merge(found, replace=False)
    Labels(merged.table, project.config.skeleton.keypoints).save(project.labels_path)
    return {
        "pictures": n_pictures,
        "points": n_points,
        "conflicts": n_conflicts,
        "recordings": list(recordings),
        "unlisted": [name for name in recordings if name not in listed],
    }


def _without_repeats(labels: Labels, found: Labels) -> tuple[Labels, int]:
    """What was found without what says the same as the labels that are there, and how much says something else.

    Another program may not know states: a point found as visible says the same as an occluded one at its position, and
    one found without a position the same as any other without.
    """
    known = labels.table[labels.table["state"] != "unlabelled"]
    both = found.table.merge(known, on=list(KEY), how="left", suffixes=("", "_known"))
    here, there = (both[[f"x{end}", f"y{end}"]].to_numpy(float) for end in ("", "_known"))
    same = np.isclose(here, there, rtol=0, atol=_SAME_PX).all(axis=1)
    labelled = both["state_known"].notna().to_numpy()
    same |= labelled & np.isnan(here).all(1) & np.isnan(there).all(1)
    other = labelled & (both["state"] != "unlabelled").to_numpy() & ~same
    rest = Labels(found.table[~same], found.keypoints)
    return rest, int(other.sum())


def _in_view(project: Project, view: str, labels: Labels, pictures: Mapping[tuple[str, int], Path]) -> Labels:
    """Labels in the pixels of whole pictures -> in those of the view, after its crop, flip, turns and scale."""
    there = [picture for picture in pictures.values() if picture.is_file()]
    if not there:
        raise LabelError(
            f"View {view!r} has a crop, flip, turn or scale in multipose.toml; to move labels accordingly the "
            "pictures that they were made on must be beside them, and none is."
        )
    source = open_view(project, view, there[:1])
    assert isinstance(source, View)
    table = labels.table.copy()
    table[["x", "y"]] = source.from_source(table[["x", "y"]].to_numpy())
    return Labels(table, labels.keypoints)


def export_labels(project: Project, folder: Path, views: Iterable[str], scorer: str, hashes: Hashes) -> dict[str, Any]:
    """Write the labels of views in DeepLabCut's layout, with their pictures, one DeepLabCut project per view.

    Returns:
        Paths written, by view.
    """
    labels = load_labels(project)
    written = {}
    for view in views:
        chosen = labels.select(view=view)
        if len(chosen):
            extract_labelled(project, chosen, hashes)
            frames = [(str(name), int(frame)) for name, frame in chosen.frames(view).itertuples(index=False)]
            pictures = {key: picture_path(project.frames_folder, key[0], view, key[1]) for key in frames}
            paths = write_labels(chosen, folder / view, scorer=scorer, view=view, pictures=pictures)
            written[view] = [str(path) for path in paths]
    if not written:
        raise ProjectError(f"There are no labels of these views in {project.labels_path}.")
    return {"views": written}


def find_problems(project: Project) -> list[LabelProblem]:
    """Labels that look like slips: outside the picture, two on one spot, left and right swapped.

    Raises:
        LabelError: nothing is labelled yet.
    """
    labels = known_labels(load_labels(project))
    if not len(labels):
        raise LabelError(
            f"There are no labels to check in {project.labels_path}. Choose frames with `multipose label extract`, or "
            "bring labels with `multipose label import`."
        )
    sizes = {}
    for view in labels.views:
        for recording, frame in labels.frames(view).itertuples(index=False):
            path = picture_path(project.frames_folder, recording, view, frame)
            if path.is_file():
                height, width = read_picture(path).shape[:2]
                sizes[view] = (width, height)
                break
        else:
            videos = [row.videos[view] for row in project.recordings if view in row.videos]
            if videos:
                sizes[view] = open_view(project, view, str(project.path(videos[0]))).size
    return check_labels(labels, sizes, project.config.skeleton)
