"""Heat maps to points: sub-pixel positions, presence logits and covariances, all points of a batch at once.

A point is the highest peak of its map, or of the map as a prior of the animal's shape weighs it. It is refined by one
Newton step on the logarithm of the lightly blurred map, which is exact where the map is a Gaussian [1]. The covariance
is the second moment of the weighed map about that point: where the network wavers between two places, it is as wide
as their distance. Places more than 64 px away count no more than if they were not in the picture, so that a crop around
an animal says the same as the whole. What it means in px of error is calibrated elsewhere.

[1] F. Zhang et al.: Distribution-Aware Coordinate Representation for Human Pose Estimation (DARK). CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from multipose.pose2d.network import STRIDE

_REACH = 16  # cells from a point, along either axis, within which its map is taken for its covariance
_CLIMB = 2  # cells that a point chosen on the weighed map may climb on the map itself
_MAX_STEP = 1.5  # cells; a longer Newton step means that the map is no Gaussian there
_BLUR = torch.outer(torch.tensor([0.25, 0.5, 0.25]), torch.tensor([0.25, 0.5, 0.25]))
_TINY = 1e-20

Weigh = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits (n, keypoint, h, w) and where their columns and rows lie, (w,) and (h,) px of the network's input, to log
probabilities of all cells given all maps of the picture."""


@dataclass(frozen=True, eq=False)
class DecodedPoints:
    """Points of n pictures in pixels of the network's input.

    Attributes:
        position: (n, keypoint, 2) x, y.
        presence_logit: (n, keypoint) the map's maximum.
        covariance: (n, keypoint, 2, 2) px², second moment of the map near the position, not calibrated.
    """

    position: Tensor
    presence_logit: Tensor
    covariance: Tensor


def decode(logits: Tensor, weigh: Weigh | None = None) -> DecodedPoints:
    """Points from logits (n, keypoint, h, w), each map at least 1 x 1 cell.

    Args:
        logits: of the network.
        weigh: the prior that maps are weighed by; by default the highest peak of a map is the point.
    """
    n, n_keypoints, height, width = logits.shape
    logits = logits.float()
    maps = logits.reshape(n * n_keypoints, height, width)
    presence, peak = maps.flatten(1).max(1)
    density = weighed = (maps - presence[:, None, None]).exp()
    if weigh is not None:
        x, y = (_pixels(torch.arange(length, device=logits.device).float()) for length in (width, height))
        likely = weigh(logits, x, y).reshape_as(maps)
        highest, peak = likely.flatten(1).max(1)
        weighed = (likely - highest[:, None, None]).exp()
        peak = _climb(maps, peak)
    position = _refine(density, peak)
    covariance = _second_moment(weighed, position)
    return DecodedPoints(
        position=_pixels(position).reshape(n, n_keypoints, 2),
        presence_logit=presence.reshape(n, n_keypoints),
        covariance=(covariance * STRIDE**2).reshape(n, n_keypoints, 2, 2),
    )


def _pixels(cells: Tensor) -> Tensor:
    """Px of the network's input of places in cells."""
    return (cells + 0.5) * STRIDE - 0.5


def _cell_centers(index: Tensor, width: int) -> Tensor:
    """Column and row of flat indices."""
    return torch.stack([index % width, index // width], -1).float()


def _refine(density: Tensor, peak: Tensor) -> Tensor:
    """Sub-cell place (m, 2) of the maximum near a cell (m,) of each map."""
    height, width = density.shape[-2:]
    row, column = peak // width, peak % width
    # Beside the picture's border the step starts from the nearest cell that has all its neighbours.
    start_row, start_column = _inner(row, height), _inner(column, width)
    near = _windows(density, start_row, start_column, radius=2)
    start = torch.stack([start_column - column, start_row - row], -1).float()
    step = (start + _newton_step(near)).clamp(-_MAX_STEP, _MAX_STEP)
    return _cell_centers(peak, width) + step


def _climb(maps: Tensor, index: Tensor) -> Tensor:
    """The flat index (m,) of a highest cell near each of those given, a few steps up on the maps (m, h, w)."""
    height, width = maps.shape[-2:]
    offsets = torch.arange(-1, 2, device=maps.device)
    for _ in range(_CLIMB):
        rows = (index[:, None] // width + offsets).clamp(0, height - 1)
        columns = (index[:, None] % width + offsets).clamp(0, width - 1)
        near = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
        best = maps.flatten(1).gather(1, near).argmax(1, keepdim=True)
        index = near.gather(1, best)[:, 0]
    return index


def _inner(index: Tensor, length: int) -> Tensor:
    """The index nearest to a cell's that is 2 from either end; the middle of maps that are too small."""
    return index.clamp(2, length - 3) if length >= 5 else torch.full_like(index, length // 2)


def _windows(maps: Tensor, row: Tensor, column: Tensor, radius: int) -> Tensor:
    """Part (m, side, side) of each map around a cell; its border goes on beyond."""
    height, width = maps.shape[-2:]
    offsets = torch.arange(-radius, radius + 1, device=maps.device)
    rows, columns = row[:, None] + offsets, column[:, None] + offsets
    place = torch.arange(len(maps), device=maps.device)[:, None, None]
    return maps[place, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]


def _newton_step(window: Tensor) -> Tensor:
    """Step (m, 2) in cells from the centre of 5 x 5 windows to the log-map's maximum; zero where none is near."""
    blurred = functional.conv2d(window[:, None], _BLUR.to(window)[None, None])[:, 0]
    z = blurred.clamp_min(_TINY).log()
    gradient = torch.stack([z[:, 1, 2] - z[:, 1, 0], z[:, 2, 1] - z[:, 0, 1]], -1) / 2
    xx = z[:, 1, 2] - 2 * z[:, 1, 1] + z[:, 1, 0]
    yy = z[:, 2, 1] - 2 * z[:, 1, 1] + z[:, 0, 1]
    xy = (z[:, 2, 2] - z[:, 2, 0] - z[:, 0, 2] + z[:, 0, 0]) / 4
    determinant = xx * yy - xy * xy
    peaked = (determinant > 1e-6) & (xx < 0) & (yy < 0)
    safe = torch.where(peaked, determinant, torch.ones_like(determinant))
    x = -(yy * gradient[:, 0] - xy * gradient[:, 1]) / safe
    y = -(xx * gradient[:, 1] - xy * gradient[:, 0]) / safe
    step = torch.stack([x, y], -1)
    return torch.where(peaked[:, None], step, torch.zeros_like(step))


def _second_moment(density: Tensor, position: Tensor) -> Tensor:
    """Covariance (m, 2, 2) in cells² of unnormalised maps (m, h, w) about a place (m, 2) of each, from what is near."""
    height, width = density.shape[-2:]
    dx = torch.arange(width, device=density.device) - position[:, :1]
    dy = torch.arange(height, device=density.device) - position[:, 1:]
    density = density * (dy.abs() <= _REACH)[:, :, None] * (dx.abs() <= _REACH)[:, None, :]
    total = density.sum((1, 2))
    xx = (density.sum(1) * dx * dx).sum(1) / total
    yy = (density.sum(2) * dy * dy).sum(1) / total
    xy = (torch.einsum("mhw,mw->mh", density, dx) * dy).sum(1) / total
    return torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], -2)
