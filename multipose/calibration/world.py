"""Where the world lies: on a board that lies on the floor, with one of its axes upwards, or on three named points."""

from __future__ import annotations

from typing import TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multipose.calibration.bundle import RigState, boards_only, minimise, residuals
from multipose.calibration.extrinsics import board_symmetries, place_boards
from multipose.calibration.intrinsics import pose_boards
from multipose.camera import CameraRig
from multipose.config import Up
from multipose.corners import Corners, fuller_side
from multipose.errors import CalibrationError, DataError
from multipose.geometry import as_array, invert_pose, pose

FloatArray: TypeAlias = NDArray[np.float64]

_FEWEST_CORNERS = 4
_HUBER_PX = 2.0
_ON_A_LINE = 1e-3  # sine of the angle between two of the sides below which points lie on a line


def locate_boards(rig: CameraRig, corners: Corners) -> FloatArray:
    """Poses `world_from_board` (frame, 4, 4) of boards that a calibrated rig sees, with the cameras held.

    Every view proposes its two planar poses (Collins & Bartoli 2014); the one that all views support best is moved to
    the smallest reprojection error in all of them. NaN where no view sees enough corners.

    Raises DataError for a view that the rig does not have.
    """
    cameras = rig.subset(corners.views)
    board_xyz, seen = corners.board.corners, fuller_side(corners.seen, corners.board)
    used = seen & (seen.sum(-1) >= _FEWEST_CORNERS)[..., None]
    fits = [
        pose_boards(camera.lens, board_xyz, px, own) for camera, px, own in zip(cameras, corners.px, used, strict=True)
    ]
    camera_from_world = np.stack([camera.camera_from_world for camera in cameras])
    orders, turns = board_symmetries(corners.board)
    placed, choice = place_boards(board_xyz, corners.px, used, fits, camera_from_world, orders, turns)
    known = np.flatnonzero(np.isfinite(placed).all((1, 2)))
    if not len(known):
        return placed
    order = orders[choice[:, known]]
    px = np.take_along_axis(corners.px[:, known], order[..., None], axis=2)
    state = RigState(tuple(camera.lens for camera in cameras), camera_from_world, placed[known])
    own = np.take_along_axis(used[:, known], order, axis=2) & np.isfinite(residuals(state, board_xyz, px)).all(-1)
    fit = minimise(state, board_xyz, px, own, free=boards_only(state), huber_px=_HUBER_PX)
    placed[known] = fit.state.world_from_board
    return placed


def world_on_board(world_from_board: FloatArray, up: Up = "z") -> FloatArray:
    """The pose `new_from_world` (4, 4) that puts the world on a board that lies with its print upwards.

    The origin is the board's first corner. The axis `up` points away from the print; x points along the board's x, or,
    where x is the axis that points up or down, y along the board's y. The axes are right-handed.

    Raises CalibrationError for a pose that is not known, DataError for another `up`.
    """
    if up not in get_args(Up):
        raise DataError(f"up is the axis of the world that points up, one of {', '.join(get_args(Up))}; got {up!r}.")
    if not np.isfinite(world_from_board).all():
        raise CalibrationError(
            "The pose of the board that the world is to lie on is not known: no view shows enough of it."
        )
    along, down, into = np.eye(3)  # the board's axes: x and y on the print, z into it
    sign, axis = (-1.0 if up[0] == "-" else 1.0), "xyz".index(up[-1])
    axes = np.zeros((3, 3))  # rows: the new axes in the board's
    axes[axis] = -sign * into
    kept = 1 if axis == 0 else 0
    axes[kept] = down if axis == 0 else along
    third = 3 - axis - kept
    axes[third] = np.cross(axes[(third + 1) % 3], axes[(third + 2) % 3])
    return np.asarray(pose(axes, np.zeros(3)) @ invert_pose(world_from_board))


def world_on_points(points: ArrayLike) -> FloatArray:
    """The pose `new_from_world` (4, 4) that puts the world on three points (3, 3) of the present one.

    The first is the origin, x points to the second, and y to the side of the third, which lies in the plane of x and
    y; z makes the axes right-handed.

    Raises CalibrationError for points that are not known or lie on one line.
    """
    origin, along, beside = as_array(points, (3, 3), "The points that the world is to lie on")
    x = along - origin
    z = np.cross(x, beside - origin)
    size = np.linalg.norm(x) * np.linalg.norm(beside - origin)
    if not np.linalg.norm(z) > _ON_A_LINE * size:
        raise CalibrationError(
            f"The three points that the world is to lie on ({origin}, {along}, {beside}) are not known or lie on one "
            "line; take points that span a plane."
        )
    x, z = x / np.linalg.norm(x), z / np.linalg.norm(z)
    axes = np.stack([x, np.cross(z, x), z])
    return np.asarray(pose(axes, -axes @ origin))
