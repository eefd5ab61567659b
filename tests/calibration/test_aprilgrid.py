"""A rig calibrated with a grid of tags, from pictures to distances in space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multipose.board import AprilGrid
from multipose.calibration import calibrate, detect_board
from multipose.synthetic import Moment, arena, board_poses, prepare, render, sample_rig
from multipose.triangulate import triangulate
from multipose.video import write_picture

BOARD = AprilGrid(columns=4, rows=3, square=30.0, spacing=9.0)


@pytest.mark.slow
@pytest.mark.opencv
def test_a_rig_is_calibrated_with_a_grid_of_tags(tmp_path: Path) -> None:
    truth, scene = sample_rig(3, (480, 360)), arena(clutter=False)
    poses = board_poses(truth, BOARD, 24, seed=3, steps=1)
    for camera in truth:
        stage = prepare(scene, camera, samples=2)
        for i, pose in enumerate(poses):
            picture = render(stage, Moment(board=BOARD, board_poses=pose[None]), seed=i)
            write_picture(tmp_path / camera.name / f"{i}.png", picture)
    corners = detect_board({camera.name: tmp_path / camera.name for camera in truth}, BOARD)
    expected = truth.project(np.einsum("fij,cj->fci", poses[:, :3, :3], BOARD.corners) + poses[:, None, :3, 3])
    off = np.linalg.norm(corners.px - expected, axis=-1)[corners.seen]
    assert corners.seen.mean() > 0.4
    assert np.median(off) < 0.15
    assert np.percentile(off, 99) < 1.0
    rig = calibrate(corners).rig
    points = np.random.default_rng(0).uniform((-60, -60, 0), (60, 60, 120), (200, 3))
    found = triangulate(truth.project(points), rig).position
    true, measured = (np.linalg.norm(xyz[:100] - xyz[100:], axis=-1) for xyz in (points, found))
    assert np.abs(measured / true - 1).max() < 0.01
    assert abs(np.median(measured / true) - 1) < 0.002
