"""Which threshold of the confidence lets in what the other views confirm, and keeps out what they do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from multipose.camera import CameraRig
from multipose.triangulate.reconstruction import error_limit, expected_by_others, observations

_STEPS = np.linspace(0.0, 0.95, 20)
_MOST_INSTANTS = 4000
_FEWEST = 20  # points between two thresholds, from which they are told apart
_WORTH = 0.005  # of all points, by which a threshold must be better
_CLEAR = 0.2  # by which the share of the points between that are confirmed must differ from a half


@dataclass(frozen=True)
class BetterConfidence:
    """A better threshold than the one in use.

    min_confidence: the threshold. n_between: how many of the points looked at have a confidence between the two.
    confirmed: share of these that lie where the other views put them.
    """

    min_confidence: float
    n_between: int
    confirmed: float


def better_confidence(
    keypoints: xr.Dataset, rig: CameraRig, min_confidence: float, threads: int | None = None
) -> BetterConfidence | None:
    """The threshold that leaving one view out chooses, if it is clearly better than `min_confidence`, else None.

    The other views (their points above `min_confidence`) say where a 2D point should be. A threshold is worth the
    points that it lets in and they confirm (nearer than 6 standard deviations of the noise, and 3 px at least) less
    those that they do not. That takes three views, and confidences.

    Args:
        keypoints: Keypoints2D; at most 4000 instants, evenly spread, are looked at.
        rig: cameras with the names of the key points' views.

    Raises:
        DataError: as `reconstruct`.
    """
    some = np.unique(np.linspace(0, keypoints.sizes["time"] - 1, _MOST_INSTANTS).astype(int))
    keypoints = keypoints.isel(time=some)
    trusted, everything = (observations(keypoints, rig, least) for least in (min_confidence, 0.0))
    if len(trusted.rig) < 3:
        return None
    limit, _ = error_limit(trusted, threads)
    stated = np.isfinite(keypoints["confidence"].values.reshape(len(trusted.rig), -1))
    levels, near = [], []
    for view in range(len(trusted.rig)):
        expected = expected_by_others(trusted, view, limit, threads)
        distance = np.linalg.norm(everything.px[view] - expected, axis=-1)
        judged = everything.usable[view] & stated[view] & np.isfinite(distance)
        levels.append(everything.weight[view][judged])
        near.append(distance[judged] <= limit)
    level, good = np.concatenate(levels), np.concatenate(near)
    if not len(level):
        return None
    steps = np.append(_STEPS, min_confidence)
    worth = np.array([np.where(good[level >= step], 1, -1).sum() for step in steps])
    best = int(worth.argmax())
    low, high = sorted((float(steps[best]), min_confidence))
    between = (level >= low) & (level < high)
    if between.sum() < _FEWEST or worth[best] - worth[-1] < _WORTH * len(level):
        return None
    confirmed = float(good[between].mean())
    if abs(confirmed - 0.5) < _CLEAR:
        return None
    return BetterConfidence(float(steps[best]), int(between.sum()), confirmed)
