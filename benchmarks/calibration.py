"""Speed and accuracy of rig calibration on a synthetic rig: six cameras around a volume, 264 frames of a chessboard.

    OMP_NUM_THREADS=1 python benchmarks/calibration.py [seeds]

Corners have 0.5 px of noise. Prints, per seed, CPU seconds of bundle adjustment alone (from cameras that are 3 degrees,
25 mm and 3 % of the focal length off and know of no distortion, with the covariance of all cameras), CPU seconds of the
whole of `calibrate` (which begins with nothing, throws outliers out and leaves boards out to validate), and the RMS
error in mm of 500 points in the working volume, triangulated from noiseless pictures, after rigid alignment.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
from triangulation import make_rig

from multipose.board import Chessboard
from multipose.calibration import calibrate
from multipose.calibration.bundle import RigState, free_unknowns, minimise, reduced_normals
from multipose.camera import CameraRig
from multipose.corners import Corners
from multipose.geometry import look_at, pose, rigid_fit, rotation_from_vector, transform
from multipose.synthetic import board_corners
from multipose.triangulate import triangulate

BOARD = Chessboard(columns=10, rows=7, square=25.0)
FRAMES, NOISE_PX, VOLUME = 264, 0.5, 300.0


def board_poses(rig: CameraRig, seed: int) -> np.ndarray:
    """Poses (frame, 4, 4) of boards that face one of the cameras more or less, all over the volume."""
    rng = np.random.default_rng((seed, 1))
    poses = []
    for _ in range(FRAMES):
        place = rng.uniform(-0.3 * VOLUME, 0.3 * VOLUME, 3)
        camera = rig.cameras[rng.integers(len(rig))]
        # A board's z goes into the print: away from the camera it faces.
        turned = look_at(place, place + (place - camera.center) + rng.normal(0, 250, 3), rng.normal(size=3))
        to_world = np.linalg.inv(turned)
        poses.append(to_world @ pose(np.eye(3), -BOARD.corners.mean(0)))
    return np.stack(poses)


def disturb(rig: CameraRig, seed: int) -> CameraRig:
    """Cameras 3 degrees, 25 mm and 3 % of the focal length off, without distortion; the first keeps its pose."""
    rng = np.random.default_rng((seed, 2))
    cameras = []
    for i, camera in enumerate(rig):
        turn, shift = np.deg2rad(3) * rng.normal(size=3) / np.sqrt(3), 25 * rng.normal(size=3) / np.sqrt(3)
        moved = pose(rotation_from_vector(turn), shift) @ camera.camera_from_world
        params = camera.lens.params * np.r_[[1 + 0.03 * rng.choice([-1, 1])] * 2, 1, 1, [0] * 5]
        lens = camera.lens.with_params(params)
        cameras.append(replace(camera, lens=lens, camera_from_world=moved if i else camera.camera_from_world))
    return CameraRig(tuple(cameras), rig.unit)


def bundle(start: CameraRig, corners: Corners, poses: np.ndarray) -> tuple[float, CameraRig, float]:
    """CPU seconds, the fitted rig, and the RMS of its residuals' coordinates, px."""
    state = RigState(
        tuple(camera.lens for camera in start), np.stack([camera.camera_from_world for camera in start]), poses
    )
    free, used = free_unknowns(state.lenses), corners.seen
    began = time.process_time()
    fit = minimise(state, BOARD.corners, corners.px, used, free=free, tolerance=1e-9)
    covariance = np.linalg.inv(free.T @ reduced_normals(fit.state, BOARD.corners, corners.px, used)[0] @ free)
    seconds = time.process_time() - began
    assert np.isfinite(covariance).all()
    cameras = [
        replace(camera, lens=lens, camera_from_world=camera_from_world)
        for camera, lens, camera_from_world in zip(start, fit.state.lenses, fit.state.camera_from_world, strict=True)
    ]
    return seconds, CameraRig(tuple(cameras), start.unit), float(np.sqrt(fit.cost / (2 * used.sum())))


def volume_error(rig: CameraRig, truth: CameraRig) -> float:
    """RMS in mm of triangulated points after rigid alignment."""
    xyz = np.random.default_rng(5).uniform(-VOLUME / 2, VOLUME / 2, (500, 3))
    found = triangulate(truth.project(xyz), rig).position
    off = transform(rigid_fit(found, xyz), found) - xyz
    return float(np.sqrt((off**2).sum(-1).mean()))


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    heads = {"seed": 4, "corners": 8, "bundle s": 9, "RMS px": 7, "mm": 7, "calibrate s": 12, "its mm": 7}
    print(" ".join(head.rjust(width) for head, width in heads.items()))
    for seed in range(seeds):
        truth = make_rig(seed=seed)
        poses = board_poses(truth, seed)
        corners = board_corners(truth, BOARD, poses, noise=NOISE_PX, seed=seed)
        rng = np.random.default_rng((seed, 3))
        rough = poses @ pose(rotation_from_vector(rng.normal(0, 0.03, (FRAMES, 3))), rng.normal(0, 10, (FRAMES, 3)))
        seconds, rig, rms = bundle(disturb(truth, seed), corners, rough)
        began = time.process_time()
        whole = calibrate(corners).rig
        whole_seconds = time.process_time() - began
        print(
            f"{seed:4d} {int(corners.seen.sum()):8d} {seconds:9.2f} {rms:7.3f} "
            f"{volume_error(rig, truth):7.4f} {whole_seconds:12.2f} {volume_error(whole, truth):7.4f}"
        )


if __name__ == "__main__":
    main()
