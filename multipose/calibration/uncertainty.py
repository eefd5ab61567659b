"""How far the calibration itself is uncertain: over each picture, over the working volume, and where the cameras stand.

The covariance of the cameras' parameters is carried on by derivatives. That the whole rig may be turned and shifted
matters to nothing that is measured with it, so such moves are taken out first: of a picture by the pose that puts the
boards' corners back where they were seen (the idea of Kogan 2021, mrcal's "projection uncertainty"), of the volume by
the rigid motion that moves its points least.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.calibration.intrinsics import spread
from multipose.calibration.report import Calibration
from multipose.camera import Camera, CameraRig
from multipose.geometry import skew, transform
from multipose.triangulate.rig_covariance import parameter_starts, pixel_derivatives

FloatArray: TypeAlias = NDArray[np.float64]

_CELLS_ALONG_WIDTH = 16
_MOST_SUPPORTS = 400
_VOLUME_PERCENTILES = (5.0, 95.0)
_VOLUME_POINTS = 6


@dataclass(frozen=True, eq=False)
class PictureUncertainty:
    """How well a camera knows where a point falls in its picture.

    x, y: (column,), (row,) px of a grid over the picture.
    sd_px: (row, column) standard deviation in the worst direction, px, at the boards' median distance; NaN where the
        lens's distortion folds back.
    """

    x: FloatArray
    y: FloatArray
    sd_px: FloatArray


@dataclass(frozen=True, eq=False)
class VolumeUncertainty:
    """How well the rig measures points, as far as the calibration is concerned.

    xyz: (n, 3) points of a grid over the volume in which boards were seen; those that two cameras see.
    sd: (n,) standard deviation of a point, root of the summed variances of x, y and z, in the rig's unit.
    centers: (view, 3, 3) covariance of the cameras' places relative to the volume, unit².
    """

    xyz: FloatArray
    sd: FloatArray
    centers: FloatArray


def picture_uncertainty(calibration: Calibration, name: str) -> PictureUncertainty:
    """The uncertainty over the picture of one camera."""
    camera = calibration.rig[name]
    view = calibration.rig.names.index(name)
    width, height = camera.size
    x = np.linspace(0, width - 1, _CELLS_ALONG_WIDTH)
    y = np.linspace(0, height - 1, max(2, round(_CELLS_ALONG_WIDTH * height / width)))
    pixels = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    corners = spread(_corners_seen(calibration, view), _MOST_SUPPORTS)
    origins, directions = camera.rays(pixels)
    distance = np.median(np.linalg.norm(corners - camera.center, axis=-1))
    places = np.where(np.isfinite(directions), origins + distance * directions, np.nan)
    known = np.isfinite(places).all(-1)
    by_corner, by_place = pixel_derivatives(camera, corners)[1], pixel_derivatives(camera, places[known])[1]
    # The pose that puts the corners back undoes what it can of a change of the parameters.
    n = by_corner.shape[-1]
    undoing = np.linalg.lstsq(by_corner[..., :6].reshape(-1, 6), by_corner.reshape(-1, n), rcond=None)[0]
    left = by_place - by_place[..., :6] @ undoing
    starts = parameter_starts(calibration.rig)
    own = calibration.covariance[starts[view] : starts[view + 1], starts[view] : starts[view + 1]]
    sd = np.full(len(pixels), np.nan)
    sd[known] = np.sqrt(np.maximum(np.linalg.eigvalsh(left @ own @ np.swapaxes(left, -1, -2))[:, -1], 0.0))
    return PictureUncertainty(x, y, sd.reshape(len(y), len(x)))


def volume_uncertainty(calibration: Calibration) -> VolumeUncertainty:
    """The uncertainty over the volume in which two cameras or more saw the boards; of a single camera there is none."""
    rig = calibration.rig
    xyz = _grid(np.concatenate([_corners_seen(calibration, view) for view in range(len(rig))]))
    seen = np.stack([_in_picture(camera, xyz) for camera in rig])
    error = calibration.rig_covariance
    moves = error.moves(xyz, seen)
    known = np.isfinite(moves).all((1, 2))  # two views at least, that are no copies of one another
    xyz, moves = xyz[known], moves[known]
    if not len(xyz):
        return VolumeUncertainty(xyz, np.empty(0), np.full((len(rig), 3, 3), np.nan))
    motions = _rigid_motions(xyz, xyz)
    undoing = np.linalg.lstsq(motions.reshape(-1, 6), moves.reshape(len(xyz) * 3, -1), rcond=None)[0]
    left = moves - motions @ undoing
    centers = np.stack([camera.center for camera in rig])
    moved = _centers_by_parameters(rig) @ error.factor - _rigid_motions(centers, xyz) @ undoing
    return VolumeUncertainty(xyz, np.sqrt((left**2).sum((1, 2))), moved @ np.swapaxes(moved, -1, -2))


def _corners_seen(calibration: Calibration, view: int) -> FloatArray:
    """(n, 3) world points of the corners that a view used."""
    frame, corner = np.nonzero(np.isfinite(calibration.residuals[view]).all(-1))
    xyz = calibration.corners.board.corners[corner]
    return transform(calibration.world_from_board[frame], xyz)


def _grid(points: FloatArray) -> FloatArray:
    """A grid (n, 3) over the box that holds most of the points, without the outermost on each side."""
    low, high = np.percentile(points, _VOLUME_PERCENTILES, axis=0)
    axes = [np.linspace(a, b, _VOLUME_POINTS) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _in_picture(camera: Camera, xyz: FloatArray) -> NDArray[np.bool_]:
    px = camera.project(xyz)
    with np.errstate(invalid="ignore"):
        return np.asarray(((px >= -0.5) & (px <= np.array(camera.size) - 0.5)).all(-1))


def _centers_by_parameters(rig: CameraRig) -> FloatArray:
    """(view, 3, C) derivatives of the cameras' places by all parameters."""
    starts = parameter_starts(rig)
    result = np.zeros((len(rig), 3, starts[-1]))
    for view, camera in enumerate(rig):
        # center = -Rᵀ t, and a turn w and a shift s make R and t to exp(w) R and t + s.
        result[view, :, starts[view] : starts[view] + 3] = -camera.rotation.T @ skew(camera.translation)
        result[view, :, starts[view] + 3 : starts[view] + 6] = -camera.rotation.T
    return result


def _rigid_motions(points: FloatArray, about: FloatArray) -> FloatArray:
    """(n, 3, 6) moves of points (n, 3) by turns about the middle of other points and by shifts."""
    arm = points - about.mean(0)
    turns = -np.stack([skew(one) for one in arm])
    return np.concatenate([turns, np.broadcast_to(np.eye(3), turns.shape)], axis=-1)
