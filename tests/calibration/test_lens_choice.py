"""The lens model is chosen by what it predicts on boards left out."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from multipose.board import CharucoBoard
from multipose.calibration import calibrate
from multipose.calibration.intrinsics import LENS_MODELS
from multipose.calibration.lens_choice import choose_lens, try_lenses
from multipose.camera import CameraRig
from multipose.corners import Corners
from multipose.geometry import pose, rotation_from_vector
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


def test_what_each_lens_would_make_of_a_view_is_told() -> None:
    corners = film(LENSES["fisheye"]).select(frames=range(14))
    used = corners.seen & (corners.seen.sum(-1) >= 6)[..., None]
    trials = {one.model: one for one in try_lenses(BOARD.corners, corners.px[0], used[0], corners.excerpts["cam_0"])}
    assert list(trials) == list(LENS_MODELS)
    assert trials["fisheye"].held_out_rms_px == min(one.held_out_rms_px for one in trials.values())
    assert trials["fisheye"].held_out_rms_px < 0.3 < trials["k1"].held_out_rms_px
    assert trials["fisheye"].folded == 0


@pytest.mark.slow
def test_a_verdict_on_a_folding_lens_names_one_that_serves() -> None:
    """Boards in the middle of the picture only: a lens that bends back beyond them is named, and one that does not."""
    rig = CameraRig((replace(sample_rig(1).cameras[0], lens=FisheyeLens(260.0, 260.0, 239.5, 179.5)),), "mm")
    named = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        turns = rotation_from_vector(np.c_[rng.normal(0, 0.4, (14, 2)), rng.uniform(-3, 3, 14)])
        shift = np.c_[rng.uniform(-20, 20, (14, 2)), rng.uniform(350, 500, 14)] - turns @ BOARD.corners.mean(0)
        poses = np.linalg.inv(rig.cameras[0].camera_from_world) @ pose(turns, shift)
        corners = board_corners(rig, BOARD, poses, noise=0.3, seed=seed)
        for verdict in calibrate(corners, lens="rational").report.verdicts:
            if verdict.code != "folded":
                continue
            found = re.search(
                r'Say lens = "(\w+)": it has [\d.]+ px on boards left out, rational [\d.]+ px', verdict.text
            )
            if found is None:
                assert "No other lens serves (" in verdict.text
                assert verdict.text.endswith("move the board there.")
                continue
            named += 1
            again = calibrate(corners, lens=found[1])
            assert "folded" not in {one.code for one in again.report.verdicts}
    assert named
