from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from multipose.board import CharucoBoard
from multipose.calibration import Calibration
from multipose.calibration import calibrate as calibrate_rig
from multipose.calibration.uncertainty import picture_uncertainty, volume_uncertainty
from multipose.synthetic import board_corners, board_poses, sample_rig
from multipose.view.uncertainty import picture_maps, residual_trends, volume_map

calibrate = partial(calibrate_rig, lens="brown")  # how a lens is chosen is tested elsewhere


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    rig = sample_rig(2, names=["back", "top"])
    board = CharucoBoard(6, 5, 20.0, 15.0)
    return calibrate(board_corners(rig, board, board_poses(rig, board, 24, seed=2)))


def test_pictures_show_the_uncertainty(calibration: Calibration) -> None:
    pictures = {name: picture_uncertainty(calibration, name) for name in calibration.rig.names}
    figure = picture_maps(calibration, pictures)
    for trace, name in zip(figure.data, calibration.rig.names, strict=True):
        np.testing.assert_allclose(trace.z, pictures[name].sd_px, rtol=1e-6)
    headings = [note.text for note in figure.layout.annotations]
    assert f"median {np.nanmedian(pictures['back'].sd_px):.2g} px" in headings[0]
    assert "one standard deviation" in figure.layout.title.text


def test_the_volume_shows_points_and_ellipsoids(calibration: Calibration) -> None:
    volume = volume_uncertainty(calibration)
    figure = volume_map(calibration, volume)
    points = next(trace for trace in figure.data if trace.name == "points")
    np.testing.assert_allclose(points.marker.color, volume.sd, rtol=1e-6)
    ellipsoids = {trace.name: trace for trace in figure.data if trace.type == "surface"}
    enlarged = float(figure.layout.title.text.split("deviations, ")[-1].split()[0])
    for camera, covariance in zip(calibration.rig, volume.centers, strict=True):
        drawn = np.stack([ellipsoids[camera.name][axis] for axis in "xyz"], axis=-1).reshape(-1, 3)
        np.testing.assert_allclose((drawn.min(0) + drawn.max(0)) / 2, camera.center, rtol=0.2, atol=3.0)
        reach = np.linalg.norm(drawn - camera.center, axis=-1).max()
        assert reach == pytest.approx(2 * enlarged * np.sqrt(np.linalg.eigvalsh(covariance)[-1]), rel=0.05)


def test_trends_hold_every_corner_and_instant(calibration: Calibration) -> None:
    figure = residual_trends(calibration)
    instants = [trace for trace in figure.data if trace.mode == "markers"]
    for view, trace in enumerate(instants):
        seen = np.isfinite(calibration.residuals[view]).all(-1).any(-1)
        assert list(trace.x) == calibration.corners.frames[seen].tolist()
        frame = int(np.flatnonzero(seen)[0])
        squared = (calibration.held_out_residuals[view, frame] ** 2).sum(-1)
        assert trace.y[0] == pytest.approx(np.sqrt(np.nanmean(squared)), rel=1e-5)
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [trace.line.dash for trace in lines] == ["solid", "dot"] * 2
    fitted = np.array(lines[0].y)
    rms = calibration.report.cameras["back"].rms_px
    assert fitted.min() <= rms <= fitted.max()
