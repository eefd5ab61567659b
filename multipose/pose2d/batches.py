"""What training learns from and is judged on: pictures held out, and batches of crops of the others."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
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


_NEIGHBOURHOOD = 5  # frames: errors of networks correlate by about a half so far apart, by a sixth over ten

Time = tuple[str, int]
"""What a labelled picture was taken of and when: its group (recording) and moment (frame)."""


def draw_times(times: Mapping[Time, int], share: float, seed: int) -> frozenset[Time]:
    """A share of the labelled times to hold out, at least one, drawn at random among those that most views show.

    Frames next to each other are alike, and a network that learned from one knows the other: with a time its labelled
    neighbours within 5 frames are held out, and figures on them are those of frames that lie apart.

    Args:
        times: how many views show each.
        share: of the times; drawing ends once it is reached, and one time is left at least.
        seed: of the chance. Which times are drawn does not hang on the order of `times`.
    """
    order = sorted(times, key=lambda time: (-times[time], _ticket(time, seed)))
    most = min(max(1, round(share * len(order))), len(order) - 1)
    drawn: dict[Time, None] = {}
    for group, moment in order:
        near = [time for time in order if time[0] == group and abs(time[1] - moment) <= _NEIGHBOURHOOD]
        near.sort(key=lambda time: (abs(time[1] - moment), time[1]))
        for time in near:
            if len(drawn) < most:
                drawn[time] = None
    return frozenset(drawn)


def split_times(times: Collection[Time], folds: int, seed: int) -> list[frozenset[Time]]:
    """Labelled times dealt out to folds by chance; neighbours within 5 frames are in one fold.

    Which times are together hangs on the times and the seed alone, not on their order.

    Raises:
        DataError: fewer than two folds, or more than there are stretches of neighbours.
    """
    stretches: list[list[Time]] = []
    for time in sorted(times):
        last = stretches[-1][-1] if stretches else None
        if last is not None and last[0] == time[0] and time[1] - last[1] <= _NEIGHBOURHOOD:
            stretches[-1].append(time)
        else:
            stretches.append([time])
    if not 2 <= folds <= len(stretches):
        raise DataError(
            f"{len(times)} labelled times make {len(stretches)} stretches of neighbouring frames, which can be split "
            f"into 2 to {max(2, len(stretches))} folds; got {folds}."
        )
    parts: list[list[Time]] = [[] for _ in range(folds)]
    for stretch in sorted(stretches, key=lambda part: _ticket(part[0], seed)):
        min(parts, key=len).extend(stretch)
    return [frozenset(part) for part in parts]


def split_held_out(
    dataset: PoseDataset, share: float, seed: int, before: Collection[str] = (), times: Collection[Time] = ()
) -> tuple[PoseDataset, PoseDataset]:
    """The pictures to learn from and those held out; a time is held out in all views.

    Args:
        dataset: labelled pictures.
        share: of the times with positions that is held out, at least one.
        seed: of the chance.
        before: names of pictures that were held out from an earlier training of the network; their times stay so, and
            others are taken only where these are fewer than the share.
        times: to hold out; others are drawn only where none of them is in the dataset.

    Raises:
        DataError: fewer than two times have pictures with positions.
    """
    placed = np.asarray(np.isfinite(dataset.xy).reshape(len(dataset), -1).any(axis=1))
    taken = list(zip(dataset.groups, dataset.moments, strict=True))
    views_of = Counter(time for time, has_points in zip(taken, placed, strict=True) if has_points)
    if len(views_of) < 2:
        raise DataError(
            f"Only {len(views_of)} labelled time has a point with a position; training needs at least 2, one of them "
            "to judge by. Label more frames (100 are a good number)."
        )
    names = set(before)
    again = {time for time, name in zip(taken, dataset.names, strict=True) if name in names and time in views_of}
    chosen = again or set(times) & set(views_of)
    if again or not chosen:
        missing = max(1, round(share * len(views_of))) - len(again)
        others = {time: count for time, count in views_of.items() if time not in again}
        if missing > 0 and len(others) > 1:
            chosen = again | draw_times(others, missing / len(others), seed)
    chosen = set(sorted(chosen, key=lambda time: _ticket(time, seed))[: len(views_of) - 1])
    held_out = np.array([time in chosen for time in taken])
    return dataset.subset(np.flatnonzero(~held_out)), dataset.subset(np.flatnonzero(held_out & placed))


def _ticket(time: Time, seed: int) -> bytes:
    """Places a time in an order by chance that does not hang on which others there are."""
    return hashlib.sha256(f"{seed}/{time[0]}/{time[1]}".encode()).digest()


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
