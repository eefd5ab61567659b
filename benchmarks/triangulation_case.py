"""The synthetic case of the triangulation and smoothing benchmarks: a rig, a body that moves, and what the views see.

Six cameras of 1280 x 1024 px on a ring of 750 mm around a volume of about 300 mm; 0.5 px of noise, 5 % of the 2D
points missing, 3 % off by 50 to 200 px. Everything follows from seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multipose.camera import Camera, CameraRig
from multipose.geometry import look_at
from multipose.lens import BrownLens

FloatArray = NDArray[np.float64]

SIZE = (1280, 1024)
FPS = 100.0
N_KEYPOINTS = 20


@dataclass(frozen=True, eq=False)
class Case:
    """Points with known truth.

    rig: the cameras; xyz: (n, 3) mm; px: (view, n, 2), NaN where missing; gross: (view, n)
    the 2D points that are grossly wrong; limbs: pairs of key points that a limb joins (point i of the n is key point
    i % N_KEYPOINTS).
    """

    rig: CameraRig
    xyz: FloatArray
    px: FloatArray
    gross: NDArray[np.bool_]
    limbs: list[tuple[int, int]]

    @property
    def contaminated(self) -> NDArray[np.bool_]:
        """(n,) points of which at least one view is grossly wrong."""
        contaminated: NDArray[np.bool_] = self.gross.any(axis=0)
        return contaminated


def make_rig(n_views: int = 6, distance: float = 750.0, seed: int = 0) -> CameraRig:
    """Cameras on a ring around the origin at two heights, 1300 px of focal length, with distortion; unit mm."""
    rng = np.random.default_rng(seed)
    cameras = []
    for i in range(n_views):
        azimuth, height = 2 * np.pi * i / n_views, np.deg2rad([15, 40][i % 2])
        center = distance * np.array(
            [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
        )
        focal, k1, k2 = 1300 + rng.normal(0, 25), -0.15 + rng.normal(0, 0.02), 0.06 + rng.normal(0, 0.01)
        lens = BrownLens(focal, focal, 639.5, 511.5, (k1, k2, 0.0, 0.0, 0.0))
        cameras.append(Camera(f"cam_{i}", SIZE, lens, look_at(center, rng.normal(0, 5, 3), (0, 0, 1))))
    return CameraRig(tuple(cameras), unit="mm")


def move_body(n_times: int, n_keypoints: int = N_KEYPOINTS, seed: int = 1) -> tuple[FloatArray, list[tuple[int, int]]]:
    """A body that wanders through the volume at 100 frames/s, its limbs of constant length (12 to 35 mm) turning.

    Returns:
        (time, keypoint, 3) mm, and the limbs as pairs of key points: parent, child.
    """
    rng = np.random.default_rng(seed)
    seconds = np.arange(n_times)[:, None] / FPS

    def sway(hertz: tuple[float, float]) -> FloatArray:
        waves = [np.sin(2 * np.pi * rng.uniform(*hertz, 3) * seconds + rng.uniform(0, 2 * np.pi, 3)) for _ in range(4)]
        mean: FloatArray = np.mean(waves, axis=0)
        return mean

    xyz = np.empty((n_times, n_keypoints, 3))
    xyz[:, 0] = sway((0.05, 0.4)) * (90.0, 90.0, 60.0)
    limbs = [(int(rng.integers(max(0, child - 3), child)), child) for child in range(1, n_keypoints)]
    for parent, child in limbs:
        rest = rng.normal(size=3)
        direction = rest / np.linalg.norm(rest) + 0.8 * sway((0.2, 2.0))
        length = rng.uniform(12.0, 35.0)
        xyz[:, child] = xyz[:, parent] + length * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return xyz, limbs


def observe(
    rig: CameraRig, xyz: FloatArray, noise: float = 0.5, missing: float = 0.05, gross: float = 0.03, seed: int = 2
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """What the views see of points (n, 3): px (view, n, 2), NaN where missing, and (view, n) which are off by 50 to
    200 px. noise: px, standard deviation per coordinate; missing, gross: shares of the 2D points."""
    rng = np.random.default_rng(seed)
    px = rig.project(xyz) + rng.normal(0, noise, (len(rig), len(xyz), 2))
    wrong = rng.random(px.shape[:2]) < gross
    angle, distance = rng.uniform(0, 2 * np.pi, wrong.shape), rng.uniform(50, 200, wrong.shape)
    px += (wrong * distance)[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    px[rng.random(wrong.shape) < missing] = np.nan
    return px, wrong & np.isfinite(px).all(-1)


def make_case(n: int, seed: int = 0, *, noise: float = 0.5, missing: float = 0.05, gross: float = 0.03) -> Case:
    """`n` points, 20 of each instant of a moving body, seen by six cameras."""
    rig = make_rig(seed=seed)
    xyz, limbs = move_body(-(-n // N_KEYPOINTS), seed=seed + 1)
    flat = xyz.reshape(-1, 3)[:n]
    px, wrong = observe(rig, flat, noise, missing, gross, seed + 2)
    return Case(rig, flat, px, wrong, limbs)
