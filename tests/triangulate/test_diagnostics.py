"""What a recording says of its own errors: coverage, the view that disagrees, exchanged sides, limbs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from multipose.board import CharucoBoard
from multipose.calibration import calibrate
from multipose.errors import DataError
from multipose.skeleton import Skeleton
from multipose.synthetic import KEYPOINTS, SKELETON, board_corners, board_poses, observe, sample_rig, walk
from multipose.tracks import keypoints2d
from multipose.triangulate import diagnose, diagnostics, leave_one_out, reconstruct

PAIR = SKELETON.pairs[0]


def recording(n_views=6, n=80, noise=0.5, seed=1, **disturbed):
    rig = sample_rig(n_views)
    return rig, observe(rig, walk(n, seed=seed).points, noise=noise, seed=seed, keypoints=KEYPOINTS, **disturbed)


def exchange(keypoints, view, start, stop, pair=PAIR):
    """The key points with a pair exchanged in one view from start to stop (not included)."""
    order = list(KEYPOINTS)
    i, j = order.index(pair[0]), order.index(pair[1])
    result = keypoints.copy(deep=True)
    values = result["position"].values[view, start:stop]
    values[..., [i, j], :] = values[..., [j, i], :]
    return result


def assert_as_predicted(views) -> None:
    """Every view's points are as far off as predicted, within four standard deviations of what so many points show.

    That is sqrt(p (1 - p) / n) of a share p, and of a median 1 / (2 f sqrt(n)), where the density f of distances of two
    coordinates, in units of their median, is ln 2 = 0.69.
    """
    n = views["points"].values
    np.testing.assert_array_less(np.abs(views["within_95"].values - 0.95), 4 * np.sqrt(0.95 * 0.05 / n))
    np.testing.assert_array_less(np.abs(views["normalised"].values - 1.0), 4 * 0.72 / np.sqrt(n))


def test_honest_noise_is_covered() -> None:
    rig, keypoints = recording(4, missing=0.1)
    tracks = reconstruct(keypoints, rig)
    found = diagnose(keypoints, tracks, rig, SKELETON)
    assert set(found.views.index) == set(rig.names)
    assert_as_predicted(found.views)
    assert found.views["most_off"].max() < 0.01
    assert found.views["left_out"].max() < 0.01
    assert found.swaps == ()
    assert found.pairs == SKELETON.pairs
    for view, median in leave_one_out(keypoints, rig).items():
        assert found.leave_one_out_px[view] == pytest.approx(median, rel=0.02)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["views"][0].keys() >= {"view", "points", "median_px", "within_95"}
    assert values["limbs"][0].keys() >= {"from", "to", "median", "cv"}


def test_the_view_that_disagrees_comes_first() -> None:
    rig, keypoints = recording(4)
    rng = np.random.default_rng(0)
    keypoints["position"][2] += rng.normal(0, 6, keypoints["position"][2].shape)
    tracks = reconstruct(keypoints, rig)
    found = diagnose(keypoints, tracks, rig, SKELETON)
    assert found.views.index[0] == "cam_2"
    assert found.views["most_off"].iloc[0] > 5 * found.views["most_off"].iloc[1]
    assert found.views["noise_px"]["cam_2"] > 4 * found.views["noise_px"].drop("cam_2").max()
    tracks["variance_factor"] = tracks["variance_factor"] * 0 + 1.0  # as if all views were as good as they say
    said = diagnose(keypoints, tracks, rig, SKELETON)
    assert said.views.index[0] == "cam_2"
    assert said.views["within_95"]["cam_2"] < 0.3
    assert float(said.keypoints["normalised"].sel(view="cam_2").median()) > 3


def test_swaps_in_two_of_six_views_are_found_exactly() -> None:
    rig, keypoints = recording(missing=0.03, outliers=0.02)
    assert diagnose(keypoints, reconstruct(keypoints, rig), rig, SKELETON).swaps == ()
    swapped = exchange(exchange(keypoints, 1, 20, 50), 4, 35, 65)
    swaps = diagnose(swapped, reconstruct(swapped, rig), rig, SKELETON).swaps
    assert [(swap.view, swap.pair) for swap in swaps] == [("cam_1", PAIR), ("cam_4", PAIR)]
    for swap, (start, stop) in zip(swaps, ((20, 50), (35, 65)), strict=True):
        ((first, last),) = swap.frames
        # One frame in ten lacks a point of the pair or holds a gross error: four in a row at an end are one case in
        # 10,000, and of 30 frames 27 are left, with a standard deviation of 1.6; 20 are four less.
        assert start <= first <= start + 3
        assert stop - 4 <= last < stop
        assert swap.n_frames >= 20
    clean = recording()[1]
    swapped = exchange(exchange(clean, 1, 20, 50), 4, 35, 65)
    swaps = diagnose(swapped, reconstruct(swapped, rig), rig, SKELETON).swaps
    assert [(swap.view, swap.frames) for swap in swaps] == [("cam_1", ((20, 49),)), ("cam_4", ((35, 64),))]


def test_of_long_recordings_all_key_points_are_looked_at(monkeypatch) -> None:
    monkeypatch.setattr(diagnostics, "_MOST_POINTS", 3 * len(KEYPOINTS))
    rig, keypoints = recording(4)
    found = diagnose(keypoints, reconstruct(keypoints, rig), rig)
    assert np.isfinite(found.keypoints["within_95"]).all()
    assert found.views["points"].min() > 900  # the medians in px are of all points


def test_limbs_are_measured_from_the_trajectories() -> None:
    rig = sample_rig(4)
    rng = np.random.default_rng(0)
    start = rng.uniform(-30, 30, (500, 3))
    direction = rng.normal(0, 1, (500, 3))
    lengths = rng.normal(20, 1, 500)
    end = start + lengths[:, None] * direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    keypoints = observe(rig, np.stack([start, end], axis=1), noise=0.01, keypoints=["hip", "knee"])
    skeleton = Skeleton(("hip", "knee"), edges=(("hip", "knee"),))
    found = diagnose(keypoints, reconstruct(keypoints, rig), rig, skeleton)
    limb = found.limbs.iloc[0]
    assert (limb["from"], limb["to"]) == ("hip", "knee")
    assert limb["median"] == pytest.approx(20, abs=0.2)
    assert limb["cv"] == pytest.approx(0.05, rel=0.15)
    assert found.lengths.shape == (1, 500)


def test_two_views_cannot_judge_each_other() -> None:
    rig, keypoints = recording(2)
    found = diagnose(keypoints, reconstruct(keypoints, rig), rig, SKELETON)
    assert found.views["median_px"].isna().all()
    assert found.pairs == found.swaps == ()
    assert found.limbs["points"].min() > 50


def test_trajectories_of_another_recording_are_refused() -> None:
    rig, keypoints = recording(3, n=20)
    with pytest.raises(DataError, match="Take the key points that the trajectories were made from"):
        diagnose(keypoints, reconstruct(keypoints, rig).isel(time=slice(10)), rig)


@pytest.mark.slow
def test_the_calibrations_error_is_part_of_what_is_predicted() -> None:
    """With a rig from few boards views disagree by more than the noise; its covariance says by how much."""
    board = CharucoBoard(columns=7, rows=5, square=20.0, marker=15.0)
    within = {"with": [], "without": []}
    for seed in range(12):
        truth = sample_rig(4, seed=seed)
        corners = board_corners(truth, board, board_poses(truth, board, 10, seed=seed, steps=1), noise=0.4, seed=seed)
        calibration = calibrate(corners, lens="k1")
        rng = np.random.default_rng(seed)
        xyz = rng.uniform([-60, -60, 0], [60, 60, 60], (100, 3, 3))
        px = truth.project(xyz)[:, :, None] + rng.normal(0, 0.1, (4, 100, 1, 3, 2))
        keypoints = keypoints2d(px, covariance=np.broadcast_to(0.01 * np.eye(2), (*px.shape, 2)), views=truth.names)
        tracks = reconstruct(keypoints, calibration.rig, max_error_px=10.0)
        tracks["variance_factor"] = tracks["variance_factor"] * 0 + 1.0  # the noise is as it is stated
        for way, share in (("with", calibration.rig_covariance), ("without", None)):
            found = diagnose(keypoints, tracks, calibration.rig, calibration=share)
            within[way].append(found.views["within_95"].mean())
    assert 0.90 < np.mean(within["with"]) < 0.98
    assert np.mean(within["without"]) < 0.85


def test_factors_of_the_trajectories_scale_the_noise() -> None:
    """Noise three times larger than stated in one view is as predicted once the trajectories say so."""
    rig, keypoints = recording(4)
    keypoints["covariance"] = keypoints["covariance"] * xr.where(keypoints["view"] == "cam_1", 1 / 9, 1.0)
    keypoints["covariance"] = keypoints["covariance"].transpose(*keypoints["position"].dims, "space_")
    tracks = reconstruct(keypoints, rig, max_error_px=20.0)
    stated = diagnose(keypoints, tracks.drop_vars("variance_factor", errors="ignore"), rig)
    factor = xr.DataArray(
        np.where(np.array(rig.names)[:, None] == "cam_1", 9.0, 1.0) * np.ones(len(KEYPOINTS)),
        dims=("view", "keypoint"),
        coords={"view": list(rig.names), "keypoint": list(KEYPOINTS)},
    )
    scaled = diagnose(keypoints, tracks.assign(variance_factor=factor), rig)
    assert stated.views["normalised"]["cam_1"] > 1.2
    assert_as_predicted(scaled.views)
