"""How a hand moves a calibration board through the rig."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multipose.board import Board
from multipose.camera import Camera, CameraRig
from multipose.errors import DataError
from multipose.geometry import rotation_from_vector, vector_from_rotation

Array = NDArray[np.float64]

_SHARED_TILT = np.deg2rad(22.0)  # of the board about level, where all cameras should see it
_SINGLE_TILT = np.deg2rad(38.0)  # of the board about facing one camera
# Shares of the picture where the middle of a board before one camera lies.
_TARGETS = (
    (0.13, 0.15), (0.87, 0.85), (0.87, 0.15), (0.13, 0.85), (0.5, 0.5),
    (0.5, 0.13), (0.5, 0.87), (0.1, 0.5), (0.9, 0.5),
)  # fmt: skip


def board_poses(
    rig: CameraRig,
    board: Board,
    n_frames: int = 80,
    seed: int = 0,
    *,
    steps: int = 3,
    lowest: float = 25.0,
    level_share: float = 0.5,
) -> Array:
    """Poses world_from_board (frame, 4, 4) of a board that is moved to well-spread places and tilts.

    Every `steps` frames the board reaches a new key pose; in between it moves smoothly. A share of the key poses is
    near level in the middle, where a ring of cameras above sees it together; the others face one camera after another,
    tilted, near and far, and reach the edges and corners of its picture.

    Args:
        rig: cameras about the world's origin, z up.
        board: the board.
        n_frames: number of poses, at least 2.
        seed: the same seed gives the same poses.
        steps: frames from one key pose to the next; 1 jumps.
        lowest: least height of a corner of the print above the floor, in the rig's unit.
        level_share: share of the key poses that are near level in the middle.

    Raises:
        DataError: fewer than 2 frames or fewer than 1 step.
    """
    if n_frames < 2 or steps < 1:
        raise DataError(f"board_poses needs at least 2 frames and 1 step, got {n_frames} and {steps}")
    rng = np.random.default_rng(seed)
    n_keys = (n_frames - 1) // steps + 2
    middle = board.corners.mean(axis=0)
    rotations = np.empty((n_keys, 3, 3))
    centers = np.empty((n_keys, 3))
    singles = 0
    for key in range(n_keys):
        if int((key + 1) * level_share) > int(key * level_share):
            rotations[key], centers[key] = _level_pose(rng, rig)
        else:
            camera = rig.cameras[singles % len(rig)]
            target = _TARGETS[(singles // len(rig)) % len(_TARGETS)]
            rotations[key], centers[key] = _facing_pose(rng, camera, target)
            singles += 1
    poses = np.tile(np.eye(4), (n_frames, 1, 1))
    outline = _outline(board)
    for frame in range(n_frames):
        key, rest = divmod(frame, steps)
        share = rest / steps
        share = share * share * (3.0 - 2.0 * share)
        turn = vector_from_rotation(rotations[key].T @ rotations[key + 1])
        rotation = rotations[key] @ rotation_from_vector(share * turn)
        center = (1.0 - share) * centers[key] + share * centers[key + 1]
        heights = (outline - middle) @ rotation.T[:, 2] + center[2]
        center[2] += max(0.0, lowest - heights.min())
        poses[frame, :3, :3] = rotation
        poses[frame, :3, 3] = center - rotation @ middle
    return poses


def _outline(board: Board) -> Array:
    """The four corners of the print (4, 3) in the board's frame."""
    left, top, width, height = board.print_area
    return np.array([[x, y, 0.0] for y in (top, top + height) for x in (left, left + width)])


def _tilted(rng: np.random.Generator, normal: Array, down: Array, tilt: float) -> Array:
    """A rotation world_from_board: the print faces `normal` and its y axis points `down`, but for a tilt and a spin."""
    z = -normal / np.linalg.norm(normal)
    x = np.cross(down, z)
    x /= np.linalg.norm(x)
    upright = np.column_stack([x, np.cross(z, x), z])
    angle = tilt * np.sqrt(rng.uniform(0.15, 1.0))
    azimuth, spin = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(-0.8, 0.8)
    tilted = rotation_from_vector(angle * np.array([np.cos(azimuth), np.sin(azimuth), 0.0]))
    turned: Array = upright @ tilted @ rotation_from_vector(np.array([0.0, 0.0, spin]))
    return turned


def _level_pose(rng: np.random.Generator, rig: CameraRig) -> tuple[Array, Array]:
    """A board near level about the middle."""
    mean_distance = float(np.mean([np.linalg.norm(camera.center) for camera in rig]))
    spread = mean_distance * np.array([0.09, 0.09, 0.07])
    center = rng.uniform(-1.0, 1.0, 3) * spread + [0.0, 0.0, 0.13 * mean_distance]
    rotation = _tilted(rng, np.array([0.0, 0.0, 1.0]), np.array([0.0, -1.0, 0.0]), _SHARED_TILT)
    return rotation, center


def _facing_pose(rng: np.random.Generator, camera: Camera, target: tuple[float, float]) -> tuple[Array, Array]:
    """A board before one camera whose middle is seen at a share of the picture."""
    width, height = camera.size
    px = (np.array(target) + rng.uniform(-0.04, 0.04, 2)) * [width - 1.0, height - 1.0]
    origin, direction = camera.rays(px)
    distance = float(np.linalg.norm(camera.center)) * rng.uniform(0.62, 0.95)
    center = origin + distance * direction
    return _tilted(rng, -direction, camera.rotation.T @ np.array([0.0, 1.0, 0.0]), _SINGLE_TILT), center
