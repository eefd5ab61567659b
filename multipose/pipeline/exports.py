"""Results in the formats of other tools."""

from __future__ import annotations

from pathlib import Path

from multipose.errors import ProjectError
from multipose.formats import find_function, formats_with
from multipose.project import Project, Recording
from multipose.tracks import load_tracks

_SUFFIXES = {"csv": ".csv", "movement": ".nc", "anipose": ".csv"}


def export_recording(project: Project, recording: Recording, kind: str, folder: Path) -> list[Path]:
    """Write what a recording has and a format can hold: 3D trajectories, 2D key points, or both.

    Args:
        kind: name of the format.
        folder: where the files go; their names begin with the recording's.

    Returns:
        The paths written.

    Raises:
        ProjectError: the recording has nothing that the format can hold.
    """
    written: list[Path] = []
    trajectories, keypoints = project.trajectories_path(recording.name), project.keypoints_path(recording.name)
    folder.mkdir(parents=True, exist_ok=True)
    if kind in formats_with("write_trajectories") and trajectories.exists():
        path = folder / f"{recording.name}_{kind}_3d{_SUFFIXES[kind]}"
        written += find_function(kind, "write_trajectories")(load_tracks(trajectories), path)
    if kind in formats_with("write_keypoints") and keypoints.exists():
        dataset = load_tracks(keypoints)
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
        needed = " or ".join(text for verb, text in verbs.items() if kind in formats_with(verb))
        raise ProjectError(f"Recording {recording.name!r} has no {needed} to write as {kind}.")
    return written
