"""The cases of benchmarks/calibration.py: a synthetic rig, boards in front of it, a start that is off, and what a
found rig is judged by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peers.run_multipose import minimised

from multipose.board import Chessboard
from multipose.calibration.bundle import RigState, residuals
from multipose.calibration.intrinsics import pose_boards
from multipose.camera import Camera, CameraRig
from multipose.corners import Corners
from multipose.geometry import invert_pose, look_at, pose, rigid_fit, rotation_from_vector, transform
from multipose.lens import BrownLens
from multipose.triangulate import triangulate

FloatArray = NDArray[np.float64]

BOARD = Chessboard(columns=10, rows=7, square=25.0)
SIZE = (1280, 1024)
VIEWS, RING, VOLUME = 6, 750.0, 300.0  # mm
FRAMES, NOISE_PX = 264, 0.5
_LARGEST_TILT = np.deg2rad(65)
_MARGIN_PX = 5.0
# How far the start is off.
_START_TURN, _START_SHIFT, _START_FOCAL = np.deg2rad(3), 25.0, 0.03
# The hard case.
GROSS_SHARE, GROSS_PX, AMBIGUOUS_SHARE, MIRRORED_SHARE = 0.03, (20.0, 100.0), 0.1, 0.1


@dataclass(frozen=True, eq=False)
class Case:
    """What every program gets, and the truth.

    truth, start: the true rig, and the cameras to start from.
    corners: seen by the true rig, with noise.
    boards: (frame, 4, 4) true world_from_board; start_boards: those to start from.
    mirrored: (frame, 4, 4) the other planar pose of each board in the view that `start_boards` come from.
    """

    truth: CameraRig
    start: CameraRig
    corners: Corners
    boards: FloatArray
    start_boards: FloatArray
    mirrored: FloatArray


def make_case(seed: int, *, ambiguous: bool = False) -> Case:
    """264 boards in a rig of six cameras, each seen whole by two or more; with `ambiguous`, one in ten is replaced by
    one that is nearly parallel to a camera's picture and far off, which leaves its two planar poses alike.
    """
    rng = np.random.default_rng((seed, 1))
    truth = make_rig(np.random.default_rng((seed, 0)))
    boards = np.stack([_near_board(truth, rng) for _ in range(FRAMES)])
    if ambiguous:
        for frame in range(0, FRAMES, round(1 / AMBIGUOUS_SHARE)):
            boards[frame] = _far_board(truth, rng)
    px = truth.project(transform(boards[:, None], BOARD.corners))
    px[~_views_of(truth, boards)] = np.nan
    px += rng.normal(0, NOISE_PX, px.shape)
    corners = Corners(
        board=BOARD, views=truth.names, sizes=dict.fromkeys(truth.names, SIZE), frames=np.arange(FRAMES), px=px,
        reasons=np.full(px.shape[:2], "", dtype=object),
    )  # fmt: skip
    start = disturb(truth, np.random.default_rng((seed, 2)))
    return Case(truth, start, corners, boards, *_start_boards(start, corners))


def make_rig(rng: np.random.Generator) -> CameraRig:
    """Six cameras on a ring at two heights that look at its middle; no two alike."""
    cameras = []
    for i in range(VIEWS):
        azimuth = 2 * np.pi * i / VIEWS + rng.normal(0, 0.05)
        height = np.deg2rad([15, 40][i % 2] + rng.normal(0, 3))
        direction = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
        straight = look_at(RING * (1 + rng.normal(0, 0.03)) * direction, (0, 0, 0), (0, 0, 1))
        turned = pose(rotation_from_vector(rng.normal(0, 0.03, 3)), np.zeros(3)) @ straight
        focal, center = 1300 + rng.normal(0, 25), (np.array(SIZE) - 1) / 2 + rng.normal(0, 6, 2)
        k1, k2 = rng.normal([-0.15, 0.06], [0.02, 0.01])
        cameras.append(Camera(f"cam_{i}", SIZE, BrownLens(focal, focal, *center, (k1, k2, 0.0, 0.0, 0.0)), turned))
    return CameraRig(tuple(cameras), unit="mm")


def disturb(rig: CameraRig, rng: np.random.Generator) -> CameraRig:
    """Cameras 3 degrees, 25 mm and 3 % of the focal length off, with a centred principal point and no distortion; the
    first keeps its pose.
    """
    cameras = []
    for i, camera in enumerate(rig):
        turn, shift = (_unit(rng.normal(size=3)) for _ in range(2))
        moved = pose(rotation_from_vector(_START_TURN * turn), np.zeros(3)) @ camera.camera_from_world
        moved[:3, 3] += _START_SHIFT * shift
        focal = camera.lens.params[0] * (1 + _START_FOCAL * rng.choice([-1, 1]))
        lens = BrownLens(focal, focal, (SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2, (0.0,) * 5)
        cameras.append(replace(camera, lens=lens, camera_from_world=moved if i else camera.camera_from_world))
    return CameraRig(tuple(cameras), rig.unit)


def with_gross_errors(corners: Corners, seed: int) -> Corners:
    """3 % of the corners moved by 20 to 100 px in any direction."""
    rng = np.random.default_rng((seed, 3))
    shape = corners.px.shape[:3]
    angle, length = rng.uniform(0, 2 * np.pi, shape), rng.uniform(*GROSS_PX, shape) * (rng.random(shape) < GROSS_SHARE)
    moved = corners.px + length[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return replace(corners, px=moved)


def write_case(case: Case, path: Path) -> None:
    """The file that the programs in benchmarks/peers read (see peers/exchange.py)."""
    np.savez(
        path,
        px=case.corners.px,
        board_shape=BOARD.corner_shape,
        square=BOARD.square,
        board_xyz=BOARD.corners,
        size=SIZE,
        intrinsics=np.stack([camera.lens.params for camera in case.start]),
        camera_from_world=np.stack([camera.camera_from_world for camera in case.start]),
        world_from_board=case.start_boards,
    )


def found_rig(case: Case, intrinsics: FloatArray, camera_from_world: FloatArray) -> CameraRig:
    """A rig from lens parameters (view, 9: fx fy cx cy k1 k2 p1 p2 k3) and poses (view, 4, 4)."""
    cameras = [
        replace(camera, lens=BrownLens(*params[:4], tuple(params[4:])), camera_from_world=camera_from_world)
        for camera, params, camera_from_world in zip(case.truth, intrinsics, camera_from_world, strict=True)
    ]
    return CameraRig(tuple(cameras), case.truth.unit)


def rig_state(rig: CameraRig, boards: FloatArray) -> RigState:
    """What bundle adjustment starts from."""
    return RigState(
        tuple(camera.lens for camera in rig), np.stack([camera.camera_from_world for camera in rig]), boards
    )


def board_rms(rig: CameraRig, case: Case) -> float:
    """Root of the mean of dx² + dy² in px, with the rig held and the pose of every rigid board fitted to all views."""
    first = case.truth.cameras[0].camera_from_world
    there = rig.transformed(invert_pose(first) @ rig.cameras[0].camera_from_world)
    used = case.corners.seen
    fit, _ = minimised(rig_state(there, case.boards), BOARD.corners, case.corners.px, used, cameras_move=False)
    error = residuals(fit.state, BOARD.corners, case.corners.px)[used]
    return float(np.sqrt((error**2).sum(-1).mean()))


def volume_error(rig: CameraRig, truth: CameraRig) -> float:
    """RMS error in mm of 500 points in the working volume, triangulated from noiseless pictures, after rigid
    alignment without scale.
    """
    xyz = np.random.default_rng(5).uniform(-VOLUME / 2, VOLUME / 2, (500, 3))
    found = triangulate(truth.project(xyz), rig).position
    off = transform(rigid_fit(found, xyz), found) - xyz
    return float(np.sqrt((off**2).sum(-1).mean()))


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector))


def _views_of(rig: CameraRig, boards: FloatArray) -> NDArray[np.bool_]:
    """(view, frame) the whole board is in the picture, at most 65 degrees from parallel to it."""
    xyz = transform(boards[:, None], BOARD.corners)
    px, middle = rig.project(xyz), xyz.mean(1)
    inside = ((px > _MARGIN_PX) & (px < np.array(SIZE) - _MARGIN_PX)).all((-1, -2))
    sight = np.stack([camera.center - middle for camera in rig])
    facing = -(sight * boards[:, :3, 2]).sum(-1) / np.linalg.norm(sight, axis=-1)
    return np.asarray(inside & (facing >= np.cos(_LARGEST_TILT)))


def _facing(place: FloatArray, towards: FloatArray, rng: np.random.Generator) -> FloatArray:
    """`world_from_board` of a board whose middle is at `place` and whose print faces a point."""
    world_from_turned = invert_pose(look_at(place, 2 * place - towards, rng.normal(size=3)))
    return np.asarray(world_from_turned @ pose(np.eye(3), -BOARD.corners.mean(0)))


def _near_board(rig: CameraRig, rng: np.random.Generator) -> FloatArray:
    """A board in the working volume that faces one of the cameras more or less and that two or more see."""
    while True:
        camera = rig.cameras[rng.integers(len(rig))]
        board = _facing(rng.uniform(-90, 90, 3), camera.center + rng.normal(0, 250, 3), rng)
        if _views_of(rig, board[None]).sum() >= 2:
            return board


def _far_board(rig: CameraRig, rng: np.random.Generator) -> FloatArray:
    """A board 1.2 to 2 m in front of a camera, its normal about 3 degrees off the line of sight."""
    while True:
        camera = rig.cameras[rng.integers(len(rig))]
        distance = rng.uniform(1200, 2000)
        sideways = rng.uniform(-0.15, 0.15, 2)
        place = transform(invert_pose(camera.camera_from_world), distance * np.r_[sideways, 1.0])
        board = _facing(place, camera.center + rng.normal(0, 0.05 * distance / np.sqrt(3), 3), rng)
        if _views_of(rig, board[None]).any():
            return board


def _start_boards(start: CameraRig, corners: Corners) -> tuple[FloatArray, FloatArray]:
    """(frame, 4, 4) poses of the boards as the first view that sees each tells with its camera of the start, and the
    other planar pose.
    """
    both = np.full((2, len(corners.frames), 4, 4), np.nan)
    for camera, px, seen in zip(start, corners.px, corners.seen, strict=True):
        fit = pose_boards(camera.lens, BOARD.corners, px, seen)
        world_from_board = invert_pose(camera.camera_from_world) @ np.swapaxes(fit.camera_from_board, 0, 1)
        both = np.where(np.isfinite(both), both, world_from_board)
    return both[0], both[1]
