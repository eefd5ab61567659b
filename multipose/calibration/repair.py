"""New poses for cameras that moved, from the key points of a recording; everything else of the rig is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from multipose.calibration.assignment import find_mixup
from multipose.calibration.checking import Evidence, as_keypoints, check_rig, gather
from multipose.calibration.motion import Motion
from multipose.camera import CameraRig
from multipose.corners import Corners
from multipose.errors import CalibrationError, DataError
from multipose.triangulate import leave_one_out
from multipose.triangulate.reconstruction import MIN_CONFIDENCE


@dataclass(frozen=True, eq=False)
class Refinement:
    """A rig with new poses.

    rig: the whole rig; lenses, the other cameras, unit and world are as before. cameras: those that were refined.
    pose_sd: by camera, standard deviations of its turn about its axes (radians) and its shift (unit), 6 numbers.
    held_out_px: by view, the median distance from where the other views put its points, before and after, on the second
    half of the recording with poses refined on the first half alone. Offsets of key points are in it. Empty where a
    half has too few points.
    """

    rig: CameraRig
    cameras: tuple[str, ...]
    pose_sd: Mapping[str, tuple[float, ...]]
    held_out_px: Mapping[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "cameras": list(self.cameras),
            "pose_sd": {name: list(sd) for name, sd in self.pose_sd.items()},
            "held_out_px": {name: list(pair) for name, pair in self.held_out_px.items()},
        }


def refine_rig(
    rig: CameraRig,
    keypoints: xr.Dataset | Corners,
    cameras: Sequence[str] | None = None,
    baseline: xr.Dataset | None = None,
    *,
    min_confidence: float = MIN_CONFIDENCE,
) -> Refinement:
    """Refine the poses of cameras from key points, with constant offsets of the key points estimated along.

    The cameras that are not refined hold the world and its scale. Where all are refined, the changes are the smallest
    ones that explain the key points: the world's place, turn and scale cannot be known better than that.

    Args:
        rig: the cameras; it may hold more than the key points have views.
        keypoints: Keypoints2D, or the corners of a board.
        cameras: names of those to refine; by default the ones that `check_rig` finds to have moved.
        baseline, min_confidence: as in `check_rig`.

    Raises:
        CalibrationError: no camera moved, views are exchanged or copied, or fewer than two cameras hold the world.
        DataError: as `check_rig`; a camera that is not in the rig.
    """
    keypoints = as_keypoints(keypoints)
    evidence = gather(rig, keypoints, baseline, min_confidence)
    if cameras is None:
        check = check_rig(rig, keypoints, baseline, min_confidence=min_confidence)
        chosen = check.named("moved")
        if not chosen or chosen != check.suspects:
            raise CalibrationError(
                f"It is not clear which poses to refine. {' '.join(check.sentences)} Name the cameras to refine them "
                "all the same."
            )
    else:
        chosen = tuple(rig[name].name for name in cameras)
    motion, views = _solve(evidence, chosen)
    return Refinement(
        rig=_with_poses(rig, motion.rig, chosen),
        cameras=chosen,
        pose_sd={
            name: tuple(
                float(sd) for sd in np.sqrt(np.diagonal(motion.covariance[views.index(evidence.rig.names.index(name))]))
            )
            for name in chosen
        },
        held_out_px=_held_out(rig, keypoints, chosen, baseline, min_confidence),
    )


def _solve(evidence: Evidence, chosen: Sequence[str]) -> tuple[Motion, tuple[int, ...]]:
    """The pose changes of the chosen cameras, and the numbers of the views that took part."""
    names = evidence.rig.names
    mixup = find_mixup(evidence.disagreement, evidence.rig)
    if mixup.swapped or mixup.copies:
        raise CalibrationError(
            "Some views show the pictures of others; `check_rig` tells which. Put that right before poses are refined."
        )
    judged = [names[view] for view in evidence.judged]
    missing = [name for name in chosen if name not in judged]
    if missing:
        raise CalibrationError(
            f"The key points show too little of {', '.join(missing)}; poses can be refined of {', '.join(judged)}."
        )
    kept = len(judged) - len(set(chosen))
    if kept < 2 and (kept or len(judged) < 3):
        raise CalibrationError(
            f"{len(chosen)} of {len(judged)} cameras cannot be refined: two cameras must be left to hold the world and "
            "its scale. Calibrate anew, or refine all of three or more cameras together, which changes them least."
        )
    motion, views = evidence.motion(mixup, [names.index(name) for name in chosen])
    if motion is None:
        raise CalibrationError("One view alone says nothing about its camera's pose.")
    return motion, views


def _with_poses(rig: CameraRig, refined: CameraRig, names: Sequence[str]) -> CameraRig:
    """The rig with the poses of some cameras taken from another."""
    cameras = tuple(
        replace(camera, camera_from_world=refined[camera.name].camera_from_world) if camera.name in names else camera
        for camera in rig
    )
    return replace(rig, cameras=cameras, metadata={**rig.metadata, "refined": list(names)})


def _held_out(
    rig: CameraRig, keypoints: xr.Dataset, chosen: Sequence[str], baseline: xr.Dataset | None, min_confidence: float
) -> dict[str, tuple[float, float]]:
    """Errors on the second half of a recording, before and after a refinement on the first half."""
    half = keypoints.sizes["time"] // 2
    first, second = keypoints.isel(time=slice(half)), keypoints.isel(time=slice(half, None))
    try:
        motion, _ = _solve(gather(rig, first, baseline, min_confidence), chosen)
        gather(rig, second, baseline, min_confidence)
    except (CalibrationError, DataError):
        return {}
    before, after = (
        leave_one_out(second, one, min_confidence=min_confidence, threads=1)
        for one in (rig, _with_poses(rig, motion.rig, chosen))
    )
    return {name: (before[name], after[name]) for name in before}
