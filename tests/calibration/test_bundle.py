from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from multipose.board import CharucoBoard
from multipose.calibration.bundle import (
    RigState,
    boards_only,
    free_unknowns,
    minimise,
    move_lens,
    offsets,
    reduced_normals,
    residuals,
)
from multipose.geometry import pose, rotation_from_vector
from multipose.lens import BrownLens, FisheyeLens, Lens, RationalLens
from multipose.synthetic import board_poses, sample_rig

BOARD = CharucoBoard(columns=7, rows=5, square=20.0, marker=15.0)
LENSES: tuple[Lens, ...] = (
    BrownLens(470.0, 468.0, 238.0, 181.0, (-0.15, 0.05, 0.001, -0.001, 0.01)),
    RationalLens(450.0, 455.0, 240.0, 178.0, (-0.1, 0.02, 0.0, 0.001, 0.0, 0.01, 0.002, 0.0)),
    FisheyeLens(400.0, 401.0, 242.0, 180.0, (0.02, -0.01, 0.0, 0.0)),
)


def make_state(n_frames: int = 12) -> RigState:
    rig = sample_rig(3, seed=1)
    poses = board_poses(rig, BOARD, n_frames, seed=1, steps=1)
    return RigState(LENSES, np.stack([camera.camera_from_world for camera in rig]), poses)


def shaken(state: RigState, seed: int, angle: float = 0.02, shift: float = 2.0) -> RigState:
    """All poses but the first camera's moved, all lens parameters changed."""
    rng = np.random.default_rng(seed)

    def shake(poses: np.ndarray) -> np.ndarray:
        turn = rotation_from_vector(rng.normal(0, angle, (*poses.shape[:-2], 3)))
        return pose(turn @ poses[..., :3, :3], poses[..., :3, 3] + rng.normal(0, shift, (*poses.shape[:-2], 3)))

    cameras = np.concatenate([state.camera_from_world[:1], shake(state.camera_from_world[1:])])
    steps = [np.r_[rng.normal(0, 4, 4), rng.normal(0, 0.005, len(lens.param_names) - 4)] for lens in state.lenses]
    lenses = tuple(move_lens(lens, step) for lens, step in zip(state.lenses, steps, strict=True))
    return RigState(lenses, cameras, shake(state.world_from_board))


def test_projection_is_that_of_the_cameras() -> None:
    rig = sample_rig(3, seed=1)
    poses = board_poses(rig, BOARD, 5, seed=1, steps=1)
    lenses = tuple(camera.lens for camera in rig)
    state = RigState(lenses, np.stack([camera.camera_from_world for camera in rig]), poses)
    world = np.stack([BOARD.corners @ p[:3, :3].T + p[:3, 3] for p in poses])
    np.testing.assert_allclose(state.project(BOARD.corners), rig.project(world), atol=1e-9)


def test_noiseless_corners_bring_the_truth_back_for_every_lens() -> None:
    truth = make_state()
    px = truth.project(BOARD.corners)
    start = shaken(truth, 0)
    used = np.isfinite(px).all(-1) & np.isfinite(start.project(BOARD.corners)).all(-1)
    fit = minimise(start, BOARD.corners, px, used, free=free_unknowns(LENSES), max_steps=200, tolerance=1e-14)
    assert np.abs(residuals(fit.state, BOARD.corners, px)[used]).max() < 1e-6
    np.testing.assert_allclose(fit.state.camera_from_world, truth.camera_from_world, atol=1e-4)
    for lens, true in zip(fit.state.lenses[::2], LENSES[::2], strict=True):
        np.testing.assert_allclose(lens.params[:4], true.params[:4], atol=1e-3)


def test_held_unknowns_do_not_move() -> None:
    truth = make_state()
    px = truth.project(BOARD.corners)
    start = shaken(truth, 1)
    used = np.isfinite(px).all(-1) & np.isfinite(start.project(BOARD.corners)).all(-1)
    free = free_unknowns(LENSES, [("fx",), (), ("k1", "k2")], poses_move=False)
    fit = minimise(start, BOARD.corners, px, used, free=free, max_steps=5)
    np.testing.assert_array_equal(fit.state.camera_from_world, start.camera_from_world)
    assert fit.state.lenses[0].params[0] == start.lenses[0].params[0]
    assert fit.state.lenses[0].params[1] != start.lenses[0].params[1]
    assert fit.state.lenses[2].distortion[:2] == start.lenses[2].distortion[:2]
    posed = minimise(start, BOARD.corners, px, used, free=boards_only(start)).state
    assert posed.lenses == start.lenses
    assert not np.allclose(posed.world_from_board, start.world_from_board)


@pytest.mark.parametrize("deflection", [(), (0.8, -1.5)])
def test_reduced_normals_equal_those_of_the_whole_system_by_finite_differences(deflection: tuple[float, ...]) -> None:
    state = replace(make_state(3), deflection=np.array(deflection))
    px = state.project(BOARD.corners) + np.random.default_rng(0).normal(0, 0.1, (3, 3, BOARD.n_corners, 2))
    used = np.isfinite(px).all(-1)
    used[0, 1] = False
    starts = offsets(LENSES)
    n, frames = starts[-1] + len(deflection), 3

    def moved(step: np.ndarray) -> np.ndarray:
        lenses = tuple(move_lens(lens, step[starts[v] + 6 : starts[v + 1]]) for v, lens in enumerate(LENSES))
        cameras = [turn(state.camera_from_world[v], step[starts[v] : starts[v] + 6]) for v in range(3)]
        boards = [turn(state.world_from_board[f], step[n + 6 * f : n + 6 * f + 6]) for f in range(frames)]
        bent = state.deflection + step[starts[-1] : n]
        return residuals(RigState(lenses, np.stack(cameras), np.stack(boards), bent), BOARD.corners, px)[used].ravel()

    def turn(start: np.ndarray, step: np.ndarray) -> np.ndarray:
        return pose(rotation_from_vector(step[:3]) @ start[:3, :3], start[:3, 3] + step[3:])

    columns = []
    for i in range(n + 6 * frames):
        step = np.zeros(n + 6 * frames)
        step[i] = 1e-5
        columns.append((moved(step) - moved(-step)) / 2e-5)
    whole = np.stack(columns) @ np.stack(columns).T
    expected = whole[:n, :n] - whole[:n, n:] @ np.linalg.solve(whole[n:, n:], whole[n:, :n])
    scale = np.sqrt(np.diag(whole)[:n])
    got, gradient = reduced_normals(state, BOARD.corners, px, used)
    np.testing.assert_allclose(got / scale / scale[:, None], expected / scale / scale[:, None], atol=2e-6)
    slope = np.stack(columns) @ moved(np.zeros(n + 6 * frames))
    down = -(slope[:n] - whole[:n, n:] @ np.linalg.solve(whole[n:, n:], slope[n:]))
    np.testing.assert_allclose(gradient / scale, down / scale, atol=1e-5 * np.abs(down / scale).max())


@pytest.mark.parametrize("huber_px", [1.0, 3.0])
def test_robust_loss_holds_against_gross_outliers(huber_px: float) -> None:
    truth = make_state(20)
    rng = np.random.default_rng(3)
    px = truth.project(BOARD.corners)
    px += rng.normal(0, 0.2, px.shape)
    gross = rng.random(px.shape[:-1]) < 0.03
    px[gross] += rng.uniform(-80, 80, (int(gross.sum()), 2))
    used = np.isfinite(px).all(-1)
    robust, plain = (
        minimise(truth, BOARD.corners, px, used, free=free_unknowns(LENSES), huber_px=huber, tolerance=1e-6).state
        for huber in (huber_px, np.inf)
    )
    shift = [
        np.linalg.norm(state.camera_from_world[1:, :3, 3] - truth.camera_from_world[1:, :3, 3])
        for state in (robust, plain)
    ]
    assert shift[0] < 0.3 * shift[1]
