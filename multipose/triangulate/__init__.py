"""From 2D key points to 3D: triangulation with uncertainty, offsets between views, and comparison with a truth."""

from __future__ import annotations

from multipose.triangulate.comparison import (
    RigComparison,
    align_rigs,
    compare_rigs,
    position_differences,
    position_errors,
    region_hits,
)
from multipose.triangulate.confidence import BetterConfidence, better_confidence
from multipose.triangulate.diagnostics import Diagnostics, diagnose
from multipose.triangulate.error_calibration import ErrorCalibration, HeldOut, calibrate_errors
from multipose.triangulate.offsets import estimate_offsets, remove_offsets
from multipose.triangulate.online import OnlineSmoother
from multipose.triangulate.points import STATES, Points, triangulate
from multipose.triangulate.quantities import kinematics, save_kinematics
from multipose.triangulate.reconstruction import leave_one_out, reconstruct
from multipose.triangulate.rig_covariance import RigCovariance
from multipose.triangulate.smoothing import learn_motion, smooth
from multipose.triangulate.swaps import Swap

__all__ = [
    "STATES",
    "BetterConfidence",
    "Diagnostics",
    "ErrorCalibration",
    "HeldOut",
    "OnlineSmoother",
    "Points",
    "RigComparison",
    "RigCovariance",
    "Swap",
    "align_rigs",
    "better_confidence",
    "calibrate_errors",
    "compare_rigs",
    "diagnose",
    "estimate_offsets",
    "kinematics",
    "learn_motion",
    "leave_one_out",
    "position_differences",
    "position_errors",
    "reconstruct",
    "region_hits",
    "remove_offsets",
    "save_kinematics",
    "smooth",
    "triangulate",
]
