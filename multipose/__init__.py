"""multipose: from the videos of several cameras to 3D body-part trajectories with honest error bars.

The public names are resolved when they are first used, so that `import multipose` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "AprilGrid": "multipose.board",
    "BrownLens": "multipose.lens",
    "Calibration": "multipose.calibration",
    "Camera": "multipose.camera",
    "CameraRig": "multipose.camera",
    "CharucoBoard": "multipose.board",
    "Chessboard": "multipose.board",
    "Corners": "multipose.corners",
    "EgocentricConfig": "multipose.kinematics_config",
    "FisheyeLens": "multipose.lens",
    "KinematicsConfig": "multipose.kinematics_config",
    "Labels": "multipose.labels",
    "OnlineSmoother": "multipose.triangulate",
    "PoseModel": "multipose.pose2d",
    "Project": "multipose.project",
    "RationalLens": "multipose.lens",
    "RigCovariance": "multipose.triangulate",
    "Skeleton": "multipose.skeleton",
    "TelecentricLens": "multipose.lens",
    "Tracker": "multipose.pose2d",
    "calibrate": "multipose.calibration",
    "check_rig": "multipose.calibration",
    "compare_evaluations": "multipose.pose2d",
    "detect_board": "multipose.calibration",
    "estimate_offsets": "multipose.triangulate",
    "evaluate": "multipose.pose2d",
    "export_onnx": "multipose.pose2d",
    "keypoints2d": "multipose.tracks",
    "kinematics": "multipose.triangulate",
    "learn_motion": "multipose.triangulate",
    "predict": "multipose.pose2d",
    "reconstruct": "multipose.triangulate",
    "refine_rig": "multipose.calibration",
    "remove_offsets": "multipose.triangulate",
    "smooth": "multipose.triangulate",
    "train": "multipose.pose2d",
    "train_on": "multipose.pose2d",
    "trajectories3d": "multipose.tracks",
}
_MODULES = ("errors", "formats", "view")

__version__ = "0.1.0"
__all__ = [
    "AprilGrid",
    "BrownLens",
    "Calibration",
    "Camera",
    "CameraRig",
    "CharucoBoard",
    "Chessboard",
    "Corners",
    "EgocentricConfig",
    "FisheyeLens",
    "KinematicsConfig",
    "Labels",
    "OnlineSmoother",
    "PoseModel",
    "Project",
    "RationalLens",
    "RigCovariance",
    "Skeleton",
    "TelecentricLens",
    "Tracker",
    "calibrate",
    "check_rig",
    "compare_evaluations",
    "detect_board",
    "errors",
    "estimate_offsets",
    "evaluate",
    "export_onnx",
    "formats",
    "keypoints2d",
    "kinematics",
    "learn_motion",
    "predict",
    "reconstruct",
    "refine_rig",
    "remove_offsets",
    "smooth",
    "train",
    "train_on",
    "trajectories3d",
    "view",
]

if TYPE_CHECKING:
    from multipose import errors, formats, view
    from multipose.board import AprilGrid, CharucoBoard, Chessboard
    from multipose.calibration import Calibration, calibrate, check_rig, detect_board, refine_rig
    from multipose.camera import Camera, CameraRig
    from multipose.corners import Corners
    from multipose.kinematics_config import EgocentricConfig, KinematicsConfig
    from multipose.labels import Labels
    from multipose.lens import BrownLens, FisheyeLens, RationalLens, TelecentricLens
    from multipose.pose2d import (
        PoseModel,
        Tracker,
        compare_evaluations,
        evaluate,
        export_onnx,
        predict,
        train,
        train_on,
    )
    from multipose.project import Project
    from multipose.skeleton import Skeleton
    from multipose.tracks import keypoints2d, trajectories3d
    from multipose.triangulate import (
        OnlineSmoother,
        RigCovariance,
        estimate_offsets,
        kinematics,
        learn_motion,
        reconstruct,
        remove_offsets,
        smooth,
    )
else:

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        elif name in _MODULES:
            value = importlib.import_module(f"multipose.{name}")
        else:
            raise AttributeError(f"module 'multipose' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
