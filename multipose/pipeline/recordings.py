"""Adding recordings to a project: found by a pattern or named one by one, and looked into first."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from multipose.errors import ProjectError
from multipose.files import natural_key
from multipose.pipeline.clock import Clock, Strip, check_overlap, set_clock
from multipose.pipeline.foreign import read_keypoints
from multipose.pipeline.sources import check_files, open_recording, read_all_timestamps
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.sources import FrameSource

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Found:
    """What a pattern matched: recordings, and files that were left out with the reason."""

    recordings: tuple[Recording, ...]
    skipped: tuple[tuple[str, str], ...]


def find_recordings(project: Project, pattern: str, folder: Path, calibration: str = "") -> Found:
    """Recordings whose videos match a pattern such as `{animal}_{trial}_{view}.avi`.

    Every field stands for at least one character other than a slash. `{view}` is the name of one of the project's
    views, which tells where it begins and ends; all other fields, joined by "_" in their order, name the recording. A
    pattern with folders, `{animal}/{trial}_{view}.avi`, is looked for below `folder`.

    Raises:
        ProjectError: the pattern has no `{view}` or no other field, matches nothing, or two files match one view of
            one recording.
    """
    fields = list(dict.fromkeys(_FIELD.findall(pattern)))
    if "view" not in fields or len(fields) < 2:
        raise ProjectError(
            f"The pattern {pattern!r} needs the field {{view}} and at least one other that names the recording, "
            "for example '{animal}_{trial}_{view}.avi'."
        )
    place = Path(pattern)
    base = Path(place.anchor) if place.is_absolute() else folder
    relative = place.relative_to(place.anchor).as_posix()
    expression = re.compile(_expression(relative, project.views))
    any_view, any_case = re.compile(_expression(relative)), re.compile(_expression(relative, project.views), re.I)
    otherwise: list[Path] = []
    videos: dict[str, dict[str, str]] = {}
    skipped: list[tuple[str, str]] = []
    for path in _candidates(base, place.relative_to(place.anchor)):
        written = path.relative_to(base).as_posix()
        match = expression.fullmatch(written)
        if match is None:
            other = any_view.fullmatch(written)
            if other is not None:
                listed = ", ".join(project.views)
                skipped.append((str(path), f"{other['view']!r} is no view of this project ({listed})"))
            elif any_case.fullmatch(written):
                otherwise.append(path)
            continue
        view = match["view"]
        name = "_".join(match[field] for field in fields if field != "view")
        if view in videos.setdefault(name, {}):
            raise ProjectError(
                f"Two files match view {view!r} of recording {name!r}: {videos[name][view]} and {path}. "
                "Add a field to the pattern that tells them apart."
            )
        videos[name][view] = project.relative(path)
    if not videos:
        hints = []
        if skipped:
            hints.append(f"{len(skipped)} files match but for the view, the first is {skipped[0][0]}: {skipped[0][1]}")
        if otherwise:
            hints.append(f"{len(otherwise)} files differ in capitals, the first is {otherwise[0]}")
        hint = f" ({'; '.join(hints)})" if hints else ""
        raise ProjectError(f"No file in {base.resolve()} matches the pattern {pattern!r}{hint}.")
    skipped += [(str(path), "its name differs from the pattern in capitals") for path in otherwise]
    names = sorted(videos, key=natural_key)
    return Found(tuple(Recording(name, videos[name], calibration) for name in names), tuple(skipped))


def _expression(pattern: str, views: Sequence[str] = ()) -> str:
    """The regular expression of a pattern; the view is one of these, where some are given."""
    names = "|".join(re.escape(view) for view in sorted(views, key=len, reverse=True))
    seen: set[str] = set()
    parts = []
    for i, part in enumerate(_FIELD.split(pattern)):
        if i % 2 == 0:
            parts.append(re.escape(part))
        elif part in seen:
            parts.append(f"(?P={part})")
        else:
            parts.append(f"(?P<{part}>{names if part == 'view' and names else '[^/]+?'})")
            seen.add(part)
    return "".join(parts)


def _candidates(base: Path, pattern: Path) -> list[Path]:
    """Files as deep below `base` as the pattern is, in natural order; folders without a field are entered directly."""
    level = [base]
    for part in pattern.parts[:-1]:
        if _FIELD.search(part):
            level = [child for folder in level for child in _children(folder) if child.is_dir()]
        else:
            level = [folder / part for folder in level if (folder / part).is_dir()]
    files = [child for folder in level for child in _children(folder) if child.is_file()]
    return sorted(files, key=lambda path: natural_key(path.as_posix()))


def _children(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if not entry.name.startswith(".")]


def look_into(project: Project, recordings: Iterable[Recording], progress: Progress = SILENT) -> dict[str, Clock]:
    """Open every file of recordings and match the frames of their views.

    Returns:
        The clock of each recording.

    Raises:
        ProjectError: a file is missing, a session is unknown, or the views' frames cannot be matched.
        VideoError: a video cannot be read.
    """
    rows = list(recordings)
    clocks = {}
    with progress.task("Looking into the recordings", total=len(rows)) as task:
        for recording in rows:
            if recording.calibration:
                project.check_session(recording.calibration, f"recording {recording.name!r}")
            check_files(project, recording)
            _check_doubles(project, recording)
            sources = open_recording(project, recording)
            clocks[recording.name] = match_views(project, recording, sources, read_tables(project, recording))
            task.advance(note=recording.name)
    return clocks


def _check_doubles(project: Project, recording: Recording) -> None:
    """Raise ProjectError where two views are the same part of one video."""
    seen: dict[object, str] = {}
    for view, written in recording.videos.items():
        key = (project.path(written).resolve(), project.config.view_settings(view))
        if key in seen:
            raise ProjectError(
                f"Recording {recording.name!r}: {seen[key]} and {view} are the same video, {written}. If each is a "
                "part of it, say their crops in multipose.toml."
            )
        seen[key] = view


def read_tables(project: Project, recording: Recording) -> dict[str, xr.Dataset]:
    """The key points of each view of a recording that another program found."""
    return {view: read_keypoints(project.path(path), view) for view, path in recording.keypoints.items()}


def match_views(
    project: Project, recording: Recording, sources: Mapping[str, FrameSource], tables: Mapping[str, xr.Dataset]
) -> Clock:
    """The clock of a recording from its videos and tables of key points, which count where a view has both.

    Raises:
        ProjectError: the views' frames cannot be matched, or no moment is in two of them.
    """
    strips = {
        view: Strip.from_table(tables[view], project.path(recording.keypoints[view]), sources.get(view))
        if view in tables
        else Strip.from_source(sources[view])
        for view in project.views
        if view in sources or view in tables
    }
    clock = set_clock(recording, strips, read_all_timestamps(project, recording))
    check_overlap(recording, clock, strips)
    notes = (note.replace(f"{project.folder}{os.sep}", "") for note in clock.notes)
    return dataclasses.replace(clock, notes=tuple(notes))


def make_recording(
    project: Project,
    name: str,
    videos: Iterable[str],
    *,
    calibration: str = "",
    offsets: Iterable[str] = (),
    timestamps: Iterable[str] = (),
    keypoints: Iterable[str] = (),
    time_unit: str = "",
) -> Recording:
    """A recording from the words of a command line, `VIEW=VALUE` each; paths are relative to the current folder.

    In a project of one view the values alone will do.

    Raises:
        ProjectError: a word is not as described.
    """
    return Recording(
        name,
        _relative(project, read_assignments(_with_view(project, videos), "a video")),
        calibration,
        read_offsets(_with_view(project, offsets)),
        _relative(project, read_assignments(_with_view(project, timestamps), "a timestamp file")),
        _relative(project, read_assignments(_with_view(project, keypoints), "a file of key points")),
        time_unit,
    )


def extend_recording(project: Project, added: Recording) -> Recording:
    """The recording that is there with what is added: further views, or what is said of views.

    Raises:
        ProjectError: there is none of that name, or it says something else already.
    """
    there = project.recording(added.name)
    values: dict[str, Any] = {}
    for field in ("videos", "offsets", "timestamps", "keypoints"):
        before, now = getattr(there, field), getattr(added, field)
        clash = next((view for view in now if before.get(view, now[view]) != now[view]), None)
        if clash is not None:
            raise ProjectError(
                f"Recording {there.name!r} has {before[clash]} as {field} of view {clash!r}, not {now[clash]}. Say all "
                "of it anew with --replace."
            )
        values[field] = {**before, **now}
    for field in ("calibration", "time_unit"):
        values[field] = getattr(added, field) or getattr(there, field)
    return Recording(there.name, **values)


def _with_view(project: Project, words: Iterable[str]) -> list[str]:
    """Words of a project of one view, with the view where they do not say it."""
    only = project.views[0]
    if len(project.views) > 1:
        return list(words)
    return [f"{only}={word}" if "=" not in word or Path(word).exists() else word for word in words]


def read_offsets(words: Iterable[str]) -> dict[str, int]:
    """`VIEW=N` words of a command line: the frame of each view that falls on time 0.

    Raises:
        ProjectError: a word is not as described.
    """
    numbers = {}
    for view, text in read_assignments(words, "an offset").items():
        try:
            numbers[view] = int(text)
        except ValueError:
            raise ProjectError(f"The offset of view {view!r} must be a whole number of frames, got {text!r}.") from None
    return numbers


def take_keypoints_from(project: Project, recording: Recording, files: Iterable[str]) -> Project:
    """The project whose recording takes the key points of some views from other programs' files (`VIEW=FILE`)."""
    added = _relative(project, read_assignments(files, "a file of key points"))
    changed = dataclasses.replace(recording, keypoints={**recording.keypoints, **added})
    return project.with_recordings([changed], replace=True)


def _relative(project: Project, paths: Mapping[str, str]) -> dict[str, str]:
    return {view: project.relative(Path(os.path.abspath(path))) for view, path in paths.items()}


def read_assignments(words: Iterable[str], what: str) -> dict[str, str]:
    """`view=value` words of a command line as a table.

    Raises:
        ProjectError: a word has no `=`, or a view stands twice.
    """
    table: dict[str, str] = {}
    for word in words:
        view, sign, value = word.partition("=")
        if not sign or not view or not value:
            raise ProjectError(f"Expected {what} as VIEW=VALUE, for example back=back.mp4; got {word!r}.")
        if view in table:
            raise ProjectError(f"The view {view!r} is given twice: {table[view]} and {value}.")
        table[view] = value
    return table


def describe_recording(recording: Recording, clock: Clock, views: Iterable[str]) -> str:
    """For a person: name, length, what the views were matched by, files, which of the views is missing, and notes."""
    seconds = f", {_duration(clock):.1f} s" if clock.time_unit == "s" else ""
    files = ", ".join(f"{view} {path}" for view, path in {**recording.videos, **recording.keypoints}.items())
    missing = [view for view in views if view not in recording.videos and view not in recording.keypoints]
    lack = f"; NO view {', '.join(missing)}" if missing else ""
    rule = f", matched by {clock.rule}" if len({**recording.videos, **recording.keypoints}) > 1 else ""
    line = f"{recording.name}: {len(clock.time)} moments{seconds}{rule}; {files}{lack}"
    return "\n".join([line, *(f"  {note}" for note in clock.notes)])


def _duration(clock: Clock) -> float:
    """Seconds from the first moment to the end of the last."""
    if clock.fps:
        return float(clock.time[-1] - clock.time[0]) + 1 / clock.fps
    return float(clock.time[-1] - clock.time[0] + (np.median(np.diff(clock.time)) if len(clock.time) > 1 else 0.0))
