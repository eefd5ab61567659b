"""Leaving out one instant at a time, and corners that err together."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from multipose.board import CharucoBoard
from multipose.calibration import calibrate as calibrate_rig
from multipose.calibration.bundle import RigState, boards_only, free_unknowns, minimise, residuals
from multipose.calibration.influence import leave_instants_out
from multipose.corners import Corners
from multipose.synthetic import board_corners, board_poses, sample_rig

calibrate = partial(calibrate_rig, lens="brown")  # how a lens is chosen is tested elsewhere

BOARD = CharucoBoard(columns=7, rows=5, square=20.0, marker=15.0)


def fitted(n_frames: int, seed: int = 0, noise: float = 0.3) -> tuple[RigState, Corners]:
    rig = sample_rig(3, seed=seed)
    poses = board_poses(rig, BOARD, n_frames, seed=seed, steps=1)
    corners = board_corners(rig, BOARD, poses, noise=noise, seed=seed)
    state = RigState(
        tuple(camera.lens for camera in rig), np.stack([camera.camera_from_world for camera in rig]), poses
    )
    fit = minimise(state, BOARD.corners, corners.px, corners.seen, free=free_unknowns(state.lenses), tolerance=1e-12)
    return fit.state, corners


@pytest.mark.parametrize("n_frames", [12, 30])
def test_one_step_is_the_fit_without_the_instant(n_frames: int) -> None:
    state, corners = fitted(n_frames)
    free, used = free_unknowns(state.lenses), corners.seen
    left = leave_instants_out(state, BOARD.corners, corners.px, used, free)
    squared, expected = 0.0, 0.0
    for frame in range(n_frames):
        kept = used.copy()
        kept[:, frame] = False
        others = minimise(state, BOARD.corners, corners.px, kept, free=free, tolerance=1e-12).state
        alone, own = others.select(np.array([frame])), (slice(None), [frame])
        posed = minimise(alone, BOARD.corners, corners.px[own], used[own], free=boards_only(alone)).state
        error = residuals(posed, BOARD.corners, corners.px[own])[used[own]]
        squared += float((left.residuals[own][used[own]] ** 2).sum())
        expected += float((error**2).sum())
    # what a single step leaves out grows with the square of an instant's share; by other seeds up to 10 / n²
    assert squared == pytest.approx(expected, rel=15 / n_frames**2)
    fit = float((residuals(state, BOARD.corners, corners.px)[used] ** 2).sum())
    assert squared > 1.02 * fit  # the boards left out are further off than the fitted ones


def test_too_few_instants_are_not_left_out() -> None:
    state, corners = fitted(3)
    left = leave_instants_out(state, BOARD.corners, corners.px, corners.seen, free_unknowns(state.lenses))
    assert np.isnan(left.residuals).all()
    assert np.isnan(left.steps).all()
    assert left.inflation == 1.0


@pytest.mark.slow
def test_corners_that_err_together_inflate_the_variance() -> None:
    alone, together = [], []
    for seed in range(5):
        state, corners = fitted(40, seed)
        free = free_unknowns(state.lenses)
        alone.append(leave_instants_out(state, BOARD.corners, corners.px, corners.seen, free).inflation)
        shift = np.random.default_rng((seed, 1)).normal(0, 0.3, (*corners.px.shape[:2], 1, 2))
        px = corners.px + shift  # each board in each view is shifted as a whole
        moved = minimise(state, BOARD.corners, px, corners.seen, free=free, tolerance=1e-12).state
        together.append(leave_instants_out(moved, BOARD.corners, px, corners.seen, free).inflation)
    assert np.mean(alone) < 1.3
    assert np.mean(together) > 3


@pytest.mark.slow
def test_covariance_holds_where_corners_err_together() -> None:
    """Half of the noise's variance is common to the corners of a board in a view."""
    normalised = []
    for seed in range(6):
        rig = sample_rig(3, seed=seed)
        poses = board_poses(rig, BOARD, 40, seed=seed, steps=1)
        corners = board_corners(rig, BOARD, poses, noise=0.2, seed=seed)
        corners.px[:] += np.random.default_rng((seed, 2)).normal(0, 0.2, (*corners.px.shape[:2], 1, 2))
        calibration = calibrate(corners, reject_outliers=False)
        for camera, found in zip(rig, calibration.rig, strict=True):
            error = camera.lens.params - found.lens.params
            rows = [calibration.parameter_names.index(f"{camera.name}.{name}") for name in camera.lens.param_names]
            covariance = calibration.covariance[np.ix_(rows, rows)]
            normalised.append(error @ np.linalg.solve(covariance, error) / len(error))
    assert 0.4 < np.mean(normalised) < 1.8
