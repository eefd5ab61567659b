"""What a detector would report of known points: projections with noise, gaps and gross errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.board import Board, CharucoBoard
from multipose.camera import Camera, CameraRig
from multipose.corners import Corners
from multipose.errors import DataError
from multipose.geometry import transform
from multipose.tracks import keypoints2d

_GROSS_PX = (30.0, 120.0)  # a gross error moves a point by this range of distances
_MAX_TILT_COS = np.cos(np.deg2rad(72.0))  # boards seen at a flatter angle are not detected


def observe(
    rig: CameraRig,
    xyz: NDArray[np.float64],
    *,
    noise: float = 0.5,
    missing: float = 0.0,
    outliers: float = 0.0,
    seed: int = 0,
    keypoints: Sequence[str] | None = None,
    individuals: Sequence[str] | None = None,
    fps: float | None = 30.0,
) -> xr.Dataset:
    """Project points into every view and disturb them as a detector does.

    Args:
        rig: the true cameras.
        xyz: (time, keypoint, 3) or (time, individual, keypoint, 3) in the rig's unit; NaN stays NaN.
        noise: standard deviation of the noise per coordinate, px.
        missing: share of the points that a view does not report.
        outliers: share of the points that are off by 30 to 120 px in a random direction.
        seed: the same seed gives the same observations.
        keypoints, individuals: names for the dataset's coordinates.
        fps: frames per second of the dataset's time axis.

    Returns:
        The checked dataset of `tracks.keypoints2d`: points outside a view's picture or behind the camera are NaN with
        confidence 0, the others have confidence 1 and covariance noise² I, NaN without noise (the outliers too: a
        detector does not know).

    Raises:
        DataError: the points have another shape.
    """
    points = np.asarray(xyz, dtype=np.float64)
    if points.ndim == 3:
        points = points[:, None]
    if points.ndim != 4 or points.shape[-1] != 3:
        raise DataError(f"expected points (time, keypoint, 3) or (time, individual, keypoint, 3), got {np.shape(xyz)}")
    rng = np.random.default_rng(seed)
    px = rig.project(points)
    px = px + rng.normal(0.0, noise, px.shape)
    gross = rng.random(px.shape[:-1]) < outliers
    angle = rng.uniform(0.0, 2.0 * np.pi, gross.shape)
    size = rng.uniform(*_GROSS_PX, gross.shape)
    shift = size[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    px = np.where(gross[..., None], px + shift, px)
    lost = rng.random(px.shape[:-1]) < missing
    for view, camera in enumerate(rig):
        lost[view] |= ~inside_picture(px[view], camera.size)
    px[lost] = np.nan
    covariance = np.broadcast_to(np.eye(2) * (noise**2 if noise > 0 else np.nan), (*px.shape, 2)).copy()
    covariance[lost] = np.nan
    return keypoints2d(
        px,
        confidence=np.where(lost, 0.0, 1.0),
        covariance=covariance,
        views=rig.names,
        keypoints=keypoints,
        individuals=individuals,
        fps=fps,
    )


def board_corners(
    rig: CameraRig,
    board: Board,
    poses: NDArray[np.float64],
    *,
    noise: float = 0.1,
    seed: int = 0,
) -> Corners:
    """The board's corners as a detector would find them.

    A chessboard is seen whole or not at all; of a ChArUco board every corner inside the picture is seen as soon as
    there are at least 6. A board seen from behind or at more than 72 degrees to its normal is not found; of a two-sided
    board a view sees the side that faces it.

    Args:
        rig: the true cameras.
        board: the board; its front faces its own -z, and its back, if printed, +z.
        poses: (frame, 4, 4) world_from_board.
        noise: standard deviation of the noise per coordinate, px.
        seed: the same seed gives the same corners.

    Raises:
        DataError: the poses have another shape.
    """
    poses = np.asarray(poses, dtype=np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise DataError(f"expected board poses (frame, 4, 4), got {poses.shape}")
    rng = np.random.default_rng(seed)
    world = np.stack([transform(pose, board.corners) for pose in poses])  # (frame, corner, 3)
    px = rig.project(world)
    px = px + rng.normal(0.0, noise, px.shape)
    reasons = np.full((len(rig), len(poses)), "", dtype=object)
    on_side = board.n_corners // board.sides
    needed = min(6, on_side) if isinstance(board, CharucoBoard) else on_side
    for view, camera in enumerate(rig):
        cosines = _facing_cosines(camera, board, poses)  # (frame, side)
        shown: NDArray[np.bool_] = np.repeat(cosines >= _MAX_TILT_COS, on_side, axis=-1)  # (frame, corner)
        facing = np.asarray(shown.any(axis=-1))
        inside = inside_picture(px[view], camera.size)
        enough = (inside & (shown | ~facing[:, None])).sum(axis=-1) >= needed
        px[view][~(inside & shown & enough[:, None])] = np.nan
        reasons[view][~enough] = "board outside the picture"
        reasons[view][~facing] = "board turned away"
    return Corners(
        board=board,
        views=rig.names,
        sizes={camera.name: camera.size for camera in rig},
        frames=np.arange(len(poses), dtype=np.int64),
        px=px,
        reasons=reasons,
    )


def _facing_cosines(camera: Camera, board: Board, poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """(frame, side) cosine of the angle between a printed side's outward normal and the direction to a camera."""
    middles = np.stack([side.mean(axis=0) for side in np.split(board.corners, board.sides)])
    outward = np.array([-1.0, 1.0])[: board.sides, None] * poses[:, None, :3, 2]  # (frame, side, 3)
    towards = camera.center - (middles @ np.swapaxes(poses[:, :3, :3], -1, -2) + poses[:, None, :3, 3])
    cosines: NDArray[np.float64] = (towards * outward).sum(-1) / np.linalg.norm(towards, axis=-1)
    return cosines


def inside_picture(px: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether pixel positions (..., 2) lie in a picture of a size (width, height), to its pixels' edges; NaN do not."""
    x, y = px[..., 0], px[..., 1]
    inside: NDArray[np.bool_] = (x >= -0.5) & (x <= size[0] - 0.5) & (y >= -0.5) & (y <= size[1] - 0.5)
    return inside
