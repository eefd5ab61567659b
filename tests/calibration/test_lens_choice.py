"""The lens model is chosen by what it predicts on boards left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from multipose.board import CharucoBoard
from multipose.calibration import calibrate
from multipose.calibration.lens_choice import choose_lens
from multipose.camera import CameraRig
from multipose.corners import Corners
from multipose.lens import BrownLens, FisheyeLens, Lens
from multipose.synthetic import board_corners, board_poses, sample_rig

BOARD = CharucoBoard(columns=8, rows=6, square=20.0, marker=15.0)
LENSES = {
    "k1": BrownLens(473.0, 474.0, 240.0, 179.0, (-0.2, 0.0, 0.0, 0.0, 0.0)),
    "brown": BrownLens(473.0, 474.0, 240.0, 179.0, (-0.3, 0.15, 0.004, -0.004, 0.0)),
    "fisheye": FisheyeLens(220.0, 221.0, 238.0, 181.0, (0.05, -0.03, 0.01, 0.0)),
}


def film(lens: Lens, n_views: int = 1) -> Corners:
    rig = CameraRig(tuple(replace(camera, lens=lens) for camera in sample_rig(n_views)), "mm")
    return board_corners(rig, BOARD, board_poses(rig, BOARD, 40, seed=1, steps=1), noise=0.1, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("model", list(LENSES))
def test_the_lens_that_filmed_is_chosen(model: str) -> None:
    corners = film(LENSES[model])
    used = corners.seen & (corners.seen.sum(-1) >= 6)[..., None]
    corners.px[0, 3, :5] += 40.0  # a few wrong corners do not choose
    fit = choose_lens(BOARD.corners, corners.px[0], used[0], corners.excerpts[corners.views[0]])
    assert fit.model == model
    np.testing.assert_allclose(fit.lens.params[:2], LENSES[model].params[:2], rtol=0.01)


def test_without_enough_boards_the_first_model_is_taken() -> None:
    corners = film(LENSES["brown"])
    used = corners.seen & (corners.seen.sum(-1) >= 6)[..., None]
    few = np.flatnonzero(used[0].any(-1))[:3]
    assert (
        choose_lens(BOARD.corners, corners.px[0, few], used[0, few], corners.excerpts[corners.views[0]]).model == "k1"
    )


@pytest.mark.slow
def test_a_rig_takes_what_was_chosen() -> None:
    calibration = calibrate(film(LENSES["k1"], n_views=2), lens="auto")
    assert {camera.lens for camera in calibration.report.cameras.values()} == {"k1"}
    for camera in calibration.rig:
        np.testing.assert_array_equal(camera.lens.params[5:], 0)  # k2, p1, p2, k3 stay
    held = [name.split(".")[1] in ("k2", "p1", "p2", "k3") for name in calibration.parameter_names]
    assert not np.diag(calibration.covariance)[held].any()
    assert calibration.report.rms_px == pytest.approx(0.1 * np.sqrt(2), rel=0.06)
