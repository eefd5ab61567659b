"""The stage `calibrate --check`: rig.toml and key points or boards -> what no longer fits, a refined rig if asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from multipose.calibration import check_rig, detect_board, refine_rig
from multipose.camera import CameraRig
from multipose.corners import Corners
from multipose.errors import ProjectError
from multipose.pipeline.plan import project_board
from multipose.pipeline.reconstruction import load_rig
from multipose.pipeline.sources import open_rig, open_view
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.tracks import load_tracks


def check_recording(
    project: Project,
    recording: Recording,
    *,
    baseline: Recording | None = None,
    refine: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Test whether the rig of a recording still fits its key points; nothing is calibrated.

    Args:
        baseline: a recording of a time when the rig was right.
        refine: also refine the poses of the cameras that moved, and write the rig beside the old one.

    Returns:
        The check's values, with the session; `refined`: the refinement's values and the path of its rig, or None.

    Raises:
        ProjectError: the rig or key points are missing.
        DataError: too few points, or views, to judge.
    """
    keypoints = _load(project, recording)
    earlier = None if baseline is None else _load(project, baseline)
    session = project.session_of(recording)
    _check_rig_exists(project, session)
    rig = load_rig(project, recording, keypoints)
    progress.note(f"{recording.name}: testing the rig of session {session}")
    return {"recording": recording.name, **_test(project, session, rig, keypoints, earlier, refine)}


def check_boards(
    project: Project,
    filmed: str,
    session: str,
    *,
    refine: bool = False,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Test whether the rig of a session still fits boards that were filmed later, as another session.

    Args:
        filmed: the session with the boards.
        session: the session of the rig.
        refine: as of `check_recording`.

    Returns and raises as `check_recording`.
    """
    for name, asked_by in ((filmed, "to check with"), (session, "whose rig is to be checked")):
        project.check_session(name, asked_by)
    _check_rig_exists(project, session)
    shown = project.board_sources(filmed)
    if not shown:
        raise ProjectError(f"Session {filmed!r} has no pictures of the board to check with.")
    corners = detect_board(
        {view: open_view(project, view, spec, filmed) for view, spec in shown.items()},
        project_board(project),
        offsets=project.config.calibration.offsets.get(filmed),
        max_frames=project.config.calibration.max_boards,
        threads=threads,
        progress=progress,
    )
    rig = open_rig(project, session).subset(corners.views)
    return {"recording": filmed, **_test(project, session, rig, corners, None, refine)}


def _check_rig_exists(project: Project, session: str) -> None:
    if not project.rig_path(session).exists():
        raise ProjectError(
            f"Session {session!r} has no rig yet, so there is nothing to check. Make it with `multipose calibrate`."
        )


def _test(
    project: Project,
    session: str,
    rig: CameraRig,
    seen: xr.Dataset | Corners,
    earlier: xr.Dataset | None,
    refine: bool,
) -> dict[str, Any]:
    """The check's values, and those of the refinement, whose rig is written."""
    confidence = project.config.reconstruction.min_confidence
    check = check_rig(rig, seen, earlier, min_confidence=confidence)
    values = {"session": session, **check.to_dict(), "refined": None}
    if refine and check.suspects and check.suspects == check.named("moved"):
        whole = open_rig(project, session)
        refinement = refine_rig(whole, seen, check.suspects, earlier, min_confidence=confidence)
        path = _free_path(project.rig_path(session))
        refinement.rig.save(path)
        values["refined"] = {**refinement.to_dict(), "rig": str(path)}
    return values


def _load(project: Project, recording: Recording) -> xr.Dataset:
    path = project.keypoints_path(recording.name)
    if not path.exists():
        raise ProjectError(
            f"Recording {recording.name!r} has no key points yet ({path}). Make them with "
            f"`multipose predict {recording.name}`."
        )
    return load_tracks(path, "keypoints2d")


def _free_path(rig: Path) -> Path:
    """rig_refined.toml beside a rig, or rig_refined_2.toml and so on: no file is overwritten."""
    path, number = rig.with_name("rig_refined.toml"), 2
    while path.exists():
        path, number = rig.with_name(f"rig_refined_{number}.toml"), number + 1
    return path
