"""The stage `calibrate`: pictures of the board of one session -> rig.toml, covariance.npz, report.json,
report.html, corners.npz.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from multipose.calibration import Calibration, calibrate, detect_board
from multipose.camera import Camera, CameraRig
from multipose.corners import Corners
from multipose.errors import ProjectError
from multipose.files import SCHEMA_VERSION, write_text
from multipose.pipeline.labels import load_labels
from multipose.pipeline.plan import calibration_product, project_board
from multipose.pipeline.provenance import Hashes, Product, making, read_records
from multipose.pipeline.sources import open_view
from multipose.pipeline.world import check_points, measure_scale, put_on_floor, put_on_points, see_floor
from multipose.progress import SILENT, Progress
from multipose.project import Project
from multipose.tracks import load_tracks
from multipose.view import calibration_page

_WORLD = ("origin", "up", "axes", "scale")


def calibrate_session(
    project: Project,
    session: str,
    hashes: Hashes,
    *,
    settings: Mapping[str, Any] | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Calibrate one session.

    Args:
        settings: lens, max_boards, bent_board, origin, up, axes, scale, intrinsics and offsets (by view) instead of
            those of the configuration, this once; None counts as not given.

    Returns:
        The report's values, with the session and the paths written.

    Raises:
        ProjectError: there is no such session, or it lacks pictures, a board or key points to measure by.
        CalibrationError: the boards do not determine the rig.
    """
    project.check_session(session, "asked for")
    given = {key: value for key, value in (settings or {}).items() if value is not None}
    if "offsets" in given:
        project.select_views(given["offsets"])
        given["offsets"] = {**project.config.calibration.offsets, session: given["offsets"]}
    product = calibration_product(project, session)
    given = {**_kept_world(product, given, progress), **given}
    project = _with_settings(project, given)
    product = replace(product, lacking=calibration_product(project, session).lacking)
    chosen = project.config.calibration
    if "up" in given and not chosen.origin:
        raise ProjectError("--up says which way the world of --origin SESSION:FRAME is turned; give that too.")
    folder = product.path.parent
    with making(product, hashes, given):
        check_points(project, chosen)
        floor = see_floor(project, session, chosen.origin, threads) if chosen.origin else None
        lenses = _fit_lenses(project, threads, progress) if chosen.intrinsics else None
        sources = {
            view: open_view(project, view, spec, session) for view, spec in project.board_sources(session).items()
        }
        corners = detect_board(
            sources,
            project_board(project),
            offsets=chosen.offsets.get(session),
            max_frames=chosen.max_boards,
            threads=threads,
            progress=progress,
        )
        corners.save(folder / "corners.npz")

        def solve(corners: Corners) -> Calibration:
            return calibrate(
                corners,
                lens=chosen.lens,
                intrinsics=lenses,
                same_camera={} if lenses else _same_cameras(project, sources),
                bent_board=chosen.bent_board,
                progress=progress,
            )

        calibration = solve(corners)
        if chosen.scale:
            factor = measure_scale(project, calibration.rig, chosen.scale, progress)
            calibration = solve(replace(corners, board=corners.board.scaled(factor)))
        if floor is not None:
            calibration = put_on_floor(calibration, *floor, chosen.up)
        elif chosen.axes:
            calibration = put_on_points(project, calibration, chosen.axes)
        tell_animal_in_folds(project, calibration, progress)
        report = calibration.report.to_dict()
        text = json.dumps({"schema_version": SCHEMA_VERSION, **report}, indent=1, ensure_ascii=False)
        write_text(folder / "report.json", text + "\n")
        calibration_page(calibration, subtitle=f"session {session}").save(folder / "report.html")
        calibration.rig_covariance.save(project.covariance_path(session))
        calibration.rig.save(product.path)
    return {
        "session": session,
        "world": calibration.world,
        **report,
        "rig": str(product.path),
        "page": str(folder / "report.html"),
    }


def tell_animal_in_folds(project: Project, calibration: Calibration, progress: Progress) -> None:
    """Say of each camera whose lens folds back in its picture how many labels and key points lie there."""
    for verdict in calibration.report.verdicts:
        if verdict.code != "folded":
            continue
        camera = calibration.rig[verdict.camera]
        found = []
        for what, px in _points_in(project, camera.name).items():
            lost = int(np.isnan(camera.lens.unproject(px)[1]).any(-1).sum())
            found.append(f"{lost} of {len(px)} {what}")
        if found:
            progress.note(f"{camera.name}: where its lens folds back lie {', '.join(found)}.")
        else:
            progress.note(
                f"{camera.name}: whether the animal goes where its lens folds back will be known when there are labels "
                "or key points; calibrate again then."
            )


def _points_in(project: Project, view: str) -> dict[str, np.ndarray]:
    """(n, 2) px of the animals in a view, by what they are."""
    table = load_labels(project).table
    points = {"labelled points": table.loc[table["view"] == view, ["x", "y"]].to_numpy(np.float64)}
    for recording in project.recordings:
        path = project.keypoints_path(recording.name)
        if path.is_file():
            keypoints = load_tracks(path)
            if view in keypoints["view"]:
                position = keypoints["position"].sel(view=view).values.reshape(-1, 2)
                points[f"key points of {recording.name}"] = position.astype(np.float64)
    known = {what: px[np.isfinite(px).all(-1)] for what, px in points.items()}
    return {what: px for what, px in known.items() if len(px)}


def _kept_world(product: Product, given: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """What the last run was told of the world on the command line and this one is not, where it is told a part of it:
    --scale after --axes changes the lengths and leaves the axes.
    """
    record = read_records(product.path.parent).get(product.path.name)
    last = {} if record is None else {key: record.overrides[key] for key in _WORLD if key in record.overrides}
    if not last:
        return {}
    placed = {"origin", "axes", "up"}
    dropped = placed if placed & set(given) else set()
    kept = {key: value for key, value in last.items() if key not in dropped | set(given)}
    if not set(given) & set(_WORLD):
        listed = ", ".join(f"--{key} {value}" for key, value in last.items())
        progress.note(
            f"The last run was given {listed}, this one is not: the world is that of multipose.toml. Write it there, "
            "or give it again."
        )
        return {}
    if kept:
        listed = ", ".join(f"--{key} {value}" for key, value in kept.items())
        progress.note(f"As in the last run: {listed}.")
    return kept


def _with_settings(project: Project, given: Mapping[str, Any]) -> Project:
    """The project with other settings of the calibration, this once."""
    settings = project.config.calibration
    if "origin" in given or "axes" in given:  # what is given takes the place of either
        settings = replace(settings, origin="", axes="")
    return replace(project, config=replace(project.config, calibration=replace(settings, **given)))


def _same_cameras(project: Project, views: Iterable[str]) -> dict[str, str]:
    """Views that are parts of the same camera's picture as another view."""
    leaders = {view: project.config.view_settings(view).same_camera_as for view in views}
    return {view: leader for view, leader in leaders.items() if leader}


def _fit_lenses(project: Project, threads: int | None, progress: Progress) -> CameraRig:
    """Cameras with the lenses of a session in which every view saw the board by itself; their poses mean nothing."""
    settings = project.config.calibration
    session = settings.intrinsics
    shown = project.board_sources(session)
    if not shown:
        raise ProjectError(f"Session {session!r}, from which the lenses are to come, has no pictures of the board.")
    cameras: list[Camera] = []
    for view, spec in shown.items():
        corners = detect_board(
            {view: open_view(project, view, spec, session)},
            project_board(project),
            max_frames=settings.max_boards,
            threads=threads,
            progress=progress,
        )
        alone = calibrate(corners, lens=settings.lens, progress=progress)
        progress.note(
            f"Lens of {view} from session {session}: {alone.report.cameras[view].lens}, "
            f"{alone.report.boards_used} boards, {alone.report.held_out_rms_px:.3f} px on boards left out"
        )
        for verdict in alone.report.verdicts:
            progress.note(f"! {verdict.text}")
        cameras += alone.rig.cameras
    return CameraRig(tuple(cameras), project_board(project).unit)
