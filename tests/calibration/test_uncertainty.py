"""The uncertainty over pictures and volume is that of many calibrations."""

from __future__ import annotations

import numpy as np
import pytest

from multipose.board import CharucoBoard
from multipose.calibration import calibrate
from multipose.calibration.report import Calibration
from multipose.calibration.uncertainty import picture_uncertainty, volume_uncertainty
from multipose.geometry import rigid_fit, transform
from multipose.synthetic import board_corners, board_poses, sample_rig
from multipose.triangulate import triangulate

BOARD = CharucoBoard(columns=7, rows=5, square=20.0, marker=15.0)
NOISE = 0.3


def film(seed: int) -> Calibration:
    rig = sample_rig(3, seed=0)
    poses = board_poses(rig, BOARD, 40, seed=0, steps=1)
    corners = board_corners(rig, BOARD, poses, noise=NOISE, seed=seed)
    return calibrate(corners, lens="k1", reject_outliers=False)


@pytest.mark.slow
def test_the_volume_scatters_as_predicted() -> None:
    first = film(0)
    predicted = volume_uncertainty(first)
    truth = sample_rig(3, seed=0)
    xyz = transform(np.linalg.inv(truth.cameras[0].camera_from_world) @ np.eye(4), predicted.xyz)
    squared, centers = [], []
    for seed in range(24):
        found = film(seed).rig
        off = triangulate(truth.project(xyz), found).position
        fit = rigid_fit(off, xyz)
        squared.append(((transform(fit, off) - xyz) ** 2).sum(-1))
        places = transform(fit, np.stack([camera.center for camera in found]))
        centers.append(((places - [camera.center for camera in truth]) ** 2).sum(-1))
    assert np.sqrt(np.mean(squared)) == pytest.approx(np.sqrt((predicted.sd**2).mean()), rel=0.25)
    expected = np.sqrt(np.trace(predicted.centers, axis1=1, axis2=2))
    np.testing.assert_allclose(np.sqrt(np.mean(centers, axis=0)), expected, rtol=0.4)


def test_a_picture_is_known_where_boards_were_seen() -> None:
    calibration = film(0)
    name = calibration.rig.names[1]
    picture = picture_uncertainty(calibration, name)
    assert picture.sd_px.shape == (len(picture.y), len(picture.x))
    seen = calibration.corners.px[1][np.isfinite(calibration.residuals[1]).all(-1)]
    column = np.abs(picture.x[:, None] - seen[:, 0]).argmin(0)
    row = np.abs(picture.y[:, None] - seen[:, 1]).argmin(0)
    within = picture.sd_px[row, column]
    assert np.median(within) < 0.1
    assert np.median(within) < 0.5 * np.nanmax(picture.sd_px)


def test_one_camera_has_no_volume() -> None:
    calibration = film(0)
    alone = calibrate(calibration.corners.select(views=[calibration.rig.names[0]]), lens="k1")
    nothing = volume_uncertainty(alone)
    assert len(nothing.xyz) == 0
    assert np.isnan(nothing.centers).all()
