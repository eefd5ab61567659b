"""What training learns from and is judged on: pictures held out, and batches of crops of the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from multipose.errors import DataError
from multipose.pose2d.augmentation import Augmentation, augment
from multipose.pose2d.dataset import PoseDataset, ShrunkPictures

Batch = tuple[Tensor, Tensor, Tensor]
"""Crops (n, side, side, 3) uint8, points (n, keypoint, 2) and known (n, keypoint) as of `pose_loss`."""


def split_held_out(
    dataset: PoseDataset, share: float, seed: int, before: Collection[str] = ()
) -> tuple[PoseDataset, PoseDataset]:
    """The pictures to learn from and those held out, drawn at random among the pictures with positions.

    Args:
        dataset: labelled pictures.
        share: of them that is held out, at least one picture.
        seed: of the chance.
        before: names of pictures that were held out from an earlier training of the network; they stay so, and others
            are drawn only where these are fewer than the share.

    Raises:
        DataError: fewer than two pictures have positions.
    """
    placed = np.flatnonzero(np.isfinite(dataset.xy).reshape(len(dataset), -1).any(axis=1))
    if len(placed) < 2:
        raise DataError(
            f"Only {len(placed)} labelled picture has a point with a position; training needs at least 2, one of "
            "them to judge by. Label more frames (100 are a good number)."
        )
    count = min(len(placed) - 1, max(1, round(share * len(placed))))
    names = set(before)
    again = np.array([item for item in placed if dataset.names[item] in names], dtype=np.int64)[: len(placed) - 1]
    others = np.setdiff1d(placed, again)
    drawn = np.random.default_rng((seed, 1)).choice(others, max(0, count - len(again)), replace=False)
    chosen = np.sort(np.concatenate([again, drawn]))
    return dataset.subset(np.setdiff1d(np.arange(len(dataset)), chosen)), dataset.subset(chosen)


def check_labelled(dataset: PoseDataset) -> None:
    """Raise DataError where nothing is labelled of some key point."""
    unlabelled = [name for k, name in enumerate(dataset.skeleton.keypoints) if not dataset.known[:, k].any()]
    if unlabelled:
        raise DataError(
            f"Nothing is labelled of {', '.join(unlabelled)} in these {len(dataset)} pictures. Label where it is, "
            "state it absent, or take it out of the skeleton."
        )


def make_batches(
    dataset: PoseDataset,
    pictures: ShrunkPictures,
    augmentation: Augmentation,
    size: int,
    seed: int,
    first: int,
    *,
    added: int = 0,
    added_share: float = 0.5,
) -> Iterator[Batch]:
    """Endless batches from step `first` on, each determined by the seed and its step alone.

    Args:
        dataset: what to learn from.
        pictures: of it.
        augmentation: how crops are made.
        size: crops of a batch.
        seed: of all chance.
        first: step to begin with.
        added: so many pictures, the last of the dataset, are new to the network.
        added_share: of the crops of a batch that show them, in whole crops, at least one of each kind.
    """
    draw = _Drawing(len(dataset) - added, added, size, added_share, seed)
    located = np.isfinite(dataset.xy).all(-1)
    known = dataset.known & (located | (dataset.state != "occluded"))
    step = first
    while True:
        crops: list[npt.NDArray[np.uint8]] = []
        points: list[npt.NDArray[np.float64]] = []
        certain: list[npt.NDArray[np.bool_]] = []
        for slot in range(size):
            item = draw.item(step, slot)
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


@dataclass(frozen=True)
class _Drawing:
    """Which picture goes into which place of a batch: old ones and added ones each in turn, in an order by chance."""

    old: int
    added: int
    size: int
    share: float
    seed: int

    def item(self, step: int, slot: int) -> int:
        """The picture's place in the dataset; the added ones follow the old ones there."""
        slots = min(max(round(self.share * self.size), 1), self.size - 1) if self.added else 0
        first, count, beginning, key = (0, self.old, step * (self.size - slots) + slot - slots, 2)
        if slot < slots:
            first, count, beginning, key = (self.old, self.added, step * slots + slot, 6)
        epoch, place = divmod(beginning, count)
        return first + int(np.random.default_rng((self.seed, key, epoch)).permutation(count)[place])
