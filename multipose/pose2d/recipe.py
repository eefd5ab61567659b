"""The recipe of training: its numbers, the budget, the loss and the learning rates.

An ImageNet backbone with folded batch normalisation and its first levels frozen learns from crops around the animal:
cross-entropy between the softmax of each heat map and a Gaussian around the label, and a little binary cross-entropy
that teaches which points are in the picture at all; AdamW with a cosine schedule over the budget; an exponential
average of the weights is what is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from multipose.errors import DataError
from multipose.pose2d.network import STRIDE, PoseNetwork


@dataclass(frozen=True)
class TrainingSettings:
    """The recipe's numbers.

    Attributes:
        batch: crops a step.
        learning_rate: highest rate of AdamW, for the new layers.
        backbone_rate: the backbone learns at this share of it.
        weight_decay: of all but biases.
        averaging: decay a step of the exponential average of the weights.
        frozen_levels: levels of the backbone that stay as they are.
        target_px: standard deviation of the target around a label, px of the original pictures, but at least one cell
            of a heat map at the network's scale.
        cell_weight: of the binary cross-entropy, summed over each map, beside the cross-entropy.
        peak_weight: of the binary cross-entropy of each map's maximum, which must not rise where the point is not.
        held_out: share of the labelled pictures that is held out, at least one picture.
        max_gradient: longer gradients are shortened to this norm.
        begun_rate: a network that was trained already goes on learning at this share of the rates.
        added_share: of the crops of a step that show added pictures, where there are any.
    """

    batch: int = 4
    learning_rate: float = 2e-3
    backbone_rate: float = 0.3
    weight_decay: float = 1e-4
    averaging: float = 0.99
    frozen_levels: int = 2
    target_px: float = 6.0
    cell_weight: float = 0.1
    peak_weight: float = 0.3
    held_out: float = 0.1
    max_gradient: float = 5.0
    begun_rate: float = 0.5
    added_share: float = 0.5

    def __post_init__(self) -> None:
        if self.batch < 1 or not self.learning_rate > 0:
            raise DataError(
                f"A step needs at least one crop and a learning rate above 0; got {self.batch} and "
                f"{self.learning_rate}."
            )


RECIPE = TrainingSettings()


@dataclass(frozen=True)
class Budget:
    """When training ends at the latest; the first limit that is reached counts."""

    steps: int | None = None
    minutes: float | None = None
    cpu_minutes: float | None = None

    def __post_init__(self) -> None:
        given = [limit for limit in (self.steps, self.minutes, self.cpu_minutes) if limit is not None]
        if not given or not all(math.isfinite(limit) and limit > 0 for limit in given):
            raise DataError(
                f"A training budget is at least one of steps, minutes and cpu_minutes, all above 0; got {self}."
            )
        if self.steps is not None and not isinstance(self.steps, int | np.integer):
            raise DataError(f"steps is a whole number, got {self.steps!r}.")

    def share(self, step: int, seconds: float, cpu_seconds: float) -> float:
        """Share of the budget that is used up; 1 or more at the end."""
        shares = [
            used / limit
            for used, limit in ((step, self.steps), (seconds / 60, self.minutes), (cpu_seconds / 60, self.cpu_minutes))
            if limit is not None
        ]
        return max(shares)


def find_inside(points: Tensor, side: int) -> Tensor:
    """Which points (..., 2) lie in a crop of `side` px; NaN does not."""
    return ((points > -0.5) & (points < side - 0.5)).all(-1)


def pose_loss(
    logits: Tensor,
    points: Tensor,
    known: Tensor,
    settings: TrainingSettings,
    counts: tuple[int, int] | None = None,
) -> Tensor:
    """The loss of a batch, or a part's share of it.

    Args:
        logits: (n, keypoint, h, w) of square crops.
        points: (n, keypoint, 2) px of the crops; NaN where there is no position.
        known: (n, keypoint) false where it is unknown whether, or where, the point is in the picture.
        settings: the recipe.
        counts: points inside and points known of the whole batch, where this is a part of one.
    """
    axis = (torch.arange(logits.shape[-1], device=logits.device) + 0.5) * STRIDE - 0.5
    inside = find_inside(points, logits.shape[-1] * STRIDE)
    n_inside, n_known = counts if counts is not None else (int(inside.sum()), int(known.sum()))
    center = torch.where(inside[..., None], points, torch.zeros_like(points))
    along_x = torch.exp(-((axis - center[..., :1]) ** 2) / (2 * settings.target_px**2))
    along_y = torch.exp(-((axis - center[..., 1:]) ** 2) / (2 * settings.target_px**2))
    target = along_y[..., :, None] * along_x[..., None, :] * inside[..., None, None]
    where = target / target.sum((2, 3), keepdim=True).clamp_min(1e-6)
    cross = -(where * functional.log_softmax(logits.flatten(2), 2).view_as(logits)).sum((2, 3))
    position = (cross * inside).sum() / max(n_inside, 1)
    cells = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum((2, 3))
    peak = functional.binary_cross_entropy_with_logits(logits.amax((2, 3)), inside.float(), reduction="none")
    presence = settings.cell_weight * cells + settings.peak_weight * peak
    return position + (presence * known).sum() / max(n_known, 1)


def parameter_groups(network: PoseNetwork, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Parameters by learning rate and weight decay; the new layers come last."""
    backbone = {id(parameter) for parameter in network.backbone.parameters()}
    groups: list[dict[str, Any]] = []
    for within, rate in ((True, settings.backbone_rate), (False, 1.0)):
        for decayed in (True, False):
            chosen = [
                parameter
                for parameter in network.parameters()
                if parameter.requires_grad and (id(parameter) in backbone) == within and (parameter.ndim > 1) == decayed
            ]
            decay = settings.weight_decay if decayed else 0.0
            groups.append({"params": chosen, "lr": settings.learning_rate * rate, "weight_decay": decay})
    return groups


def learning_rate_share(share: float) -> float:
    """Share of the learning rate at a share of the budget: a short warm-up, then a cosine down to almost nothing."""
    warm = min(1.0, share / 0.05 + 0.02)
    return warm * (0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, (share - 0.05) / 0.95)))) + 0.005)
