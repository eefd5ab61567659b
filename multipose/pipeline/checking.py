"""The stage `calibrate --check`: keypoints2d.nc and rig.toml -> what no longer fits, and a refined rig where asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from multipose.calibration import check_rig, refine_rig
from multipose.camera import CameraRig
from multipose.errors import ProjectError
from multipose.pipeline.reconstruction import load_rig
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
    if not project.rig_path(session).exists():
        raise ProjectError(
            f"Session {session!r} has no rig yet, so there is nothing to check. Make it with `multipose calibrate`."
        )
    rig = load_rig(project, recording, keypoints)
    confidence = project.config.reconstruction.min_confidence
    progress.note(f"{recording.name}: testing the rig of session {session}")
    check = check_rig(rig, keypoints, earlier, min_confidence=confidence)
    values = {"recording": recording.name, "session": session, **check.to_dict(), "refined": None}
    if refine and check.suspects and check.suspects == check.named("moved"):
        whole = CameraRig.load(project.rig_path(session))
        refinement = refine_rig(whole, keypoints, check.suspects, earlier, min_confidence=confidence)
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
    return load_tracks(path)


def _free_path(rig: Path) -> Path:
    """rig_refined.toml beside a rig, or rig_refined_2.toml and so on: no file is overwritten."""
    path, number = rig.with_name("rig_refined.toml"), 2
    while path.exists():
        path, number = rig.with_name(f"rig_refined_{number}.toml"), number + 1
    return path
