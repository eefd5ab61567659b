"""The stage `calibrate`: pictures of the board of one session -> rig.toml, report.json, report.html, corners.npz."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from multipose.board import Corners
from multipose.calibration import calibrate, detect_board, locate_boards, world_on_board
from multipose.camera import Camera, CameraRig
from multipose.config import split_origin
from multipose.errors import CalibrationError, ProjectError
from multipose.files import SCHEMA_VERSION, write_text
from multipose.pipeline.plan import calibration_product, project_board
from multipose.pipeline.provenance import Hashes, making
from multipose.pipeline.sources import open_view
from multipose.progress import SILENT, Progress
from multipose.project import Project
from multipose.view import calibration_page


def calibrate_session(
    project: Project,
    session: str,
    hashes: Hashes,
    *,
    lens: str | None = None,
    max_boards: int | None = None,
    origin: str | None = None,
    up: str | None = None,
    intrinsics: str | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Calibrate one session.

    Args:
        lens, max_boards, origin, up, intrinsics: instead of those of the configuration, this once.

    Returns:
        The report's values, with the session and the paths written.

    Raises:
        ProjectError: there is no such session, or it lacks pictures or a board.
        CalibrationError: the boards do not determine the rig.
    """
    project.check_session(session, "asked for")
    product = calibration_product(project, session)
    overrides = {"lens": lens, "max_boards": max_boards, "origin": origin, "up": up, "intrinsics": intrinsics}
    settings = {**product.parameters, **{key: value for key, value in overrides.items() if value is not None}}
    if up is not None and not settings["origin"]:
        raise ProjectError("--up says which way the world of --origin SESSION:FRAME is turned; give that too.")
    folder = product.path.parent
    with making(product, hashes, overrides):
        floor = _see_floor(project, session, settings["origin"], threads) if settings["origin"] else None
        lenses = _fit_lenses(project, settings, threads, progress) if settings["intrinsics"] else None
        sources = {view: open_view(project, view, spec) for view, spec in project.board_sources(session).items()}
        corners = detect_board(
            sources, project_board(project), max_frames=settings["max_boards"], threads=threads, progress=progress
        )
        corners.save(folder / "corners.npz")
        calibration = calibrate(
            corners,
            lens=settings["lens"],
            intrinsics=lenses,
            same_camera={} if lenses else _same_cameras(project, sources),
            bent_board=settings["bent_board"],
            progress=progress,
        )
        if floor is not None:
            name, shown = floor
            world = world_on_board(locate_boards(calibration.rig, shown)[0], settings["up"])
            calibration = calibration.in_world(world, f"the board in {name}, {settings['up']} up")
        report = calibration.report.to_dict()
        text = json.dumps({"schema_version": SCHEMA_VERSION, **report}, indent=1, ensure_ascii=False)
        write_text(folder / "report.json", text + "\n")
        calibration_page(calibration, subtitle=f"session {session}").save(folder / "report.html")
        calibration.rig.save(product.path)
    return {"session": session, **report, "rig": str(product.path), "page": str(folder / "report.html")}


def _same_cameras(project: Project, views: Iterable[str]) -> dict[str, str]:
    """Views that are parts of the same camera's picture as another view."""
    leaders = {view: project.config.view_settings(view).same_camera_as for view in views}
    return {view: leader for view, leader in leaders.items() if leader}


def _see_floor(project: Project, session: str, origin: str, threads: int | None) -> tuple[str, Corners]:
    """What to call the board that one frame of a session shows, and its corners at this one instant."""
    named, frame = split_origin(origin)
    name = f"frame {frame} of session {named or session}"
    shown = project.board_sources(named or session)
    if not shown:
        raise ProjectError(f"Session {named!r}, on whose board the world is to lie, has no pictures of the board.")
    sources = {view: open_view(project, view, spec) for view, spec in shown.items()}
    known = np.unique(np.concatenate([source.frame_numbers for source in sources.values()]))
    if frame not in known:
        raise ProjectError(f"There is no {name}: its frames are {known.min()} to {known.max()}.")
    corners = detect_board(sources, project_board(project), frames=[frame], threads=threads)
    if not corners.seen.any():
        said = "; ".join(f"{view}: {reason}" for view, (reason,) in zip(corners.views, corners.reasons, strict=True))
        raise CalibrationError(f"No view shows the board in {name}, on which the world is to lie ({said}).")
    return name, corners


def _fit_lenses(project: Project, settings: Mapping[str, Any], threads: int | None, progress: Progress) -> CameraRig:
    """Cameras with the lenses of a session in which every view saw the board by itself; their poses mean nothing."""
    session = settings["intrinsics"]
    shown = project.board_sources(session)
    if not shown:
        raise ProjectError(f"Session {session!r}, from which the lenses are to come, has no pictures of the board.")
    cameras: list[Camera] = []
    for view, spec in shown.items():
        corners = detect_board(
            {view: open_view(project, view, spec)},
            project_board(project),
            max_frames=settings["max_boards"],
            threads=threads,
            progress=progress,
        )
        alone = calibrate(corners, lens=settings["lens"], progress=progress)
        progress.note(
            f"Lens of {view} from session {session}: {alone.report.cameras[view].lens}, "
            f"{alone.report.boards_used} boards, {alone.report.held_out_rms_px:.3f} px on boards left out"
        )
        for verdict in alone.report.verdicts:
            progress.note(f"! {verdict.text}")
        cameras += alone.rig.cameras
    return CameraRig(tuple(cameras), project_board(project).unit)
