"""Coloured discs on noise as pictures of an animal, and one small network that has learned to find them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from multipose.pose2d.augmentation import Augmentation
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.recipe import TrainingSettings
from multipose.pose2d.training import TrainingResult, train
from multipose.skeleton import Skeleton

SKELETON = Skeleton(("red", "green", "blue"), edges=(("red", "green"),), pairs=(("green", "blue"),))
COLOURS = np.array([[230, 40, 40], [40, 230, 40], [40, 40, 230]])
SMALL_CROPS = Augmentation(crop=64, zoom=0.1, blur=0.0, flip=False, dark=0.0)


def draw_discs(xy: npt.NDArray[np.float64], size: tuple[int, int], seed: int = 0) -> npt.NDArray[np.uint8]:
    """RGB picture (h, w, 3) with a disc of 5 px radius at each finite point."""
    width, height = size
    picture = np.random.default_rng(seed).normal(110, 8, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    for point, colour in zip(xy, COLOURS, strict=True):
        if np.isfinite(point).all():
            inside = np.clip(5.5 - np.hypot(x - point[0], y - point[1]), 0, 1)[:, :, None]
            picture = picture * (1 - inside) + inside * colour
    return picture.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def make_discs() -> Callable[..., PoseDataset]:
    """Makes labelled pictures: make_discs(n, size=(w, h), seed=0, absent=share of blue points that are not there)."""

    def make(n: int, size: tuple[int, int] = (96, 80), seed: int = 0, absent: float = 0.0) -> PoseDataset:
        random = np.random.default_rng(seed)
        xy = np.empty((n, 3, 2))
        for i in range(n):
            while True:
                xy[i] = random.uniform((8, 8), (size[0] - 9, size[1] - 9), (3, 2))
                if min(np.hypot(*(xy[i, a] - xy[i, b])) for a, b in ((0, 1), (0, 2), (1, 2))) > 14:
                    break
        xy[random.random(n) < absent, 2] = np.nan
        state = np.where(np.isfinite(xy).all(-1), "visible", "absent")
        pictures = tuple(draw_discs(points, size, seed=seed + i) for i, points in enumerate(xy))
        return PoseDataset(pictures, xy, state, SKELETON, ("discs",) * n, tuple(f"discs/{i}" for i in range(n)))

    return make


@pytest.fixture(scope="session")
def trained(make_discs: Callable[..., PoseDataset], tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A network that finds the discs, trained for a few seconds.

    How well hangs on the processor's last bits, which a training multiplies: tests ask for errors within half a disc's
    radius, 2.5 px. A network that has learned nothing is off by more than 10 px.
    """
    dataset = make_discs(24, absent=0.3)
    folder = tmp_path_factory.mktemp("trained")
    settings = TrainingSettings(batch=4)
    return train(dataset, folder, steps=90, threads=1, device="cpu", augmentation=SMALL_CROPS, settings=settings)
