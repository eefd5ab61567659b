"""Rigs and trajectories compared with a truth in another world frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipose.camera import Camera, CameraRig
from multipose.errors import DataError
from multipose.geometry import invert_pose, look_at, pose, rotation_from_vector, transform
from multipose.lens import TelecentricLens
from multipose.synthetic.rig import sample_rig
from multipose.tracks import trajectories3d
from multipose.triangulate import align_rigs, compare_rigs, position_errors


@settings(max_examples=25, deadline=None)
@given(turn=st.tuples(*[st.floats(-3, 3)] * 3), shift=st.tuples(*[st.floats(-1e3, 1e3)] * 3), n_views=st.integers(1, 4))
def test_the_same_rig_elsewhere_is_brought_back(turn, shift, n_views):
    rig = sample_rig(n_views)
    true_from_estimated = pose(rotation_from_vector(turn), shift)
    estimated = rig.transformed(invert_pose(true_from_estimated))
    np.testing.assert_allclose(align_rigs(estimated, rig), true_from_estimated, atol=1e-8)
    comparison = compare_rigs(estimated, rig)
    assert max(comparison.center_error.values()) < 1e-7
    assert max(comparison.rotation_error.values()) < 1e-7
    if n_views > 1:
        assert comparison.center_error_fraction < 1e-9


def test_the_scale_is_judged_and_not_fitted():
    rig = sample_rig(4)
    comparison = compare_rigs(rig.transformed(np.eye(4), scale=1.01), rig)
    assert 0.005 < comparison.center_error_fraction < 0.01  # a shift along the common direction of view takes a part


def test_a_moved_camera_is_found_out():
    rig = sample_rig(4)
    camera = rig.cameras[2]
    turned = pose(rotation_from_vector((0.0, 0.02, 0.0)), (0.0, 0.0, 0.0)) @ camera.camera_from_world
    moved = replace(camera, camera_from_world=turned)
    comparison = compare_rigs(replace(rig, cameras=(*rig.cameras[:2], moved, rig.cameras[3])), rig)
    worst = max(comparison.rotation_error, key=comparison.rotation_error.__getitem__)
    assert worst == "cam_2"
    assert comparison.rotation_error["cam_2"] == pytest.approx(0.02, rel=0.35)


def test_cameras_are_matched_by_name():
    rig = sample_rig(4)
    comparison = compare_rigs(rig.subset(("cam_3", "cam_1")), rig)
    assert set(comparison.center_error) == {"cam_1", "cam_3"}
    assert max(comparison.center_error.values()) < 1e-9
    with pytest.raises(DataError, match=r"no camera in common: cam_0, cam_1 and a, b"):
        compare_rigs(sample_rig(2), sample_rig(2, names=("a", "b")))
    with pytest.raises(DataError, match="units differ"):
        compare_rigs(rig, replace(rig, unit="m"))


def test_the_depth_of_a_telecentric_camera_does_not_count():
    lens = TelecentricLens(2.0, 2.0, 320.0, 240.0)
    places = ((500.0, 0.0, 100.0), (0.0, 500.0, 100.0), (-300.0, -300.0, 300.0))
    cameras = [
        Camera(f"cam_{i}", (640, 480), lens, look_at(place, (0, 0, 0), (0, 0, 1))) for i, place in enumerate(places)
    ]
    rig = CameraRig(tuple(cameras), unit="mm")
    slid = np.array(cameras[0].camera_from_world)
    slid[2, 3] += 200.0
    other = replace(rig, cameras=(replace(cameras[0], camera_from_world=slid), *cameras[1:]))
    comparison = compare_rigs(other, rig)
    assert max(comparison.center_error.values()) < 1e-9
    assert np.isnan(comparison.center_error_fraction)


def trajectories(position, **changes):
    return trajectories3d(position, **{"keypoints": ("nose", "tail"), "fps": 30.0, "unit": "mm", **changes})


def test_positions_are_compared_in_the_true_world_by_name():
    rng = np.random.default_rng(0)
    xyz = rng.normal(0, 50, (20, 1, 2, 3))
    true_from_estimated = pose(rotation_from_vector((0.3, -1.0, 0.2)), (100.0, 20.0, -5.0))
    there = transform(invert_pose(true_from_estimated), xyz + np.array([3.0, 0.0, 4.0]))
    there[5] = np.nan
    estimated = trajectories(there).isel(keypoint=[1, 0])
    errors = position_errors(estimated, trajectories(xyz), true_from_estimated)
    assert errors.dims == ("time", "individual", "keypoint")
    np.testing.assert_allclose(np.delete(errors.values, 5, axis=0), 5.0, rtol=1e-9)
    assert np.isnan(errors.values[5]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "m"}, "units differ"),
        ({"keypoints": ("nose", "ear")}, "keypoint axis differ"),
        ({"fps": 25.0}, "times differ"),
    ],
)
def test_trajectories_that_do_not_belong_together_are_told(changes, message):
    xyz = np.zeros((20, 1, 2, 3))
    with pytest.raises(DataError, match=message):
        position_errors(trajectories(xyz), trajectories(xyz, **changes), np.eye(4))
