"""A small camera above the arena, and white balls on black ground."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from multipose.camera import Camera
from multipose.geometry import look_at, pose
from multipose.lens import BrownLens, Lens
from multipose.synthetic import Scene, Shape

SIZE = (120, 90)


@pytest.fixture(scope="session")
def make_camera() -> Callable[..., Camera]:
    """A camera that looks at the arena's middle, by default through a small Brown lens."""

    def make(
        lens: Lens | None = None,
        center: tuple[float, float, float] = (30.0, -290.0, 280.0),
        target: tuple[float, float, float] = (0.0, 0.0, 10.0),
    ) -> Camera:
        lens = lens or BrownLens(130.0, 131.0, 60.5, 43.8, (-0.15, 0.05, 1e-3, -5e-4, 0.0))
        return Camera("small", SIZE, lens, look_at(center, target, (0.0, 1e-6, 1.0)))

    return make


@pytest.fixture(scope="session")
def make_balls() -> Callable[..., Scene]:
    """White balls of a radius about some places, on or above a black ground."""

    def make(middles: NDArray[np.float64], radius: float) -> Scene:
        ground = Shape("box", "black", (2000.0, 2000.0, 5.0), pose(np.eye(3), np.array([0.0, 0.0, -30.0])))
        balls = [Shape("ellipsoid", "white", (radius,) * 3, pose(np.eye(3), middle)) for middle in middles]
        return Scene((ground, *balls))

    return make
