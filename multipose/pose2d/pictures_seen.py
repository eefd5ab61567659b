"""Which pictures a network has seen in training, told by their pixels: figures on those flatter it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.model import PoseModel

_LEARNED, _WATCHED = "learned_pictures", "watched_pictures"  # in PoseModel.training, hashes of pictures


@dataclass(frozen=True, eq=False)
class PicturesSeen:
    """Which pictures of a dataset a network has seen in training.

    Attributes:
        learned: (n,) whether the network has learned from the picture.
        watched: (n,) whether it was held out from training, but told when to stop, and calibrated the outputs.
        known: whether the network says which pictures it has seen; else the others are all False.
    """

    learned: npt.NDArray[np.bool_]
    watched: npt.NDArray[np.bool_]
    known: bool

    @property
    def any(self) -> npt.NDArray[np.bool_]:
        """(n,) whether training has seen the picture in any role."""
        return np.asarray(self.learned | self.watched)

    def describe(self) -> str:
        """One sentence, "" if the network has seen none of the pictures."""
        total, parts = len(self.learned), []
        if not self.known:
            return "It is not known from which pictures this network has learned, for an older multipose trained it."
        if self.learned.any():
            parts.append(f"has learned from {int(self.learned.sum())} of these {total} pictures")
        if self.watched.any():
            parts.append(f"was stopped and calibrated by {int(self.watched.sum())} of {'them' if parts else 'these'}")
        return f"The network {' and '.join(parts)}: figures on them flatter it." if parts else ""


def find_seen(model: PoseModel, dataset: PoseDataset) -> PicturesSeen:
    """Which pictures of a dataset a network has seen in training, in whatever file or under whatever name."""
    hashes = dataset.picture_hashes()
    learned, watched = (set(model.training.get(name, ())) for name in (_LEARNED, _WATCHED))
    return PicturesSeen(
        np.array([value in learned for value in hashes], dtype=bool),
        np.array([value in watched for value in hashes], dtype=bool),
        _LEARNED in model.training,
    )


def describe_seen(learned: PoseDataset, watched: PoseDataset, start: PoseModel | None) -> dict[str, Any]:
    """What a network's `training` says of the pictures that it, and the network that it began with, has seen.

    Args:
        learned: the pictures that it learns from.
        watched: those held out.
        start: the network that training begins with; where it does not say what it has seen, this one cannot either.
    """
    before = start.training if start is not None else {_LEARNED: ()}
    if _LEARNED not in before:
        return {}
    return {
        _LEARNED: sorted({*learned.picture_hashes(), *before.get(_LEARNED, ())}),
        _WATCHED: sorted({*watched.picture_hashes(), *before.get(_WATCHED, ())}),
    }
