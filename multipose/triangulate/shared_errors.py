"""What errors of several views have in common: a share of each point's variance that no residual can show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multipose.errors import DataError

FloatArray = NDArray[np.float64]

SHARED_MEMORY = 0.8
"""Seconds after which a shared error has fallen to 1/e: it changes as the pose changes (docs/uncertainty.md)."""
SHARED_MEMORY_FRAMES = 24.0
"""The same in frames, where their rate is not known."""


def check_share(share: float) -> float:
    """A share of a variance.

    Raises:
        DataError: it is not from 0 to below 1.
    """
    if not 0 <= share < 1:
        raise DataError(f"shared_error is the share of a point's variance that views share, 0 to below 1; got {share}.")
    return share


def shared_shares(disagreement: FloatArray, shared: FloatArray | float, least: float = 0.0) -> FloatArray:
    """(keypoint,) share of the variance of a point in space that all views have in common.

    Args:
        disagreement: (keypoint,) variance factors that the views disagree by, geometric mean over the views.
        shared: (keypoint,) the common variance in units of the mean disagreement of all key points.
        least: the variance factor that both together have at least.
    """
    mean = np.exp(np.log(disagreement).mean())
    whole = np.maximum(disagreement + shared * mean, least)
    return np.asarray(1 - disagreement / whole)
