"""Heat maps to points: sub-pixel positions, presence logits and covariances, all points of a batch at once.

The peak is refined by one Newton step on the logarithm of the lightly blurred map, which is exact where the map
is a Gaussian [1]. The covariance is the second moment of the map around the peak; its scale is calibrated elsewhere.

[1] F. Zhang et al.: Distribution-Aware Coordinate Representation for Human Pose Estimation (DARK). CVPR 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from multipose.pose2d.network import STRIDE

_RADIUS = 4  # cells around the peak that the covariance looks at
_MAX_STEP = 1.5  # cells; a longer Newton step means that the map is no Gaussian there
_BLUR = torch.outer(torch.tensor([0.25, 0.5, 0.25]), torch.tensor([0.25, 0.5, 0.25]))
_TINY = 1e-20


@dataclass(frozen=True, eq=False)
class DecodedPoints:
    """Points of n pictures in pixels of the network's input.

    Attributes:
        position: (n, keypoint, 2) x, y.
        presence_logit: (n, keypoint) the map's maximum.
        covariance: (n, keypoint, 2, 2) px², second moment of the map, not calibrated.
    """

    position: Tensor
    presence_logit: Tensor
    covariance: Tensor


def decode(logits: Tensor) -> DecodedPoints:
    """Points from logits (n, keypoint, h, w), each map at least 1 x 1 cell."""
    n, n_keypoints, height, width = logits.shape
    maps = logits.float().reshape(n * n_keypoints, height, width)
    presence, peak = maps.flatten(1).max(1)
    row, column = peak // width, peak % width
    density = (maps - presence[:, None, None]).exp()
    # Beside the picture's border the step starts from the nearest cell that has all its neighbours.
    start_row, start_column = _inner(row, height), _inner(column, width)
    near, _ = _windows(density, start_row, start_column, radius=2)
    start = torch.stack([start_column - column, start_row - row], -1).float()
    step = (start + _newton_step(near)).clamp(-_MAX_STEP, _MAX_STEP)
    cells = torch.stack([column, row], -1).float() + step
    around, inside = _windows(density, row, column, radius=_RADIUS)
    covariance = _second_moment(around * inside)
    return DecodedPoints(
        position=((cells + 0.5) * STRIDE - 0.5).reshape(n, n_keypoints, 2),
        presence_logit=presence.reshape(n, n_keypoints),
        covariance=(covariance * STRIDE**2).reshape(n, n_keypoints, 2, 2),
    )


def _inner(index: Tensor, length: int) -> Tensor:
    """The index nearest to a cell's that is 2 from either end; the middle of maps that are too small."""
    return index.clamp(2, length - 3) if length >= 5 else torch.full_like(index, length // 2)


def _windows(maps: Tensor, row: Tensor, column: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Part (m, side, side) of each map around a cell, and which of it lies in the map (its border goes on beyond)."""
    height, width = maps.shape[-2:]
    offsets = torch.arange(-radius, radius + 1, device=maps.device)
    rows, columns = row[:, None] + offsets, column[:, None] + offsets
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    place = torch.arange(len(maps), device=maps.device)[:, None, None]
    return maps[place, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]], inside


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


def _second_moment(window: Tensor) -> Tensor:
    """Covariance (m, 2, 2) in cells² of unnormalised probabilities (m, side, side)."""
    radius = window.shape[-1] // 2
    offsets = torch.arange(-radius, radius + 1, device=window.device, dtype=window.dtype)
    total = window.sum((1, 2))
    along_x, along_y = window.sum(1), window.sum(2)
    mean_x = (along_x * offsets).sum(1) / total
    mean_y = (along_y * offsets).sum(1) / total
    dx, dy = offsets - mean_x[:, None], offsets - mean_y[:, None]
    xx = (along_x * dx * dx).sum(1) / total
    yy = (along_y * dy * dy).sum(1) / total
    xy = (window * dy[:, :, None] * dx[:, None, :]).sum((1, 2)) / total
    return torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], -2)
