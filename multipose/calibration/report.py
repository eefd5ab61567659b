"""What a calibration is and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.camera import CameraRig
from multipose.corners import Corners
from multipose.triangulate.rig_covariance import RigCovariance, change_world

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Verdict:
    """One thing to know about a camera (or, with camera "", about the whole rig).

    code: a word for programs: few_boards, coverage, frontal, focal_uncertain, rejected, held_out, undetermined,
        extrapolated, folded, twin, instants, one_picture, lengths, bent.
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
        frame is the world. From the noise of the corners, inflated for corners that err together.
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
class Instant:
    """One instant: how many views used its board, and its RMS (px), fitted and when it was left out."""

    frame: int
    views: int
    rms_px: float
    held_out_rms_px: float


@dataclass(frozen=True)
class BoardLengths:
    """Boards measured by cameras that were calibrated without them; NaN where two views are not there.

    Every corner is triangulated by itself from two or more views; nothing tells it that the board is rigid or flat.

    square_error_percent: root mean square error of the sides of the squares.
    diagonal_mean_percent: mean error of the longest diagonals that were seen: whether the scale is right.
    diagonal_rms_percent: their root mean square error.
    diagonals: how many.
    flatness: root mean square distance of the corners from their boards' planes, in the rig's unit.
    bow: how far the middle of the board stands out of the plane of its edges along x and along y, mean over the
        instants, in the rig's unit; bow_sd: standard deviations of these means.
    """

    square_error_percent: float = float("nan")
    diagonal_mean_percent: float = float("nan")
    diagonal_rms_percent: float = float("nan")
    diagonals: int = 0
    flatness: float = float("nan")
    bow: tuple[float, float] = (float("nan"), float("nan"))
    bow_sd: tuple[float, float] = (float("nan"), float("nan"))


@dataclass(frozen=True)
class CalibrationReport:
    """Figures of a calibration; NaN where one cannot be told (`held_out_rms_px` with fewer than 4 boards).

    rms_px: root of the mean of dx² + dy² over all corners used, fitted, with rigid boards.
    held_out_rms_px: the same over boards that were left out: the rig is fitted to all other instants, and of the board
        left out only its six pose unknowns are estimated.
    held_out_interval_px: (low, high) its 95 % confidence interval, from the scatter between the instants.
    boards_used: instants whose board was used; board_views_used: pictures of it (an instant counts once in every view).
    lengths: what the cameras measure on boards that they were not fitted to.
    board_deflection: for a board that may be bent, how far its middle stands out along x and y and the standard
        deviations of these, ((x, sd), (y, sd)); empty for a flat one.
    inflation: by what the variance of the parameters was multiplied because corners of a board err together.
    shared_boards: for two views, how many boards they saw together and how many of these agree on their relative pose.
    instants: the instants whose board was used.
    rounds: corners thrown out so far, after each round of outlier removal.
    """

    unit: str
    rms_px: float
    held_out_rms_px: float
    held_out_interval_px: tuple[float, float]
    boards_used: int
    board_views_used: int
    cameras: Mapping[str, CameraReport]
    lengths: BoardLengths
    board_deflection: tuple[tuple[float, float], ...]
    inflation: float
    shared_boards: Mapping[tuple[str, str], tuple[int, int]]
    instants: tuple[Instant, ...]
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
            "held_out_interval_px": _plain_all(self.held_out_interval_px),
            "boards_used": self.boards_used,
            "board_views_used": self.board_views_used,
            "cameras": cameras,
            **{name: _plain_all(value) for name, value in vars(self.lengths).items()},
            "board_deflection": [list(pair) for pair in self.board_deflection],
            "inflation": self.inflation,
            "shared_boards": [
                {"views": list(views), "shared": shared, "agreeing": agreeing}
                for views, (shared, agreeing) in self.shared_boards.items()
            ],
            "instants": [{name: _plain_all(value) for name, value in vars(item).items()} for item in self.instants],
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
    held_out_residuals: the same by cameras that were calibrated without the instant.
    rejected: (view, frame, corner) corners seen but thrown out.
    """

    rig: CameraRig
    report: CalibrationReport
    covariance: FloatArray
    parameter_names: tuple[str, ...]
    corners: Corners
    world_from_board: FloatArray
    residuals: FloatArray
    held_out_residuals: FloatArray
    rejected: BoolArray

    @property
    def world(self) -> str:
        """Where the world is, in words."""
        first = self.rig.names[0]
        return str(self.rig.metadata.get("world", f"camera {first}, x right, y down and z forward in its picture"))

    @property
    def rig_covariance(self) -> RigCovariance:
        """The covariance with its rig, to be carried on to points, distances and angles, and to be saved."""
        return RigCovariance.from_matrix(self.rig, self.covariance)

    def in_world(self, new_from_world: FloatArray, description: str) -> Calibration:
        """The same calibration in another world (4, 4), which `description` names in the rig's metadata.

        The covariance of the poses changes with it: a camera turns about the world's origin.
        """
        rig = self.rig.transformed(new_from_world)
        change = change_world(self.rig, rig)
        covariance = change @ self.covariance @ change.T
        sd = dict(zip(self.parameter_names, np.sqrt(np.diag(covariance)).tolist(), strict=True))
        cameras = {
            name: replace(camera, sd={parameter: sd[f"{name}.{parameter}"] for parameter in camera.sd})
            for name, camera in self.report.cameras.items()
        }
        return replace(
            self,
            rig=replace(rig, metadata={**rig.metadata, "world": description}),
            report=replace(self.report, cameras=cameras),
            covariance=covariance,
            world_from_board=new_from_world @ self.world_from_board,
        )


def _plain_all(value: Any) -> Any:
    return (
        [_plain_all(item) for item in value]
        if isinstance(value, tuple)
        else _plain(value)
        if isinstance(value, float)
        else value
    )


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
