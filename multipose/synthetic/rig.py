"""Camera rigs with known truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multipose.camera import Camera, CameraRig
from multipose.errors import DataError
from multipose.geometry import look_at
from multipose.lens import BrownLens


def sample_rig(
    n_views: int = 3,
    size: tuple[int, int] = (480, 360),
    seed: int = 0,
    *,
    names: Sequence[str] | None = None,
    distance: float = 400.0,
    unit: str = "mm",
) -> CameraRig:
    """A ring of cameras that look down into an arena about the world's origin (z up, floor at z = 0).

    Three cameras are about 68 degrees apart as seen from the arena; two stand a quarter turn of the ring apart.
    Each has its own focal length (about 0.98 picture widths), principal point and Brown distortion
    (k1 about -0.15, k2 about 0.05, small tangential terms).

    Args:
        n_views: number of cameras, at least 1.
        size: (width, height) of every picture in pixels.
        seed: the same seed gives the same rig.
        names: names of the cameras; by default ``cam_0``, ``cam_1``, ...
        distance: mean distance of the camera centres to the arena's middle, in `unit`.
        unit: unit of length of the rig.

    Raises:
        DataError: fewer than one view, or the number of names is not `n_views`.
    """
    if n_views < 1:
        raise DataError(f"a rig needs at least 1 view, got {n_views}")
    labels = tuple(f"cam_{i}" for i in range(n_views)) if names is None else tuple(names)
    if len(labels) != n_views:
        raise DataError(f"expected {n_views} camera names, got {len(labels)}: {', '.join(labels)}")
    rng = np.random.default_rng(seed)
    width, height = size
    step = 2.0 * np.pi / n_views if n_views >= 3 else np.pi / 2.0
    cameras = []
    for i, name in enumerate(labels):
        azimuth = -np.pi / 2.0 + i * step + rng.normal(0.0, 0.05)
        elevation = np.deg2rad(50.0 + rng.normal(0.0, 2.0))
        radius = distance * (1.0 + rng.normal(0.0, 0.02))
        center = radius * np.array(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        target = distance * np.append(rng.normal(0.0, 0.01, 2), 0.01)
        focal = 0.98 * width * (1.0 + rng.normal(0.0, 0.015))
        lens = BrownLens(
            fx=focal,
            fy=focal * (1.0 + rng.normal(0.0, 0.001)),
            cx=(width - 1) / 2.0 + rng.normal(0.0, 0.01 * width),
            cy=(height - 1) / 2.0 + rng.normal(0.0, 0.01 * width),
            distortion=(
                -0.15 + rng.normal(0.0, 0.02),
                0.05 + rng.normal(0.0, 0.01),
                rng.normal(0.0, 5e-4),
                rng.normal(0.0, 5e-4),
                0.0,
            ),
        )
        camera_from_world = look_at(center, target, np.array([0.0, 0.0, 1.0]))
        cameras.append(Camera(name=name, size=(width, height), lens=lens, camera_from_world=camera_from_world))
    return CameraRig(cameras=tuple(cameras), unit=unit)
