"""What training learns from and is judged on: pictures held out, and batches of crops of the others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from multipose.errors import DataError
from multipose.pose2d.augmentation import Augmentation, augment
from multipose.pose2d.dataset import PoseDataset, ShrunkPictures

Batch = tuple[Tensor, Tensor, Tensor]
"""Crops (n, side, side, 3) uint8, points (n, keypoint, 2) and known (n, keypoint) as of `pose_loss`."""


def split_held_out(dataset: PoseDataset, share: float, seed: int) -> tuple[PoseDataset, PoseDataset]:
    """The pictures to learn from and those held out, drawn at random among the pictures with positions.

    Raises:
        DataError: fewer than two pictures have positions, or nothing is labelled of some key point.
    """
    unlabelled = [name for k, name in enumerate(dataset.skeleton.keypoints) if not dataset.known[:, k].any()]
    if unlabelled:
        raise DataError(
            f"Nothing is labelled of {', '.join(unlabelled)} in these {len(dataset)} pictures. Label where it is, "
            "state it absent, or take it out of the skeleton."
        )
    placed = np.flatnonzero(np.isfinite(dataset.xy).reshape(len(dataset), -1).any(axis=1))
    if len(placed) < 2:
        raise DataError(
            f"Only {len(placed)} labelled picture has a point with a position; training needs at least 2, one of "
            "them to judge by. Label more frames (100 are a good number)."
        )
    count = min(len(placed) - 1, max(1, round(share * len(placed))))
    chosen = np.random.default_rng((seed, 1)).choice(placed, count, replace=False)
    return dataset.subset(np.setdiff1d(np.arange(len(dataset)), chosen)), dataset.subset(np.sort(chosen))


def make_batches(
    dataset: PoseDataset, pictures: ShrunkPictures, augmentation: Augmentation, size: int, seed: int, first: int
) -> Iterator[Batch]:
    """Endless batches from step `first` on, each determined by the seed and its step alone."""
    located = np.isfinite(dataset.xy).all(-1)
    known = dataset.known & (located | (dataset.state != "occluded"))
    step = first
    while True:
        crops: list[npt.NDArray[np.uint8]] = []
        points: list[npt.NDArray[np.float64]] = []
        certain: list[npt.NDArray[np.bool_]] = []
        for slot in range(size):
            epoch, place = divmod(step * size + slot, len(dataset))
            item = int(np.random.default_rng((seed, 2, epoch)).permutation(len(dataset))[place])
            random = np.random.default_rng((seed, 3, step, slot))
            crop, xy, order = augment(*pictures[item], augmentation, dataset.skeleton.swap, random)
            crops.append(crop)
            points.append(xy)
            certain.append(known[item][order])
        yield (
            torch.from_numpy(np.stack(crops)),
            torch.from_numpy(np.stack(points).astype(np.float32)),
            torch.from_numpy(np.stack(certain)),
        )
        step += 1
