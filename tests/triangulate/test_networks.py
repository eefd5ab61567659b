"""Error bars and smoothing on what networks found in the sample project's day2, which they never saw.

networks/labels_N.nc are the 2D points of networks that learned from N labelled frames of each view,
labels_N_held_out_found.nc and ..._labelled.nc their points and the labels at times that they did not learn from,
rig.toml the rig as calibrated; the truth is the sample project's. `python benchmarks/coverage_networks.py` makes such
networks anew.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from multipose.camera import CameraRig
from multipose.synthetic import SKELETON
from multipose.tracks import load_tracks
from multipose.triangulate import (
    HeldOut,
    calibrate_errors,
    compare_rigs,
    position_errors,
    reconstruct,
    region_hits,
    smooth,
)

STORED = Path(__file__).parent / "networks"
MIN_CONFIDENCE = 0.85


@pytest.fixture(scope="module", params=[120, 20])
def judged(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Errors (time, individual, keypoint) and hits (level, ...) of robust and smoothed trajectories."""
    keypoints, rig = load_tracks(STORED / f"labels_{request.param}.nc"), CameraRig.load(STORED / "rig.toml")
    with as_file(files("multipose.sample_data") / "truth") as truth:
        true = load_tracks(truth / "day2_trajectories3d.nc")
        to_truth = compare_rigs(rig, CameraRig.load(truth / "rig.toml")).true_from_estimated
    found, labelled = (
        load_tracks(STORED / f"labels_{request.param}_held_out_{name}.nc") for name in ("found", "labelled")
    )
    errors = calibrate_errors([HeldOut(found, labelled, rig)], min_confidence=MIN_CONFIDENCE)
    robust = reconstruct(keypoints, rig, min_confidence=MIN_CONFIDENCE, errors=errors)
    unlabelled = reconstruct(keypoints, rig, min_confidence=MIN_CONFIDENCE)
    smoothed = smooth(robust, keypoints, rig, limbs=SKELETON.edges)

    def judge(tracks: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
        return position_errors(tracks, true, to_truth).values, region_hits(tracks, true, to_truth).values

    return {
        "robust": judge(robust),
        "smoothed": judge(smoothed),
        "unlabelled": judge(unlabelled),
        "tracks": (robust, smoothed),
    }


@pytest.mark.parametrize("kind", ["robust", "smoothed"])
def test_stated_regions_hold_networks_errors(judged: dict[str, Any], kind: str) -> None:
    known = np.isfinite(judged["robust"][0])
    half, most = judged[kind][1][:, known]
    assert 0.91 <= np.nanmean(most) <= 0.99
    assert 0.42 <= np.nanmean(half) <= 0.58
    by_keypoint = np.nanmean(np.where(known, judged[kind][1][1], np.nan), axis=(0, 1))
    assert by_keypoint.min() > 0.8


def test_without_held_out_labels_regions_are_not_too_small(judged: dict[str, Any]) -> None:
    """The networks' own covariances, calibrated on labels of single views, are a floor then."""
    half, most = (np.nanmean(hit) for hit in judged["unlabelled"][1])
    assert most >= 0.93
    assert 0.45 <= half <= 0.85


def test_smoothing_helps(judged: dict[str, Any]) -> None:
    known = np.isfinite(judged["robust"][0])
    single, smoothed = (np.where(known, judged[kind][0], np.nan) for kind in ("robust", "smoothed"))
    assert np.nanmedian(smoothed) < 0.97 * np.nanmedian(single)
    assert np.nanquantile(smoothed, 0.95) < np.nanquantile(single, 0.95)
    each = np.nanmedian(smoothed, axis=(0, 1)) / np.nanmedian(single, axis=(0, 1))
    assert each.max() < 1.1


def test_trajectories_say_what_views_share_and_how_far_regions_reach(judged: dict[str, Any]) -> None:
    for tracks in judged["tracks"]:
        assert tracks.attrs["shared_error_source"] == "labels"
        assert tracks["shared_error"].dims == ("keypoint",)
        assert tracks["shared_error"].values.min() >= 0.2
        assert tracks["region_scale"].dims == ("keypoint", "level")
        assert (tracks["region_scale"].sel(level=0.5) <= 1).all()
        assert (tracks["region_scale"].sel(level=0.95) >= 1).all()
