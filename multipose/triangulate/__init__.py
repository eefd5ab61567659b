"""From 2D key points to 3D: triangulation with uncertainty, offsets between views, and comparison with a truth."""

from __future__ import annotations

from multipose.triangulate.comparison import RigComparison, align_rigs, compare_rigs, position_errors
from multipose.triangulate.offsets import estimate_offsets, remove_offsets
from multipose.triangulate.online import OnlineSmoother
from multipose.triangulate.points import STATES, Points, triangulate
from multipose.triangulate.reconstruction import leave_one_out, reconstruct
from multipose.triangulate.smoothing import learn_motion, smooth

__all__ = [
    "STATES",
    "OnlineSmoother",
    "Points",
    "RigComparison",
    "align_rigs",
    "compare_rigs",
    "estimate_offsets",
    "learn_motion",
    "leave_one_out",
    "position_errors",
    "reconstruct",
    "remove_offsets",
    "smooth",
    "triangulate",
]
