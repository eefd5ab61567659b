"""Results in the formats of other tools."""

from __future__ import annotations

from pathlib import Path

from multipose.errors import ProjectError
from multipose.formats import find_function, formats_with
from multipose.pipeline.plan import open_hashes, tell_stale
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.tracks import load_tracks

_SUFFIXES = {"csv": ".csv", "movement": ".nc", "anipose": ".csv"}


def export_recording(
    project: Project,
    recording: Recording,
    kind: str,
    folder: Path,
    *,
    smoothed: bool = False,
    progress: Progress = SILENT,
) -> list[Path]:
    """Write what a recording has and a format can hold: 3D trajectories, 2D key points, or both.

    Args:
        kind: name of the format.
        folder: where the files go; their names begin with the recording's.
        smoothed: write the smoothed trajectories, and nothing else, instead of those of single frames.
        progress: is told of smoothed trajectories that are out of date.

    Returns:
        The paths written.

    Raises:
        ProjectError: the recording has nothing that the format can hold.
    """
    written: list[Path] = []
    trajectories, keypoints = project.trajectories_path(recording.name), project.keypoints_path(recording.name)
    if smoothed:
        trajectories = project.smooth_path(recording.name)
        tell_stale(project, "smooth", recording, open_hashes(project), progress)
    folder.mkdir(parents=True, exist_ok=True)
    if kind in formats_with("write_trajectories") and trajectories.exists():
        path = folder / f"{recording.name}_{kind}_3d{'_smooth' * smoothed}{_SUFFIXES[kind]}"
        written += find_function(kind, "write_trajectories")(load_tracks(trajectories, "trajectories3d"), path)
    if not smoothed and kind in formats_with("write_keypoints") and keypoints.exists():
        dataset = load_tracks(keypoints, "keypoints2d")
        write = find_function(kind, "write_keypoints")
        if kind == "deeplabcut":
            written += write(dataset, folder, name=recording.name)
        else:
            written += write(dataset, folder / f"{recording.name}_{kind}_2d{_SUFFIXES[kind]}")
    if not written:
        verbs = {
            "write_trajectories": "trajectories (multipose reconstruct)",
            "write_keypoints": "key points (multipose predict)",
        }
        if smoothed:
            verbs = {"write_trajectories": "smoothed trajectories (multipose reconstruct --smooth)"}
        needed = " or ".join(text for verb, text in verbs.items() if kind in formats_with(verb))
        if not needed:
            raise ProjectError(f"The format {kind} holds no trajectories.")
        raise ProjectError(f"Recording {recording.name!r} has no {needed} to write as {kind}.")
    return written
