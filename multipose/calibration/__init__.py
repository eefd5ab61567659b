"""Calibration: from pictures of a board to a rig of cameras, with its uncertainty and a report."""

from __future__ import annotations

from multipose.calibration.detection import detect_board
from multipose.calibration.procedure import calibrate
from multipose.calibration.report import Calibration, CalibrationReport, CameraReport, Verdict
from multipose.calibration.world import locate_boards, world_on_board, world_on_points

__all__ = [
    "Calibration",
    "CalibrationReport",
    "CameraReport",
    "Verdict",
    "calibrate",
    "detect_board",
    "locate_boards",
    "world_on_board",
    "world_on_points",
]
