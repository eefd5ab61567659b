"""Calibration of real recordings and of the sample project, with the figures that were measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from multipose.board import CharucoBoard, Chessboard
from multipose.calibration import calibrate, detect_board
from multipose.camera import CameraRig
from multipose.triangulate import compare_rigs

pytestmark = [pytest.mark.opencv, pytest.mark.slow]


def test_stereo_chessboard(recordings: Callable[[str], Path]) -> None:
    folder = recordings("stereo_chessboard")
    board = Chessboard(columns=9, rows=6, square=25.0, unit="mm")
    corners = detect_board({side: str(folder / f"{side}*.jpg") for side in ("left", "right")}, board)
    assert corners.frames.tolist() == list(range(1, 15))
    assert (corners.counts() == 54).all()
    calibration = calibrate(corners)
    left, right = calibration.rig["left"], calibration.rig["right"]
    assert left.lens.params[0] == pytest.approx(535.92, rel=0.01)  # published; measured: 533.5
    assert np.linalg.norm(right.center - left.center) == pytest.approx(83.2, abs=0.6)  # measured: 83.17
    assert calibration.report.rms_px < 0.45  # measured: 0.194
    assert calibration.report.held_out_rms_px < 1.3 * calibration.report.rms_px  # measured: 0.203
    assert calibration.report.board_views_used == 28


def test_mouse_four_views(recordings: Callable[[str], Path]) -> None:
    folder = recordings("mouse_four_views")
    board = CharucoBoard(columns=8, rows=11, square=24.0, marker=18.75, unit="mm", dictionary="4X4_1000")
    views = ("back", "mid", "side", "top")
    corners = detect_board({view: folder / view / "board" for view in views}, board)
    assert corners.frames.tolist() == list(range(21))
    report = calibrate(corners).report
    assert report.board_views_used == 84
    assert report.rms_px < 0.40  # measured: 0.206
    assert report.held_out_rms_px < 1.3 * report.rms_px  # measured: 0.210
    assert report.lengths.square_error_percent < 0.5  # measured: 0.24
    assert abs(report.lengths.diagonal_mean_percent) < 0.1  # measured: 0.005
    assert len(report.instants) == 21


def test_sample_project(sample: Path) -> None:
    board = CharucoBoard(columns=8, rows=6, square=20.0, marker=15.0, unit="mm", dictionary="4X4_50")
    videos = {view: sample / f"calibration/board/{view}.mp4" for view in ("left", "front", "right")}
    calibration = calibrate(detect_board(videos, board))
    truth = CameraRig.load(sample / "truth" / "rig.toml")
    comparison = compare_rigs(calibration.rig, truth)
    assert comparison.center_error_fraction < 0.005  # measured: 0.0008
    assert max(comparison.rotation_error.values()) < 0.01  # measured: 0.0022 rad
    assert calibration.report.rms_px < 0.3  # measured: 0.18, in video compressed to a few hundred kB
