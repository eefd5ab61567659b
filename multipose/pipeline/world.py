"""Where the world of a calibration lies and how large it is: by a board on the floor, or by key points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from multipose.calibration import Calibration, detect_board, locate_boards, world_on_board, world_on_points
from multipose.camera import CameraRig
from multipose.config import CalibrationConfig, Up, split_axes, split_origin, split_scale
from multipose.corners import Corners
from multipose.errors import CalibrationError, ProjectError, did_you_mean
from multipose.pipeline.plan import project_board
from multipose.pipeline.sources import open_view
from multipose.progress import SILENT, Progress
from multipose.project import Project
from multipose.tracks import load_tracks
from multipose.triangulate import reconstruct

_MOVES = 0.05  # share of the points' distance that a point that stands still may move


def see_floor(project: Project, session: str, origin: str, threads: int | None) -> tuple[str, Corners]:
    """What to call the board that one frame of a session shows, and its corners at this one instant.

    Raises:
        ProjectError: the session has no pictures of the board, or no such frame.
        CalibrationError: no view shows the board there.
    """
    named, frame = split_origin(origin)
    name = f"frame {frame} of session {named or session}"
    shown = project.board_sources(named or session)
    if not shown:
        raise ProjectError(f"Session {named!r}, on whose board the world is to lie, has no pictures of the board.")
    sources = {view: open_view(project, view, spec, named or session) for view, spec in shown.items()}
    offsets = project.config.calibration.offsets.get(named or session, {})
    numbers = [source.frame_numbers - offsets.get(view, 0) for view, source in sources.items()]
    known = np.unique(np.concatenate(numbers))
    if frame not in known:
        raise ProjectError(f"There is no {name}: its frames are {known.min()} to {known.max()}.")
    corners = detect_board(sources, project_board(project), frames=[frame], offsets=offsets, threads=threads)
    if not corners.seen.any():
        said = "; ".join(f"{view}: {reason}" for view, (reason,) in zip(corners.views, corners.reasons, strict=True))
        raise CalibrationError(f"No view shows the board in {name}, on which the world is to lie ({said}).")
    return name, corners


def put_on_floor(calibration: Calibration, name: str, shown: Corners, up: Up) -> Calibration:
    """The calibration with its world on a board that was seen on the floor."""
    world = world_on_board(locate_boards(calibration.rig, shown)[0], up)
    return calibration.in_world(world, f"the board in {name}, {up} up")


def put_on_points(project: Project, calibration: Calibration, axes: str) -> Calibration:
    """The calibration with its world on three key points of a recording.

    Raises:
        ProjectError, CalibrationError: the points are not there, do not stand still, or lie on one line.
    """
    recording, names = split_axes(axes)
    tracks = _points(project, calibration.rig, recording, names)
    places = np.nanmedian(tracks, axis=0)
    size = float(np.linalg.norm(places[1] - places[0]))
    for name, place, track in zip(names, places, np.swapaxes(tracks, 0, 1), strict=True):
        moves = float(np.nanmedian(np.linalg.norm(track - place, axis=-1)))
        if moves > _MOVES * size:
            raise CalibrationError(
                f"{name} moves in recording {recording}, by {moves:.3g} {calibration.rig.unit} (median) about its "
                "middle. The world's axes need points that stand still."
            )
    return calibration.in_world(world_on_points(places), f"key points {', '.join(names)} of recording {recording}")


def measure_scale(project: Project, rig: CameraRig, scale: str, progress: Progress = SILENT) -> float:
    """By what the lengths of a rig must be multiplied for two key points to have their known distance.

    Raises:
        ProjectError, CalibrationError: the points are not there.
    """
    recording, names, length = split_scale(scale)
    tracks = _points(project, rig, recording, names)
    found = float(np.nanmedian(np.linalg.norm(tracks[:, 1] - tracks[:, 0], axis=-1)))
    progress.note(
        f"{names[0]} and {names[1]} are {found:.5g} {rig.unit} apart by the board's squares (median of {len(tracks)} "
        f"instants), {length:g} {rig.unit} by what was said: all lengths are multiplied by {length / found:.5g}."
    )
    return length / found


def check_points(project: Project, settings: CalibrationConfig) -> None:
    """Check that the key points by which the world is to be measured are there.

    Raises:
        ProjectError: there is no such recording, or it has no key point of a name; the message names the nearest.
    """
    if settings.axes:
        _keypoints(project, *split_axes(settings.axes))
    if settings.scale:
        _keypoints(project, *split_scale(settings.scale)[:2])


def _keypoints(project: Project, recording: str, names: Sequence[str]) -> xr.Dataset:
    """2D key points of these names, of the first individual."""
    keypoints = load_tracks(project.keypoints_path(project.recording(recording).name), "keypoints2d")
    known = [str(name) for name in keypoints["keypoint"].values]
    for name in names:
        if name not in known:
            raise ProjectError(
                f"Recording {recording!r} has no key point {name!r}; it has {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )
    return keypoints.sel(keypoint=list(names)).isel(individual=[0])


def _points(project: Project, rig: CameraRig, recording: str, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """(time, name, 3) of the instants at which all of the named points could be reconstructed."""
    chosen = _keypoints(project, recording, names)
    settings = project.config.reconstruction
    tracks = reconstruct(chosen, rig, method="robust", min_confidence=settings.min_confidence)
    position = np.asarray(tracks["position"].transpose("time", "individual", "keypoint", "space").values)[:, 0]
    together = np.isfinite(position).all((1, 2))
    if not together.any():
        raise CalibrationError(
            f"{', '.join(names)} could not be reconstructed together at any instant of recording {recording}: two "
            "views or more must see each of them."
        )
    return np.asarray(position[together], dtype=np.float64)
