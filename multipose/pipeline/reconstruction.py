"""The stages `reconstruct` and `view player`: keypoints2d.nc and rig.toml -> trajectories3d.nc, .csv, diagnostics.html,
player.html.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from multipose.camera import CameraRig
from multipose.errors import DataError, ProjectError
from multipose.formats.table import write_trajectories
from multipose.pipeline.held_out import measure_errors
from multipose.pipeline.plan import player_product, tell_stale, trajectories_product
from multipose.pipeline.provenance import Hashes, making
from multipose.pipeline.sources import load_keypoints, open_rig, open_view
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.skeleton import Skeleton
from multipose.tracks import load_tracks, save_tracks
from multipose.triangulate import (
    STATES,
    RigCovariance,
    better_confidence,
    diagnose,
    estimate_offsets,
    reconstruct,
    remove_offsets,
)
from multipose.view import Page, Section, diagnostics_page, reprojection_errors, trajectories

LARGE_OFFSET_PX = 3.0
"""A constant offset above this is worth a warning: the views' labels of that key point mean different points."""


def reconstruct_recording(
    project: Project,
    recording: Recording,
    hashes: Hashes,
    *,
    settings: dict[str, Any] | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Reconstruct the 3D trajectories of a recording.

    Args:
        settings: method, min_confidence, max_error_px, min_views, shared_error, remove_offsets instead of the
            configuration's, this once.

    Returns:
        points, reconstructed_fraction (of the points that at least min_views views saw), keypoints_without_3d,
        low_confidence (by view and key point the number of 2D points below min_confidence), better_confidence (the
        threshold that leaving one view out chooses, as `BetterConfidence`, or None), median_reprojection_px,
        leave_one_out_px by view, offsets_px by view and key point, shared_error (`typical_shared_error`) and
        shared_error_source as of `reconstruct`, held_out_errors (as of `ErrorCalibration.to_dict`, or None), unit,
        diagnostics (as `Diagnostics.to_dict`), paths.

    Raises:
        ProjectError: the 2D key points or the rig are missing.
    """
    product = trajectories_product(project, recording)
    tell_stale(project, "predict", recording, hashes, progress)
    with making(product, hashes, settings, progress):
        chosen = {**product.parameters, **{k: v for k, v in (settings or {}).items() if v is not None}}
        takes_off = bool(chosen.pop("remove_offsets"))
        keypoints = load_keypoints(project, recording)
        rig = load_rig(project, recording, keypoints)
        offsets = estimate_offsets(keypoints, rig, min_confidence=chosen["min_confidence"], threads=threads)
        if takes_off:
            keypoints = remove_offsets(keypoints, offsets)
        errors = None
        if chosen["shared_error"] is None:
            errors = measure_errors(project, recording, rig, min_confidence=chosen["min_confidence"], progress=progress)
        tracks = reconstruct(keypoints, rig, errors=errors, threads=threads, progress=progress, **chosen)
        if not np.isfinite(tracks["position"].values).any():
            raise ProjectError(
                f"Recording {recording.name!r}: no point has 3D with min_views = {chosen['min_views']}, min_confidence "
                f"= {chosen['min_confidence']:g}, max_error_px = {chosen['max_error_px'] or 'learned from the data'}. "
                f"Nothing was written{', and what there is stays' * product.path.exists()}. Change these in "
                "[reconstruction] of multipose.toml, or see whether the rig fits: `multipose calibrate --check`."
            )
        tracks.attrs |= {
            "recording": recording.name,
            "offsets": "constant offsets of each key point and view were estimated on these data and taken off"
            if takes_off
            else "none taken off",
            "offsets_removed": int(takes_off),
        }
        better = better_confidence(keypoints, rig, chosen["min_confidence"], threads)
        error = load_rig_covariance(project, recording, rig, progress)
        found = diagnose(keypoints, tracks, rig, project.config.skeleton, calibration=error, threads=threads)
        page = project.diagnostics_path(recording.name)
        diagnostics_page(found, errors, subtitle=f"recording {recording.name}").save(page)
        write_trajectories(tracks, product.path.with_suffix(".csv"))
        save_tracks(tracks, product.path)
    return {
        **count_points(keypoints, tracks, chosen["min_confidence"], chosen["min_views"]),
        "keypoints_without_3d": keypoints_without_3d(keypoints, tracks, chosen["min_confidence"], chosen["min_views"]),
        "low_confidence": count_low(keypoints, chosen["min_confidence"]),
        "better_confidence": None if better is None else asdict(better),
        "median_reprojection_px": _median(tracks["reprojection_error"].values),
        "leave_one_out_px": found.leave_one_out_px,
        "offsets_px": offsets_table(offsets),
        "offsets_removed": takes_off,
        "shared_error": tracks.attrs["typical_shared_error"],
        "shared_error_source": tracks.attrs["shared_error_source"],
        "held_out_errors": None if errors is None else errors.to_dict(),
        "unit": rig.unit,
        "diagnostics": found.to_dict(),
        "diagnostics_page": str(page),
        "trajectories": str(product.path),
    }


def load_rig(project: Project, recording: Recording, keypoints: xr.Dataset) -> CameraRig:
    """The cameras of the views of key points.

    Raises:
        ProjectError: the rig lacks a view, or was calibrated in pictures of another size than the recording's.
    """
    session = project.session_of(recording)
    rig = open_rig(project, session)
    views = [str(view) for view in keypoints["view"].values]
    missing = [view for view in views if view not in rig.names]
    if missing:
        raise ProjectError(
            f"The rig of session {session!r} has no camera {', '.join(missing)}; it has {', '.join(rig.names)}. "
            "Cameras and views must have the same names."
        )
    for view in views:
        if view in recording.videos and project.path(recording.videos[view]).exists():
            size = open_view(project, view, str(project.path(recording.videos[view]))).size
            if size != rig[view].size:
                here, there = ("{} x {} px".format(*pair) for pair in (size, rig[view].size))
                raise ProjectError(
                    f"View {view} has pictures of {here} in recording {recording.name!r}, but session {session!r} "
                    f"calibrated it with {there}. Say crop, scale or quarter_turns in [view.{view}] or "
                    f"[calibration.views.{session}.{view}], so that both are the same."
                )
    return rig.subset(views)


def load_rig_covariance(
    project: Project, recording: Recording, rig: CameraRig, progress: Progress = SILENT
) -> RigCovariance | None:
    """The uncertainty of a recording's rig; none, and a note why, for a rig that this project did not calibrate."""
    path = project.covariance_path(project.session_of(recording))
    if not path.exists():
        progress.note(f"{path} does not exist: the rig counts as exact. `multipose calibrate` writes it.")
        return None
    try:
        return RigCovariance.load(path, rig)
    except DataError as error:
        progress.note(f"The rig counts as exact: {error}")
        return None


def count_points(keypoints: xr.Dataset, tracks: xr.Dataset, min_confidence: float, min_views: int) -> dict[str, Any]:
    """How many points there are in 3D, and their share of those that enough views saw."""
    confidence = keypoints["confidence"].fillna(1.0).values  # set by hand: certain
    known = np.isfinite(keypoints["position"].values).all(-1) & (confidence >= min_confidence)
    possible = known.sum(0) >= min_views
    there = np.isfinite(tracks["position"].values).all(-1)
    fraction = float((there & possible).sum() / possible.sum()) if possible.any() else float("nan")
    return {"points": int(there.sum()), "reconstructed_fraction": fraction}


def count_low(keypoints: xr.Dataset, min_confidence: float) -> dict[str, dict[str, int]]:
    """By view and key point, the number of known 2D points whose confidence is too low; key points without any left
    out."""
    known = np.isfinite(keypoints["position"].values).all(-1)
    low = (known & (keypoints["confidence"].fillna(1.0).values < min_confidence)).sum(axis=(1, 2))
    names = [str(name) for name in keypoints["keypoint"].values]
    return {
        str(view): {name: int(count) for name, count in zip(names, row, strict=True) if count}
        for view, row in zip(keypoints["view"].values, low, strict=True)
    }


def keypoints_without_3d(
    keypoints: xr.Dataset, tracks: xr.Dataset, min_confidence: float, min_views: int
) -> dict[str, dict[str, Any]]:
    """The key points of which most points that enough views saw have no position, and the usual reason.

    Returns:
        By key point `points` (that have a position), `possible` (that enough views saw) and `state` of most others, as
        of `reconstruct`.
    """
    confidence = keypoints["confidence"].fillna(1.0).values
    known = np.isfinite(keypoints["position"].values).all(-1) & (confidence >= min_confidence)
    possible = known.sum(0) >= min_views
    there = np.isfinite(tracks["position"].values).all(-1)
    found = {}
    for place, name in enumerate(tracks["keypoint"].values):
        lost = possible[..., place] & ~there[..., place]
        total = int(possible[..., place].sum())
        if 2 * lost.sum() > total:
            states = np.bincount(tracks["state"].values[..., place][lost], minlength=len(STATES))
            found[str(name)] = {"points": total - int(lost.sum()), "possible": total, "state": STATES[states.argmax()]}
    return found


def offsets_table(offsets: xr.Dataset) -> dict[str, dict[str, list[float]]]:
    """Constant offset [dx, dy] px of each view and key point."""
    return {
        str(view): {
            str(keypoint): [float(value) for value in offsets["offset"].sel(view=view, keypoint=keypoint).values]
            for keypoint in offsets["keypoint"].values
        }
        for view in offsets["view"].values
    }


def large_offsets(table: dict[str, dict[str, list[float]]]) -> list[tuple[str, str, float]]:
    """(view, key point, length px) of the offsets that are worth a warning, longest first."""
    lengths = [(view, name, math.hypot(*offset)) for view, rows in table.items() for name, offset in rows.items()]
    return sorted((row for row in lengths if row[2] > LARGE_OFFSET_PX), key=lambda row: -row[2])


def make_player(
    project: Project, recording: Recording, hashes: Hashes, *, progress: Progress = SILENT
) -> dict[str, Any]:
    """Write the page with the 3D player and the errors of a recording."""
    product = player_product(project, recording)
    with making(product, hashes, progress=progress):
        progress.note(f"{recording.name}: writing {product.path.name}")
        tracks = load_tracks(product.inputs["the trajectories"], "trajectories3d")
        rig = open_rig(project, project.session_of(recording))
        player_page(recording.name, tracks, rig, project.config.skeleton).save(product.path)
    return {"player": str(product.path)}


def player_page(name: str, tracks: xr.Dataset, rig: CameraRig, skeleton: Skeleton) -> Page:
    """The 3D player of trajectories, with their reprojection errors."""
    sections = [Section("", (trajectories(tracks, rig, skeleton),))]
    if np.isfinite(tracks["reprojection_error"].values).any():
        sections.append(Section("Reprojection error", (reprojection_errors(tracks),)))
    return Page(name, tuple(sections), subtitle=f"lengths in {tracks.attrs['unit']}", wide=True)


def _median(values: Any) -> float:
    finite = np.asarray(values)[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")
