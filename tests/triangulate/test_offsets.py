"""Offsets of key points between views: found, free of what 3D can absorb, with standard deviations that hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from multipose.board import CharucoBoard
from multipose.calibration import calibrate, detect_board
from multipose.errors import DataError
from multipose.formats.sleap import read_keypoints
from multipose.synthetic.observation import observe
from multipose.synthetic.rig import sample_rig
from multipose.tracks import keypoints2d
from multipose.triangulate import estimate_offsets, reconstruct, remove_offsets


def still(n_times, n_keypoints, seed=0):
    """Points of an animal that hardly moves: (time, keypoint, 3)."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 25, (1, n_keypoints, 3)) + rng.normal(0, 1.0, (n_times, n_keypoints, 3))


def absorbed(rig, position, offset):
    """What is left of offsets (view, 2) when the best shift of the 3D point is taken off."""
    by_position = np.concatenate([c.lens.jacobian(c.rotation @ position + c.translation)[1] @ c.rotation for c in rig])
    flat = offset.ravel()
    return (flat - by_position @ np.linalg.lstsq(by_position, flat, rcond=None)[0]).reshape(-1, 2)


def test_offsets_are_found_up_to_what_a_shift_explains():
    rig = sample_rig(4)
    xyz = still(200, 3)
    rng = np.random.default_rng(1)
    offset = rng.normal(0, 4, (4, 3, 2))
    keypoints = observe(rig, xyz, noise=0.5, missing=0.05, outliers=0.02, seed=2)
    keypoints["position"] += offset[:, None, None]
    found = estimate_offsets(keypoints, rig)
    for keypoint in range(3):
        off = absorbed(rig, xyz[:, keypoint].mean(0), found["offset"].values[:, keypoint] - offset[:, keypoint])
        assert np.abs(off).max() < 0.3
    before, after = (reconstruct(k, rig)["reprojection_error"] for k in (keypoints, remove_offsets(keypoints, found)))
    assert float(before.median()) > 3 * float(after.median())
    assert float(after.median()) < 0.8
    assert (found["n_frames"].values > 190).all()
    again = estimate_offsets(remove_offsets(keypoints, found), rig)
    assert np.abs(again["offset"].values).max() < 0.15


def test_the_offset_is_that_of_the_one_view_that_means_another_place():
    rig = sample_rig(4)
    keypoints = observe(rig, still(200, 2), noise=0.5, seed=2)
    keypoints["position"][1, ..., 0, :] += [4.0, -6.0]
    found = estimate_offsets(keypoints, rig)["offset"]
    tenth = 0.1 * np.hypot(4.0, 6.0)  # the least sum of lengths gives 3 to 9 % of it to others, by where the points are
    np.testing.assert_allclose(found.values[1, 0], [4.0, -6.0], atol=tenth)
    assert np.abs(found.values[[0, 2, 3], 0]).max() < tenth
    assert np.abs(found.values[:, 1]).max() < 0.2


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_standard_deviations_hold(correlation):
    """40 key points of 300 frames: about 95 % of the errors lie within 1.96 standard deviations.

    Each key point has three independent numbers, 120 in all: 4 standard deviations of the share are 8 %."""
    rig = sample_rig(3)
    xyz = still(300, 40)
    rng = np.random.default_rng(3)
    noise = lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], rng.normal(0, 1, (3, 400, 1, 40, 2)), axis=1)[
        :, 100:
    ]
    px = rig.project(xyz)[:, :, None] + noise
    found = estimate_offsets(keypoints2d(px, views=rig.names), rig)
    ratio = found["offset"].values / found["sd"].values
    assert (np.abs(ratio) < 1.96).mean() == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 120))
    expected = (1 + correlation) / (1 - correlation)
    assert np.median(found["correlation_frames"].values) == pytest.approx(expected, rel=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("degrees_of_freedom", [1e6, 3.0], ids=["normal", "heavy-tailed"])
def test_standard_deviations_are_the_scatter_of_the_offsets(degrees_of_freedom):
    """120 key points of 100 frames: the root mean square of the offsets, which are 0, beside the stated one."""
    n_views, n_times, n_keypoints = 5, 100, 120
    rig = sample_rig(n_views)
    noise = np.random.default_rng(5).standard_t(degrees_of_freedom, (n_views, n_times, 1, n_keypoints, 2))
    px = rig.project(still(n_times, n_keypoints))[:, :, None] + noise
    found = estimate_offsets(keypoints2d(px, views=rig.names), rig)
    ratio = np.sqrt(float((found["offset"] ** 2).mean()) / float((found["sd"] ** 2).mean()))
    # The frames determine 2 * 5 - 3 numbers of each key point: 840 independent ones, whose root mean square scatters by
    # 1 / sqrt(2 * 840) = 2.4 %. Four times that; the sandwich with weights in place of derivatives came to 1.15.
    assert abs(np.log(ratio)) < 4 / np.sqrt(2 * (2 * n_views - 3) * n_keypoints)


def test_two_views_show_one_number_and_few_frames_none():
    rig = sample_rig(2)
    xyz = still(100, 2)
    keypoints = observe(rig, xyz, noise=0.3, seed=0)
    keypoints["position"][0, ..., 0, :] += 5.0
    keypoints["position"][:, 8:, :, 1] = np.nan
    found = estimate_offsets(keypoints, rig)
    off = found["offset"].values[:, 0] - [[5.0, 5.0], [0.0, 0.0]]
    np.testing.assert_allclose(absorbed(rig, xyz[:, 0].mean(0), off), 0.0, atol=0.2)
    assert np.isnan(found["offset"].values[:, 1]).all()
    assert found["n_frames"].values[1] == 8
    untouched = remove_offsets(keypoints, found)["position"].values[..., 1, :]
    np.testing.assert_array_equal(untouched, keypoints["position"].values[..., 1, :])


def test_views_that_no_frame_joins_are_unknown():
    rig = sample_rig(4)
    keypoints = observe(rig, still(100, 1), noise=0.3, seed=0)
    keypoints["position"][0] = np.nan
    found = estimate_offsets(keypoints, rig)
    assert np.isnan(found["offset"].values[0]).all()
    assert np.isfinite(found["offset"].values[1:]).all()


def test_names_are_matched_in_any_order_and_lacking_ones_told():
    rig = sample_rig(3)
    keypoints = observe(rig, still(60, 2), noise=0.3, seed=0)
    keypoints["position"][1, ..., 1, :] += 4.0
    found = estimate_offsets(keypoints, rig)
    removed = remove_offsets(keypoints, found)
    turned = remove_offsets(keypoints.isel(view=[2, 0, 1], keypoint=[1, 0]), found)
    np.testing.assert_array_equal(
        turned["position"].sel(view=removed["view"], keypoint=removed["keypoint"]).values, removed["position"].values
    )
    with pytest.raises(DataError, match="no offsets for the view cam_2"):
        remove_offsets(keypoints, found.isel(view=[0, 1]))
    with pytest.raises(DataError, match="no offsets for the keypoint keypoint_0"):
        remove_offsets(keypoints, found.isel(keypoint=[1]))


@pytest.mark.slow
def test_offsets_of_a_real_mouse(recordings):
    """Offsets of the first half of the frames judged on the second; measured: 4.1 px before, 1.04 px after (robust)."""
    folder = recordings("mouse_four_views")
    views = ("back", "mid", "side", "top")
    board = CharucoBoard(columns=8, rows=11, square=24.0, marker=18.75, unit="mm", dictionary="4X4_1000")
    rig = calibrate(detect_board({view: folder / view / "board" for view in views}, board)).rig
    keypoints = read_keypoints({view: folder / view / "keypoints.analysis.h5" for view in views})
    first, second = keypoints.isel(time=slice(0, 60)), keypoints.isel(time=slice(60, None))
    offsets = estimate_offsets(first, rig, min_confidence=0.0)
    before = reconstruct(second, rig, min_confidence=0.0)
    after = reconstruct(remove_offsets(second, offsets), rig, min_confidence=0.0)
    assert float(before["reprojection_error"].median()) > 3.5
    assert float(after["reprojection_error"].median()) < 1.4
    assert int(after["position"].notnull().all("space").sum()) > 0.97 * 900
    haunch = offsets["offset"].sel(view="back", keypoint="Haunch_right")
    assert float(np.hypot(*haunch.values)) > 15
    body = after["position"].sel(keypoint="Nose") - after["position"].sel(keypoint="TTI")
    assert float(np.sqrt((body**2).sum("space")).median()) == pytest.approx(75, abs=3)
