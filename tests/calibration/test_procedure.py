from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from itertools import permutations

import numpy as np
import pytest

from multipose.board import Board, CharucoBoard, Chessboard
from multipose.calibration import Calibration
from multipose.calibration import calibrate as calibrate_rig
from multipose.camera import Camera, CameraRig
from multipose.corners import Corners
from multipose.errors import CalibrationError, DataError
from multipose.geometry import rigid_fit, rotation_from_vector, transform, vector_from_rotation
from multipose.lens import FisheyeLens
from multipose.synthetic import board_corners, board_poses, sample_rig
from multipose.triangulate import triangulate

calibrate = partial(calibrate_rig, lens="brown")  # how a lens is chosen is tested elsewhere

CHARUCO = CharucoBoard(columns=8, rows=6, square=20.0, marker=15.0)


@cache
def make(n_views: int = 3, seed: int = 0, board: Board = CHARUCO, noise: float = 0.2) -> tuple[CameraRig, Corners]:
    rig = sample_rig(n_views, seed=seed)
    poses = board_poses(rig, board, 30, seed=seed, steps=1)
    return rig, board_corners(rig, board, poses, noise=noise, seed=seed)


@cache
def made_calibration() -> Calibration:
    return calibrate(make()[1])


def centered(rig: CameraRig) -> CameraRig:
    return rig.transformed(rig.cameras[0].camera_from_world)


def errors(calibration: Calibration, truth: CameraRig) -> np.ndarray:
    """All camera parameters, true minus fitted, in the order of the covariance."""
    parts = []
    for fitted, true in zip(calibration.rig, centered(truth), strict=True):
        turn = vector_from_rotation(true.rotation @ fitted.rotation.T)
        parts += [turn, true.translation - fitted.translation, true.lens.params - fitted.lens.params]
    return np.concatenate(parts)


def space_error(rig: CameraRig, truth: CameraRig) -> float:
    """RMS error in mm of points in the working volume, triangulated from noiseless pictures, after rigid alignment."""
    xyz = np.random.default_rng(5).uniform([-60, -60, 0], [60, 60, 60], (100, 3))
    got = triangulate(truth.project(xyz), rig).position
    return float(np.sqrt(((transform(rigid_fit(got, xyz), got) - xyz) ** 2).sum(-1).mean()))


def with_px(corners: Corners, px: np.ndarray) -> Corners:
    return replace(corners, px=px)


def test_a_calibration_in_another_world_is_the_same() -> None:
    calibration = made_calibration()
    other_from_world = calibration.rig.cameras[1].camera_from_world
    moved = calibration.in_world(other_from_world, "the second camera")
    np.testing.assert_allclose(moved.rig.cameras[1].camera_from_world, np.eye(4), atol=1e-9)
    assert moved.rig.metadata["world"] == "the second camera"
    known = np.isfinite(calibration.world_from_board).all((1, 2))
    points = transform(calibration.world_from_board[known][:, None], CHARUCO.corners)
    points_moved = transform(moved.world_from_board[known][:, None], CHARUCO.corners)
    np.testing.assert_allclose(moved.rig.project(points_moved), calibration.rig.project(points), atol=1e-6)
    xyz = points.reshape(-1, 3)[::17]
    used = np.ones((len(moved.rig), len(xyz)), dtype=bool)
    turned = moved.rig_covariance.moves(transform(other_from_world, xyz), used)
    spread = turned @ np.swapaxes(turned, -1, -2)
    moves = calibration.rig_covariance.moves(xyz, used)
    turn = other_from_world[:3, :3]
    np.testing.assert_allclose(spread, turn @ (moves @ np.swapaxes(moves, -1, -2)) @ turn.T, rtol=1e-4, atol=1e-9)


def test_truth_is_recovered_within_the_covariance() -> None:
    truth, _ = make()
    calibration = made_calibration()
    error, sd = errors(calibration, truth), np.sqrt(np.diag(calibration.covariance))
    free = sd > 0
    assert calibration.parameter_names[:7] == (
        *(f"cam_0.{kind}_{axis}" for kind in ("rotation", "translation") for axis in "xyz"),
        "cam_0.fx",
    )
    assert np.abs(error[~free]).max() < 1e-12  # the first camera's pose is the world
    covariance = calibration.covariance[np.ix_(free, free)]
    normalised = error[free] @ np.linalg.solve(covariance, error[free]) / free.sum()
    assert 0.4 < normalised < 1.9  # 39 degrees of freedom: 1 on average with a spread of 0.23
    assert calibration.report.rms_px == pytest.approx(0.2 * np.sqrt(2), rel=0.05)


@pytest.mark.slow
def test_normalised_error_is_one_on_average() -> None:
    normalised = []
    for seed in range(8):
        truth, corners = make(seed=seed)
        calibration = calibrate(corners, reject_outliers=False)
        free = np.diag(calibration.covariance) > 0
        error = errors(calibration, truth)[free]
        normalised.append(error @ np.linalg.solve(calibration.covariance[np.ix_(free, free)], error) / free.sum())
    assert 0.75 < np.mean(normalised) < 1.25


def test_report_says_what_was_used() -> None:
    _, corners = make()
    report = made_calibration().report
    values = report.to_dict()
    assert set(values) >= {
        "unit",
        "rms_px",
        "held_out_rms_px",
        "boards_used",
        "cameras",
        "square_error_percent",
        "verdicts",
    }
    assert values["boards_used"] == 30
    assert values["board_views_used"] == int((corners.counts() >= 6).sum())
    assert report.rms_px < report.held_out_rms_px < 1.4 * report.rms_px
    assert 0 < report.lengths.square_error_percent < 2
    for view, name in enumerate(corners.views):
        camera = values["cameras"][name]
        assert camera["corners"] + camera["rejected"] == int(corners.counts()[view].sum())
        assert 0.3 < camera["coverage"] <= 1
        assert camera["sd"]["fx"] > 0
        assert camera["lens"] == "brown"


def test_residuals_are_those_of_the_rig() -> None:
    calibration = made_calibration()
    world = transform(calibration.world_from_board[:, None], calibration.corners.board.corners[None])
    seen_minus_projected = calibration.corners.px - calibration.rig.project(world)
    used = np.isfinite(calibration.residuals).all(-1)
    np.testing.assert_allclose(calibration.residuals[used], seen_minus_projected[used], atol=1e-9)
    np.testing.assert_array_equal(used, calibration.corners.seen & ~calibration.rejected)
    rms = np.sqrt((calibration.residuals[used] ** 2).sum(-1).mean())
    assert calibration.report.rms_px == pytest.approx(rms)


def test_same_corners_give_the_same_bits_in_any_order_of_views() -> None:
    _, corners = make()
    first = made_calibration()
    turned = calibrate(corners.select(views=["cam_2", "cam_0", "cam_1"]))
    assert first.rig.names == turned.rig.names == ("cam_0", "cam_1", "cam_2")
    assert first.rig.packed().tobytes() == turned.rig.packed().tobytes()
    assert first.covariance.tobytes() == turned.covariance.tobytes()
    assert first.report.held_out_rms_px == turned.report.held_out_rms_px


def test_gross_corners_are_thrown_out_and_counted() -> None:
    truth, corners = make()
    rng = np.random.default_rng(1)
    gross = (rng.random(corners.px.shape[:-1]) < 0.03) & corners.seen
    shift = rng.uniform(5, 60, (int(gross.sum()), 1)) * rng.choice([-1, 1], (int(gross.sum()), 2))
    px = corners.px.copy()
    px[gross] += shift
    calibration = calibrate(with_px(corners, px))
    assert not (gross & corners.seen & ~calibration.rejected).any()
    assert (calibration.rejected & ~gross).sum() <= 3
    counted = sum(camera.rejected for camera in calibration.report.cameras.values())
    assert counted == calibration.rejected.sum() == calibration.report.rounds[-1]
    assert space_error(calibration.rig, truth) < 1.3 * space_error(made_calibration().rig, truth)  # measured: 1.07


def test_chessboard_turned_by_half_in_some_views_is_put_right_by_the_rig() -> None:
    board = Chessboard(columns=8, rows=6, square=20.0)  # looks the same when turned
    truth, corners = make(3, 2, board)
    straight = calibrate(corners)
    px = corners.px.copy()
    turned = np.random.default_rng(0).random(px.shape[:2]) < 0.5
    px[turned] = px[turned][:, ::-1]
    calibration = calibrate(with_px(corners, px))
    assert calibration.rejected.sum() == 0
    assert calibration.report.rms_px == pytest.approx(straight.report.rms_px, rel=1e-6)
    assert space_error(calibration.rig, truth) == pytest.approx(space_error(straight.rig, truth), rel=1e-3)


@pytest.mark.parametrize("model", ["rational", "fisheye"])
def test_other_lenses_are_fitted(model: str) -> None:
    truth, corners = make()
    if model == "fisheye":
        bent = FisheyeLens(300.0, 301.0, 238.0, 181.0, (0.03, -0.01, 0.002, 0.0))
        truth = CameraRig(tuple(replace(camera, lens=bent) for camera in truth), "mm")
        poses = board_poses(truth, CHARUCO, 30, seed=0, steps=1)
        corners = board_corners(truth, CHARUCO, poses, noise=0.2, seed=0)
    calibration = calibrate(corners, lens=model)
    assert {camera.lens.model for camera in calibration.rig} == {model}
    assert calibration.report.rms_px == pytest.approx(0.2 * np.sqrt(2), rel=0.06)
    assert space_error(calibration.rig, truth) < 0.1  # mm; measured: 0.027 (rational), 0.037 (fisheye)


def test_lens_by_view_and_wrong_lenses() -> None:
    _, corners = make()
    with pytest.raises(DataError, match="no lens 'pinhole'"):
        calibrate(corners, lens="pinhole")
    with pytest.raises(DataError, match="given for the views"):
        calibrate(corners, lens={"cam_0": "brown"})


def test_known_lenses_stay() -> None:
    truth, corners = make()
    calibration = calibrate(corners, intrinsics=truth.subset(["cam_0", "cam_2"]))
    for name in ("cam_0", "cam_2"):
        np.testing.assert_array_equal(calibration.rig[name].lens.params, truth[name].lens.params)
        assert calibration.report.cameras[name].lens == "given"
        assert calibration.report.cameras[name].sd["fx"] == 0
    assert calibration.report.cameras["cam_1"].lens == "brown"
    assert calibration.report.cameras["cam_1"].sd["fx"] > 0
    assert calibration.report.rms_px == pytest.approx(0.2 * np.sqrt(2), rel=0.05)
    assert space_error(calibration.rig, truth) < 0.05  # mm; measured 0.022, with all lenses fitted 0.018
    smaller = CameraRig(tuple(camera.scale(0.5) for camera in truth), "mm")
    with pytest.raises(DataError, match=r"known for pictures of 240 x 180 px.*480 x 360"):
        calibrate(corners, intrinsics=smaller)


def test_copies_of_a_view_and_instants_out_of_step_are_told() -> None:
    _, corners = make()
    px = corners.px.copy()
    px[2] = px[0] + np.random.default_rng(0).normal(0, 0.02, px[0].shape)  # a copy, compressed once more
    seen = np.flatnonzero(np.isfinite(px[1]).all(-1).sum(-1) > 20)
    px[1, seen[3]] = px[1, seen[3]] + [14.0, -9.0]
    report = calibrate(with_px(corners, px)).report
    told = {(verdict.camera, verdict.code): verdict.text for verdict in report.verdicts}
    assert "cam_0 and cam_2 stand in the same place" in told["cam_2", "twin"]
    assert told["cam_1", "instants"].startswith(f"Most corners that cam_1 saw were thrown out in frame {seen[3]},")
    assert not {"twin", "instants"} & {verdict.code for verdict in made_calibration().report.verdicts}


def test_one_camera_is_a_rig() -> None:
    truth, corners = make()
    calibration = calibrate(corners.select(views=["cam_1"]))
    fitted = calibration.rig["cam_1"]
    np.testing.assert_array_equal(fitted.camera_from_world, np.eye(4))
    sd = calibration.report.cameras["cam_1"].sd
    assert abs(fitted.lens.params[0] - truth["cam_1"].lens.params[0]) < 4 * sd["fx"]
    assert calibration.report.to_dict()["square_error_percent"] is None
    assert np.isfinite(calibration.report.held_out_rms_px)


def test_views_linked_through_others_only() -> None:
    truth, corners = make(3, 4)
    px = corners.px.copy()
    together = np.flatnonzero(corners.seen.any(-1)[[0, 2]].all(0))
    px[0, together[::2]] = np.nan
    px[2, together[1::2]] = np.nan
    calibration = calibrate(with_px(corners, px))
    assert calibration.report.shared_boards["cam_0", "cam_2"] == (0, 0)
    assert space_error(calibration.rig, truth) < 0.08  # mm; measured: 0.02


def test_unconnected_groups_are_named() -> None:
    _, corners = make(4, 3)
    px = corners.px.copy()
    px[:2, 15:] = np.nan
    px[2:, :15] = np.nan
    with pytest.raises(CalibrationError, match=r"2 groups: \{cam_0, cam_1\}; \{cam_2, cam_3\}\. No board is seen"):
        calibrate(with_px(corners, px))


def test_views_out_of_step_are_not_joined() -> None:
    _, corners = make(2, 1)
    px = corners.px.copy()
    px[1] = np.roll(px[1], 7, axis=0)
    with pytest.raises(CalibrationError, match=r"agree on their relative pose.*not synchronous"):
        calibrate(with_px(corners, px))


def test_mirrored_view_is_refused_or_told() -> None:
    """A flipped picture keeps the handedness of a chessboard's naming but not of its movement."""
    board = Chessboard(columns=8, rows=6, square=20.0)
    _, corners = make(2, 1, board)
    px = corners.px.copy()
    width = corners.sizes["cam_1"][0]
    px[1, ..., 0] = width - 1 - px[1, ..., 0]
    px[1] = px[1].reshape(30, 6, 8, 2)[:, :, ::-1].reshape(px[1].shape)
    with pytest.raises(CalibrationError, match="mirrored"):
        calibrate(with_px(corners, px))


def test_too_few_boards_and_diagnoses_are_told() -> None:
    _, corners = make()
    px = corners.px.copy()
    px[1] = np.nan
    with pytest.raises(CalibrationError, match=r"View cam_1 has 0 usable boards in 30 instants.*at least 3"):
        calibrate(with_px(corners, px))
    told = replace(with_px(corners, px), diagnoses={"cam_1": "The board is too small in the picture."})
    with pytest.raises(CalibrationError, match=r"View cam_1: The board is too small"):
        calibrate(told)
    px = corners.px.copy()
    px[2, :, 7:] = np.nan  # one row of corners: a line, not a plane
    with pytest.raises(CalibrationError, match="corners on one line"):
        calibrate(with_px(corners, px))


def test_partly_seen_boards_are_used() -> None:
    truth, corners = make()
    px = corners.px.copy()
    hidden = np.random.default_rng(2).random(px.shape[:-1]) < 0.5
    px[hidden] = np.nan
    calibration = calibrate(with_px(corners, px))
    assert calibration.report.boards_used >= 28  # of 30; by chance one may have too few corners left
    assert space_error(calibration.rig, truth) < 0.08  # mm; measured: 0.02


def test_verdicts_name_what_is_weak() -> None:
    truth = sample_rig(1, seed=0)
    camera = Camera("only", truth.cameras[0].size, truth.cameras[0].lens, np.eye(4))
    rig = CameraRig((camera,), "mm")
    rng = np.random.default_rng(0)
    turns = rotation_from_vector(np.c_[rng.normal(0, 0.05, (6, 2)), rng.uniform(-3, 3, 6)])
    middle = CHARUCO.corners.mean(0)
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[:, :3, :3] = turns
    poses[:, :3, 3] = [0, 0, 400] - (turns @ middle)
    corners = board_corners(rig, CHARUCO, poses, noise=0.2)
    report = calibrate(corners).report
    codes = {verdict.code for verdict in report.verdicts}
    assert {"few_boards", "frontal", "coverage"} <= codes
    known = calibrate(corners, intrinsics=rig).report  # nothing speaks against a lens that was known before
    of_lenses = {"frontal", "coverage", "focal_uncertain", "undetermined", "extrapolated", "folded"}
    assert {verdict.code for verdict in known.verdicts} == codes - of_lenses
    assert codes & {"focal_uncertain", "undetermined"}
    assert all(verdict.camera == "only" and "only" in verdict.text for verdict in report.verdicts)


@pytest.mark.slow
def test_repeated_calibrations_have_the_same_bits_whatever_the_order_of_views() -> None:
    _, corners = make()
    corners = corners.select(frames=corners.frames[::2])
    orders = [*permutations(corners.views), corners.views]
    found = {
        tuple((camera.name, camera.lens.params.tobytes(), camera.camera_from_world.tobytes()) for camera in rig)
        for rig in (calibrate(corners.select(views=order)).rig for order in orders)
    }
    assert len(found) == 1
    assert [name for name, *_ in found.pop()] == ["cam_0", "cam_1", "cam_2"]
