"""The stage `smooth`: trajectories3d.nc, keypoints2d.nc and rig.toml -> trajectories3d_smooth.nc, .csv,
player_smooth.html.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from multipose.camera import CameraRig
from multipose.formats.table import write_trajectories
from multipose.pipeline.plan import smooth_product
from multipose.pipeline.provenance import Hashes, making
from multipose.pipeline.reconstruction import load_rig, player_page
from multipose.pipeline.sources import load_keypoints
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.tracks import load_tracks, save_tracks
from multipose.triangulate import estimate_offsets, remove_offsets, smooth
from multipose.triangulate.motion import LAGS


def smooth_recording(
    project: Project,
    recording: Recording,
    hashes: Hashes,
    *,
    settings: dict[str, Any] | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Smooth the trajectories of a recording over time.

    Args:
        settings: max_gap instead of the configuration's, this once.

    Returns:
        points, bridged_points (which fewer than two views support), median_sd (of a coordinate), unit, held_out_ratio
        (by key point: distance of views held out from what the trajectory foretells, over that from what the other
        views say frame by frame; None where it is not known), noise_autocorrelation (frames apart: value), limbs (name:
        length, sd), trajectories, player.

    Raises:
        ProjectError: the trajectories, the 2D key points or the rig are missing.
    """
    product = smooth_product(project, recording)
    config = project.config.smoothing
    with making(product, hashes, settings, progress):
        max_gap = (settings or {}).get("max_gap")
        smoothed, rig = _smooth(project, recording, config.max_gap if max_gap is None else max_gap, threads, progress)
        page = product.path.with_name("player_smooth.html")
        player_page(f"{recording.name}, smoothed", smoothed, rig, project.config.skeleton).save(page)
        write_trajectories(smoothed, product.path.with_suffix(".csv"))
        save_tracks(smoothed, product.path)
    return {**describe_smoothed(smoothed), "trajectories": str(product.path), "player": str(page)}


def _smooth(
    project: Project, recording: Recording, max_gap: int | None, threads: int | None, progress: Progress
) -> tuple[xr.Dataset, CameraRig]:
    """The smoothed trajectories and the cameras; what they were made from leaves the memory before they are written."""
    config = project.config.smoothing
    tracks = load_tracks(smooth_product(project, recording).inputs["the trajectories"], "trajectories3d")
    keypoints = load_keypoints(project, recording)
    rig = load_rig(project, recording, keypoints)
    if tracks.attrs.get("offsets_removed"):
        offsets = estimate_offsets(keypoints, rig, min_confidence=tracks.attrs["min_confidence"], threads=threads)
        keypoints = remove_offsets(keypoints, offsets)
    smoothed = smooth(
        tracks,
        keypoints,
        rig,
        limbs=project.config.skeleton.edges if config.limbs is None else config.limbs,
        limb_lengths=config.lengths,
        joint_limits=config.limits,
        prior=config.prior,
        max_gap=max_gap,
        threads=threads,
        progress=progress,
    )
    kept = {name: tracks.attrs[name] for name in ("recording", "offsets", "offsets_removed")}
    return smoothed.assign_attrs(kept), rig


def held_out_ratio(smoothed: xr.Dataset) -> dict[str, float | None]:
    """By key point, for all individuals: `held_out_ratio` of `smooth`, the largest; None where it is not known."""
    ratios = smoothed["held_out_ratio"].transpose("keypoint", "individual").values
    known = np.isfinite(ratios)
    largest = np.where(known, ratios, -np.inf).max(axis=1)
    return {
        str(name): float(value) if np.isfinite(value) else None
        for name, value in zip(smoothed["keypoint"].values, largest, strict=True)
    }


def describe_smoothed(smoothed: xr.Dataset) -> dict[str, Any]:
    """The figures of smoothed trajectories that a user asks for first."""
    known = np.isfinite(smoothed["position"].values).all(axis=-1)
    variance = np.diagonal(smoothed["covariance"].values, axis1=-2, axis2=-1).sum(axis=-1)[known] / 3
    limbs = {}
    if "limb_keypoints" in smoothed:
        lengths, deviations = (smoothed[name].values for name in ("limb_length", "limb_sd"))
        for place, ends in enumerate(smoothed["limb_keypoints"].values.tolist()):
            seen = np.flatnonzero(np.isfinite(lengths[:, place]))
            if len(seen):
                limbs["-".join(ends)] = {
                    "length": float(lengths[seen, place].mean()),
                    "sd": float(deviations[seen, place].mean()),
                }
    return {
        "points": int(known.sum()),
        "bridged_points": int((known & (smoothed["gap"].values > 0)).sum()),
        "median_sd": float(np.sqrt(np.median(variance))) if known.any() else float("nan"),
        "unit": smoothed.attrs["unit"],
        "held_out_ratio": held_out_ratio(smoothed),
        "noise_autocorrelation": {str(lag): smoothed.attrs[f"noise_autocorrelation_{lag}"] for lag in LAGS},
        "limbs": limbs,
    }
