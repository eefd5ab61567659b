"""Projections of known points, as a detector would report them."""

from __future__ import annotations

import numpy as np
import pytest

from multipose.board import CharucoBoard, Chessboard
from multipose.errors import DataError
from multipose.synthetic import KEYPOINTS, board_corners, board_poses, observe, sample_rig, walk


def test_rig_has_good_parallax_and_sees_the_arena() -> None:
    rig = sample_rig()
    axes = np.array([-camera.center / np.linalg.norm(camera.center) for camera in rig])
    angles = np.rad2deg(np.arccos((axes @ axes.T)[np.triu_indices(3, 1)]))
    assert (angles > 55.0).all()
    assert (angles < 125.0).all()
    for camera in rig:
        middle = camera.project(np.array([0.0, 0.0, 15.0]))
        np.testing.assert_allclose(middle, [240.0, 180.0], atol=40.0)


def test_same_seed_gives_the_same_rig() -> None:
    np.testing.assert_array_equal(sample_rig(4, seed=3).packed(), sample_rig(4, seed=3).packed())
    assert not np.array_equal(sample_rig(4, seed=3).packed(), sample_rig(4, seed=4).packed())


def test_rig_refuses_a_wrong_number_of_names() -> None:
    with pytest.raises(DataError, match="3 camera names, got 2"):
        sample_rig(3, names=("left", "right"))


def test_observations_have_the_noise_asked_for() -> None:
    rig, points = sample_rig(), walk(200, 1).points
    seen = observe(rig, points, noise=0.7, seed=2, keypoints=KEYPOINTS)
    residual = seen["position"].values[:, :, 0] - rig.project(points)
    assert seen["keypoint"].values.tolist() == list(KEYPOINTS)
    assert np.nanstd(residual) == pytest.approx(0.7, rel=0.03)
    assert np.isfinite(residual).mean() > 0.95


def test_gaps_and_gross_errors_come_in_the_shares_asked_for() -> None:
    rig, points = sample_rig(), walk(300, 1).points
    whole = observe(rig, points, noise=0.0)["position"].values
    seen = observe(rig, points, noise=0.0, missing=0.2, outliers=0.1, seed=4)
    position = seen["position"].values
    lost = np.isnan(position[..., 0]) & np.isfinite(whole[..., 0])
    assert lost.sum() / np.isfinite(whole[..., 0]).sum() == pytest.approx(0.2, abs=0.02)
    off = np.linalg.norm(position - whole, axis=-1)
    assert (off[np.isfinite(off)] > 1.0).mean() == pytest.approx(0.1, abs=0.02)
    assert (seen["confidence"].values[np.isnan(position[..., 0])] == 0.0).all()


def test_points_outside_the_picture_are_unknown() -> None:
    rig = sample_rig()
    seen = observe(rig, np.array([[[0.0, 0.0, 10.0], [4000.0, 0.0, 0.0], [np.nan, 0.0, 0.0]]]))["position"].values
    assert np.isfinite(seen[:, 0, 0, 0]).all()
    assert np.isnan(seen[:, 0, 0, 1:]).all()


@pytest.mark.parametrize(
    "board", [Chessboard(8, 5, 18.0), CharucoBoard(8, 6, 20.0, 15.0)], ids=["chessboard", "charuco"]
)
def test_boards_are_seen_by_all_views_and_reach_the_edges(board: Chessboard | CharucoBoard) -> None:
    rig = sample_rig()
    corners = board_corners(rig, board, board_poses(rig, board, 80, seed=1), noise=0.0)
    seen = corners.counts() > 0
    assert (seen.sum(axis=1) >= 25).all()
    assert (seen.sum(axis=0) == 3).sum() >= 15
    width, height = rig.cameras[0].size
    for view in range(3):
        px = corners.px[view][np.isfinite(corners.px[view][..., 0])]
        assert (px.min(axis=0) < [0.1 * width, 0.1 * height]).all()
        assert (px.max(axis=0) > [0.9 * width, 0.9 * height]).all()


def test_board_corners_tell_why_a_board_is_not_seen() -> None:
    rig, board = sample_rig(), Chessboard(8, 5, 18.0)
    turned = np.diag([1.0, 1.0, 1.0, 1.0])  # the print faces down
    far = np.diag([1.0, -1.0, -1.0, 1.0])
    far[0, 3] = 900.0
    corners = board_corners(rig, board, np.stack([turned, far]))
    assert np.isnan(corners.px).all()
    assert (corners.reasons[:, 0] == "board turned away").all()
    assert set(corners.reasons[:, 1]) <= {"board turned away", "board outside the picture"}
