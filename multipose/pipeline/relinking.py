"""Moved sources: recordings.csv names them where they are now. Products stay current, for they know their contents."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multipose.config import CONFIG_NAME
from multipose.documents import read_document
from multipose.errors import ProjectError
from multipose.project import Project, Recording


@dataclass(frozen=True)
class Relinked:
    """The project with changed paths; nothing is written.

    Args:
        project: the project.
        changed: (recording, path before, path now) of each file, folder or pattern.
        elsewhere: lines of multipose.toml that name the old place, to be edited by hand.
    """

    project: Project
    changed: tuple[tuple[str, str, str], ...]
    elsewhere: tuple[str, ...]


def relink(project: Project, old: str, new: str) -> Relinked:
    """Change the beginning of all paths of recordings.csv that lie in `old` (a folder or a file) to `new`.

    Both are relative to the current folder, or absolute; `old` need not exist any more.

    Raises:
        ProjectError: no path lies there, or something is not in the new place; all such are named.
    """
    changed: list[tuple[str, str, str]] = []
    recordings = []
    for recording in project.recordings:
        moved: dict[str, Any] = {
            field: _move(project, recording, getattr(recording, field), old, new, changed)
            for field in ("videos", "timestamps", "keypoints")
        }
        recordings.append(dataclasses.replace(recording, **moved))
    if not changed:
        places = sorted({str(project.path(path).parent) for row in project.recordings for path in _paths(row)})
        raise ProjectError(
            f"No path in recordings.csv lies in {os.path.abspath(old)}. They lie in "
            f"{', '.join(places[:5]) or 'no folder'}{', ...' * (len(places) > 5)}."
        )
    missing = [now for _, _, now in changed if not _is_there(project.path(now))]
    if missing:
        raise ProjectError(
            f"{len(missing)} of {len(changed)} files are not in {os.path.abspath(new)}: "
            f"{', '.join(missing[:5])}{', ...' * (len(missing) > 5)}. Nothing was changed."
        )
    config = read_document(project.folder / CONFIG_NAME).splitlines()
    named = (old, os.path.abspath(old), project.relative(Path(os.path.abspath(old))))
    elsewhere = [line.strip() for line in config if any(f'"{place}' in line for place in named)]
    return Relinked(
        dataclasses.replace(project, recordings=tuple(recordings)), tuple(changed), tuple(dict.fromkeys(elsewhere))
    )


def _paths(recording: Recording) -> list[str]:
    return [*recording.videos.values(), *recording.timestamps.values(), *recording.keypoints.values()]


def _move(
    project: Project,
    recording: Recording,
    paths: Mapping[str, str],
    old: str,
    new: str,
    changed: list[tuple[str, str, str]],
) -> dict[str, str]:
    before, now = Path(os.path.abspath(old)), Path(os.path.abspath(new))
    moved = dict(paths)
    for view, written in paths.items():
        place = Path(os.path.abspath(project.path(written)))
        if place.is_relative_to(before):
            tail = place.relative_to(before)
            moved[view] = project.relative(now / tail if tail.parts else now)
            changed.append((recording.name, written, moved[view]))
    return moved


def _is_there(path: Path) -> bool:
    return path.exists() or bool(glob.glob(str(path)))
