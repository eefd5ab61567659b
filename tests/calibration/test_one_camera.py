"""Views that are parts of one camera's picture: one camera and mirrors are a rig of virtual cameras with one lens."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from multipose.board import CharucoBoard
from multipose.calibration import calibrate as calibrate_rig
from multipose.camera import Camera, CameraRig
from multipose.corners import Corners
from multipose.errors import DataError
from multipose.excerpt import Excerpt
from multipose.geometry import look_at, pose, rigid_fit, transform
from multipose.lens import BrownLens, Lens
from multipose.synthetic import board_corners
from multipose.triangulate import triangulate

calibrate = partial(calibrate_rig, lens="brown")  # how a lens is chosen is tested elsewhere

BOARD = CharucoBoard(columns=6, rows=5, square=10.0, marker=7.5)
SIZE = (1200, 900)
LENS = BrownLens(1500.0, 1505.0, 610.0, 440.0, (-0.12, 0.05, 0.001, -0.001, 0.0))
PARTS = {
    "direct": Excerpt("film", SIZE, (400, 0, 400, 900)),
    "left": Excerpt("film", SIZE, (0, 0, 400, 900), flip=True),
    "right": Excerpt("film", SIZE, (800, 0, 400, 900), flip=True),
}


def mirror_rig() -> CameraRig:
    """A camera that looks down on a mouse between two upright mirrors that show it from 52 degrees to either side."""
    camera = Camera("direct", SIZE, LENS, look_at([0, 0, 0], [0, 0, 450], [0, -1, 0]))
    views = []
    for name, part in PARTS.items():
        seen = camera
        if name != "direct":
            side = -1.0 if name == "left" else 1.0
            normal = np.array([-side * np.cos(0.45), 0.0, -np.sin(0.45)])
            seen = camera.mirrored([side * 95.0, 0, 450], normal)
        views.append(replace(seen, name=name, size=part.crop[2:], lens=part.lens(LENS)))
    return CameraRig(tuple(views), "mm")


def film(rig: CameraRig, seed: int = 0, noise: float = 0.3, n: int = 60) -> Corners:
    rng = np.random.default_rng(seed)
    poses = []
    for i in range(n):
        # Turned to one of the views in turn.
        place = np.array([0, 0, 450]) + rng.uniform(-25, 25, 3)
        camera = rig.cameras[i % 3]
        turned = look_at(place, place + (place - camera.center) + rng.normal(0, 180, 3), rng.normal(size=3))
        poses.append(np.linalg.inv(turned) @ pose(np.eye(3), -BOARD.corners.mean(0)))
    corners = board_corners(rig, BOARD, np.stack(poses), noise=noise, seed=seed)
    return replace(corners, excerpts=dict(PARTS))


def key_point_error(found: CameraRig, truth: CameraRig) -> float:
    """RMS in mm of key points around the middle, triangulated with the found rig, after rigid alignment."""
    rng = np.random.default_rng(7)
    xyz = np.array([0, 0, 450]) + rng.uniform(-25, 25, (400, 3))
    off = triangulate(truth.project(xyz), found).position
    return float(np.sqrt(((transform(rigid_fit(off, xyz), off) - xyz) ** 2).sum(-1).mean()))


def test_virtual_cameras_get_one_lens() -> None:
    truth = mirror_rig()
    corners = film(truth)
    assert (corners.counts() > 0).sum(-1).min() > 15
    calibration = calibrate(corners, same_camera={"left": "direct", "right": "direct"})
    wholes = [PARTS[name].whole_lens(calibration.rig[name].lens).params for name in PARTS]
    np.testing.assert_allclose(wholes[1], wholes[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(wholes[2], wholes[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(wholes[0][:2], LENS.params[:2], rtol=0.01)
    assert calibration.report.rms_px == pytest.approx(0.3 * np.sqrt(2), rel=0.08)
    # The virtual cameras stand behind the mirrors, where the true ones do.
    aligned = calibration.rig.transformed(
        np.linalg.inv(truth["direct"].camera_from_world) @ calibration.rig["direct"].camera_from_world
    )
    for camera in aligned:
        assert np.linalg.norm(camera.center - truth[camera.name].center) < 6.0
    covariance = calibration.covariance
    focal = [calibration.parameter_names.index(f"{name}.fx") for name in PARTS]
    correlated = covariance[np.ix_(focal, focal)]
    np.testing.assert_allclose(correlated, correlated[0, 0], rtol=1e-6)


@pytest.mark.slow
def test_mirrors_are_as_good_as_cameras() -> None:
    """Three cameras in the places of the camera and its mirror images, each with the whole picture to itself."""
    truth = mirror_rig()
    errors = []
    for seed in range(4):
        corners = film(truth, seed)
        mirrored = calibrate(corners, same_camera={"left": "direct", "right": "direct"}).rig
        three = calibrate(corners).rig
        errors.append((key_point_error(mirrored, truth), key_point_error(three, truth)))
    mirrors, cameras = np.sqrt(np.mean(np.square(errors), axis=0))
    assert mirrors < 1.2 * cameras  # measured: 0.015 and 0.019 mm


def test_parts_of_one_picture_are_told() -> None:
    codes = {verdict.code for verdict in calibrate(film(mirror_rig())).report.verdicts}
    assert "one_picture" in codes


@pytest.mark.parametrize(
    ("same_camera", "said"),
    [
        ({"left": "top"}, "names the view 'top'"),
        ({"left": "left"}, "not itself"),
        ({"left": "direct", "right": "left"}, "not itself"),
    ],
)
def test_wrong_views_are_refused(same_camera: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        calibrate(film(mirror_rig(), n=6), same_camera=same_camera)


def test_lenses_of_one_camera_must_be_one_model() -> None:
    models = {"direct": "brown", "left": "k1", "right": "brown"}
    with pytest.raises(DataError, match="lenses k1 and brown"):
        calibrate(film(mirror_rig(), n=6), lens=models, same_camera={"left": "direct"})


def test_a_known_lens_is_not_shared() -> None:
    rig = mirror_rig()
    lens: Lens = rig["left"].lens
    assert lens.params[2] != LENS.params[2]
    with pytest.raises(DataError, match="known already"):
        calibrate(film(rig, n=6), intrinsics=rig.subset(["left"]), same_camera={"left": "direct"})
