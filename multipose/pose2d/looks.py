"""Three looks at a picture, moved and zoomed a little, whose maps are brought back and averaged.

What a network says hangs a little on where a picture lies on its grid and how large it is. Where labels are few, these
differences are as large as errors are, and their mean is nearer to the truth (test-time augmentation; figures in
docs/recipe.md).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from multipose.opencv import cv2
from multipose.pose2d.engines import Engine, Pictures
from multipose.pose2d.network import STRIDE

_LOOKS = ((1.0, 0.0, 0.0), (1.05, -2.0, -6.0), (0.95, 6.0, 2.0))
"""Zoom about the picture's middle, then shift in x and y, px of the network's input. The first shows all of it."""


def look_thoroughly(engine: Engine, pictures: Pictures) -> Tensor:
    """Logits (n, keypoint, h / 4, w / 4), float32, of prepared pictures (n, h, w, 3): the mean of three looks.

    A place that a look does not show has the mean of the others.
    """
    height, width = pictures.shape[1:3]
    total: Tensor | None = None
    for look in _LOOKS:
        logits = engine(np.stack([_warp(picture, *look) for picture in pictures]))
        grid, shown = (part.to(logits.device) for part in _way_back(height, width, *look))
        back = functional.grid_sample(logits, grid.expand(len(logits), -1, -1, -1), align_corners=False) * shown
        total = back if total is None else total + back
    assert total is not None
    return total / _times_shown(height, width).to(total.device)


def _warp(picture: npt.NDArray[np.uint8], zoom: float, x: float, y: float) -> npt.NDArray[np.uint8]:
    """A picture (h, w, 3) as one look sees it; black beyond its border, as in training."""
    height, width = picture.shape[:2]
    matrix = _matrix(height, width, zoom, x, y)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def _matrix(height: int, width: int, zoom: float, x: float, y: float) -> npt.NDArray[np.float64]:
    """Takes (x, y, 1) px of a picture to px of a look at it, (2, 3)."""
    return np.array([[zoom, 0.0, x + (1 - zoom) * (width - 1) / 2], [0.0, zoom, y + (1 - zoom) * (height - 1) / 2]])


@lru_cache(maxsize=64)
def _way_back(height: int, width: int, zoom: float, x: float, y: float) -> tuple[Tensor, Tensor]:
    """Where each cell of a map lies on a look's, (1, h, w, 2) as `grid_sample` counts, and whether it does, (h, w)."""
    cells = [(np.arange(length // STRIDE) + 0.5) * STRIDE - 0.5 for length in (width, height)]
    (scale_x, _, shift_x), (_, scale_y, shift_y) = _matrix(height, width, zoom, x, y)
    along_x = 2 * (scale_x * cells[0] + shift_x + 0.5) / width - 1
    along_y = 2 * (scale_y * cells[1] + shift_y + 0.5) / height - 1
    edge_x, edge_y = 1 - STRIDE / width, 1 - STRIDE / height  # the middles of the outermost cells
    shown = (np.abs(along_y) <= edge_y + 1e-9)[:, None] & (np.abs(along_x) <= edge_x + 1e-9)
    grid = np.stack(np.meshgrid(along_x, along_y), -1)
    return torch.from_numpy(grid[None]).float(), torch.from_numpy(shown).float()


@lru_cache(maxsize=64)
def _times_shown(height: int, width: int) -> Tensor:
    """How many looks show each cell, (h, w); at least the first one does."""
    return torch.stack([_way_back(height, width, *look)[1] for look in _LOOKS]).sum(0)
