"""Tables of labels outside the project: multipose's own, or DeepLabCut's; and where their pictures are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from multipose.config import ViewConfig, check_name
from multipose.errors import LabelError
from multipose.formats import sleap_project
from multipose.formats.deeplabcut import Pictures, read_labels
from multipose.labels import KEY, Labels, picture_path
from multipose.pipeline.labels import extract_pictures, load_labels
from multipose.pipeline.provenance import Hashes
from multipose.pipeline.sources import open_view
from multipose.progress import SILENT, Progress
from multipose.project import Project
from multipose.sources import View, read_picture, write_picture
from multipose.text import read_rows

_SAME_PX = 1e-3  # labels that differ by less went through another program's rounding
_SAME_GREY = 8.0  # pictures that differ by less on average may be of one frame


def is_own_table(path: Path) -> bool:
    """Whether a file is a table as labels.csv, which names recordings and views itself."""
    return path.suffix.lower() == ".csv" and "recording" in next(iter(read_rows(path).cells), [])


def find_tables(path: Path) -> list[Path]:
    """The tables of labels in a folder, of DeepLabCut's layout or any other; a file is its own.

    Of a table that lies there as .csv and .h5, as DeepLabCut writes it, the .csv is taken.

    Raises:
        LabelError: there is none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob("CollectedData_*.csv"))
    found += [table for table in sorted(path.rglob("CollectedData_*.h5")) if table.with_suffix(".csv") not in found]
    found += sorted(path.rglob("*.slp"))
    if not found:
        raise LabelError(f"{path} holds no CollectedData_*.csv or .h5 and no .slp. Name a file of labels.")
    return found


def read_label_file(
    project: Project, path: Path, view: str, rename: Mapping[str, str] | None = None, suffix: str = ""
) -> tuple[Labels, Pictures]:
    """The labels of one view in a file, and where the picture of each (recording, frame) should be.

    Args:
        path: a table as labels.csv, whose pictures lie beside it as <recording>/<view>/000123.png, or so in frames/, or
            are in the project; DeepLabCut's, with pictures relative to it, of this view; or a .slp of SLEAP, whose
            pictures come from the recording's video.
        rename: names of key points in the file, and what the project calls them.
        suffix: only key points whose names end so are of the view; it is taken off first.

    Returns:
        The labels (none where the file has none of the view), and the pictures, which may be missing.

    Raises:
        FormatError: the file is no table of labels.
        LabelError: it has other key points than the project.
    """
    names = project.config.skeleton.keypoints
    own = is_own_table(path)
    files: Pictures = {}
    if own:
        read = Labels.load(path).select(view=view)
    elif path.suffix.lower() == ".slp":
        read, files = sleap_project.read_labels(path, view=view)
    else:
        read, files = read_labels(path, view=view)
    labels = _with_names(read, names, rename or {}, suffix, path)
    if not own:
        return labels, files
    places = (path.parent, path.parent / "frames", project.frames_folder)
    pictures = {}
    for recording, frame in frames_of(labels, view):
        candidates = [picture_path(place, recording, view, frame) for place in places]
        pictures[recording, frame] = next((picture for picture in candidates if picture.is_file()), candidates[-1])
    return labels, pictures


def _with_names(read: Labels, names: tuple[str, ...], rename: Mapping[str, str], suffix: str, path: Path) -> Labels:
    """Labels under the project's names of the key points; without the points that lack the suffix.

    Raises:
        LabelError: a name is not the project's, is not in the file, or two become one.
    """
    kept = [name for name in read.keypoints if name.endswith(suffix)]
    if len(read) and not kept:
        raise LabelError(f"{path} has no key point that ends in {suffix!r}; it has {', '.join(read.keypoints)}.")
    stripped = {name: name.removesuffix(suffix) for name in kept}
    strange = sorted(set(rename) - set(stripped) - set(stripped.values()))
    if strange and len(read):
        raise LabelError(f"{path} has no key point {strange[0]!r} to rename; it has {', '.join(read.keypoints)}.")
    called = {name: rename.get(name, rename.get(short, short)) for name, short in stripped.items()}
    unknown = sorted(set(called.values()) - set(names))
    if unknown:
        raise LabelError(
            f"{path} has labels of {', '.join(unknown)}, which multipose.toml does not list under [skeleton] "
            f"keypoints ({', '.join(names)}). Make the names agree, or say --rename {unknown[0]}=NAME."
        )
    doubled = sorted({name for name in called.values() if list(called.values()).count(name) > 1})
    if doubled:
        raise LabelError(f"{path}: two of its key points would become {doubled[0]!r}. Rename them apart.")
    table = read.table[read.table["keypoint"].isin(kept)]
    table = table.assign(keypoint=table["keypoint"].map(called))
    if suffix:  # in a picture that shows none of the view's points the others say nothing about them
        seen = table["x"].notna().groupby([table["recording"], table["frame"]]).transform("any")
        table = table[seen]
    return Labels(table, names)


def find_pictures(
    project: Project, labels: Labels, view: str, pictures: Pictures, hashes: Hashes, *, progress: Progress = SILENT
) -> dict[tuple[str, str, int], Path]:
    """The pictures of labels of one view; those that `pictures` lacks are taken from the project's videos.

    Raises:
        LabelError: one is not there, and recordings.csv has no video to take it from.
    """
    filmed = {recording.name for recording in project.recordings if view in recording.videos}
    found = {(recording, view, frame): pictures[recording, frame] for recording, frame in frames_of(labels, view)}
    missing = {key: picture for key, picture in found.items() if not picture.is_file()}
    for recording in dict.fromkeys(key[0] for key in missing):
        frames = [key[2] for key in missing if key[0] == recording]
        if recording not in filmed:
            raise LabelError(
                f"Recording {recording!r}, view {view!r}: the picture {missing[recording, view, frames[0]]} is not "
                "there, and recordings.csv has no video to take it from."
            )
        extracted = extract_pictures(project, recording, view, frames, hashes, progress=progress)
        found |= {(recording, view, frame): place for frame, place in zip(frames, extracted, strict=True)}
    return found


def import_labels(
    project: Project,
    path: Path,
    view: str,
    *,
    recording: str | None = None,
    conflicts: Literal["refuse", "replace", "keep"] = "refuse",
    rename: Mapping[str, str] | None = None,
    suffix: str = "",
) -> dict[str, Any]:
    """Bring labels of one view from a file, and their pictures, into the project.

    Args:
        recording: name of the recording they belong to; by default the names that the file gives.
        conflicts: where a point is labelled already and the file says something else: "refuse" the file, "replace" the
            label there is by the file's, or "keep" it.
        rename, suffix: as of `read_label_file`.

    Returns:
        pictures, points and conflicts (their numbers), numbered: an example of which frame a picture's name means,
        recordings, and unlisted: those not in recordings.csv.

    Raises:
        FormatError: the file is no file of labels.
        LabelError: its key points are not those of the project, a picture is missing or shows something else than the
            one of the same frame in the project, or labels are in conflict.
    """
    project.select_views([view])
    found, pictures = read_label_file(project, path, view, rename, suffix)
    shown = set(frames_of(found, view))
    pictures = {key: picture for key, picture in pictures.items() if key in shown}
    own = is_own_table(path)
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
    if not own and project.config.view_settings(view) != ViewConfig():
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
    _check_frames(project, path, view, found)
    new: dict[Path, Path] = {}
    for (name, frame), source in pictures.items():
        target = picture_path(project.frames_folder, name, view, frame)
        if source.is_file() and source != target:
            if not target.is_file():
                new[target] = source
            elif not _looks_alike(read_picture(target), _read_as_view(project, view, source, own)):
                raise LabelError(
                    f"{source} does not show what {target} shows, the picture of the same frame in the project. Give "
                    "the labels another recording's name (--recording), or take the wrong picture and its labels out."
                )
        elif not target.is_file() and not any(row.name == name and view in row.videos for row in project.recordings):
            raise LabelError(
                f"{path} has labels of the picture {source}, which does not exist, and recordings.csv has no video of "
                f"view {view!r} of recording {name!r} to take it from."
            )
    for target, source in new.items():
        write_picture(target, _read_as_view(project, view, source, own))
    said = Labels(found.table[found.table["state"] != "unlabelled"], found.keypoints)
    merged = labels.merge(said, replace=conflicts != "keep").merge(found, replace=False)
    if not merged.table.equals(labels.table):
        Labels(merged.table, project.config.skeleton.keypoints).save(project.labels_path)
    return {
        "pictures": n_pictures,
        "points": n_points,
        "conflicts": n_conflicts,
        "numbered": "" if own or not pictures or path.suffix.lower() == ".slp" else _say_numbering(pictures),
        "recordings": list(recordings),
        "unlisted": [name for name in recordings if name not in listed],
    }


def _say_numbering(pictures: Pictures) -> str:
    (_, frame), picture = next(iter(pictures.items()))
    return f"{picture.name} is frame {frame}"


def _check_frames(project: Project, path: Path, view: str, labels: Labels) -> None:
    """Raise LabelError where labels are of frames that the recording's video does not have."""
    for recording in project.recordings:
        numbers = [frame for name, frame in frames_of(labels, view) if name == recording.name]
        written = recording.videos.get(view, "")
        if not numbers or not ((project.path(written).exists() and written) or any(sign in written for sign in "*?[")):
            continue
        source = open_view(project, view, str(project.path(written)))
        absent = np.setdiff1d(np.array(numbers, dtype=np.int64), source.frame_numbers)
        if len(absent):
            raise LabelError(
                f"{path} has labels of frame {absent[0]} of recording {recording.name!r} ({len(absent)} of "
                f"{len(numbers)} such), but {source.path} has the frames {source.frame_numbers[0]} to "
                f"{source.frame_numbers[-1]}. Are they of another video, or counted from 1? Say --recording NAME for "
                "the one that they are of, or number them as the video's frames."
            )


def _read_as_view(project: Project, view: str, path: Path, own: bool) -> npt.NDArray[np.uint8]:
    """A picture in the pixels of the view; one of our own is so already."""
    return read_picture(path) if own else next(iter(open_view(project, view, [path])))[1]


def _looks_alike(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> bool:
    """Whether two pictures can be the same frame, decoded by two programs."""
    return one.shape == other.shape and float(np.abs(one.astype(np.int16) - other).mean()) < _SAME_GREY


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


def frames_of(labels: Labels, view: str) -> list[tuple[str, int]]:
    """Recording and frame of the labelled pictures of a view."""
    return [(str(recording), int(frame)) for recording, frame in labels.frames(view).itertuples(index=False)]
