"""What a calibration is and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import Corners
from multipose.camera import CameraRig

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Verdict:
    """One thing to know about a camera (or, with camera "", about the whole rig).

    code: a word for programs: few_boards, coverage, frontal, focal_uncertain, rejected, held_out, undetermined, twin,
        instants.
    text: a sentence for people, with the number and what to do.
    """

    camera: str
    code: str
    text: str


@dataclass(frozen=True)
class CameraReport:
    """Figures of one camera.

    rms_px: root of the mean of dx² + dy² over the corners used, fitted; held_out_rms_px: the same over boards that were
        left out.
    lens: name of the model; size: (width, height) px.
    coverage: share of a grid of 10 x 10 cells over the picture that hold a corner.
    boards, corners, rejected: how many boards and corners were used, and how many corners thrown out.
    sd: standard deviation of every parameter: lens parameters by their names, and the pose (`rotation_x` ... radians
        about the camera's axes, `translation_x` ... in the rig's unit), which is zero for the first camera because its
        frame is the world. From the noise of the corners, taken as independent.
    """

    rms_px: float
    held_out_rms_px: float
    lens: str
    size: tuple[int, int]
    coverage: float
    boards: int
    corners: int
    rejected: int
    sd: Mapping[str, float]


@dataclass(frozen=True)
class CalibrationReport:
    """Figures of a calibration; NaN where one cannot be told (`held_out_rms_px` with fewer than 4 boards).

    rms_px: root of the mean of dx² + dy² over all corners used, fitted, with rigid boards.
    held_out_rms_px: the same over boards that were left out: the rig is fitted to the other boards in turn, and of a
        board left out only its six pose unknowns are estimated.
    boards_used: instants whose board was used; board_views_used: pictures of it (an instant counts once in every view).
    square_error_percent: root mean square of how far the sides of the squares, each corner triangulated by itself from
        two or more views, differ from their true length; NaN for a single camera.
    shared_boards: for two views, how many boards they saw together and how many of these agree on their relative pose.
    rounds: corners thrown out so far, after each round of outlier removal.
    """

    unit: str
    rms_px: float
    held_out_rms_px: float
    boards_used: int
    board_views_used: int
    cameras: Mapping[str, CameraReport]
    square_error_percent: float
    shared_boards: Mapping[tuple[str, str], tuple[int, int]]
    rounds: tuple[int, ...]
    verdicts: tuple[Verdict, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for report.json and `--json`; what cannot be told is None."""
        cameras = {
            name: {
                "rms_px": _plain(camera.rms_px),
                "held_out_rms_px": _plain(camera.held_out_rms_px),
                "lens": camera.lens,
                "size": list(camera.size),
                "coverage": _plain(camera.coverage),
                "boards": camera.boards,
                "corners": camera.corners,
                "rejected": camera.rejected,
                "sd": {parameter: _plain(value) for parameter, value in camera.sd.items()},
            }
            for name, camera in self.cameras.items()
        }
        return {
            "unit": self.unit,
            "rms_px": _plain(self.rms_px),
            "held_out_rms_px": _plain(self.held_out_rms_px),
            "boards_used": self.boards_used,
            "board_views_used": self.board_views_used,
            "cameras": cameras,
            "square_error_percent": _plain(self.square_error_percent),
            "shared_boards": [
                {"views": list(views), "shared": shared, "agreeing": agreeing}
                for views, (shared, agreeing) in self.shared_boards.items()
            ],
            "rounds": list(self.rounds),
            "verdicts": [vars(verdict) for verdict in self.verdicts],
        }


@dataclass(frozen=True, eq=False)
class Calibration:
    """A rig and what it rests on.

    rig: the cameras in natural order of their names; the world is the frame of the first.
    report: figures and verdicts.
    covariance: (P, P) of all camera parameters in the order of `parameter_names` ("left.rotation_x" ... "left.k3");
        rotations and translations are small changes applied on the left of `camera_from_world`; rows of held parameters
        are zero.
    corners: the corners, in the order of the rig's cameras, the corners of each board named alike in all views.
    world_from_board: (frame, 4, 4), NaN where no board was used.
    residuals: (view, frame, corner, 2) seen minus projected, px, of the corners used; NaN elsewhere.
    rejected: (view, frame, corner) corners seen but thrown out.
    """

    rig: CameraRig
    report: CalibrationReport
    covariance: FloatArray
    parameter_names: tuple[str, ...]
    corners: Corners
    world_from_board: FloatArray
    residuals: FloatArray
    rejected: BoolArray

    def in_world(self, new_from_world: FloatArray, description: str) -> Calibration:
        """The same calibration in another world (4, 4), which `description` names in the rig's metadata.

        The covariance stays: changes on the left of `camera_from_world` do not depend on the world.
        """
        rig = self.rig.transformed(new_from_world)
        return replace(
            self,
            rig=replace(rig, metadata={**rig.metadata, "world": description}),
            world_from_board=new_from_world @ self.world_from_board,
        )


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
