"""The files of a recording or a calibration session, opened as the project says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.camera import CameraRig
from multipose.config import ViewConfig
from multipose.documents import read_document
from multipose.errors import FormatError, ProjectError
from multipose.project import TIME_UNITS, Project, Recording
from multipose.sources import FrameSource, SourceSpec, View
from multipose.tracks import load_tracks
from multipose.video import open_source


def open_view(project: Project, view: str, spec: SourceSpec, session: str = "") -> FrameSource:
    """A video, folder or pattern of a view, seen as `[view.<name>]` of the configuration says; of a calibration session
    as `[calibration.views.<session>.<name>]` says, if that is there.
    """
    source = open_source(spec)
    settings = project.config.view_settings(view, session)
    if settings == ViewConfig(same_camera_as=settings.same_camera_as):
        return source
    return View(
        source,
        crop=settings.crop,
        flip=settings.flip,
        quarter_turns=settings.quarter_turns,
        scale=settings.scale,
    )


def open_rig(project: Project, session: str) -> CameraRig:
    """The rig of a calibration session.

    Raises:
        FormatError: its file is missing or damaged, or speaks of another unit than the board that calibrates it.
    """
    path = project.rig_path(session)
    rig = CameraRig.load(path)
    board = project.config.board
    if board is not None and board.unit != rig.unit and project.board_sources(session):
        raise FormatError(
            f"{path} says that its lengths are in {rig.unit!r}, but the board of session {session!r} is in "
            f"{board.unit!r}. Calibrate again, or correct the unit in [board] of multipose.toml."
        )
    return rig


def load_keypoints(project: Project, recording: Recording) -> xr.Dataset:
    """The 2D key points of a recording.

    Raises:
        FormatError: the file is missing or damaged, or names views or key points that the project does not have.
    """
    path = project.keypoints_path(recording.name)
    dataset = load_tracks(path, "keypoints2d")
    for dim, known in (("view", project.views), ("keypoint", project.config.skeleton.keypoints)):
        unknown = [str(name) for name in dataset[dim].values if str(name) not in known]
        if unknown:
            raise FormatError(
                f"{path} speaks of the {dim} {unknown[0]!r}; multipose.toml has {', '.join(known)}. Make the key "
                "points again, or let the names agree."
            )
    return dataset


def open_recording(project: Project, recording: Recording) -> dict[str, FrameSource]:
    """The videos of a recording, in the order of the project's views."""
    return {
        view: open_view(project, view, str(project.path(recording.videos[view])))
        for view in project.views
        if view in recording.videos
    }


def read_timestamps(path: Path, unit: str = "s") -> npt.NDArray[np.float64]:
    """Times in seconds (frame,) from a text file: one a line; a first line that is no number is a heading.

    Args:
        path: the file.
        unit: one of TIME_UNITS that its numbers are in; whole numbers of any size are read exactly.

    Raises:
        FormatError: the file is missing, or a line is no number.
    """
    times = []
    for number, line in enumerate(read_document(path).splitlines(), start=1):
        cell = line.strip().strip('"').strip()
        if not cell:
            continue
        try:
            times.append((int(cell) if cell.lstrip("+-").isdecimal() else float(cell)) / TIME_UNITS[unit])
        except ValueError:
            if times or number > 1:
                raise FormatError(f"{path}, line {number}: expected a time in seconds, got {cell!r}.") from None
    return np.array(times, dtype=np.float64)


def read_all_timestamps(project: Project, recording: Recording) -> dict[str, npt.NDArray[np.float64]]:
    """Times of the frames of each view that has a timestamp file."""
    unit = recording.time_unit or "s"
    return {view: read_timestamps(project.path(written), unit) for view, written in recording.timestamps.items()}


def check_files(project: Project, recording: Recording) -> None:
    """Raises ProjectError where a file that the manifest names does not exist (patterns are looked at when opened)."""
    for kind, files in (
        ("video", recording.videos),
        ("timestamp file", recording.timestamps),
        ("file of key points", recording.keypoints),
    ):
        for view, written in files.items():
            if not project.path(written).exists() and not any(sign in written for sign in "*?["):
                raise ProjectError(
                    f"Recording {recording.name!r}, view {view!r}: the {kind} {project.path(written)} does not exist. "
                    "Correct the path."
                )
