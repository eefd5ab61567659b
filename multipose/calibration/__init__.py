"""Calibration: from pictures of a board to a rig of cameras, with its uncertainty and a report."""

from __future__ import annotations

from multipose.calibration.checking import CameraCheck, RigCheck, check_rig
from multipose.calibration.detection import detect_board
from multipose.calibration.procedure import calibrate
from multipose.calibration.repair import Refinement, refine_rig
from multipose.calibration.report import Calibration, CalibrationReport, CameraReport, Verdict
from multipose.calibration.world import locate_boards, world_on_board, world_on_points

__all__ = [
    "Calibration",
    "CalibrationReport",
    "CameraCheck",
    "CameraReport",
    "Refinement",
    "RigCheck",
    "Verdict",
    "calibrate",
    "check_rig",
    "detect_board",
    "locate_boards",
    "refine_rig",
    "world_on_board",
    "world_on_points",
]
